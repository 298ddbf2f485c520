"""A LiveScore that scales: its API pods are played, and the clock moves only when a test says so."""

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

# Run by somebody else: fewer steps until the API is there.
SERVERS = {
    name: {"mode": "external", "external": {"secretRef": {"name": name, "key": "url"}}}
    for name in ("postgres", "redis")
}


class Scene(Stack):
    """One LiveScore, its API pods, and an operator that can be replaced by another.

    Attributes:
        fleet: the pods.
        now: the operator's clock.
    """

    def __init__(self, kube: Kube, cluster: Cluster, fleet: Fleet) -> None:
        super().__init__(kube, None)
        self.fleet = fleet
        self.now = START
        self._cluster = cluster
        self.restart()

    def restart(self) -> None:
        """Kill the operator: the next one knows nothing but what it finds."""
        self._reconciler = Reconciler(self._cluster, "livescore-system", "test")
        self._reconciler.now = lambda: self.now
        self._reconciler.autoscaler.pod_client = PodClient(self.fleet.port)

    async def up(self, **spec: Any) -> None:
        """Make the LiveScore, and bring it up as far as its first pods."""
        for name in SERVERS:
            await self.kube.create(secret(name, url=f"{name}://elsewhere"))
        await self.create(**SERVERS, **spec)
        for _ in range(2):
            await self.reconcile()
            await self.make_ready()
        await self.step()

    async def step(self, seconds: float = 0.0) -> float | None:
        """Let time pass, the cluster do its part, and the operator look."""
        self.now += timedelta(seconds=seconds)
        await self.fleet.play()
        return await self.reconcile()

    async def load(self, *sockets: int, seconds: float = 0.0) -> float | None:
        """Give each pod so many sockets, then :meth:`step`."""
        await self.fleet.play()
        self.fleet.set_sockets(*sockets)
        return await self.step(seconds)

    async def deployment(self) -> Json:
        """That of the API."""
        return await self.kube.get("Deployment", f"{self.name}-api")

    async def replicas(self) -> int:
        """What the Deployment of the API says."""
        found: int = (await self.deployment())["spec"]["replicas"]
        return found

    async def scale(self, kind: str, name: str, replicas: int, manager: str) -> None:
        """Set the number by the scale subresource, as ``kubectl scale`` and HorizontalPodAutoscalers do."""
        await self.kube.patch(kind, name, {"spec": {"replicas": replicas}}, subresource="scale", fieldManager=manager)

    async def status(self) -> Json:
        """Of the LiveScore."""
        found: Json = (await self.livescore())["status"]
        return found

    async def scaling(self) -> Json:
        """``status.scaling``."""
        found: Json = (await self.status())["scaling"]
        return found

    async def draining(self) -> dict[str, Json]:
        """``status.draining`` by pod."""
        return {one["pod"]: one for one in (await self.status()).get("draining", [])}

    async def messages(self, reason: str) -> list[tuple[str, str]]:
        """Type and message of every Event with this reason, oldest first."""
        return [(type, message) for type, found, message in await self.events() if found == reason]

    def metric(self, name: str, **labels: str) -> float | None:
        """Value of a metric of this LiveScore; None where there is none."""
        own = {"namespace": self.kube.namespace, "name": self.name}
        return metrics.REGISTRY.get_sample_value(f"livescore_operator_{name}", {**own, **labels})


@asynccontextmanager
async def opened(kube: Kube, cluster: Cluster) -> AsyncIterator[Scene]:
    """A scene without anything on it, and its end."""
    fleet = Fleet(kube)
    await fleet.start()
    try:
        yield Scene(kube, cluster, fleet)
    finally:
        await fleet.stop()
