"""A LiveScore in a namespace of its own, reconciled step by step, with a simulated kubelet."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx

from livescore_operator.queue import Key
from livescore_operator.reconciler import Reconciler
from livescore_operator.resource import API_VERSION, KIND
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import ApiError, Kube, eventually
from tests.support.kubernetes.kubelet import make_ready

IMAGE = "livescore:1"

# Kinds that the operator creates for a LiveScore, except for Events.
CHILDREN = (
    "ConfigMap",
    "Secret",
    "Service",
    "ServiceAccount",
    "Deployment",
    "StatefulSet",
    "Job",
    "PodDisruptionBudget",
    "Ingress",
    "NetworkPolicy",
    "HorizontalPodAutoscaler",
    "PersistentVolumeClaim",
)

# Interval between two checks of the simulated kubelet.
KUBELET_SECONDS = 0.05

# Maximum number of rounds; a stack needs four: servers, migration, processes, Ready.
ROUNDS = 8


class Stack:
    """One LiveScore and its reconciler."""

    def __init__(self, kube: Kube, reconciler: Reconciler | None, name: str = "demo") -> None:
        self.kube = kube
        self._reconciler = reconciler
        self.name = name

    @property
    def reconciler(self) -> Reconciler:
        """The reconciler of this process; unavailable where an operator process does the work."""
        assert self._reconciler is not None
        return self._reconciler

    @property
    def key(self) -> Key:
        """The key of the LiveScore in the queue."""
        return self.kube.namespace, self.name

    async def create(self, **spec: Any) -> Json:
        """Create the LiveScore."""
        metadata = {"name": self.name, "namespace": self.kube.namespace}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": {"image": IMAGE, **spec}}
        return await self.kube.create(body)

    async def edit(self, **spec: Any) -> Json:
        """Change the spec, as `kubectl patch` does."""
        return await self.kube.patch(KIND, self.name, {"spec": spec})

    async def reconcile(self) -> float | None:
        """Reconcile once."""
        return await self.reconciler.reconcile(self.key)

    async def settle(self, *unready: str) -> Json:
        """Reconcile and make created objects ready until nothing changes any more.

        Args:
            unready: names of workloads that never become ready.

        Returns:
            The LiveScore in its final state.
        """
        before: Mapping[str, str] = {}
        for _ in range(ROUNDS):
            await self.reconcile()
            await self.make_ready(*unready)
            now = await self.versions()
            if now == before:
                break
            before = now
        return await self.livescore()

    async def make_ready(self, *unready: str) -> None:
        """Set every workload to the state its spec describes."""
        for kind in ("StatefulSet", "Deployment", "Job"):
            for child in await self.kube.list(kind):
                name = child["metadata"]["name"]
                if name not in unready and not _is_ready(child):
                    await make_ready(self.kube, kind, name)

    @asynccontextmanager
    async def kubelet(self) -> AsyncIterator[None]:
        """Make workloads ready in the background for the duration of a block."""
        playing = asyncio.create_task(self._play_kubelet())
        try:
            yield
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    async def _play_kubelet(self) -> None:
        while True:
            with suppress(httpx.HTTPError, ApiError):
                await self.make_ready()
            await asyncio.sleep(KUBELET_SECONDS)

    async def until_ready(self, timeout: float = 30.0) -> None:
        """Wait until the LiveScore is Ready in its current generation."""
        await eventually(self.is_ready, timeout)

    async def is_ready(self) -> bool:
        """Return True if the LiveScore is Ready in its current generation."""
        generation = (await self.livescore())["metadata"]["generation"]
        ready = (await self.conditions()).get("Ready", {"status": "Unknown", "observedGeneration": 0})
        return bool(ready["status"] == "True" and ready["observedGeneration"] == generation)

    async def livescore(self) -> Json:
        """Return the LiveScore."""
        return await self.kube.get(KIND, self.name)

    async def conditions(self) -> dict[str, Json]:
        """Return the conditions by type."""
        status = (await self.livescore()).get("status", {})
        return {condition["type"]: condition for condition in status.get("conditions", [])}

    async def condition(self, type: str) -> tuple[str, str]:
        """Return status and reason of a condition."""
        found = (await self.conditions())[type]
        return found["status"], found["reason"]

    async def children(self) -> dict[str, Json]:
        """Return all created objects by ``Kind/name``."""
        found = [child for kind in CHILDREN for child in await self.kube.list(kind)]
        made = [child for child in found if "kubernetes.io/service-account" not in str(child.get("type", ""))]
        return {f"{one['kind']}/{one['metadata']['name']}": one for one in made if not _is_clusters(one)}

    async def versions(self) -> dict[str, str]:
        """Return the resourceVersion of every object, including the LiveScore."""
        everything = {**await self.children(), "LiveScore": await self.livescore()}
        return {name: one["metadata"]["resourceVersion"] for name, one in everything.items()}

    async def images(self) -> dict[str, str]:
        """Return the image of each Deployment."""
        found = await self.kube.list("Deployment")
        return {one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["image"] for one in found}

    async def events(self) -> list[tuple[str, str, str]]:
        """Return type, reason and message of every Event, oldest first."""
        found = sorted(await self.kube.list("Event"), key=lambda one: int(one["metadata"]["resourceVersion"]))
        return [(one["type"], one["reason"], one["message"]) for one in found]

    async def secret(self, name: str) -> dict[str, str]:
        """Return the decoded texts of a Secret."""
        data = (await self.kube.get("Secret", name))["data"]
        return {key: base64.b64decode(text).decode() for key, text in data.items()}


def secret(name: str, **texts: str) -> Json:
    """Return a user-provided Secret."""
    data = {key.replace("_", "-"): base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data}


def _is_clusters(child: Json) -> bool:
    """Return True for objects that the cluster itself creates in every namespace."""
    return child["metadata"]["name"] in ("kube-root-ca.crt", "default", "kubernetes")


def _is_ready(child: Json) -> bool:
    status, spec = child.get("status", {}), child["spec"]
    if child["kind"] == "Job":
        return any(one["type"] in ("Complete", "Failed") for one in status.get("conditions", []))
    current: bool = status.get("observedGeneration") == child["metadata"]["generation"]
    return current and bool(status.get("readyReplicas", 0) == spec.get("replicas", 1))
