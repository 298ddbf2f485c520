"""Measures durations that do not grow because the machine is busy.

The kernel counts how long each thread was ready to run without getting a CPU. A stopwatch subtracts this time of the
test process and its descendants, which include all services and servers of the test. A limit can therefore be tight: a
busy machine does not exceed it, a process that sleeps, retries or waits for a timeout too long does. Where the kernel
does not count (macOS), the duration is that of the wall clock.
"""

import os
import time
from pathlib import Path

import psutil

NANOSECONDS = 1_000_000_000


class Stopwatch:
    """Runs from its creation."""

    def __init__(self) -> None:
        self._waited_before = _waited()
        self._started = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds since the start, without the time in which threads waited for a CPU."""
        elapsed = time.monotonic() - self._started
        return max(0.0, elapsed - self.waited())

    def waited(self) -> float:
        """Return the seconds for which threads waited for a CPU since the start, summed up."""
        nanoseconds = sum(now - self._waited_before.get(thread, 0) for thread, now in _waited().items())
        return nanoseconds / NANOSECONDS


def _waited() -> dict[str, int]:
    """Return the nanoseconds for which each thread of this process and its descendants has waited for a CPU."""
    waited = {}
    processes = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
    for pid in processes:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                waited[str(path)] = int(path.read_text().split()[1])
            except (OSError, IndexError):  # The thread has ended.
                continue
    return waited
