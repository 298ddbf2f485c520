"""A crowd that comes and goes while somebody writes, and the LiveScore that grows and shrinks with it."""

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
from tests.e2e.crowd import Crowd
from tests.e2e.entrance import Entrance
from tests.e2e.measures import MEASURES
from tests.e2e.stack import READY_SECONDS, Stack
from tests.e2e.timeline import Sample, Timeline
from tests.e2e.writer import HEAR_SECONDS, Writer
from tests.support.clients import feed_of
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import eventually

LEAST = 2

TOLERANCE = 0.05
"""With it 7 pods of 40 are too few for 300: with 0.1 they would do, and the number would hang on how fast they come."""

CONNECT_SECONDS = 90.0
"""Longest until everybody has a socket: hints of 5 s, and pods that start on the same processor."""

SETTLE_SECONDS = 180.0
"""Longest until the number of pods is right, or sockets are evenly spread, from when the load is: steps, drains, hints,
the windows of a HorizontalPodAutoscaler, and pods that start on the same two cores."""

PAUSE_SECONDS = 0.5
"""Between two events: each is told to hundreds of clients that share the processor with the pods."""

# So many pods fit on two cores.
_REQUESTS = {"requests": {"cpu": "25m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}


def spec(mode: str, target: int, most: int, window: int) -> dict[str, Any]:
    """Of a LiveScore that scales in this mode.

    Args:
        mode: of autoscaling.
        target: connections per pod.
        most: pods.
        window: of the scale-down, in seconds: longer than clients are away that were asked to come in again.
    """
    bounds = {"minReplicas": LEAST, "maxReplicas": most, "targetConnectionsPerPod": target, "tolerance": TOLERANCE}
    return {
        "autoscaling": {"mode": mode, **bounds, "scaleDown": scale_down(window)},
        # Clients of a test are many in one address.
        "api": {"securityMode": "DRY_RUN", "drain": {"deadlineSeconds": 10}, "resources": _REQUESTS},
    }


def scale_down(window: int) -> Json:
    """All at once, after a window in seconds; of a LiveScore and of any HorizontalPodAutoscaler."""
    return {
        "stabilizationWindowSeconds": window,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    }


class Commentator(Writer):
    """A writer who leaves clients and pods the time to tell everybody."""

    async def run(self) -> None:
        """Write more slowly."""
        while True:
            await self._write(f"commentary {len(self.acknowledged)}", str(uuid4()))
            await asyncio.sleep(PAUSE_SECONDS)


@dataclass
class Rush:
    """Who takes part."""

    stack: Stack
    entrance: Entrance
    crowd: Crowd
    timeline: Timeline
    writer: Commentator

    # Waiting

    async def settled(self, counts: Collection[int], seconds: float = SETTLE_SECONDS) -> int:
        """Wait until there are so many pods, all Ready and of the present template, and no other; and return how many.

        Pods that stop count: their clients are told to go while they do.
        """

        async def probe() -> int:
            deployment = await self.stack.kube.get("Deployment", f"{self.stack.name}-api")
            return await self._settled(deployment, counts)

        return await eventually(probe, seconds)

    async def _settled(self, deployment: Json, counts: Collection[int]) -> int:
        status, wanted = deployment["status"], int(deployment["spec"]["replicas"])
        seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
        found = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
        if not seen or wanted not in counts or found != {wanted}:
            return 0
        return wanted if len(await self.pods()) == wanted else 0

    async def pods(self) -> set[str]:
        """Names of all API pods, also of those that stop."""
        selector = f"{self.stack.selector},app.kubernetes.io/component=api"
        return {pod["metadata"]["name"] for pod in await self.stack.kube.list("Pod", selector)}

    async def draining(self) -> dict[str, Json]:
        """Wait until pods are being emptied, and return them by name as the status has them."""

        async def probe() -> dict[str, Json]:
            found = (await self.stack.get())["status"].get("draining", [])
            return {one["pod"]: one for one in found}

        return await eventually(probe, SETTLE_SECONDS)

    async def spread(self) -> Sample:
        """Wait until everybody is connected and no pod is fuller than a rebalance leaves it; how it is then."""

        async def probe() -> Sample | None:
            found = await self.timeline.sample()
            return found if _is_even(found, len(self.crowd.present)) else None

        found = await eventually(probe, SETTLE_SECONDS)
        assert found is not None
        return found

    # Judging

    async def holds(self) -> None:
        """See that every client, also those that left, heard the feed, and each event of it once."""
        await self.crowd.connected(CONNECT_SECONDS)
        await self.crowd.reach(self.writer.acknowledged[-1], HEAR_SECONDS)
        feed = await feed_of(self.entrance.base_url, self.writer.match_id)
        assert {event["seq"] for event in feed} >= set(self.writer.acknowledged[:-1])
        await self.crowd.reach(feed[-1]["seq"], HEAR_SECONDS)
        self.crowd.hold(feed)

    async def told(self, reason: str) -> list[str]:
        """Messages of the Events with this reason."""
        return [one["message"] for one in await self.stack.kube.list("Event") if one["reason"] == reason]

    async def note(self, name: str) -> None:
        """Keep what became of sockets and events for the table."""
        feed = await feed_of(self.entrance.base_url, self.writer.match_id)
        lost, doubled = self.crowd.compare(feed)
        closes, dropped = self.crowd.closes, self.crowd.dropped
        heard = sum(len(client.events) for client in self.crowd.clients)
        MEASURES.note(f"{name}: sockets closed, of them without a hint", f"{len(closes)}, {len(dropped)}")
        MEASURES.note(f"{name}: events heard, lost, doubled", f"{heard}, {lost}, {doubled}")
        MEASURES.note(f"{name}: requests sent again", str(len(self.writer.failures)))


def _is_even(found: Sample, clients: int) -> bool:
    """Whether no pod is overfull, see :mod:`livescore_operator.scaling.rebalance`."""
    complete = found.open == clients and found.pods == found.wanted == found.ready
    allowed = max(Rebalance().tolerance * found.mean, CHANCE_DEVIATIONS * math.sqrt(found.mean))
    # The mean of the status is rounded, and it may be about to hear of those who came back last.
    return complete and abs(found.mean * found.pods - clients) <= found.pods and found.highest <= found.mean + allowed


@asynccontextmanager
async def rush(stack: Stack) -> AsyncIterator[Rush]:
    """Somebody writes to a new match, and nobody listens so far. The LiveScore is Ready."""
    async with stack.entered() as entrance:
        # A port that kubectl forwards leads to one pod: sockets must be spread by the Service.
        assert not entrance.address.startswith("127."), "this machine does not reach the addresses of Services"
        match_id = await entrance.create_match()
        async with (
            Crowd(entrance.ws_url, match_id) as crowd,
            Timeline(stack, crowd) as timeline,
            Commentator(entrance, match_id) as writer,
        ):
            yield Rush(stack, entrance, crowd, timeline, writer)


async def up(stack: Stack, **given: Any) -> None:
    """Make the LiveScore, and wait until it is Ready with its least pods."""
    await stack.up(**given)
    deployment = await stack.kube.get("Deployment", f"{stack.name}-api")
    assert deployment["spec"]["replicas"] == LEAST


# The whole story of a match, in every mode

TARGET, MOST = 40, 8

CROWD, REST = 300, 20
"""Clients at the height, and those that are left in the end."""

RAMP_SECONDS = 30.0

WINDOW_SECONDS = 30
"""A rebalance of 300 lasts that long, and some of its clients are away meanwhile."""


async def grow(rush: Rush, name: str, counts: Collection[int]) -> int:
    """Let the crowd come, wait for the pods that it needs, and for its sockets to be spread over them."""
    began = rush.timeline.now
    await rush.crowd.join(CROWD, RAMP_SECONDS)
    came = rush.timeline.now
    count = await rush.settled(counts, READY_SECONDS)
    ready = rush.timeline.now
    after = await rush.spread()
    even = rush.timeline.now
    # Those in which all pods serve.
    before = max(one.spread for one in [*rush.timeline.since(came), after] if one.pods == count)
    MEASURES.note(f"{name}: first client to all pods Ready", f"{ready - began:.1f} s ({CROWD} clients, {count} pods)")
    MEASURES.seconds(f"{name}: last client to all pods Ready", [ready - came])
    MEASURES.seconds(f"{name}: all pods Ready to spread", [even - ready])
    MEASURES.note(f"{name}: spread before and after", f"{before:.2f}, {after.spread:.2f}")
    assert _changes(rush.timeline.since(began)) <= {1}, "pods were removed while the crowd came"
    return count


async def shrink(rush: Rush, name: str) -> None:
    """Let all but a few go, and wait until as few pods are there as may be."""
    began = rush.timeline.now
    await rush.crowd.leave(CROWD - REST)
    await rush.settled({LEAST})
    MEASURES.seconds(f"{name}: clients gone to the least pods", [rush.timeline.now - began])
    assert _changes(rush.timeline.since(began)) <= {-1}, "pods were added while the crowd went"


def bounded(samples: Iterable[Sample]) -> None:
    """See that there were never more pods than allowed, nor fewer."""
    for one in samples:
        assert LEAST <= one.wanted <= MOST, one
        assert one.ready <= MOST, one


def _changes(samples: Sequence[Sample]) -> set[int]:
    """The directions in which the number of pods was moved."""
    moved = (after.wanted - before.wanted for before, after in pairwise(samples))
    return {1 if by > 0 else -1 for by in moved if by}
