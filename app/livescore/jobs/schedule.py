"""Hints: jobs in rq-scheduler for the moments at which matches start and end.

Nothing depends on them: a hint that is lost, late or wrong costs precision at most, because the sweep is the truth.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import Any

import rq_scheduler
import structlog
from redis import Redis
from redis.exceptions import LockError, ResponseError
from rq.exceptions import NoSuchJobError

from livescore import outages, redis_clients
from livescore.deployment import Deployment
from livescore.jobs import transitions
from livescore.jobs.database import Database
from livescore.jobs.outage import Outage
from livescore.jobs.queue import (
    JOB_SECONDS,
    Job,
    is_of_another_type,
    queue,
    refuse,
    warn_of_eviction,
)
from livescore.redis_clients import AWAY
from livescore.scores import statements as sql
from livescore.settings import Settings
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)

# Seconds that a crashed scheduler's lock stands in the way of the next one; a turn takes milliseconds.
LOCK_SECONDS = 1.0

# How far ahead lost hints are replaced, a day; later ones have time.
HORIZON_SECONDS = 86_400.0

EDGES = ("start", "end")

# Matches per query.
BATCH = 1_000

# Plans that wait while Redis is slow: bounds the memory, some 200 bytes each.
CAPACITY = 10_000


@dataclass(frozen=True, slots=True)
class Hint:
    """One job: the match, what it does then (an edge), and when."""

    match_id: int
    edge: str
    moment: datetime

    @property
    def name(self) -> str:
        """Name of the job within its deployment: letters, digits and hyphens."""
        return _name(self.match_id, self.edge)

    @property
    def score(self) -> int:
        """The moment as rq-scheduler keeps it: whole seconds since 1970, cut off."""
        return math.floor(self.moment.timestamp())


def _name(match_id: int, edge: str) -> str:
    return f"match-{match_id}-{edge}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The times of a match as far as its jobs are concerned."""

    match_id: int
    status: str
    start: datetime
    end: datetime

    def hints(self) -> list[Hint]:
        """The jobs that the match should have."""
        start, end = Hint(self.match_id, "start", self.start), Hint(self.match_id, "end", self.end)
        return {"scheduled": [start, end], "live": [end]}.get(self.status, [])

    def unwanted(self) -> set[str]:
        """The names of the jobs that it should not have."""
        return {_name(self.match_id, edge) for edge in EDGES} - {hint.name for hint in self.hints()}


class Scheduler(rq_scheduler.Scheduler):  # type: ignore[misc]  # untyped
    """rq-scheduler for one deployment, with a lock that is owned, an end on request and a notice of lost keys."""

    def __init__(self, connection: Redis, settings: Settings, deployment: Deployment) -> None:
        super().__init__(deployment.namespace, None, settings.scheduler_interval_seconds, connection, Job)
        # Constants of the class, with which every scheduler of a Redis would take every deployment's jobs.
        self.redis_scheduler_namespace_prefix = deployment.name("scheduler", "")
        self.scheduler_lock_key = deployment.name("scheduler-lock")
        self.scheduled_jobs_key = deployment.name("scheduled-jobs")
        self._queue_of_jobs = queue(connection, deployment)
        self._lock = connection.lock(self.scheduler_lock_key, timeout=LOCK_SECONDS, thread_local=False)

    def serve(self, stop: Event, lost: Event, alive: Callable[[], None]) -> None:
        """Move due jobs to the queue until ``stop`` is set; set ``lost`` whenever Redis has lost its keys.

        ``alive`` is called whenever Redis has answered.

        Raises:
            RedisError, OSError: when Redis is away.
        """
        self.register_birth()
        try:
            while not stop.wait(self._interval):
                self._turn(lost)
                alive()
        finally:
            with suppress(*AWAY):
                self.register_death()

    def _turn(self, lost: Event) -> None:
        if not self.connection.expire(self.key, int(self._interval) + 10):
            self.register_birth()
            lost.set()
        if self._lock.acquire(blocking=False):
            try:
                self._enqueue_due()
            finally:
                with suppress(LockError):
                    self._lock.release()
        metrics.QUEUE_DEPTH.set(self._queue_of_jobs.count)

    def _enqueue_due(self) -> None:
        """Move due jobs to the queue and refuse those that are not this service's.

        rq-scheduler's own loop imports the class of the queue that a job names, and repeats a job as its metadata says.
        """
        due: Any = self.connection.zrangebyscore(self.scheduled_jobs_key, 0, int(time.time()), start=0, num=BATCH)
        for raw_id in due:
            self._enqueue(raw_id.decode(errors="replace"))
            self.connection.zrem(self.scheduled_jobs_key, raw_id)

    def _enqueue(self, job_id: str) -> None:
        try:
            job = Job.fetch(job_id, connection=self.connection)
        except NoSuchJobError:
            return
        except ValueError:
            refuse(self._queue_of_jobs, job_id, "the id cannot be read")
            return
        except ResponseError as error:
            if not is_of_another_type(error):
                raise
            refuse(self._queue_of_jobs, job_id, "the job is not a hash")
            return
        if job.refusal is None:
            self._queue_of_jobs.enqueue_job(job)
        else:
            refuse(self._queue_of_jobs, job.id, job.refusal)


class Hints:
    """The scheduled jobs of a deployment in Redis. Every method raises RedisError or OSError when Redis is away."""

    def __init__(self, connection: Redis, settings: Settings, deployment: Deployment) -> None:
        self._connection = connection
        self.deployment = deployment
        self._scheduler = Scheduler(connection, settings, deployment)

    def write(self, plan: Plan) -> None:
        """Make the jobs of one match what they should be."""
        for hint in plan.hints():
            self.schedule(hint)
        for name in plan.unwanted():
            self.cancel(name)

    def schedule(self, hint: Hint) -> None:
        """Create or move a job."""
        arguments = [hint.match_id, hint.moment.isoformat()]
        limits = {"result_ttl": 0, "ttl": JOB_SECONDS, "timeout": JOB_SECONDS}
        job_id = self.deployment.job_id(hint.name)
        self._scheduler.schedule(hint.moment, transitions.PATH, arguments, id=job_id, **limits)
        # A former job of this id may have waited in the queue and be about to expire.
        self._connection.persist(Job.key_for(job_id))

    def cancel(self, name: str) -> None:
        """Delete a job, if there is one; rq-scheduler itself would leave its data behind for ever."""
        job_id = self.deployment.job_id(name)
        self._scheduler.cancel(job_id)
        self._connection.delete(Job.key_for(job_id))

    def known(self) -> dict[str, int]:
        """Return the names of all scheduled jobs, and their moments in whole seconds since 1970."""
        pairs: Any = self._connection.zrange(self._scheduler.scheduled_jobs_key, 0, -1, withscores=True)
        beginning = self.deployment.job_id("")
        return {job_id.decode(errors="replace").removeprefix(beginning): int(score) for job_id, score in pairs}


def reconcile(hints: Hints, database: Database) -> int:
    """Make the jobs of the next day what the table says; how many were wrong.

    Raises:
        RedisError, OSError, psycopg.Error: when a server is away.
    """
    known = hints.known()  # before the table is read, so that what is planned meanwhile is not taken for stale
    wanted = _upcoming(database)
    now = time.time()
    wrong = [hint for hint in wanted.values() if now < hint.score != known.get(hint.name)]
    for hint in wrong:
        hints.schedule(hint)
    stale = [name for name, due in known.items() if now < due < now + HORIZON_SECONDS and name not in wanted]
    for name in stale:
        hints.cancel(name)
    return len(wrong) + len(stale)


def _upcoming(database: Database) -> dict[str, Hint]:
    wanted: dict[str, Hint] = {}
    after = 0
    while rows := database.rows(sql.UPCOMING, {"after": after, "limit": BATCH, "horizon": HORIZON_SECONDS}):
        after = rows[-1][0]
        wanted.update({hint.name: hint for row in rows for hint in Plan(*row).hints()})
    return wanted


class Schedule:
    """The API's side: plans are taken at once and written by a background task. It never raises and never waits.

    What cannot be written is logged once and dropped: the scheduler process makes up for it within a minute. On a
    Redis Cluster, which RQ cannot use, it does nothing.

    Args:
        settings: of this process.
        deployment: returns the deployment that the jobs belong to, None while it is unknown.
    """

    def __init__(self, settings: Settings, deployment: Callable[[], Deployment | None]) -> None:
        self._settings = settings
        self._deployment = deployment
        self._idle = redis_clients.redis_url(settings).is_cluster
        self._outage = Outage(outages.REDIS)
        self._pending: dict[int, Plan] = {}
        self._planned = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write; Redis may still be away."""
        if self._idle:
            log.info("Redis is a cluster, which RQ cannot use: no hints, the sweeps make every transition")
            return
        self._task = asyncio.create_task(self._run(), name="schedule")

    async def stop(self) -> None:
        """Stop writing; what is not yet written is left to the scheduler process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def plan(self, match_id: int, status: str, start: datetime, end: datetime) -> None:
        """Have the jobs of a match follow its state; call it after every change of its status or times."""
        if self._idle:
            return
        if match_id in self._pending or len(self._pending) < CAPACITY:
            self._pending[match_id] = Plan(match_id, status, start, end)
            self._planned.set()

    async def _run(self) -> None:
        hints: Hints | None = None
        while await self._planned.wait():
            self._planned.clear()
            plans, self._pending = self._pending, {}
            hints = await asyncio.to_thread(self._write, hints, plans.values())

    def _write(self, hints: Hints | None, plans: Iterable[Plan]) -> Hints | None:
        deployment = self._deployment()
        if deployment is None:
            return hints
        self._outage.start()
        try:
            if hints is None or hints.deployment != deployment:
                hints = self._open(deployment)
            for plan in plans:
                hints.write(plan)
            self._outage.end()
        except AWAY as error:
            self._outage.begin(error)
        except Exception:
            log.exception("hints could not be written")
        return hints

    def _open(self, deployment: Deployment) -> Hints:
        connection = redis_clients.rq_client(self._settings)
        warn_of_eviction(connection)
        return Hints(connection, self._settings, deployment)
