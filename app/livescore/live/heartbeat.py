"""Pings: one loop for all sockets."""

from collections.abc import Collection

from livescore.clock import Clock
from livescore.live.connection import Connection


class Heartbeat:
    """Pings every socket once per interval, spread over the interval, and drops those that do not answer."""

    def __init__(self, sockets: Collection[Connection], interval_seconds: float, clock: Clock) -> None:
        self._sockets = sockets
        self._interval_seconds = interval_seconds
        self._clock = clock

    async def run(self) -> None:
        """Ping until cancelled."""
        slots = max(1, round(self._interval_seconds))
        slot = 0
        while True:
            await self._clock.sleep(self._interval_seconds / slots)
            slot = (slot + 1) % slots
            for socket in list(self._sockets):
                # Objects are aligned, so the lowest bits of their addresses are equal.
                if id(socket) // 64 % slots == slot:
                    socket.beat()
