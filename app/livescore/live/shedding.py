"""Shedding: some sockets of an overloaded instance are asked to reconnect elsewhere."""

import random
from collections import deque

from livescore.clock import Clock
from livescore.live.connection import Connection
from livescore.live.departures import Departures, batch_size
from livescore.live.realtime_server import RealtimeServer


class Shedding:
    """Hints and closes for selected sockets, at a limited rate."""

    def __init__(self, server: RealtimeServer, departures: Departures, clock: Clock) -> None:
        self._server = server
        self._departures = departures
        self._clock = clock
        # Sockets that were selected and have not received their hint yet.
        self._selected: deque[Connection] = deque()
        # Hints, and later closes, per second; 0 while nothing is being shed.
        self._per_second = 0.0
        self._is_suspended = False

    def select(self, count: int, per_second: float | None) -> int:
        """Select random sockets that can resume until ``count`` are departing. Returns the number of departing sockets.

        Subscribers of all matches stay, because their subscription has no ``since``.
        """
        sockets = self._server.sockets
        departing = sockets.intersection([*self._departures, *self._selected])
        candidates = [socket for socket in sockets if socket.state.matches and socket not in departing]
        missing = max(0, count - len(departing))
        selected = random.sample(candidates, min(missing, len(candidates)))
        self._selected += selected
        if departing or selected:
            self._start(per_second or self._departures.pace(len(self._selected)))
        return len(departing) + len(selected)

    def cancel(self) -> None:
        """Stop shedding: a drain takes over, including the sockets that received a hint."""
        self._selected.clear()
        self._is_suspended = True

    def _start(self, per_second: float) -> None:
        self._is_suspended = False
        is_running = self._per_second > 0
        self._per_second = per_second
        if not is_running:
            self._server.supervisor.spawn(self._run())

    async def _run(self) -> None:
        try:
            while (self._selected or self._departures) and not self._is_suspended:
                size = batch_size(self._per_second)
                self._departures.close(self._departures.due(size))
                self._departures.hint(self._next(size))
                await self._clock.sleep(size / self._per_second)
        finally:
            self._per_second = 0.0

    def _next(self, size: int) -> list[Connection]:
        """Return the next sockets to receive a hint, without those that are gone or cannot resume any more."""
        batch: list[Connection] = []
        while self._selected and len(batch) < size:
            socket = self._selected.popleft()
            if socket.state.matches:
                batch.append(socket)
        return batch
