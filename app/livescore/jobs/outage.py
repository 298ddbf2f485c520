"""A server that is away: said once, said when it is back, and how long to wait between attempts."""

from threading import Lock

import structlog
from prometheus_client import Gauge

log = structlog.get_logger(__name__)

# Seconds. A restarted server is found soon after, and one that is away for long costs two attempts a second.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.5


class Outage:
    """The state of one server as one loop of this process sees it.

    Args:
        name: what the log calls the server.
        gauge: set to 1 while the server answers, else to 0; None when another loop of the process does that.
    """

    def __init__(self, name: str, gauge: Gauge | None) -> None:
        self._name = name
        self._gauge = gauge
        self._lock = Lock()
        self._away = False
        self._pause = FIRST_PAUSE

    def begin(self, error: BaseException) -> float:
        """Note a failed attempt; the result is how many seconds to wait before the next one."""
        with self._lock:
            if not self._away:
                log.warning("server is away", server=self._name, error=str(error) or type(error).__name__)
            self._away = True
            self._show(0)
            pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
            return pause

    def end(self) -> None:
        """Note that the server answered."""
        with self._lock:
            if self._away:
                log.info("server is back", server=self._name)
            self._away = False
            self._show(1)
            self._pause = FIRST_PAUSE

    def _show(self, up: int) -> None:
        if self._gauge is not None:
            self._gauge.set(up)
