"""A clock that moves only when a test says so."""

import asyncio
from typing import Any

from livescore.clock import Clock


async def settle(turns: int = 20) -> None:
    """Let every task that is ready run, and the tasks that become ready by that."""
    for _ in range(turns):
        await asyncio.sleep(0)


class ManualClock(Clock):
    """Time that passes by :meth:`advance` alone."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._timers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Return the present time in seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Suspend the calling task until the clock has advanced by ``seconds``."""
        await self._timer(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for an event until the clock has advanced by ``seconds``."""
        either: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()), self._timer(seconds)]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in either:
                future.cancel()
        return event.is_set()

    def _timer(self, seconds: float) -> asyncio.Future[None]:
        timer = asyncio.get_running_loop().create_future()
        if seconds > 0:
            self._timers.append((self._now + seconds, timer))
        else:
            timer.set_result(None)
        return timer

    async def advance(self, seconds: float) -> None:
        """Let time pass; everything that is due meanwhile runs at its moment."""
        end = self._now + seconds
        while True:
            await settle()
            self._timers = [(moment, timer) for moment, timer in self._timers if not timer.done()]
            moment, timer = min(self._timers, key=lambda entry: entry[0], default=(end + 1, None))
            if timer is None or moment > end:
                break
            self._now = max(self._now, moment)
            timer.set_result(None)
        self._now = end

    async def run(self, task: "asyncio.Task[None]", limit: float = 60.0) -> None:
        """Let time pass until a task has ended, at most ``limit`` seconds.

        Raises:
            AssertionError: If the task has not ended by then.
        """
        end = self._now + limit
        while not task.done():
            assert self._now < end, "the task does not end"
            await self.advance(0.01)
        await task
