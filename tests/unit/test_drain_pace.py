"""Sockets get a hint before they are closed, in paced batches, so that clients do not reconnect all at once."""

import asyncio
from itertools import pairwise
from time import monotonic

from livescore import broker
from livescore.live.connection import SERVICE_RESTART, Connection, State
from livescore.live.drain import LEAST_PER_SECOND, Drain
from livescore.live.hub import Group, MatchFeed
from livescore.live.realtime_server import RealtimeServer
from livescore.scores.database import Database
from livescore.scores.store import Store
from livescore.settings import load

MATCH = 7
SPREAD_SECONDS = 0.3


class Closing:
    """A connection that records the times of its hints and of its close."""

    def __init__(self, server: RealtimeServer, *matches: int) -> None:
        self.state = State("192.0.2.1", 1)
        self.state.matches = set(matches) or None
        self.told: list[float] = []
        self.closed: list[tuple[float, int]] = []
        self._server = server

    @property
    def open(self) -> bool:
        return not self.closed

    @property
    def notice(self) -> float:
        """Seconds from the hint to the close."""
        return self.closed[0][0] - self.told[0]

    def send(self, message: bytes) -> None:
        assert self.open
        assert b"reconnect" in message
        self.told.append(monotonic())

    def close(self, code: int) -> None:
        if self.open:
            self.closed.append((monotonic(), code))
            self._server.detach(self)

    def join(self, group: Group) -> None:
        """Do nothing: no events are delivered here."""

    def leave(self, group: Group) -> None:
        """Do nothing: no events are delivered here."""

    def flush(self, group: Group) -> None:
        """Do nothing: no data is buffered."""

    async def drained(self) -> None:
        """Return at once: no data is buffered."""


class Room:
    """A server without other parts, its drain, and the number of its open sockets."""

    def __init__(self, drain_seconds: float = 0.2, grace_seconds: float = 0.0) -> None:
        settings = load(
            database_url="postgresql://localhost/x",
            redis_url="redis://localhost",
            drain_seconds=drain_seconds,
            drain_grace_seconds=grace_seconds,
            reconnect_spread_seconds=SPREAD_SECONDS,
        )
        store = Store(Database("postgresql://localhost/x", size=1, timeout=1))
        self.server = RealtimeServer(settings, store, broker.create(settings), self._closed)
        self.server.hub.match_feeds[MATCH] = MatchFeed(asyncio.get_running_loop().create_future(), 1)
        self.drain = Drain(self.server)
        self._changed = asyncio.Event()

    def attach(self, count: int, *matches: int) -> list[Closing]:
        connections = [Closing(self.server, *matches) for _ in range(count)]
        for connection in connections:
            self.server.attach(connection)
        return connections

    def _closed(self, _: Connection) -> None:
        self._changed.set()

    async def until(self, count: int) -> None:
        """Wait until at most ``count`` sockets are left."""
        async with asyncio.timeout(20):
            while self.server.connections > count:
                self._changed.clear()
                await self._changed.wait()


def moments(connections: list[Closing]) -> list[float]:
    """Return the times of the closes, in order."""
    return sorted(moment for connection in connections for moment, _ in connection.closed)


# Draining


async def test_closes_are_paced_and_each_follows_a_hint() -> None:
    room = Room(drain_seconds=2)
    connections = room.attach(60)
    await room.drain.start()
    closed = moments(connections)
    assert room.server.connections == 0
    # Never faster than requested: the pauses between batches are real, however slow the machine is.
    assert closed[-1] - closed[0] > 0.8 * len(connections) / LEAST_PER_SECOND
    assert all(connection.closed[0][1] == SERVICE_RESTART for connection in connections)
    assert all(len(connection.told) == 1 and connection.notice >= 0 for connection in connections)


async def test_stop_continues_a_running_drain() -> None:
    """SIGTERM during a requested drain does not restart its grace period."""
    room = Room()
    begun = room.drain.start()
    assert room.drain.stop() is begun
    await begun


async def test_stop_after_a_drain_is_immediate() -> None:
    grace_seconds = 1.0
    room = Room(grace_seconds=grace_seconds)
    connections = room.attach(3)
    await room.drain.start()
    assert all(connection.told and connection.closed for connection in connections)
    async with asyncio.timeout(grace_seconds / 2):
        await room.drain.stop()


async def test_drain_of_a_stop_cannot_be_cancelled() -> None:
    """The process would end and cut the sockets that have no hint."""
    room = Room()
    connections = room.attach(3)
    stopping = room.drain.stop()
    room.drain.cancel()
    await stopping
    assert room.server.draining
    assert all(connection.told and connection.closed for connection in connections)


async def test_handshake_accepted_before_the_refusal_of_new_ones_is_drained() -> None:
    room = Room()
    draining = room.drain.start()
    async with asyncio.timeout(5):
        while not room.drain.refusing:
            await asyncio.sleep(0)
    late = room.attach(1)[0]
    await draining
    assert late.told
    assert late.closed
    assert room.server.connections == 0


async def test_sockets_hinted_by_a_cancelled_drain_are_hinted_again_by_the_next() -> None:
    room = Room(drain_seconds=2)
    connections = room.attach(40)
    room.drain.start()
    await room.until(len(connections) - 1)
    room.drain.cancel()
    stayed = [connection for connection in connections if connection.open]
    assert stayed
    await room.drain.start()
    assert all(len(connection.told) == 2 and connection.closed for connection in stayed)


# Shedding


async def test_shed_sockets_get_early_hints_and_close_at_the_requested_rate() -> None:
    room, per_second = Room(), 10
    connections = room.attach(8, MATCH)
    assert room.drain.shed(3, per_second) == 3
    await asyncio.sleep(0)  # until the first hint is sent
    assert room.drain.shed(6, per_second) == 6
    await room.until(2)
    shed = [connection for connection in connections if connection.closed]
    assert all(len(connection.told) == 1 and connection.notice >= SPREAD_SECONDS for connection in shed)
    for times in (moments(shed), sorted(connection.told[0] for connection in shed)):
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert min(pauses) > 0.9 / per_second
    assert not any(connection.told for connection in connections if connection.open)


async def test_repeated_shed_request_selects_no_additional_sockets() -> None:
    room = Room()
    connections = room.attach(10, MATCH)
    assert [room.drain.shed(count, 1_000) for count in (3, 3, 2, 5)] == [3, 3, 3, 5]
    await room.until(5)
    assert sum(len(connection.told) for connection in connections) == 5
    assert room.drain.shed(2, 1_000) == 2
    await room.until(3)


async def test_last_requested_rate_applies_to_all() -> None:
    room = Room()
    connections = room.attach(30, MATCH)
    room.drain.shed(20, 1)
    begun = monotonic()
    room.drain.shed(20, 1_000)
    await room.until(10)
    assert monotonic() - begun < 15, "the pace of one per second was kept"
    assert sum(len(connection.told) for connection in connections) == 20


async def test_socket_that_cannot_resume_is_not_shed() -> None:
    room = Room()
    room.attach(2)
    for follower_of_all in room.attach(2):
        follower_of_all.state.follows_all = True
    assert room.drain.shed(4) == 0
    one, *others = room.attach(3, MATCH)
    assert room.drain.shed(5, 1_000) == 3
    one.state.matches = None  # before its turn
    await room.until(5)
    assert all(connection.closed for connection in others)
    assert (one.told, one.closed) == ([], [])


async def test_a_drain_takes_over_from_a_shed() -> None:
    room = Room()
    connections = room.attach(20, MATCH)
    assert room.drain.shed(10, 1_000) == 10
    await asyncio.sleep(0)
    assert any(connection.told for connection in connections)
    draining = room.drain.start()
    assert room.drain.shed(10) == 0
    await draining
    assert all(len(connection.told) == len(connection.closed) == 1 for connection in connections)


async def test_sockets_can_be_shed_after_a_cancelled_drain() -> None:
    room = Room()
    room.attach(5, MATCH)
    room.drain.shed(5, 1)
    room.drain.start()
    room.drain.cancel()
    assert room.drain.shed(2, 1_000) == 2
    await room.until(3)
