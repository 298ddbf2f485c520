"""The RQ queue: its jobs as data, and a worker that stays in its own process. The adapter of RQ.

Redis is not trusted: a client that can write to it must not be able to run code here. A job names one of
:data:`livescore.jobs.functions.FUNCTIONS` and has arguments that fit it. RQ's callbacks, webhooks, dependencies,
repetitions, groups, metadata and results are never read from Redis. A job that has any of them, or is anything other
than a call of a known function with valid arguments, is refused: it goes to the registry of failed jobs and is logged.

RQ has no settings for most of this, so the classes below override undocumented parts of it; ``tests/unit/
test_upstream.py`` checks that these still exist.
"""

import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from threading import Event
from typing import Any
from uuid import uuid4

import structlog
from pydantic import ValidationError
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
from livescore.jobs import functions
from livescore.redis_clients import AWAY

log = structlog.get_logger(__name__)

# Seconds that a worker waits for a job, and the longest it takes to notice that it should stop.
DEQUEUE_SECONDS = 1

# Seconds. A job that waited this long is useless: the sweep has made its transition.
JOB_SECONDS = 60

# Seconds that a refused job stays in the registry of failed jobs: a day, so that people can look at it.
REFUSED_SECONDS = 86_400

# Bytes of a job's data in Redis; ours have a few hundred. RQ would decompress data of a thousand times this size.
MAX_DATA_BYTES = 4_096

# Characters of a refused job's id and function in the log; both may be anything.
SHOWN_CHARACTERS = 100

# Data of a call that does nothing, for jobs that are refused.
_NO_CALL = "[null, null, [], {}]"


def warn_of_eviction(connection: Redis) -> None:
    """Log a warning if Redis may evict jobs to make room. Some hosted servers do not allow the question.

    Raises:
        RedisError: Redis is away.
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
    """Return True if the key holds a value of another type. Otherwise Redis refused the command itself."""
    return str(error).startswith("WRONGTYPE")


# Fields of a job in Redis that are read: times, limits and the call.
_FIELDS = frozenset(
    {
        *("data", "origin", "status", "description", "worker_name"),
        *("created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat"),
        *("timeout", "ttl", "result_ttl", "failure_ttl"),
    }
)

# Fields that RQ also writes into jobs that do not use these features. They are accepted but never read.
_HARMLESS = frozenset(
    {
        *("success_callback_timeout", "failure_callback_timeout", "stopped_callback_timeout"),
        *("enqueue_at_front", "enqueue_at_front_on_retry", "exc_info", "number_of_retries"),
    }
)


class Refused(Exception):
    """A job may not be executed. The text says why, without the job's arguments."""


class Job(RqJob):
    """A job with only the fields that this service writes.

    Attributes:
        refusal: Why the job may not be executed; None if it may.
    """

    refusal: str | None = None

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:
        super().__init__(id, connection, serializer or JSONSerializer)

    @classmethod
    def fetch(cls, id: str, connection: Any = None, serializer: Any = None) -> "Job":
        """Read a job from Redis.

        Raises:
            NoSuchJobError: The job does not exist.
            ValueError: The id is not valid.
        """
        return super().fetch(id, connection, serializer)  # type: ignore[return-value]  # of cls

    @classmethod
    def create(cls, *arguments: Any, **options: Any) -> "Job":
        """Create a job whose failure is kept for a minute: rq-scheduler cannot change RQ's default, a year."""
        return super().create(*arguments, **{"failure_ttl": JOB_SECONDS, **options})  # type: ignore[return-value]  # of cls

    def restore(self, raw_data: Any) -> None:
        """Read the job from the fields of its hash in Redis. Never raises; sets :attr:`refusal` instead."""
        fields = {_text(name): value for name, value in raw_data.items()}
        try:
            known = _known_fields(fields)
            super().restore({name.encode(): value for name, value in known.items()})
            self.call()
        except Refused as error:
            self._refuse(str(error))
        except Exception:  # RQ raises various exceptions for malformed fields
            self._refuse("a field cannot be read")

    def call(self) -> tuple[Callable[..., Coroutine[Any, Any, None]], tuple[Any, ...]]:
        """Return the job function and its validated arguments.

        Raises:
            Refused: The job does not name a known function with valid arguments.
        """
        try:
            name, instance, arguments, keywords = self.func_name, self.instance, self.args, self.kwargs
        except DeserializationError:
            raise Refused("the data is not a JSON call") from None
        known = functions.FUNCTIONS.get(name) if isinstance(name, str) else None
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
        """The call of the job function with validated arguments.

        RQ would import the name in the job, and passes the arguments as they are in the job, which are ignored here.
        """
        function, arguments = self.call()
        return lambda *_, **__: functions.run(function, arguments)

    @property
    def success_callback(self) -> None:
        """None: RQ would import the name in the job."""

    @property
    def failure_callback(self) -> None:
        """None, for the same reason."""

    @property
    def stopped_callback(self) -> None:
        """None, for the same reason."""

    def _refuse(self, reason: str) -> None:
        self.refusal = reason
        super().restore({b"data": _NO_CALL.encode()})


def _known_fields(fields: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the fields that are read.

    Raises:
        Refused: The job has other fields, or no data, or too much of it.
    """
    unknown = sorted(name for name, value in fields.items() if value and name not in _FIELDS | _HARMLESS)
    if unknown:
        raise Refused(f"the job has fields that no job of this service has: {shown(', '.join(unknown))}")
    data = fields.get("data")
    if not data:
        raise Refused("the job has no data")
    if len(data) > MAX_DATA_BYTES:
        raise Refused(f"the data is longer than {MAX_DATA_BYTES} bytes")
    return {name: value for name, value in fields.items() if name in _FIELDS}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def shown(value: Any) -> str:
    """Return a value from Redis as text of bounded length, for the log."""
    text = _text(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def refuse(queue: Queue, job_id: str, reason: str) -> None:
    """Move a job to the registry of failed jobs, without its data, and log it.

    Raises:
        RedisError: Redis is away.
    """
    log.warning("job refused", job=shown(job_id), reason=reason)
    key = Job.key_for(job_id)
    moment = utcformat(now())
    record: dict[Any, Any] = {
        "data": _NO_CALL,
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

    RQ's keys begin with ``rq:``, which cannot be changed. Names of queues, jobs and workers contain the deployment, so
    ``rq info`` and dashboards work as usual; only RQ's lists of queues and workers are shared by all deployments.
    """
    return Queue(deployment.namespace, connection=connection, job_class=Job, serializer=JSONSerializer)


class _NoDeadline(BaseDeathPenalty):
    """No deadline for jobs.

    RQ's deadline is a signal, which only the main thread can receive. Job functions bound each use of PostgreSQL and
    Redis themselves.
    """

    def setup_death_penalty(self) -> None:
        """Do nothing."""

    def cancel_death_penalty(self) -> None:
        """Do nothing."""


class Worker(SimpleWorker):
    """RQ's worker without a fork per job, without signal handlers and without commands through pub/sub."""

    job_class = Job
    death_penalty_class = _NoDeadline
    log_job_description = False

    @property
    def dequeue_timeout(self) -> int:
        """Seconds that one wait for a job takes at most."""
        return DEQUEUE_SECONDS

    @property
    def connection_timeout(self) -> int:
        """Seconds that the socket must allow for that wait. RQ raises a shorter time-out of the client to this."""
        return DEQUEUE_SECONDS

    def serve(self, stop: Event, on_answer: Callable[[], None]) -> None:
        """Execute jobs until ``stop`` is set, which is noticed within :data:`DEQUEUE_SECONDS`.

        Args:
            stop: Ends the work.
            on_answer: Called whenever Redis has answered.

        Raises:
            RedisError, OSError: Redis is away.
        """
        self.register_birth()  # type: ignore[no-untyped-call]  # RQ leaves it untyped
        self.set_state(WorkerStatus.IDLE)
        try:
            while not stop.is_set():
                self.execute_next()
                on_answer()
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

        RQ's own maintenance also reads groups, rate limits and dependents as jobs of its own class, and so unpickles
        data from Redis.
        """
        for queue in self.queues:
            if queue.acquire_maintenance_lock():
                for registry in (FinishedJobRegistry, StartedJobRegistry, FailedJobRegistry):
                    registry(queue=queue, job_class=Job, serializer=JSONSerializer).cleanup()
                worker_registration.clean_worker_registry(queue)
                # Jobs are on this list for milliseconds. The sweep makes up for lost ones.
                queue.connection.delete(queue.intermediate_queue_key)
                queue.release_maintenance_lock()  # type: ignore[no-untyped-call]  # same
        self.last_cleaned_at: Any = now()

    def execute_next(self) -> None:
        """Wait for one job, and execute or refuse it."""
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
            # Another client wrote a key of another type.
            log.warning("job refused", reason="the job is not a hash")
            return
        except AWAY:
            raise
        except Exception as error:  # RQ raises various exceptions for malformed ids
            refuse(self.queues[0], str(getattr(error, "job_id", "unknown")), "the id cannot be read")
            return
        if found is not None:
            self.execute_job(*found)


def worker(connection: Redis, deployment: Deployment) -> Worker:
    """Return a worker of the deployment's queue.

    Raises:
        RedisError, OSError: Redis is away.
    """
    name = deployment.name("worker", uuid4().hex)
    return Worker(
        [queue(connection, deployment)], name, connection=connection, job_class=Job, serializer=JSONSerializer
    )
