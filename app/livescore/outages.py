"""Outages of the servers that a process depends on. Each is logged once at its start and once at its end.

Many parts of a process notice the same outage, at different times and with different errors. They report to one tracker
per server, which compares the start times of their attempts: a connection that breaks late does not restart an outage
that is over, and an answer to an earlier attempt does not end an outage that has just begun.

If a server executes some statements and fails others, for lack of memory or of a right, this is a single outage. It
ends when no attempt has failed for a while.
"""

from threading import Lock, Timer
from time import monotonic

import structlog

log = structlog.get_logger(__name__)

# Seconds without a failed attempt after which the end of an outage is logged. Some loops try once a second.
QUIET_SECONDS = 3.0
# The same for statements. A full disk or a missing right fails only some of them, which may be rare.
STATEMENTS_QUIET_SECONDS = 5.0
# Seconds for which a failed attempt counts if no attempt of the same kind follows it.
MEMORY_SECONDS = 60.0


class ServerAway(ConnectionError):
    """A server cannot be used now. Its tracker logs this."""


class OutageTracker:
    """The state of one server as this process sees it. Thread-safe.

    Args:
        server: Name of the server in the log.
        began: Log line at the start of an outage.
        ended: Log line at its end.
        quiet: Seconds without a failed attempt before the end; 0 to end with the first answer.
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
        """Return True if the last attempt was answered; False before the first answer."""
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
        """End the outage if no attempt has failed for ``quiet`` seconds; otherwise check again after that time."""
        if self._away_since is None or self._back_since is None:
            return
        remaining = self._failed + self._quiet - monotonic()
        if remaining <= 0:
            log.info(self._ended, server=self._server, seconds=round(self._back_since - self._away_since, 3))
            self._away_since = self._back_since = None
        elif not self._waiting:
            self._waiting = True
            timer = Timer(remaining, self._check_again)
            timer.daemon = True
            timer.start()

    def _check_again(self) -> None:
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
