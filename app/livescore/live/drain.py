"""Planned stops: readiness first, then hints, then sockets in paced batches. Shedding: the same for some of them."""

import asyncio
import random
from collections import deque
from collections.abc import Iterable
from itertools import islice
from time import monotonic
from typing import TypeVar

import structlog

from livescore.live.connection import SERVICE_RESTART, Connection
from livescore.live.hub import WRITES_PER_TURN
from livescore.live.messages import Reconnect
from livescore.live.realtime_server import RealtimeServer

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Between two batches of closed sockets, where a batch has more than one.
TICK_SECONDS = 0.05

# Sockets per second that are closed at least: a few need not wait for the whole time of a drain.
LEAST_PER_SECOND = 100


class Drain:
    """Empties one server without dropping anybody: who is closed was told before when to come back."""

    def __init__(self, server: RealtimeServer) -> None:
        self._server = server
        self._running: asyncio.Task[None] | None = None
        self._stopping = False
        # Load balancers have had their time to forget this server: newcomers are sent elsewhere.
        self.refusing = False
        # Who is told to leave and not yet closed, and since when, the first first.
        self._told: dict[Connection, float] = {}
        # Chosen to be shed and not yet told; how many go in a second, 0 while nobody is shed.
        self._chosen: deque[Connection] = deque()
        self._shed_per_second = 0.0

    def start(self) -> asyncio.Task[None]:
        """Begin to drain; once begun, the same task is given again."""
        self._server.draining = True
        self._chosen.clear()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="drain")
        return self._running

    def stop(self) -> asyncio.Task[None]:
        """Begin to drain, or go on with it, for good: the process ends."""
        self._stopping = True
        return self.start()

    def cancel(self) -> None:
        """The load came back: stay, and be ready again. Who was already closed stays closed.

        Nothing happens while the process stops: who is not drained then is dropped.
        """
        if self._stopping:
            return
        if self._running is not None:
            self._running.cancel()
            self._running = None
            self._told.clear()
        self._server.draining = self.refusing = False

    def shed(self, count: int, per_second: int | None = None) -> int:
        """Ask sockets that can resume to leave; a drain asks all of them anyway.

        Each is told before, and closed when the longest hint is over: it can leave by itself. Followers of all matches
        stay, as their subscription has no ``since``.

        Args:
            count: how many are to be on their way out, those included that are already: who asks again, for what is
                still too much, does not ask for it twice.
            per_second: how many are told, and later closed, in a second at most; by default as fast as in a drain. It
                holds also for those who were chosen before.

        Returns:
            How many are on their way out.
        """
        if self._server.draining:
            return 0
        leaving = self._server.sockets.intersection([*self._told, *self._chosen])
        able = [socket for socket in self._server.sockets if socket.state.matches and socket not in leaving]
        chosen = random.sample(able, min(max(0, count - len(leaving)), len(able)))
        self._chosen += chosen
        if leaving or chosen:
            self._shed_at(per_second or self._pace(len(self._chosen)))
        return len(leaving) + len(chosen)

    def _shed_at(self, per_second: float) -> None:
        running, self._shed_per_second = self._shed_per_second > 0, per_second
        if not running:
            self._server.spawn(self._shed())

    async def _shed(self) -> None:
        try:
            while (self._chosen or self._told) and not self._server.draining:
                size = _batch_size(self._shed_per_second)
                self._close(self._noticed(size))
                self._tell(self._next(size))
                await asyncio.sleep(size / self._shed_per_second)
        finally:
            self._shed_per_second = 0.0

    def _noticed(self, size: int) -> list[Connection]:
        """The next who are closed: they had the time of the longest hint to leave by themselves."""
        latest = monotonic() - self._server.settings.reconnect_spread_seconds
        return [socket for socket, told in islice(self._told.items(), size) if told <= latest]

    def _next(self, size: int) -> list[Connection]:
        """The next who are told; not those who are gone since, or cannot resume any more."""
        batch: list[Connection] = []
        while self._chosen and len(batch) < size:
            socket = self._chosen.popleft()
            if socket.state.matches:
                batch.append(socket)
        return batch

    async def _run(self) -> None:
        server, settings = self._server, self._server.settings
        log.info("draining", connections=server.connections)
        if not self.refusing:
            await asyncio.sleep(settings.drain_grace_seconds)
            self.refusing = True
            await asyncio.sleep(TICK_SECONDS)  # handshakes that were let in a moment ago become sockets
        await asyncio.gather(self._empty_sockets(), self._end_followers())
        log.info("drained")

    async def _empty_sockets(self) -> None:
        while self._server.sockets:
            await self._empty(list(self._server.sockets))

    async def _end_followers(self) -> None:
        """End streams and long polls over the drain time; a stream's last block says when to come back."""
        queued_subscribers = list(self._server.queued_subscribers)
        random.shuffle(queued_subscribers)
        per_second = self._pace(len(queued_subscribers))
        size = _batch_size(per_second)
        for batch in _batches(queued_subscribers, size):
            for subscriber in batch:
                subscriber.close()
            await asyncio.sleep(size / per_second)

    async def _empty(self, sockets: list[Connection]) -> None:
        """Tell all, then close them over the drain time."""
        random.shuffle(sockets)
        for batch in _batches(sockets, WRITES_PER_TURN):
            self._tell(batch)
            await asyncio.sleep(0)
        per_second = self._pace(len(sockets))
        size = _batch_size(per_second)
        for batch in _batches(sockets, size):
            self._close(batch)
            await asyncio.sleep(size / per_second)

    def _pace(self, count: int) -> float:
        """Sockets per second that so many are closed at in a drain."""
        return max(LEAST_PER_SECOND, count / max(self._server.settings.drain_seconds, TICK_SECONDS))

    def _tell(self, sockets: Iterable[Connection]) -> None:
        spread = self._server.settings.reconnect_spread_seconds
        for socket in sockets:
            if socket not in self._told:
                self._told[socket] = monotonic()
                socket.send(Reconnect(retry_after_ms=int(random.uniform(0, spread) * 1000)).encode())

    def _close(self, sockets: Iterable[Connection]) -> None:
        for socket in sockets:
            socket.close(SERVICE_RESTART)
            self._told.pop(socket, None)


def _batch_size(per_second: float) -> int:
    return max(1, int(per_second * TICK_SECONDS))


def _batches(members: list[T], size: int) -> Iterable[list[T]]:
    return (members[at : at + size] for at in range(0, len(members), size))
