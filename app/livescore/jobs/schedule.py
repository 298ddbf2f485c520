"""The API's side of the jobs: plans are queued at once and written to Redis by a background task."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

import structlog

from livescore import outages, redis_clients
from livescore.deployment import Deployment
from livescore.jobs.attempts import Attempts
from livescore.jobs.queue import warn_of_eviction
from livescore.jobs.transition_jobs import Plan, TransitionJobs
from livescore.redis_clients import AWAY
from livescore.settings import Settings

log = structlog.get_logger(__name__)

# Plans that wait while Redis is slow: bounds the memory, some 200 bytes each.
CAPACITY = 10_000


class Schedule:
    """Writes the jobs of matches that change. Planning never raises and never waits.

    Plans that cannot be written are dropped: the scheduler process compares the jobs with the table every minute. On a
    Redis Cluster, which RQ cannot use, the schedule does nothing.

    Args:
        settings: Settings of this process.
        deployment: Returns the deployment that the jobs belong to, or None while it is unknown.
    """

    def __init__(self, settings: Settings, deployment: Callable[[], Deployment | None]) -> None:
        self._settings = settings
        self._deployment = deployment
        self._enabled = not redis_clients.redis_url(settings).is_cluster
        self._attempts = Attempts(outages.REDIS)
        self._pending: dict[int, Plan] = {}
        self._planned = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start writing. Redis may still be away."""
        if not self._enabled:
            log.info("Redis is a cluster, which RQ cannot use: no jobs, the sweeps make every transition")
            return
        self._task = asyncio.create_task(self._run(), name="schedule")

    async def stop(self) -> None:
        """Stop writing. Plans that are not yet written are left to the scheduler process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def plan(self, match_id: int, status: str, start: datetime, end: datetime) -> None:
        """Let the jobs of a match follow its state. Call it after every change of its status or times."""
        if not self._enabled:
            return
        if match_id in self._pending or len(self._pending) < CAPACITY:
            self._pending[match_id] = Plan(match_id, status, start, end)
            self._planned.set()

    async def _run(self) -> None:
        jobs: TransitionJobs | None = None
        while await self._planned.wait():
            self._planned.clear()
            plans, self._pending = self._pending, {}
            jobs = await asyncio.to_thread(self._write, jobs, plans.values())

    def _write(self, jobs: TransitionJobs | None, plans: Iterable[Plan]) -> TransitionJobs | None:
        """Write plans. Returns the jobs to use next time."""
        deployment = self._deployment()
        if deployment is None:
            return jobs
        self._attempts.start()
        try:
            if jobs is None or jobs.deployment != deployment:
                jobs = self._open(deployment)
            for plan in plans:
                jobs.write(plan)
            self._attempts.succeeded()
        except AWAY as error:
            self._attempts.failed(error)
        except Exception:
            log.exception("jobs could not be written")
        return jobs

    def _open(self, deployment: Deployment) -> TransitionJobs:
        connection = redis_clients.rq_client(self._settings)
        warn_of_eviction(connection)
        return TransitionJobs(connection, self._settings, deployment)
