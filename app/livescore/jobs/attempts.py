"""Retries of one loop whose server may be away: how long to pause, and what to report to the outage log."""

from threading import Lock
from time import monotonic

from livescore.outages import OutageTracker

# Seconds. A restarted server is found within 50 ms, and a long outage costs two attempts a second.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.5


class Attempts:
    """The attempts of one loop to use a server that other loops of this process use too. Thread-safe.

    Args:
        tracker: Logs the outage once for all loops.
    """

    def __init__(self, tracker: OutageTracker) -> None:
        self._tracker = tracker
        self._lock = Lock()
        self._pause = FIRST_PAUSE
        self._started = monotonic()

    def start(self) -> None:
        """Note the start of an attempt. Needed after an idle time only: otherwise it is the end of the previous one."""
        self._started = monotonic()

    def failed(self, error: BaseException) -> float:
        """Report a failed attempt. Returns the seconds to wait before the next one."""
        with self._lock:
            self._tracker.failed(error, self._started)
            self._started = monotonic()
            pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
            return pause

    def succeeded(self) -> None:
        """Report that the server answered."""
        with self._lock:
            self._tracker.answered(self._started)
            self._started = monotonic()
            self._pause = FIRST_PAUSE
