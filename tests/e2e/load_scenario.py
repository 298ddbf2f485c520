"""A scenario in which clients come and go during writes, while the LiveScore scales with them."""

import asyncio
import math
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import uuid4

from livescore_operator.resource import Rebalance
from livescore_operator.scaling.rebalance import CHANCE_DEVIATIONS
from tests.e2e.client_pool import ClientPool
from tests.e2e.measurements import MEASUREMENTS
from tests.e2e.service_endpoint import ServiceEndpoint
from tests.e2e.stack import READY_SECONDS, Stack
from tests.e2e.timeline import Sample, Timeline
from tests.e2e.writer import RECEIVE_SECONDS, Writer
from tests.support.clients import feed_of
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import eventually

MIN_PODS = 2

TOLERANCE = 0.05
"""300 clients need all 8 pods of 40 with this tolerance. With 0.1, 7 pods would do if clients connect slowly."""

CONNECT_SECONDS = 90.0
"""Timeout until every client has a socket, given hints of 5 s and pods that start on the same CPU."""

SETTLE_SECONDS = 180.0
"""Timeout until the number of pods is right, or sockets are balanced, under constant load. It covers scaling steps,
drains, hints, the windows of a HorizontalPodAutoscaler, and pods that start on the same two cores."""

PAUSE_SECONDS = 0.5
"""Pause between two events: each is delivered to hundreds of clients that share the CPU with the pods."""

# Small enough for eight pods on two cores.
_REQUESTS = {"requests": {"cpu": "25m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}


def spec(mode: str, target: int, most: int, window: int) -> dict[str, Any]:
    """Return the spec of a LiveScore that scales in ``mode``.

    Args:
        mode: autoscaling mode.
        target: connections per pod.
        most: maximum number of pods.
        window: scale-down window in seconds; longer than hinted clients stay disconnected.
    """
    bounds = {"minReplicas": MIN_PODS, "maxReplicas": most, "targetConnectionsPerPod": target, "tolerance": TOLERANCE}
    return {
        "autoscaling": {"mode": mode, **bounds, "scaleDown": scale_down(window)},
        # All clients of a test share one address, so rate limits are not enforced.
        "api": {"securityMode": "DRY_RUN", "drain": {"deadlineSeconds": 10}, "resources": _REQUESTS},
    }


def scale_down(window: int) -> Json:
    """Return the ``scaleDown`` policy of an HPA that removes any number of pods at once after ``window`` seconds."""
    return {
        "stabilizationWindowSeconds": window,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    }


class SlowWriter(Writer):
    """A writer that leaves clients and pods the time to deliver each event."""

    async def run(self) -> None:
        """Write one commentary every ``PAUSE_SECONDS``."""
        while True:
            await self._write(f"commentary {len(self.acknowledged)}", str(uuid4()))
            await asyncio.sleep(PAUSE_SECONDS)


@dataclass
class LoadScenario:
    """A LiveScore with a writer and a pool of clients."""

    stack: Stack
    endpoint: ServiceEndpoint
    clients: ClientPool
    timeline: Timeline
    writer: SlowWriter

    # Waiting

    async def wait_for_pods(self, counts: Collection[int], seconds: float = SETTLE_SECONDS) -> int:
        """Wait until the number of pods is one of ``counts``, all ready and of the current template; return the number.

        Terminating pods count as pods: their clients get hints only while they terminate.
        """

        async def probe() -> int:
            deployment = await self.stack.kube.get("Deployment", f"{self.stack.name}-api")
            return await self._pods_if_settled(deployment, counts)

        return await eventually(probe, seconds)

    async def _pods_if_settled(self, deployment: Json, counts: Collection[int]) -> int:
        status, wanted = deployment["status"], int(deployment["spec"]["replicas"])
        seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
        found = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
        if not seen or wanted not in counts or found != {wanted}:
            return 0
        return wanted if len(await self.pods()) == wanted else 0

    async def pods(self) -> set[str]:
        """Return the names of all API pods, including terminating ones."""
        selector = f"{self.stack.selector},app.kubernetes.io/component=api"
        return {pod["metadata"]["name"] for pod in await self.stack.kube.list("Pod", selector)}

    async def wait_for_drain(self) -> dict[str, Json]:
        """Wait until pods are being drained, and return their status entries by pod name."""

        async def probe() -> dict[str, Json]:
            found = (await self.stack.get())["status"].get("draining", [])
            return {one["pod"]: one for one in found}

        return await eventually(probe, SETTLE_SECONDS)

    async def wait_balanced(self) -> Sample:
        """Wait until all clients are connected and no pod exceeds the limit of a rebalance; return that sample."""

        async def probe() -> Sample | None:
            found = await self.timeline.sample()
            return found if _is_even(found, len(self.clients.active)) else None

        found = await eventually(probe, SETTLE_SECONDS)
        assert found is not None
        return found

    # Assertions

    async def assert_received(self) -> None:
        """Assert that every client, including those that left, received each event of the feed exactly once."""
        await self.clients.wait_connected(CONNECT_SECONDS)
        await self.clients.wait_for_seq(self.writer.acknowledged[-1], RECEIVE_SECONDS)
        feed = await feed_of(self.endpoint.base_url, self.writer.match_id)
        assert {event["seq"] for event in feed} >= set(self.writer.acknowledged[:-1])
        await self.clients.wait_for_seq(feed[-1]["seq"], RECEIVE_SECONDS)
        self.clients.assert_received(feed)

    async def event_messages(self, reason: str) -> list[str]:
        """Return the messages of the Kubernetes Events with this reason."""
        return [one["message"] for one in await self.stack.kube.list("Event") if one["reason"] == reason]

    async def record(self, name: str) -> None:
        """Record the numbers of closed sockets and of lost and duplicate events."""
        feed = await feed_of(self.endpoint.base_url, self.writer.match_id)
        lost, doubled = self.clients.compare(feed)
        closes, dropped = self.clients.closes, self.clients.dropped
        received = sum(len(client.events) for client in self.clients.clients)
        MEASUREMENTS.record(f"{name}: sockets closed, of them without a hint", f"{len(closes)}, {len(dropped)}")
        MEASUREMENTS.record(f"{name}: events received, lost, duplicated", f"{received}, {lost}, {doubled}")
        MEASUREMENTS.record(f"{name}: requests retried", str(len(self.writer.failures)))


def _is_even(found: Sample, clients: int) -> bool:
    """Return True if no pod has too many sockets, see :mod:`livescore_operator.scaling.rebalance`."""
    complete = found.open == clients and found.pods == found.wanted == found.ready
    allowed = max(Rebalance().tolerance * found.mean, CHANCE_DEVIATIONS * math.sqrt(found.mean))
    # The mean in the status is rounded and may not include the clients that reconnected last.
    return complete and abs(found.mean * found.pods - clients) <= found.pods and found.highest <= found.mean + allowed


@asynccontextmanager
async def load_scenario(stack: Stack) -> AsyncIterator[LoadScenario]:
    """Start a writer on a new match of a ready LiveScore, with an empty pool of clients."""
    async with stack.endpoint() as endpoint:
        # A port forwarded by kubectl leads to a single pod; the Service has to distribute the sockets.
        assert not endpoint.address.startswith("127."), "Service addresses are not reachable from this machine"
        match_id = await endpoint.create_match()
        async with (
            ClientPool(endpoint.ws_url, match_id) as clients,
            Timeline(stack, clients) as timeline,
            SlowWriter(endpoint, match_id) as writer,
        ):
            yield LoadScenario(stack, endpoint, clients, timeline, writer)


async def start_at_minimum(stack: Stack, **given: Any) -> None:
    """Apply the LiveScore and wait until it is ready with the minimum number of pods."""
    await stack.up(**given)
    deployment = await stack.kube.get("Deployment", f"{stack.name}-api")
    assert deployment["spec"]["replicas"] == MIN_PODS


# A full growth and shrink cycle, run in every mode

TARGET, MAX_PODS = 40, 8

CLIENTS, REMAINING_CLIENTS = 300, 20
"""Clients at the peak, and those left at the end."""

RAMP_SECONDS = 30.0

WINDOW_SECONDS = 30
"""As long as a rebalance of 300 sockets takes, during which some clients are disconnected."""


async def grow(scenario: LoadScenario, name: str, counts: Collection[int]) -> int:
    """Connect all clients, then wait for the pods they need and for balanced sockets; return the number of pods."""
    began = scenario.timeline.now
    await scenario.clients.join(CLIENTS, RAMP_SECONDS)
    came = scenario.timeline.now
    count = await scenario.wait_for_pods(counts, READY_SECONDS)
    ready = scenario.timeline.now
    after = await scenario.wait_balanced()
    even = scenario.timeline.now
    # Only samples in which all pods serve.
    before = max(one.spread for one in [*scenario.timeline.since(came), after] if one.pods == count)
    MEASUREMENTS.record(
        f"{name}: first client to all pods Ready", f"{ready - began:.1f} s ({CLIENTS} clients, {count} pods)"
    )
    MEASUREMENTS.record_seconds(f"{name}: last client to all pods Ready", [ready - came])
    MEASUREMENTS.record_seconds(f"{name}: all pods Ready to spread", [even - ready])
    MEASUREMENTS.record(f"{name}: spread before and after", f"{before:.2f}, {after.spread:.2f}")
    assert _changes(scenario.timeline.since(began)) <= {1}, "pods were removed while clients connected"
    return count


async def shrink(scenario: LoadScenario, name: str) -> None:
    """Disconnect most clients, and wait until the minimum number of pods is left."""
    began = scenario.timeline.now
    await scenario.clients.leave(CLIENTS - REMAINING_CLIENTS)
    await scenario.wait_for_pods({MIN_PODS})
    MEASUREMENTS.record_seconds(f"{name}: clients gone to minimum pods", [scenario.timeline.now - began])
    assert _changes(scenario.timeline.since(began)) <= {-1}, "pods were added while clients left"


def assert_within_bounds(samples: Iterable[Sample]) -> None:
    """Assert that the number of pods always stayed within its bounds."""
    for one in samples:
        assert MIN_PODS <= one.wanted <= MAX_PODS, one
        assert one.ready <= MAX_PODS, one


def _changes(samples: Sequence[Sample]) -> set[int]:
    """Return the directions in which the number of replicas changed: 1 for up, -1 for down."""
    moved = (after.wanted - before.wanted for before, after in pairwise(samples))
    return {1 if by > 0 else -1 for by in moved if by}
