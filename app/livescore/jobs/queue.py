"""The RQ queue: its Redis connection, its jobs as data, and a worker that stays in its own process.

Redis is not trusted: a client that can write to it must not be able to run code here. A job names one of
:data:`FUNCTIONS` and has arguments that fit it. RQ's callbacks, webhooks, dependencies, repetitions, groups, metadata
and results are never read from Redis; a job that has any of them, or is anything else than a known function with valid
arguments, is refused: it goes to the registry of failed jobs and is logged.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from typing import Any
from uuid import uuid4

import structlog
from pydantic import TypeAdapter, ValidationError
from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue, SimpleWorker, worker_registration
from rq.exceptions import DequeueTimeout, DeserializationError
from rq.job import Job as RqJob
from rq.registry import FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.utils import now, utcformat
from rq.worker import WorkerStatus

from livescore.deployment import Deployment
from livescore.jobs import transitions
from livescore.redis_clients import AWAY

log = structlog.get_logger(__name__)

# Seconds that a worker waits for a job: how long it may take to notice that it shall stop.
DEQUEUE_SECONDS = 1

# Seconds. A hint that waited this long is of no use: the sweep has done its work.
JOB_SECONDS = 60

# Seconds that a refused job stays in the registry of failed jobs: a day, in which somebody may look at it.
REFUSED_SECONDS = 86_400

# Bytes of a job's data in Redis; ours have some hundred. RQ would unpack a thousand times as much.
MAX_DATA_BYTES = 4_096

# Characters of a refused job's id and function in the log: both may be anything.
SHOWN_CHARACTERS = 100


def warn_of_eviction(connection: Redis) -> None:
    """Log a warning when Redis may throw jobs away to make room; some hosted ones don't say.

    Raises:
        RedisError: when Redis is away.
    """
    try:
        policies: Any = connection.config_get("maxmemory-policy")
    except ResponseError:
        return
    for policy in dict(policies).values():
        name = policy.decode() if isinstance(policy, bytes) else policy
        if name != "noeviction":
            log.warning("Redis may evict jobs: set maxmemory-policy to noeviction", policy=name)


def is_of_another_type(error: ResponseError) -> bool:
    """Return whether a key holds a value of another type; else Redis refuses the command: no memory, right or write."""
    return str(error).startswith("WRONGTYPE")


@dataclass(frozen=True, slots=True)
class JobFunction:
    """A function that jobs may call, and the type of its positional arguments."""

    function: Callable[..., None]
    arguments: TypeAdapter[tuple[Any, ...]]


FUNCTIONS: Mapping[str, JobFunction] = {
    transitions.PATH: JobFunction(transitions.transition, TypeAdapter(transitions.Arguments)),
}
"""Everything that a job can make this service do, by the name in the job."""

# The fields of a job in Redis that are read: times, limits and what to call.
_FIELDS = frozenset(
    {
        *("data", "origin", "status", "description", "worker_name"),
        *("created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat"),
        *("timeout", "ttl", "result_ttl", "failure_ttl"),
    }
)

# Fields that RQ writes into jobs without such features; as callbacks are, they are never read.
_HARMLESS = frozenset(
    {
        *("success_callback_timeout", "failure_callback_timeout", "stopped_callback_timeout"),
        *("enqueue_at_front", "enqueue_at_front_on_retry", "exc_info", "number_of_retries"),
    }
)


class Refused(Exception):
    """A job may not be executed; the text says why and contains nothing of its arguments."""


class Job(RqJob):
    """A job of which only what this service writes is read; :attr:`refusal` says why it may not be executed."""

    refusal: str | None = None

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:
        super().__init__(id, connection, serializer or JSONSerializer)

    @classmethod
    def fetch(cls, id: str, connection: Any = None, serializer: Any = None) -> "Job":
        """Read a job from Redis.

        Raises:
            NoSuchJobError: if there is none.
            ValueError: if it cannot have this id.
        """
        return super().fetch(id, connection, serializer)  # type: ignore[return-value]  # of cls

    @classmethod
    def create(cls, *arguments: Any, **options: Any) -> "Job":
        """Create a job whose failure is not kept for a year, RQ's default, which rq-scheduler cannot change."""
        return super().create(*arguments, **{"failure_ttl": JOB_SECONDS, **options})  # type: ignore[return-value]  # of cls

    def restore(self, raw_data: Any) -> None:
        """Read the job from the fields of its hash in Redis. Never fails: see :attr:`refusal`."""
        fields = {_text(name): value for name, value in raw_data.items()}
        try:
            known = _known_fields(fields)
            super().restore({name.encode(): value for name, value in known.items()})
            self.call()
        except Refused as error:
            self._refuse(str(error))
        except Exception:  # whatever RQ raises for a field that is not as it should be
            self._refuse("a field cannot be read")

    def call(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        """Return the function to call and its arguments.

        Raises:
            Refused: if the job does not name a known function with valid arguments.
        """
        try:
            name, instance, arguments, keywords = self.func_name, self.instance, self.args, self.kwargs
        except DeserializationError:
            raise Refused("the data is not a JSON call") from None
        known = FUNCTIONS.get(name) if isinstance(name, str) else None
        if known is None or instance is not None:
            raise Refused(f"the function is not known: {shown(name)}")
        try:
            if keywords:
                raise Refused(f"the arguments do not fit {name}")
            return known.function, known.arguments.validate_python(tuple(arguments))
        except (ValidationError, TypeError):
            raise Refused(f"the arguments do not fit {name}") from None

    @property
    def func(self) -> Callable[..., None]:
        """The function to call, see :meth:`call`; RQ would import whatever is named."""
        return self.call()[0]

    @property
    def success_callback(self) -> None:
        """Never any: RQ would import whatever is named."""

    @property
    def failure_callback(self) -> None:
        """Never any, as above."""

    @property
    def stopped_callback(self) -> None:
        """Never any, as above."""

    def _refuse(self, reason: str) -> None:
        self.refusal = reason
        super().restore({b"data": b"[null, null, [], {}]"})

    def _execute(self) -> None:
        function, arguments = self.call()
        function(*arguments)


def _known_fields(fields: Mapping[str, bytes]) -> dict[str, bytes]:
    unwanted = sorted(name for name, value in fields.items() if value and name not in _FIELDS | _HARMLESS)
    if unwanted:
        raise Refused(f"the job has fields that no job of this service has: {shown(', '.join(unwanted))}")
    if len(fields.get("data", b"")) > MAX_DATA_BYTES:
        raise Refused(f"the data is longer than {MAX_DATA_BYTES} bytes")
    if not fields.get("data"):
        raise Refused("the job has no data")
    return {name: value for name, value in fields.items() if name in _FIELDS}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def shown(value: Any) -> str:
    """Return a value that was found in Redis as text of bounded length."""
    text = _text(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def refuse(queue: Queue, job_id: str, reason: str) -> None:
    """Move a job to the registry of failed jobs, without its data, and log it.

    Raises:
        RedisError: if Redis is away.
    """
    log.warning("job refused", job=shown(job_id), reason=reason)
    key = Job.key_for(job_id)
    moment = utcformat(now())
    record: dict[Any, Any] = {
        "data": "[null, null, [], {}]",
        "status": "failed",
        "origin": queue.name,
        "created_at": moment,
        "ended_at": moment,
        "exc_info": f"refused: {reason}",
    }
    with queue.connection.pipeline() as pipeline:
        pipeline.delete(key)
        pipeline.hset(key, mapping=record)
        pipeline.expire(key, REFUSED_SECONDS)
        pipeline.zadd(queue.failed_job_registry.key, {job_id: time.time() + REFUSED_SECONDS})
        pipeline.lrem(queue.intermediate_queue_key, 1, job_id)
        pipeline.execute()


def queue(connection: Redis, deployment: Deployment) -> Queue:
    """Return the deployment's queue of transitions.

    RQ begins all its keys with ``rq:``. Names of queues, jobs and workers hold the deployment instead, so that
    ``rq info`` and dashboards work as usual; only RQ's lists of queue and worker names are common to all deployments.
    """
    return Queue(deployment.namespace, connection=connection, job_class=Job, serializer=JSONSerializer)


class _NoDeadline(BaseDeathPenalty):
    """RQ's own deadline is a signal, which only a main thread gets; a job here only wakes the sweeper."""

    def setup_death_penalty(self) -> None:
        """Nothing to do."""

    def cancel_death_penalty(self) -> None:
        """Nothing to do."""


class Worker(SimpleWorker):
    """RQ's worker without a fork per job, without signal handlers and without commands through pub/sub."""

    job_class = Job
    death_penalty_class = _NoDeadline
    log_job_description = False

    @property
    def dequeue_timeout(self) -> int:
        """Seconds that one wait for a job takes."""
        return DEQUEUE_SECONDS

    @property
    def connection_timeout(self) -> int:
        """Seconds that the socket must allow for that wait; RQ would raise a shorter time-out to them."""
        return DEQUEUE_SECONDS

    def serve(self, stop: Event, alive: Callable[[], None]) -> None:
        """Work until ``stop`` is set, which is noticed within :data:`DEQUEUE_SECONDS`.

        ``alive`` is called whenever Redis has answered.

        Raises:
            RedisError, OSError: when Redis is away.
        """
        self.register_birth()  # type: ignore[no-untyped-call]  # RQ leaves it untyped
        self.set_state(WorkerStatus.IDLE)
        try:
            while not stop.is_set():
                self._serve_once()
                alive()
        finally:
            with suppress(*AWAY):
                self.register_death()  # type: ignore[no-untyped-call]  # same

    def execute_job(self, job: RqJob, queue: Queue) -> None:
        """Execute a job, or refuse it."""
        if isinstance(job, Job) and job.refusal is None:
            super().execute_job(job, queue)
        else:
            refuse(queue, job.id, getattr(job, "refusal", None) or "the job is of another class")

    def run_maintenance_tasks(self) -> None:
        """Remove what dead workers left behind in this queue.

        RQ's own maintenance also reads groups, rate limits and dependents, with jobs of its own class, and so unpickles
        whatever a client of Redis has put there.
        """
        for queue in self.queues:
            if queue.acquire_maintenance_lock():
                for registry in (FinishedJobRegistry, StartedJobRegistry, FailedJobRegistry):
                    registry(queue=queue, job_class=Job, serializer=JSONSerializer).cleanup()
                worker_registration.clean_worker_registry(queue)
                # Jobs are on this list for milliseconds, and are only hints.
                queue.connection.delete(queue.intermediate_queue_key)
                queue.release_maintenance_lock()  # type: ignore[no-untyped-call]  # same
        self.last_cleaned_at: Any = now()

    def _serve_once(self) -> None:
        self.heartbeat()
        if self.should_run_maintenance_tasks:
            self.run_maintenance_tasks()
        try:
            found = self.queue_class.dequeue_any(
                self.queues, self.dequeue_timeout, self.connection, Job, JSONSerializer, _NoDeadline
            )
        except DequeueTimeout:
            return
        except ResponseError as error:
            if not is_of_another_type(error):
                raise
            # The key of the job is no hash: another client wrote it.
            log.warning("job refused", reason="the job is not a hash")
            return
        except AWAY:
            raise
        except Exception as error:  # whatever RQ raises for an id that is not as it should be
            refuse(self.queues[0], str(getattr(error, "job_id", "unknown")), "the id cannot be read")
            return
        if found is not None:
            self.execute_job(*found)


def worker(connection: Redis, deployment: Deployment) -> Worker:
    """Return a worker of the deployment's queue.

    Raises:
        RedisError, OSError: when Redis is away.
    """
    queues, name = [queue(connection, deployment)], deployment.name("worker", uuid4().hex)
    return Worker(queues, name, connection=connection, job_class=Job, serializer=JSONSerializer)
