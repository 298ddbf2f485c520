"""Background work of a process: loops that must not end, and tasks that may."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import structlog

from livescore.clock import Clock

log = structlog.get_logger(__name__)

# Seconds before the first restart of a failed loop, doubled with each further failure. Short, because clients wait.
FIRST_DELAY_SECONDS = 0.25
# Longest delay in seconds: a revoked API key must stop working within KEY_REFRESH_SECONDS of the cause going away.
MAX_DELAY_SECONDS = 5.0
# A loop that has run for this many seconds counts as healthy; its next failure starts at the first delay again.
HEALTHY_SECONDS = 30.0


class Supervisor:
    """Runs the loops and background tasks of a process, and cancels them when the process stops.

    Args:
        on_failure: Called with the loop's name for each failure, to count it.
    """

    def __init__(self, clock: Clock, on_failure: Callable[[str], None]) -> None:
        self._clock = clock
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop until the process stops; restart it, with back-off, when it raises or returns."""
        self._start(self._supervise(name, loop))

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run a task once. An exception is logged."""
        self._start(work)

    async def stop(self) -> None:
        """Cancel everything and wait for its end."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task failed", exc_info=error)

    async def _supervise(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        delay = FIRST_DELAY_SECONDS
        while True:
            started = self._clock.now()
            try:
                await loop()
                log.error("background loop returned", loop=name)
            except Exception:
                log.exception("background loop failed", loop=name)
            self._on_failure(name)
            if self._clock.now() - started >= HEALTHY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            await self._clock.sleep(delay)
            delay = min(2 * delay, MAX_DELAY_SECONDS)
