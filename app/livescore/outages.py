"""Outages of the servers that a process depends on: each is logged once at its beginning and once at its end.

Many parts of a process notice the same outage, at different times and with different errors. They report to one tracker
per server, which compares when their attempts began: a connection that breaks late does not begin an outage that is
over, and an answer that was under way does not end one that has just begun.
"""

from threading import Lock
from time import monotonic

import structlog

log = structlog.get_logger(__name__)


class ServerAway(ConnectionError):
    """A server cannot be used now; its tracker logs that."""


class OutageTracker:
    """The state of one server as this process sees it. Thread-safe.

    Args:
        server: the server's name in the log.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._lock = Lock()
        self._answered = float("-inf")
        self._failed = float("-inf")
        self._away_since: float | None = None

    @property
    def up(self) -> bool:
        """Whether the server answered last; False before its first answer."""
        return self._away_since is None and self._answered > float("-inf")

    def failed(self, reason: BaseException | str, started: float) -> None:
        """Report a failed attempt that began at ``started`` (:func:`time.monotonic`)."""
        with self._lock:
            if started < self._answered:
                return
            self._failed = monotonic()
            if self._away_since is None:
                self._away_since = self._failed
                text = " ".join(str(reason).split()) or type(reason).__name__
                log.warning("server is away", server=self._server, error=text)

    def answered(self, started: float) -> None:
        """Report a successful attempt that began at ``started`` (:func:`time.monotonic`)."""
        with self._lock:
            if started < self._failed:
                return
            self._answered = max(self._answered, started)
            if self._away_since is not None:
                seconds = round(monotonic() - self._away_since, 3)
                self._away_since = None
                log.info("server is back", server=self._server, seconds=seconds)


POSTGRESQL = OutageTracker("PostgreSQL")
REDIS = OutageTracker("Redis")
