"""Enqueuing of jobs without waiting: calls are collected and written to Redis by a background task."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from livescore import outages, redis_clients
from livescore.deployment import Deployment
from livescore.jobs.attempts import Attempts
from livescore.jobs.context import JobCall
from livescore.jobs.enqueue import Enqueuer
from livescore.jobs.queue import warn_of_eviction
from livescore.jobs.transition_jobs import Plan, TransitionJobs
from livescore.redis_clients import AWAY
from livescore.settings import Settings

log = structlog.get_logger(__name__)

# Plans and calls, each, that wait while Redis is slow: bounds the memory, some 200 bytes each.
CAPACITY = 10_000


@dataclass
class _Batch:
    """What waits to be written: plans by match, calls by job id."""

    plans: dict[int, Plan] = field(default_factory=dict)
    wanted: dict[str, JobCall] = field(default_factory=dict)
    missing: dict[str, JobCall] = field(default_factory=dict)


@dataclass
class _Writer:
    """Writes to the jobs of one deployment."""

    deployment: Deployment
    enqueuer: Enqueuer
    transition_jobs: TransitionJobs

    def write(self, batch: _Batch) -> None:
        if batch.plans:
            self.transition_jobs.write(batch.plans.values())
        if batch.wanted:
            self.enqueuer.enqueue(batch.wanted.values())
        if batch.missing:
            self.enqueuer.enqueue(batch.missing.values(), "missing")


class Schedule:
    """Enqueues and plans jobs. No method raises or waits.

    What cannot be written is dropped, because the tables say what is due: the scheduler process compares the planned
    transitions with the table every minute, and :mod:`livescore.jobs.due` finds other jobs that are missing. On a
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
        self._pending = _Batch()
        self._added = asyncio.Event()
        self._writer: _Writer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start writing. Redis may still be away."""
        if not self._enabled:
            log.info("Redis is a cluster, which RQ cannot use: the sweeps do the work of jobs")
            return
        self._task = asyncio.create_task(self._run(), name="schedule")

    async def stop(self) -> None:
        """Stop writing. What is not yet written is left to the sweeps."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def plan(self, match_id: int, status: str, start: datetime, end: datetime) -> None:
        """Let the jobs of a match follow its state. Call it after every change of its status or times."""
        self._add(self._pending.plans, match_id, Plan(match_id, status, start, end))

    def enqueue(self, name: str, *arguments: Any, id: str, at: datetime | None = None) -> None:
        """Enqueue a job, or plan it for later.

        Args:
            name: Name of the function in :data:`livescore.jobs.functions.FUNCTIONS`.
            arguments: Arguments of the function after the context.
            id: Identifies the work, see :class:`livescore.jobs.context.JobCall`. If a job of this id waits already,
                nothing is added; if one runs, it runs once more afterwards; if one is planned, the earlier time counts.
            at: Earliest start; None for now.
        """
        waiting = self._pending.wanted.get(id)
        if waiting is not None and (waiting.at is None or (at is not None and waiting.at <= at)):
            return
        self._add(self._pending.wanted, id, JobCall(name, arguments, id, at))

    def enqueue_missing(self, call: JobCall) -> None:
        """Enqueue a job unless one of its id waits, runs, is planned or has failed within five minutes."""
        self._add(self._pending.missing, call.id, call)

    def _add(self, pending: dict[Any, Any], key: object, value: object) -> None:
        if self._enabled and (key in pending or len(pending) < CAPACITY):
            pending[key] = value
            self._added.set()

    async def _run(self) -> None:
        while await self._added.wait():
            self._added.clear()
            batch, self._pending = self._pending, _Batch()
            await asyncio.to_thread(self._write, batch)

    def _write(self, batch: _Batch) -> None:
        deployment = self._deployment()
        if deployment is None:
            return
        self._attempts.start()
        try:
            if self._writer is None or self._writer.deployment != deployment:
                self._writer = self._open(deployment)
            self._writer.write(batch)
            self._attempts.succeeded()
        except AWAY as error:
            self._attempts.failed(error)
        except Exception:
            log.exception("jobs could not be written")

    def _open(self, deployment: Deployment) -> _Writer:
        connection = redis_clients.rq_client(self._settings)
        warn_of_eviction(connection)
        return _Writer(deployment, Enqueuer(connection, deployment), TransitionJobs(connection, deployment))
