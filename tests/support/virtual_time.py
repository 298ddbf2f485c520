"""An event loop whose time passes only while all tasks wait, for tests without sockets, threads and processes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class VirtualTime:
    """The clock of a loop. Timers are due in their order, whatever the machine does, and a test never really waits."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        """Replace :func:`time.monotonic` in a module under test."""
        return self.now


@contextmanager
def virtual_time() -> Iterator[VirtualTime]:
    """Give the running loop a virtual clock.

    Instead of waiting for the next timer, the loop sets the clock to it. Wake-ups from other threads are not noticed
    while the loop has a timer.
    """
    loop: Any = asyncio.get_running_loop()
    clock = VirtualTime()
    real_time, selector = loop.time, loop._selector
    real_select = selector.select
    offset = clock.now - real_time()

    def select(timeout: float | None) -> Any:
        if timeout is None:
            return real_select(None)
        events = real_select(0)
        if not events:
            clock.now += timeout
        return events

    # Timers that exist already, such as pytest's, keep their distance.
    for timer in loop._scheduled:
        timer._when += offset
    loop.time, selector.select = clock.monotonic, select
    try:
        yield clock
    finally:
        selector.select, loop.time = real_select, real_time
        behind = real_time() - clock.now
        for timer in loop._scheduled:
            timer._when += behind
