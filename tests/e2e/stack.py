"""One LiveScore on the cluster, as a person with ``kubectl`` sees it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from livescore_operator.resource import API_VERSION, KIND
from tests.e2e.entrance import Entrance, opened
from tests.e2e.environment import APP_IMAGE, POSTGRES_IMAGE, REDIS_IMAGE
from tests.e2e.kubectl import Kubectl
from tests.support.clients import Listener
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube, eventually

READY_SECONDS = 300.0
"""Longest until a stack is Ready: two servers, a migration, four Pythons, on a machine that does other things too."""

GONE_SECONDS = 120.0
"""Longest until a deleted stack is gone: a drain, a shutdown of PostgreSQL, and the garbage collector."""

CHILDREN = (
    *("configmap", "secret", "serviceaccount", "service", "networkpolicy", "poddisruptionbudget", "ingress"),
    *("deployment", "replicaset", "statefulset", "job", "pod", "persistentvolumeclaim"),
)

PROCESSES = ("api", "worker", "scheduler")

# Clients of a test are many in one address: with LIVE they would be refused now and then, as they should be.
_UNLIMITED = {"securityMode": "DRY_RUN", "drain": {"deadlineSeconds": 5}}


def manifest(name: str, **spec: Any) -> Json:
    """A LiveScore with the images of the cluster and without limits for its clients; ``spec`` wins, part by part."""
    given: Json = {
        "image": APP_IMAGE,
        "api": _UNLIMITED,
        "postgres": {"image": POSTGRES_IMAGE, "storage": {"size": "1Gi"}},
        "redis": {"image": REDIS_IMAGE},
    }
    merged = {key: {**given[key], **part} if isinstance(given.get(key), dict) else part for key, part in spec.items()}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": {**given, **merged}}


class Stack:
    """A LiveScore and what became of it."""

    def __init__(self, kubectl: Kubectl, kube: Kube, name: str = "demo") -> None:
        self.kubectl = kubectl
        self.kube = kube
        self.name = name

    # What is done to it

    async def apply(self, **spec: Any) -> None:
        """``kubectl apply`` it, see :func:`manifest`."""
        await self.kubectl.apply(manifest(self.name, **spec))

    async def edit(self, **spec: Any) -> None:
        """``kubectl patch`` its spec."""
        await self.kubectl("patch", f"lsc/{self.name}", "--type=merge", "-p", json.dumps({"spec": spec}))

    async def up(self, **spec: Any) -> None:
        """Apply it and wait until it is Ready."""
        await self.apply(**spec)
        await self.ready()

    async def ready(self, seconds: float = READY_SECONDS) -> None:
        """``kubectl wait`` until it is what its spec says."""
        await self.kubectl.wait(f"lsc/{self.name}", "condition=Ready", seconds)

    async def delete(self) -> None:
        """``kubectl delete`` it, and wait until it is gone."""
        await self.kubectl("delete", f"lsc/{self.name}", f"--timeout={GONE_SECONDS:g}s", timeout=GONE_SECONDS + 10)

    # What is

    async def get(self) -> Json:
        """The resource."""
        return await self.kube.get(KIND, self.name)

    async def condition(self, type: str) -> Json:
        """One condition; empty while it is not there."""
        conditions = (await self.get()).get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == type), {})

    async def stands(self, type: str, status: str, reason: str, seconds: float = READY_SECONDS) -> Json:
        """Wait until a condition is so, and return it."""

        async def probe() -> Json | None:
            found = await self.condition(type)
            return found if (found.get("status"), found.get("reason")) == (status, reason) else None

        found = await eventually(probe, seconds)
        assert found is not None
        return found

    async def pods(self, component: str) -> list[Json]:
        """The pods of a component that are not about to end."""
        found = await self.kube.list("Pod", f"{self.selector},app.kubernetes.io/component={component}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    async def deployments(self) -> dict[str, Json]:
        """Its Deployments by component."""
        return {part: await self.kube.get("Deployment", f"{self.name}-{part}") for part in PROCESSES}

    async def children(self) -> set[str]:
        """What has its labels, as ``Kind/name``: children, their pods, and volumes."""
        found = json.loads(await self.kubectl("get", ",".join(CHILDREN), "-l", self.selector, "-o", "json"))["items"]
        return {f"{one['kind']}/{one['metadata']['name']}" for one in found}

    async def restarts(self, component: str) -> int:
        """How often containers of a component's pods were started again."""
        statuses = [one for pod in await self.pods(component) for one in pod["status"].get("containerStatuses", [])]
        return sum(one["restartCount"] for one in statuses)

    async def replicated(self) -> None:
        """See that the pods are those of the spec: as many, up to date, and no other."""
        for part, deployment in (await self.deployments()).items():
            status, wanted = deployment["status"], deployment["spec"]["replicas"]
            counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")]
            assert counts == [wanted] * 3, f"{part}: {counts}, not {wanted}"

    @property
    def selector(self) -> str:
        """Of everything that belongs to it."""
        return f"app.kubernetes.io/name=livescore,app.kubernetes.io/instance={self.name}"

    # Who uses it

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[Entrance]:
        """The way in through its Service."""
        async with opened(self.kubectl, self.kube, self.name) as entrance:
            yield entrance


@asynccontextmanager
async def listening(entrance: Entrance, match_id: int) -> AsyncIterator[Listener]:
    """A client that follows a match and comes back whenever it is sent away."""
    async with Listener(entrance.ws_url, reconnect=True) as listener:
        await listener.follow(match_id)
        yield listener
