"""The safety net of jobs: what the tables ask for is enqueued if it is missing.

While Redis cannot hold jobs, because it is away or a cluster, a worker runs them itself. Several workers may then run
the same job at the same time, which jobs allow.
"""

import asyncio
import time
from collections import Counter

import psycopg
import structlog

from livescore import outages
from livescore.jobs import functions
from livescore.jobs.context import Due, JobCall, JobContext
from livescore.jobs.runner import HandedBack, Runner
from livescore.scores.database import DatabaseAway

log = structlog.get_logger(__name__)

# Seconds between two turns: the longest delay of a job that was lost.
INTERVAL_SECONDS = 5.0


class DueJobs:
    """Enqueues the jobs that :data:`livescore.jobs.functions.DUE` names, or runs them.

    Args:
        context: Passed to these functions.
        has_queues: False if Redis is a cluster, which RQ cannot use.
        runner: Runs the jobs while they cannot be enqueued; None in a process that runs no jobs.
    """

    def __init__(self, context: JobContext, *, has_queues: bool, runner: Runner | None) -> None:
        self._context = context
        self._has_queues = has_queues
        self._runner = runner
        # Job id → task, of the jobs that run or wait for their moment here.
        self._local: dict[str, asyncio.Task[None]] = {}
        self._local_queues: Counter[str] = Counter()

    async def run(self) -> None:
        """Take a turn every five seconds until cancelled."""
        try:
            while True:
                # First of all, so that it is known whether Redis answers.
                await asyncio.sleep(INTERVAL_SECONDS)
                for due in functions.DUE:
                    await self.turn(due)
        finally:
            for task in self._local.values():
                task.cancel()

    async def turn(self, due: Due) -> None:
        """Enqueue or run the jobs that one function names."""
        try:
            calls = await due(self._context)
        except (DatabaseAway, psycopg.Error) as error:
            log.debug("due jobs cannot be read", error=str(error))
            return
        for call in calls:
            if self._has_queues and outages.REDIS.up:
                self._context.schedule.enqueue_missing(call)
            elif self._runner is not None:
                self._run_here(call, self._runner)

    def _run_here(self, call: JobCall, runner: Runner) -> None:
        declared = functions.FUNCTIONS[call.name]
        limit = declared.queue.limit or self._context.settings.worker_concurrency
        if call.id not in self._local and self._local_queues[declared.queue.name] < limit:
            self._local_queues[declared.queue.name] += 1
            self._local[call.id] = asyncio.create_task(self._execute(call, runner))

    async def _execute(self, call: JobCall, runner: Runner) -> None:
        declared = functions.FUNCTIONS[call.name]
        try:
            if call.at is not None:
                await asyncio.sleep(call.at.timestamp() - time.time())
            await runner.execute(call.name, declared, declared.arguments.validate_python(call.arguments))
        except HandedBack:
            return
        except Exception as error:
            log.warning("job failed", function=call.name, job=call.id, error=str(error), exc_info=error)
        finally:
            del self._local[call.id]
            self._local_queues[declared.queue.name] -= 1
