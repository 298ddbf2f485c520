"""A LiveScore that scales, with simulated API pods and a clock that only the test advances."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from livescore_operator.cluster import Cluster
from livescore_operator.pod_client import PodClient
from livescore_operator.reconciler import Reconciler
from livescore_operator.telemetry import metrics
from tests.operator.stack import Stack, secret
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube
from tests.support.pods import Fleet

START = datetime(2026, 6, 11, 17, tzinfo=UTC)

# External servers, so that fewer steps are needed until the API exists.
SERVERS = {
    name: {"mode": "external", "external": {"secretRef": {"name": name, "key": "url"}}}
    for name in ("postgres", "redis")
}


class Scene(Stack):
    """One LiveScore, its API pods, and an operator that can be replaced.

    Attributes:
        fleet: the API pods.
        now: the operator's clock.
    """

    def __init__(self, kube: Kube, cluster: Cluster, fleet: Fleet) -> None:
        super().__init__(kube, None)
        self.fleet = fleet
        self.now = START
        self._cluster = cluster
        self.restart()

    def restart(self) -> None:
        """Replace the operator by one that knows only what it finds in the cluster."""
        self._reconciler = Reconciler(self._cluster, "livescore-system", "test")
        self._reconciler.now = lambda: self.now
        self._reconciler.autoscaler.pod_client = PodClient(self.fleet.port)

    async def up(self, **spec: Any) -> None:
        """Create the LiveScore and bring up its first pods."""
        for name in SERVERS:
            await self.kube.create(secret(name, url=f"{name}://elsewhere"))
        await self.create(**SERVERS, **spec)
        for _ in range(2):
            await self.reconcile()
            await self.make_ready()
        await self.step()

    async def step(self, seconds: float = 0.0) -> float | None:
        """Advance the clock, let the cluster take a step, and reconcile."""
        self.now += timedelta(seconds=seconds)
        await self.fleet.play()
        return await self.reconcile()

    async def load(self, *sockets: int, seconds: float = 0.0) -> float | None:
        """Set the number of sockets of each pod, then call :meth:`step`."""
        await self.fleet.play()
        self.fleet.set_sockets(*sockets)
        return await self.step(seconds)

    async def deployment(self) -> Json:
        """Return the Deployment of the API."""
        return await self.kube.get("Deployment", f"{self.name}-api")

    async def replicas(self) -> int:
        """Return the replicas of the API's Deployment."""
        found: int = (await self.deployment())["spec"]["replicas"]
        return found

    async def scale(self, kind: str, name: str, replicas: int, manager: str) -> None:
        """Set replicas through the scale subresource, as ``kubectl scale`` and HorizontalPodAutoscalers do."""
        await self.kube.patch(kind, name, {"spec": {"replicas": replicas}}, subresource="scale", fieldManager=manager)

    async def status(self) -> Json:
        """Return the status of the LiveScore."""
        found: Json = (await self.livescore())["status"]
        return found

    async def scaling(self) -> Json:
        """Return ``status.scaling``."""
        found: Json = (await self.status())["scaling"]
        return found

    async def draining(self) -> dict[str, Json]:
        """Return ``status.draining`` by pod."""
        return {one["pod"]: one for one in (await self.status()).get("draining", [])}

    async def messages(self, reason: str) -> list[tuple[str, str]]:
        """Return type and message of every Event with this reason, oldest first."""
        return [(type, message) for type, found, message in await self.events() if found == reason]

    def metric(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric of this LiveScore; None if it does not exist."""
        own = {"namespace": self.kube.namespace, "name": self.name}
        return metrics.REGISTRY.get_sample_value(f"livescore_operator_{name}", {**own, **labels})


@asynccontextmanager
async def opened(kube: Kube, cluster: Cluster) -> AsyncIterator[Scene]:
    """Open an empty scene, and close it at the end of the block."""
    fleet = Fleet(kube)
    await fleet.start()
    try:
        yield Scene(kube, cluster, fleet)
    finally:
        await fleet.stop()
