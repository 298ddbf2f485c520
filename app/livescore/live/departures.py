"""Departures of sockets: a hint that says when to reconnect, and later a close."""

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from livescore.clock import Clock
from livescore.live.connection import SERVICE_RESTART, Connection
from livescore.live.messages import Reconnect

T = TypeVar("T")

# Seconds between two batches of closed sockets, if a batch has more than one.
TICK_SECONDS = 0.05

# Sockets per second that are closed at least: a few need not be spread over the whole time of a drain.
LEAST_PER_SECOND = 100


class Departures:
    """Sockets that received a hint and are still open.

    Args:
        spread_seconds: Longest delay that a hint names; each client gets a random one.
        drain_seconds: Time in which a drain closes its sockets.
    """

    def __init__(self, clock: Clock, spread_seconds: float, drain_seconds: float) -> None:
        self._clock = clock
        self._spread_seconds = spread_seconds
        self._drain_seconds = drain_seconds
        # Socket → time of its hint, oldest first.
        self._hinted: dict[Connection, float] = {}

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._hinted)

    def __len__(self) -> int:
        return len(self._hinted)

    def hint(self, sockets: Iterable[Connection]) -> None:
        """Send each socket a hint, unless it has received one."""
        for socket in sockets:
            if socket not in self._hinted:
                self._hinted[socket] = self._clock.now()
                delay_ms = int(random.uniform(0, self._spread_seconds) * 1000)
                socket.send(Reconnect(retry_after_ms=delay_ms).encode())

    def due(self, count: int) -> list[Connection]:
        """Return the sockets, among the ``count`` oldest, whose clients had time to leave by themselves."""
        latest = self._clock.now() - self._spread_seconds
        return [socket for socket, hinted_at in islice(self._hinted.items(), count) if hinted_at <= latest]

    def close(self, sockets: Iterable[Connection]) -> None:
        """Close sockets and forget their hints."""
        for socket in sockets:
            socket.close(SERVICE_RESTART)
            self._hinted.pop(socket, None)

    def forget(self) -> None:
        """Forget all hints: the sockets stay, and are sent another one before they are closed."""
        self._hinted.clear()

    def pace(self, count: int) -> float:
        """Return the sockets per second at which a drain closes ``count`` sockets."""
        return max(LEAST_PER_SECOND, count / max(self._drain_seconds, TICK_SECONDS))


def batch_size(per_second: float) -> int:
    """Return the number of sockets to close at once."""
    return max(1, int(per_second * TICK_SECONDS))


def batches(members: list[T], size: int) -> Iterable[list[T]]:
    """Split a list into batches."""
    return (members[start : start + size] for start in range(0, len(members), size))
