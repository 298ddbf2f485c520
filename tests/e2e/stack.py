"""One LiveScore on the cluster, as seen with ``kubectl``."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from livescore_operator.resource import API_VERSION, KIND
from tests.e2e.environment import APP_IMAGE, POSTGRES_IMAGE, REDIS_IMAGE
from tests.e2e.kubectl import Kubectl
from tests.e2e.service_endpoint import ServiceEndpoint, service_endpoint
from tests.support.clients import Listener
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube, eventually

READY_SECONDS = 300.0
"""Timeout until a stack is ready: two servers, a migration and four Python processes, on a busy machine."""

GONE_SECONDS = 120.0
"""Timeout until a deleted stack is gone: a drain, a shutdown of PostgreSQL, and the garbage collector."""

OWNED_KINDS = (
    *("configmap", "secret", "serviceaccount", "service", "networkpolicy", "poddisruptionbudget", "ingress"),
    *("deployment", "replicaset", "statefulset", "job", "pod", "persistentvolumeclaim"),
)

PROCESSES = ("api", "worker", "scheduler")

# All clients of a test share one address; with LIVE the rate limits would refuse some of them.
_UNLIMITED = {"securityMode": "DRY_RUN", "drain": {"deadlineSeconds": 5}}


def manifest(name: str, **spec: Any) -> Json:
    """Return a LiveScore with the cluster's images and without rate limits; ``spec`` overrides section by section."""
    given: Json = {
        "image": APP_IMAGE,
        "api": _UNLIMITED,
        "postgres": {"image": POSTGRES_IMAGE, "storage": {"size": "1Gi"}},
        "redis": {"image": REDIS_IMAGE},
    }
    merged = {key: {**given[key], **part} if isinstance(given.get(key), dict) else part for key, part in spec.items()}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": {**given, **merged}}


class Stack:
    """A LiveScore and its owned resources."""

    def __init__(self, kubectl: Kubectl, kube: Kube, name: str = "demo") -> None:
        self.kubectl = kubectl
        self.kube = kube
        self.name = name

    # Changes

    async def apply(self, **spec: Any) -> None:
        """Run ``kubectl apply``, see :func:`manifest`."""
        await self.kubectl.apply(manifest(self.name, **spec))

    async def edit(self, **spec: Any) -> None:
        """Merge ``spec`` into the LiveScore with ``kubectl patch``."""
        await self.kubectl("patch", f"lsc/{self.name}", "--type=merge", "-p", json.dumps({"spec": spec}))

    async def up(self, **spec: Any) -> None:
        """Apply the LiveScore and wait until it is ready."""
        await self.apply(**spec)
        await self.wait_ready()

    async def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait for the condition Ready."""
        await self.kubectl.wait(f"lsc/{self.name}", "condition=Ready", seconds)

    async def delete(self) -> None:
        """Delete the LiveScore and wait until it is gone."""
        await self.kubectl("delete", f"lsc/{self.name}", f"--timeout={GONE_SECONDS:g}s", timeout=GONE_SECONDS + 10)

    # State

    async def get(self) -> Json:
        """Return the LiveScore."""
        return await self.kube.get(KIND, self.name)

    async def condition(self, type: str) -> Json:
        """Return a condition, or an empty object if it is not set."""
        conditions = (await self.get()).get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == type), {})

    async def wait_for_condition(self, type: str, status: str, reason: str, seconds: float = READY_SECONDS) -> Json:
        """Wait until a condition has this status and reason, and return it."""

        async def probe() -> Json | None:
            found = await self.condition(type)
            return found if (found.get("status"), found.get("reason")) == (status, reason) else None

        found = await eventually(probe, seconds)
        assert found is not None
        return found

    async def pods(self, component: str) -> list[Json]:
        """Return the pods of a component that are not terminating."""
        found = await self.kube.list("Pod", f"{self.selector},app.kubernetes.io/component={component}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    async def deployments(self) -> dict[str, Json]:
        """Return the Deployments by component."""
        return {part: await self.kube.get("Deployment", f"{self.name}-{part}") for part in PROCESSES}

    async def owned_resources(self) -> set[str]:
        """Return everything with the labels of the LiveScore as ``Kind/name``: owned resources, pods and volumes."""
        found = json.loads(await self.kubectl("get", ",".join(OWNED_KINDS), "-l", self.selector, "-o", "json"))["items"]
        return {f"{one['kind']}/{one['metadata']['name']}" for one in found}

    async def restarts(self, component: str) -> int:
        """Return the total number of container restarts of a component."""
        statuses = [one for pod in await self.pods(component) for one in pod["status"].get("containerStatuses", [])]
        return sum(one["restartCount"] for one in statuses)

    async def assert_replicas_current(self) -> None:
        """Assert that each Deployment has exactly the replicas of its spec, all available and up to date."""
        for part, deployment in (await self.deployments()).items():
            status, wanted = deployment["status"], deployment["spec"]["replicas"]
            counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")]
            assert counts == [wanted] * 3, f"{part}: {counts}, not {wanted}"

    @property
    def selector(self) -> str:
        """Label selector of everything that belongs to the LiveScore."""
        return f"app.kubernetes.io/name=livescore,app.kubernetes.io/instance={self.name}"

    # Clients

    @asynccontextmanager
    async def endpoint(self) -> AsyncIterator[ServiceEndpoint]:
        """Open a route to the Service."""
        async with service_endpoint(self.kubectl, self.kube, self.name) as endpoint:
            yield endpoint


@asynccontextmanager
async def following(endpoint: ServiceEndpoint, match_id: int) -> AsyncIterator[Listener]:
    """Open a client that follows a match and reconnects whenever its socket is closed."""
    async with Listener(endpoint.ws_url, reconnect=True) as listener:
        await listener.follow(match_id)
        yield listener
