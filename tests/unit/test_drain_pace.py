"""Sockets receive a hint before they are closed in paced batches, so that clients do not all return at once."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

from livescore import broker
from livescore.clock import Clock
from livescore.live.connection import SERVICE_RESTART, Connection, ConnectionState
from livescore.live.departures import LEAST_PER_SECOND, TICK_SECONDS
from livescore.live.drain import Drain, DrainState
from livescore.live.match_feed import MatchFeed
from livescore.live.queued_subscriber import QueuedSubscriber
from livescore.live.realtime_server import RealtimeServer
from livescore.scores.database import Database
from livescore.scores.store import Store
from livescore.settings import load
from livescore.supervisor import Supervisor
from tests.support.clock import ManualClock, settle

MATCH = 7
SPREAD_SECONDS = 0.3


class DepartingSocket:
    """A socket that notes when it receives a hint and when it is closed."""

    def __init__(self, server: RealtimeServer, clock: Clock, *matches: int) -> None:
        self.state = ConnectionState("192.0.2.1", 1)
        self.state.matches = set(matches) or None
        self.hinted: list[float] = []
        self.closed: list[tuple[float, int]] = []
        self._server = server
        self._clock = clock

    @property
    def open(self) -> bool:
        return not self.closed

    @property
    def notice(self) -> float:
        """Seconds from the hint to the close."""
        return self.closed[0][0] - self.hinted[0]

    def send(self, message: bytes) -> None:
        assert self.open
        assert b"reconnect" in message
        self.hinted.append(self._clock.now())

    def close(self, code: int) -> None:
        if self.open:
            self.closed.append((self._clock.now(), code))
            self._server.detach(self)

    def write(self, data: bytes) -> None:
        """Ignore frames: nothing is delivered here."""

    def beat(self) -> None:
        """Ignore the heartbeat."""

    async def drained(self) -> None:
        """Return at once."""


class Instance:
    """A server without Redis and PostgreSQL, and its drain."""

    def __init__(self, drain_seconds: float = 0.2, grace_seconds: float = 0.0) -> None:
        settings = load(
            database_url="postgresql://localhost/x",
            redis_url="redis://localhost",
            drain_seconds=drain_seconds,
            drain_grace_seconds=grace_seconds,
            reconnect_spread_seconds=SPREAD_SECONDS,
        )
        self.clock = ManualClock()
        store = Store(Database("postgresql://localhost/x", size=1, timeout=1))
        supervisor = Supervisor(self.clock, lambda _: None)
        self.server = RealtimeServer(
            settings, store, broker.create(settings), supervisor, self._ignore_close, self.clock
        )
        match_feeds = self.server.feeds.matches
        match_feeds._feeds[MATCH] = MatchFeed(MATCH, match_feeds._source)
        self.drain = Drain(self.server)

    def _ignore_close(self, _: Connection) -> None:
        """Nothing counts the sockets here."""

    def attach(self, count: int, *matches: int) -> list[DepartingSocket]:
        sockets = [DepartingSocket(self.server, self.clock, *matches) for _ in range(count)]
        for socket in sockets:
            self.server.attach(socket)
        return sockets

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until a condition holds, at most a minute."""
        end = self.clock.now() + 60
        while not condition():
            assert self.clock.now() < end
            await self.clock.advance(0.01)

    async def until_left(self, count: int) -> None:
        """Let time pass until no more than ``count`` sockets are left."""
        await self.until(lambda: self.server.connections <= count)


def close_times(sockets: list[DepartingSocket]) -> list[float]:
    """Return the times of all closes, in order."""
    return sorted(time for socket in sockets for time, _ in socket.closed)


# Draining


async def test_closes_are_spread_and_each_is_announced() -> None:
    instance = Instance(drain_seconds=2)
    sockets = instance.attach(60)
    await instance.clock.run(instance.drain.start())
    closed = close_times(sockets)
    assert instance.server.connections == 0
    assert closed[-1] - closed[0] > 0.8 * len(sockets) / LEAST_PER_SECOND
    assert all(socket.closed[0][1] == SERVICE_RESTART for socket in sockets)
    assert all(len(socket.hinted) == 1 and socket.notice >= 0 for socket in sockets)


async def test_the_states_of_a_drain_decide_about_readiness_and_new_connections() -> None:
    instance = Instance(drain_seconds=1, grace_seconds=5)
    drain = instance.drain
    sockets = instance.attach(1)
    assert (drain.state, drain.is_ready, drain.accepts_connections) == (DrainState.SERVING, True, True)
    draining = drain.start()
    assert (drain.state, drain.is_ready, drain.accepts_connections) == (DrainState.NOT_READY, False, True)
    await instance.clock.advance(4.9)
    assert (drain.state, sockets[0].hinted) == (DrainState.NOT_READY, [])
    await instance.clock.advance(0.11)
    assert (drain.state, drain.is_ready, drain.accepts_connections) == (DrainState.DRAINING, False, False)
    await instance.clock.run(draining)
    assert (drain.state, drain.is_ready, drain.accepts_connections) == (DrainState.CLOSED, False, False)
    drain.cancel()
    assert (drain.state, drain.is_ready, drain.accepts_connections) == (DrainState.SERVING, True, True)


async def test_streams_and_long_polls_end_during_the_drain() -> None:
    instance = Instance(drain_seconds=2)
    instance.server.queues.update(QueuedSubscriber(1, []) for _ in range(60))
    draining = instance.drain.start()
    await instance.clock.advance(TICK_SECONDS + 0.2)
    assert 0 < sum(queue.closed for queue in instance.server.queues) < 60
    await instance.clock.run(draining)
    assert all(queue.closed for queue in instance.server.queues)


async def test_a_stop_continues_a_drain_that_has_started() -> None:
    """SIGTERM while a requested drain runs: the grace period does not start again."""
    instance = Instance()
    started = instance.drain.start()
    assert instance.drain.stop() is started
    await instance.clock.run(started)


async def test_a_stop_after_a_drain_is_immediate() -> None:
    grace_seconds = 1.0
    instance = Instance(grace_seconds=grace_seconds)
    sockets = instance.attach(3)
    await instance.clock.run(instance.drain.start())
    assert all(socket.hinted and socket.closed for socket in sockets)
    await instance.clock.run(instance.drain.stop(), limit=grace_seconds / 2)


async def test_a_stop_cannot_be_cancelled() -> None:
    """The process would end and drop sockets without a hint."""
    instance = Instance()
    sockets = instance.attach(3)
    stopping = instance.drain.stop()
    instance.drain.cancel()
    await instance.clock.run(stopping)
    assert not instance.drain.is_ready
    assert all(socket.hinted and socket.closed for socket in sockets)


async def test_a_handshake_that_was_accepted_before_the_first_refusal_is_drained_too() -> None:
    instance = Instance(grace_seconds=1)
    draining = instance.drain.start()
    await instance.until(lambda: not instance.drain.accepts_connections)
    late = instance.attach(1)[0]
    await instance.clock.run(draining)
    assert late.hinted
    assert late.closed
    assert instance.server.connections == 0


async def test_a_socket_with_a_hint_of_a_cancelled_drain_receives_another_from_the_next() -> None:
    instance = Instance(drain_seconds=2)
    sockets = instance.attach(40)
    instance.drain.start()
    await instance.until_left(len(sockets) - 1)
    instance.drain.cancel()
    stayed = [socket for socket in sockets if socket.open]
    assert stayed
    await instance.clock.run(instance.drain.start())
    assert all(len(socket.hinted) == 2 and socket.closed for socket in stayed)


# Shedding


async def test_shed_sockets_receive_their_hint_long_before_the_close_and_leave_at_the_given_rate() -> None:
    instance, per_second = Instance(), 10
    sockets = instance.attach(8, MATCH)
    assert instance.drain.shed(3, per_second) == 3
    await settle()  # the first one receives its hint
    assert instance.drain.shed(6, per_second) == 6
    await instance.until_left(2)
    shed = [socket for socket in sockets if socket.closed]
    assert all(len(socket.hinted) == 1 and socket.notice >= SPREAD_SECONDS for socket in shed)
    for times in (close_times(shed), sorted(socket.hinted[0] for socket in shed)):
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert min(pauses) > 0.9 / per_second
    assert not any(socket.hinted for socket in sockets if socket.open)


async def test_repeated_requests_do_not_shed_additional_sockets() -> None:
    instance = Instance()
    sockets = instance.attach(10, MATCH)
    assert [instance.drain.shed(count, 1_000) for count in (3, 3, 2, 5)] == [3, 3, 3, 5]
    await instance.until_left(5)
    assert sum(len(socket.hinted) for socket in sockets) == 5
    assert instance.drain.shed(2, 1_000) == 2
    await instance.until_left(3)


async def test_the_latest_rate_applies_to_all_departing_sockets() -> None:
    instance = Instance()
    sockets = instance.attach(30, MATCH)
    instance.drain.shed(20, 1)
    started = instance.clock.now()
    instance.drain.shed(20, 1_000)
    await instance.until_left(10)
    assert instance.clock.now() - started < 15, "not one per second"
    assert sum(len(socket.hinted) for socket in sockets) == 20


async def test_sockets_that_cannot_resume_are_not_shed() -> None:
    instance = Instance()
    instance.attach(2)
    for subscriber_of_all in instance.attach(2):
        subscriber_of_all.state.follows_all = True
        instance.server.feeds.all_matches._users += 1
    assert instance.drain.shed(4) == 0
    one, *others = instance.attach(3, MATCH)
    assert instance.drain.shed(5, 1_000) == 3
    one.state.matches = None  # before its turn
    await instance.until_left(5)
    assert all(socket.closed for socket in others)
    assert (one.hinted, one.closed) == ([], [])


async def test_a_drain_takes_over_from_shedding() -> None:
    instance = Instance()
    sockets = instance.attach(20, MATCH)
    assert instance.drain.shed(10, 1_000) == 10
    await settle()
    assert any(socket.hinted for socket in sockets)
    draining = instance.drain.start()
    assert instance.drain.shed(10) == 0
    await instance.clock.run(draining)
    assert all(len(socket.hinted) == len(socket.closed) == 1 for socket in sockets)


async def test_after_a_cancelled_drain_sockets_can_be_shed() -> None:
    instance = Instance()
    instance.attach(5, MATCH)
    instance.drain.shed(5, 1)
    instance.drain.start()
    instance.drain.cancel()
    assert instance.drain.shed(2, 1_000) == 2
    await instance.until_left(3)


async def test_a_pending_hint_survives_a_drain_that_is_cancelled_at_once() -> None:
    """The task that sheds is asleep meanwhile and must neither end for good nor run twice."""
    instance = Instance()
    sockets = instance.attach(4, MATCH)
    instance.drain.shed(1, 1)
    await settle()
    instance.drain.start()
    instance.drain.cancel()
    await asyncio.sleep(0)
    assert instance.drain.shed(2, 10) >= 2
    await instance.until_left(2)
    assert all(len(socket.closed) <= 1 for socket in sockets)
