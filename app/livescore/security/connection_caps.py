"""Caps on open connections, in total and per client address."""

from collections import Counter

from livescore.http_errors import RETRY_AFTER, HttpError
from livescore.settings import Settings


class TooManyConnections(HttpError):
    """A connection exceeds a cap."""

    headers = RETRY_AFTER

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ConnectionCaps:
    """Counts open connections: sockets, streams, waiting long polls and requests that are not complete.

    Attributes:
        total: Open connections of all addresses.
    """

    def __init__(self, settings: Settings) -> None:
        self._max_total = settings.max_connections
        self._max_per_address = settings.max_connections_per_address
        self._open: Counter[str | None] = Counter()
        self.total = 0

    def acquire(self, address: str | None) -> None:
        """Count a new connection. Each successful call needs one call of :meth:`release`.

        Args:
            address: Address of the client; None for a proxy, whose connections count in the total only.

        Raises:
            TooManyConnections: 503 if this process is full, 429 if the address has reached its cap.
        """
        if self.total >= self._max_total:
            raise TooManyConnections(503, "Too many connections")
        if address is not None and self._open[address] >= self._max_per_address:
            raise TooManyConnections(429, "Too many connections from this address")
        self._open[address] += 1
        self.total += 1

    def release(self, address: str | None) -> None:
        """Stop counting a connection that was counted for ``address``."""
        self.total -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]
