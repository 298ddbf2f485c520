"""Outages of the servers that a process depends on: each is logged once at its beginning and once at its end.

Many parts of a process notice the same outage, at different times and with different errors. They report to one tracker
per server, which compares when their attempts began: a connection that breaks late does not begin an outage that is
over, and an answer that was under way does not end one that has just begun.

A server that serves some attempts and fails others, for want of memory or a right, has one outage: it ends when no
attempt has failed for a while.
"""

from threading import Lock, Timer
from time import monotonic

import structlog

log = structlog.get_logger(__name__)

# Seconds without a failure before the end of an outage is logged: some loops try once a second.
QUIET_SECONDS = 3.0
# The same for statements: a full disk or a missing right fails some of them, and they may be rare.
STATEMENTS_QUIET_SECONDS = 5.0
# Seconds for which a failed attempt counts if no attempt of the same kind follows it.
MEMORY_SECONDS = 60.0


class ServerAway(ConnectionError):
    """A server cannot be used now; its tracker logs that."""


class OutageTracker:
    """The state of one server as this process sees it. Thread-safe.

    Args:
        server: the server's name in the log.
        began: the line at the beginning.
        ended: the line at the end.
        quiet: seconds without a failure before the end; 0 to log it with the first answer.
    """

    def __init__(
        self, server: str, *, began: str = "server is away", ended: str = "server is back", quiet: float = 0.0
    ) -> None:
        self._server = server
        self._began = began
        self._ended = ended
        self._quiet = quiet
        self._lock = Lock()
        self._answered = float("-inf")
        self._failed = float("-inf")
        self._away_since: float | None = None
        self._back_since: float | None = None
        self._waiting = False

    @property
    def up(self) -> bool:
        """Whether the server answered last; False before its first answer."""
        with self._lock:
            unanswered = self._away_since is not None and self._back_since is None
            return not unanswered and self._answered > float("-inf")

    def is_failing(self) -> bool:
        """Return True while an outage lasts, but not for more than ``MEMORY_SECONDS`` after the last failed attempt.

        Without a further attempt it is unknown whether the server has recovered.
        """
        with self._lock:
            return self._away_since is not None and monotonic() - self._failed <= MEMORY_SECONDS

    def failed(self, reason: BaseException | str, started: float) -> None:
        """Report a failed attempt that began at ``started`` (:func:`time.monotonic`)."""
        with self._lock:
            if started < self._answered:
                return
            self._failed = monotonic()
            self._back_since = None
            if self._away_since is None:
                self._away_since = self._failed
                text = " ".join(str(reason).split()) or type(reason).__name__
                log.warning(self._began, server=self._server, error=text)

    def answered(self, started: float) -> None:
        """Report a successful attempt that began at ``started`` (:func:`time.monotonic`)."""
        with self._lock:
            if started < self._failed:
                return
            self._answered = max(self._answered, started)
            if self._away_since is not None and self._back_since is None:
                self._back_since = monotonic()
                self._end_when_quiet()

    def _end_when_quiet(self) -> None:
        """End the outage if no attempt has failed for long enough, else look again then."""
        if self._away_since is None or self._back_since is None:
            return
        remaining = self._failed + self._quiet - monotonic()
        if remaining <= 0:
            log.info(self._ended, server=self._server, seconds=round(self._back_since - self._away_since, 3))
            self._away_since = self._back_since = None
        elif not self._waiting:
            self._waiting = True
            timer = Timer(remaining, self._look_again)
            timer.daemon = True
            timer.start()

    def _look_again(self) -> None:
        with self._lock:
            self._waiting = False
            self._end_when_quiet()


POSTGRESQL = OutageTracker("PostgreSQL", quiet=QUIET_SECONDS)
POSTGRESQL_READS = OutageTracker(
    "PostgreSQL", began="server fails to read", ended="server reads again", quiet=STATEMENTS_QUIET_SECONDS
)
POSTGRESQL_WRITES = OutageTracker(
    "PostgreSQL", began="server fails to write", ended="server writes again", quiet=STATEMENTS_QUIET_SECONDS
)
REDIS = OutageTracker("Redis", quiet=QUIET_SECONDS)
