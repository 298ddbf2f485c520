"""Execution of job functions in the event loop."""

import asyncio
import time
from concurrent.futures import CancelledError

import structlog

from livescore.jobs.context import JobContext
from livescore.jobs.functions import JobFunction
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)


class HandedBack(Exception):
    """The process stops before the job has ended: the job returns to its queue."""


class Runner:
    """Runs job functions until the process stops. Created in the event loop.

    Args:
        context: First argument of the functions.
    """

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def running(self) -> int:
        """Return the number of jobs that run now."""
        return len(self._running)

    def run(self, name: str, function: JobFunction, arguments: tuple[object, ...]) -> None:
        """Run a job function, and block this thread until it has ended. Call it from a thread without event loop.

        Raises:
            HandedBack: The process stops.
            Exception: Whatever the function raises.
        """
        try:
            asyncio.run_coroutine_threadsafe(self.execute(name, function, arguments), self._loop).result()
        except CancelledError:
            raise HandedBack from None

    async def execute(self, name: str, function: JobFunction, arguments: tuple[object, ...]) -> None:
        """Run a job function within its time limit, and count it.

        Raises:
            HandedBack: The process stops.
            TimeoutError: The function took longer than its time limit.
            Exception: Whatever the function raises.
        """
        task = asyncio.current_task()
        if self._stopping or task is None:
            raise HandedBack
        self._running.add(task)
        started, result = time.monotonic(), "failed"
        try:
            async with asyncio.timeout(function.seconds):
                await function.function(self._context, *arguments)
            result = "done"
        except asyncio.CancelledError as error:
            if not task.cancelling():
                raise RuntimeError("a task of the job was cancelled") from error
            result = "handed_back"
            raise
        finally:
            self._running.discard(task)
            metrics.JOBS.labels(name, result).inc()
            metrics.JOB_SECONDS.labels(name).observe(time.monotonic() - started)

    async def drain(self, seconds: float) -> None:
        """Start no further job, wait for the running ones, and cancel those that have not ended after ``seconds``."""
        self._stopping = True
        if self._running:
            log.info("worker waits for running jobs", jobs=self.running, seconds=seconds)
            await asyncio.wait(set(self._running), timeout=seconds)
        if unfinished := set(self._running):
            log.info("running jobs return to their queues", jobs=len(unfinished))
            for task in unfinished:
                task.cancel()
            await asyncio.wait(unfinished, timeout=1.0)
