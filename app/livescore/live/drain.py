"""Draining: an instance is emptied before it stops, so that every client learns when to reconnect."""

import asyncio
import enum
import random

import structlog

from livescore.clock import Clock
from livescore.live.connection import Connection
from livescore.live.departures import TICK_SECONDS, Departures, batch_size, batches
from livescore.live.fan_out import WRITES_PER_TURN
from livescore.live.realtime_server import RealtimeServer
from livescore.live.shedding import Shedding

log = structlog.get_logger(__name__)


class DrainState(enum.Enum):
    """Life of an instance, from ready to empty."""

    SERVING = enum.auto()
    """Ready."""
    NOT_READY = enum.auto()
    """Not ready, but still accepts connections: load balancers need some seconds to notice."""
    DRAINING = enum.auto()
    """Refuses new connections; sockets receive hints and are closed, streams and long polls end."""
    CLOSED = enum.auto()
    """Refuses new connections and has none left."""


class Drain:
    """Empties one instance; the only place that decides whether it is ready and accepts connections."""

    def __init__(self, server: RealtimeServer) -> None:
        settings = server.settings
        self._server = server
        self._clock: Clock = server.clock
        self._state = DrainState.SERVING
        self._running: asyncio.Task[None] | None = None
        self._is_final = False
        self._departures = Departures(self._clock, settings.reconnect_spread_seconds, settings.drain_seconds)
        self._shedding = Shedding(server, self._departures, self._clock)

    @property
    def state(self) -> DrainState:
        """Present state of the instance."""
        return self._state

    @property
    def is_ready(self) -> bool:
        """Return True if load balancers should send new connections here."""
        return self._state is DrainState.SERVING

    @property
    def accepts_connections(self) -> bool:
        """Return True if new sockets, streams and long polls are accepted."""
        return self._state in (DrainState.SERVING, DrainState.NOT_READY)

    def start(self) -> asyncio.Task[None]:
        """Start draining. Idempotent: returns the running task."""
        self._shedding.cancel()
        if self._running is None or self._running.done():
            if self._state is DrainState.SERVING:
                self._state = DrainState.NOT_READY
            self._running = asyncio.create_task(self._run(), name="drain")
        return self._running

    def stop(self) -> asyncio.Task[None]:
        """Start draining, or continue, because the process ends. :meth:`cancel` has no effect afterwards."""
        self._is_final = True
        return self.start()

    def cancel(self) -> None:
        """Stop draining and be ready again. Closed sockets stay closed.

        Without effect while the process stops: sockets without a hint would be dropped.
        """
        if self._is_final:
            return
        if self._running is not None:
            self._running.cancel()
            self._running = None
            self._departures.forget()
        self._state = DrainState.SERVING

    def shed(self, count: int, per_second: int | None = None) -> int:
        """Ask sockets that can resume to reconnect elsewhere; does nothing while draining.

        Each socket receives a hint, and is closed only when the longest delay that a hint may name is over, so most
        clients leave by themselves.

        Args:
            count: Target number of departing sockets, including those already departing, so repeated calls are
                idempotent.
            per_second: Most hints, and later closes, per second; by default the pace of a drain. It also applies to
                sockets that were selected before.

        Returns:
            Number of departing sockets.
        """
        return self._shedding.select(count, per_second) if self.is_ready else 0

    async def _run(self) -> None:
        log.info("draining", connections=self._server.connections)
        if self._state is DrainState.NOT_READY:
            await self._clock.sleep(self._server.settings.drain_grace_seconds)
            self._state = DrainState.DRAINING
            await self._clock.sleep(TICK_SECONDS)  # handshakes accepted a moment ago become sockets
        self._state = DrainState.DRAINING
        await asyncio.gather(self._close_sockets(), self._close_queues())
        self._state = DrainState.CLOSED
        log.info("drained")

    async def _close_sockets(self) -> None:
        while self._server.sockets:
            await self._close_all(list(self._server.sockets))

    async def _close_all(self, sockets: list[Connection]) -> None:
        """Send every socket a hint, then close them over the time of the drain."""
        random.shuffle(sockets)
        for batch in batches(sockets, WRITES_PER_TURN):
            self._departures.hint(batch)
            await asyncio.sleep(0)
        per_second = self._departures.pace(len(sockets))
        size = batch_size(per_second)
        for batch in batches(sockets, size):
            self._departures.close(batch)
            await self._clock.sleep(size / per_second)

    async def _close_queues(self) -> None:
        """End streams and long polls over the time of the drain; the last block of a stream says when to reconnect."""
        queues = list(self._server.queues)
        random.shuffle(queues)
        per_second = self._departures.pace(len(queues))
        size = batch_size(per_second)
        for batch in batches(queues, size):
            for queue in batch:
                queue.close()
            await self._clock.sleep(size / per_second)
