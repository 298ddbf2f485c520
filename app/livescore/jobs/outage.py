"""How one loop of worker or scheduler meets the outage of a server: it reports, and waits before the next attempt."""

from threading import Lock
from time import monotonic

from livescore.outages import OutageTracker

# Seconds. A restarted server is found soon after, and one that is away for long costs two attempts a second.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.5


class Outage:
    """One loop's view of a server that other loops of this process use too.

    An attempt begins where :meth:`start` says, else with the end of the attempt before.

    Args:
        tracker: logs the outage, once for all loops.
    """

    def __init__(self, tracker: OutageTracker) -> None:
        self._tracker = tracker
        self._lock = Lock()
        self._pause = FIRST_PAUSE
        self._started = monotonic()

    def start(self) -> None:
        """Note that an attempt begins, for loops that were idle since the attempt before."""
        self._started = monotonic()

    def begin(self, error: BaseException) -> float:
        """Note a failed attempt. Returns how many seconds to wait before the next one."""
        with self._lock:
            self._tracker.failed(error, self._started)
            self._started = monotonic()
            pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
            return pause

    def end(self) -> None:
        """Note that the server answered."""
        with self._lock:
            self._tracker.answered(self._started)
            self._started = monotonic()
            self._pause = FIRST_PAUSE
