"""The RQ queues: their jobs as data, and a worker that runs them in this process. The adapter of RQ.

Redis is not trusted: a client that can write to it must not be able to run code here. A job names one of
:data:`livescore.jobs.functions.FUNCTIONS` and has arguments that fit it. RQ's callbacks, webhooks, dependencies,
repetitions, groups, metadata and results are never read from Redis. A job that has any of them, or is anything other
than a call of a known function with valid arguments, is refused: it goes to the registry of failed jobs and is logged.

RQ has no settings for most of this, so the classes below override undocumented parts of it; ``tests/unit/
test_upstream.py`` checks that these still exist.
"""

import time
import traceback
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import BoundedSemaphore, Event, Thread, current_thread
from typing import Any
from uuid import uuid4

import structlog
from pydantic import ValidationError
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ResponseError
from rq import Queue, SimpleWorker, worker_registration
from rq.exceptions import DequeueTimeout, DeserializationError, NoSuchJobError
from rq.executions import Execution
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.utils import now, utcformat
from rq.worker import WorkerStatus

from livescore.deployment import Deployment
from livescore.jobs import functions
from livescore.jobs.enqueue import FAILED_SECONDS, Enqueuer, queue_name, repeated_call, waiting_seconds
from livescore.jobs.functions import JobFunction
from livescore.jobs.queues import JobQueue
from livescore.jobs.runner import HandedBack
from livescore.redis_clients import AWAY
from livescore.telemetry import logs, metrics

log = structlog.get_logger(__name__)

# Seconds that a worker waits for a job, and the longest it takes to notice that it should stop.
DEQUEUE_SECONDS = 1

# Seconds between two signs of life of a worker and its running jobs, and between two searches for abandoned jobs.
HEARTBEAT_SECONDS = 10.0

# Seconds without a sign of life after which a running job is taken from its worker, which was probably killed.
ABANDONED_SECONDS = 30

# Seconds between the attempts to run a job that raises. After the last one it has failed.
RETRY_SECONDS = (1.0, 10.0, 60.0)

# Workers that may be killed while they run the same job. The job is probably the cause.
MOST_KILLS = 3

# Characters of an error that are stored with its job: the end of a traceback.
MAX_ERROR_LENGTH = 4_000

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
        *("timeout", "ttl", "result_ttl", "failure_ttl", "number_of_retries"),
    }
)

# Fields that RQ also writes into jobs that do not use these features. They are accepted but never read.
_HARMLESS = frozenset(
    {
        *("success_callback_timeout", "failure_callback_timeout", "stopped_callback_timeout"),
        *("enqueue_at_front", "enqueue_at_front_on_retry", "exc_info"),
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

    def call(self) -> tuple[str, JobFunction, tuple[Any, ...]]:
        """Return the name of the job function, the function and its validated arguments.

        Raises:
            Refused: The job does not name a known function with valid arguments.
        """
        try:
            name, instance, arguments, keywords = self.func_name, self.instance, self.args, self.kwargs
        except DeserializationError:
            raise Refused("the data is not a JSON call") from None
        known = functions.FUNCTIONS.get(name) if isinstance(name, str) else None
        if not isinstance(name, str) or known is None or instance is not None:
            raise Refused(f"the function is not known: {shown(name)}")
        try:
            if keywords:
                raise Refused(f"the arguments do not fit {name}")
            return name, known, known.arguments.validate_python(tuple(arguments))
        except (ValidationError, TypeError):
            raise Refused(f"the arguments do not fit {name}") from None

    @property
    def func(self) -> Callable[..., None]:
        """Nothing that RQ could call: it would import the name in the job. :class:`Worker` runs jobs itself.

        Raises:
            LookupError: Always.
        """
        raise LookupError("jobs of this service are run by `livescore worker`")

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
    metrics.JOBS.labels("unknown", "refused").inc()
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
        pipeline.expire(key, FAILED_SECONDS)
        pipeline.zadd(queue.failed_job_registry.key, {job_id: time.time() + FAILED_SECONDS})
        pipeline.lrem(queue.intermediate_queue_key, 1, job_id)
        pipeline.execute()


def queue(connection: Redis, deployment: Deployment, of: JobQueue) -> Queue:
    """Return a queue of a deployment."""
    return Queue(queue_name(deployment, of), connection=connection, job_class=Job, serializer=JSONSerializer)


class _NoDeadline(BaseDeathPenalty):
    """No deadline for waiting: RQ's deadline is a signal, which only the main thread can receive."""

    def setup_death_penalty(self) -> None:
        """Do nothing."""

    def cancel_death_penalty(self) -> None:
        """Do nothing."""


Run = Callable[[str, JobFunction, tuple[Any, ...]], None]
"""Runs a job function and blocks the thread until it has ended, see :meth:`livescore.jobs.runner.Runner.run`."""


class Worker(SimpleWorker):
    """RQ's worker for one queue, which runs several jobs at once.

    One thread takes jobs from the queue. Each job has a thread as long as it runs, which waits for its function in the
    event loop. There is no process per job, no signal handler and no command through pub/sub.

    Args:
        connection: Redis. Its time-outs must allow for waits of :data:`DEQUEUE_SECONDS`.
        deployment: The deployment whose jobs it runs.
        served: The queue.
        limit: Most jobs that run at once.
        run: Runs a job function.
        on_away: Called when Redis is away at the end of a job. The job is repeated later.
    """

    job_class = Job
    death_penalty_class = _NoDeadline

    def __init__(
        self,
        connection: Redis,
        deployment: Deployment,
        served: JobQueue,
        limit: int,
        run: Run,
        on_away: Callable[[BaseException], object] = lambda error: None,
    ) -> None:
        self.deployment = deployment
        self.served = queue(connection, deployment, served)
        name = deployment.name("worker", served.name, uuid4().hex)
        super().__init__([self.served], name, connection=connection, job_class=Job, serializer=JSONSerializer)
        self._enqueuer = Enqueuer(connection, deployment)
        self._run = run
        self._on_away = on_away
        self._free = BoundedSemaphore(limit)
        self._threads: set[Thread] = set()
        self._maintained_at = float("-inf")
        # Jobs that had been fetched but not started at the last maintenance.
        self._fetched: set[Any] = set()

    @property
    def dequeue_timeout(self) -> int:
        """Seconds that one wait for a job takes at most."""
        return DEQUEUE_SECONDS

    @property
    def connection_timeout(self) -> int:
        """Seconds that the socket must allow for that wait. RQ raises a shorter time-out of the client to this."""
        return DEQUEUE_SECONDS

    def get_heartbeat_ttl(self, job: RqJob, working_time: float = 0.0) -> int:
        """Return the seconds after which a running job without a sign of life is abandoned."""
        return ABANDONED_SECONDS

    def serve(self, stop: Event, on_answer: Callable[[], None]) -> None:
        """Run jobs until ``stop`` is set, which is noticed within :data:`DEQUEUE_SECONDS`, and the running ones ended.

        Args:
            stop: Ends the work.
            on_answer: Called whenever Redis has answered.

        Raises:
            RedisError, OSError: Redis is away. Jobs that run go on; call this method again.
        """
        self._register()
        try:
            while not stop.is_set():
                self._maintain_when_due()
                self._start_next(stop)
                on_answer()
            while self._threads:
                self._maintain_when_due()
                next(iter(self._threads.copy())).join(DEQUEUE_SECONDS)
        finally:
            with suppress(*AWAY):
                self.register_death()  # type: ignore[no-untyped-call]  # RQ leaves it untyped

    def run_next(self) -> None:
        """Wait for one job, and run or refuse it in this thread.

        Raises:
            RedisError, OSError: Redis is away.
        """
        job = self._take()
        if job is not None:
            self.execute_job(job, self.served)

    def execute_job(self, job: RqJob, queue: Queue) -> None:
        """Run a job, or refuse it, and record the result.

        Raises:
            RedisError, OSError: Redis is away. The job counts as running until it is abandoned.
        """
        if not isinstance(job, Job) or job.refusal is not None:
            refuse(queue, job.id, getattr(job, "refusal", None) or "the job is of another class")
            return
        job.origin = queue.name  # in Redis it may be anything
        execution = self.prepare_execution(job)
        self.prepare_job_execution(job, remove_from_intermediate_queue=True)
        name, function, arguments = job.call()
        try:
            self._run(name, function, arguments)
        except HandedBack:
            self._hand_back(job, execution)
        except Exception as error:
            self._fail(job, execution, error)
        else:
            self._succeed(job, execution)

    def maintain(self) -> None:
        """Give a sign of life, and take back what killed workers have left behind.

        RQ's own maintenance lets abandoned jobs fail, and reads groups, rate limits and dependents as jobs of its own
        class, which unpickles data from Redis.

        Raises:
            RedisError, OSError: Redis is away.
        """
        registry = self.served.started_job_registry
        with self.connection.pipeline() as pipeline:
            pipeline.hexists(self.key, "birth")
            self.heartbeat(pipeline=pipeline)
            for execution in list(self.executions.values()):
                execution.heartbeat(registry, ABANDONED_SECONDS, pipeline)
            is_registered, *_ = pipeline.execute()
        if not is_registered:  # Redis has lost its keys
            self._register()
        self._take_back_abandoned()
        self._take_back_fetched()
        self.connection.zremrangebyscore(self.served.failed_job_registry.key, 0, time.time())
        worker_registration.clean_worker_registry(self.served)

    def _register(self) -> None:
        self.connection.delete(self.key)  # the entry of an earlier call, which Redis may have missed the end of
        self.register_birth()  # type: ignore[no-untyped-call]  # RQ leaves it untyped
        self.set_state(WorkerStatus.IDLE)
        self._enqueuer.register_queues()

    def _maintain_when_due(self) -> None:
        if time.monotonic() - self._maintained_at >= HEARTBEAT_SECONDS:
            self.maintain()
            self._maintained_at = time.monotonic()

    def _start_next(self, stop: Event) -> None:
        """Wait for a free place and for a job, and start the job in a thread."""
        if not self._free.acquire(timeout=DEQUEUE_SECONDS):
            return
        try:
            job = None if stop.is_set() else self._take()
        except BaseException:
            self._free.release()
            raise
        if job is None:
            self._free.release()
            return
        thread = Thread(target=self._execute_in_thread, args=(job,), name="job", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _execute_in_thread(self, job: RqJob) -> None:
        thread = current_thread()
        try:
            self.execute_job(job, self.served)
        except AWAY as error:
            self._on_away(error)
        except Exception:
            log.exception("the result of a job could not be recorded", job=shown(job.id))
        finally:
            self._free.release()
            self._threads.discard(thread)

    def _take(self) -> RqJob | None:
        """Wait for a job. Returns None if there is none, or only one that cannot be read."""
        try:
            found = self.queue_class.dequeue_any(
                self.queues, self.dequeue_timeout, self.connection, Job, JSONSerializer, _NoDeadline
            )
        except DequeueTimeout:
            return None
        except ResponseError as error:
            if not is_of_another_type(error):
                raise
            # Another client wrote a key of another type.
            log.warning("job refused", reason="the job is not a hash")
            return None
        except AWAY:
            raise
        except Exception as error:  # RQ raises various exceptions for malformed ids
            refuse(self.served, str(getattr(error, "job_id", "unknown")), "the id cannot be read")
            return None
        return None if found is None else found[0]

    # Results

    def _succeed(self, job: Job, execution: Execution) -> None:
        """Delete a job that has ended."""
        with self.connection.pipeline() as pipeline:
            self._end(job, execution, pipeline)
            self.increment_successful_job_count(pipeline)
            pipeline.delete(job.key)
            self._execute_and_repeat(job, pipeline)

    def _fail(self, job: Job, execution: Execution, error: Exception) -> None:
        """Plan a job that raised once more, or let it fail after its last attempt."""
        attempts = job.number_of_retries or 0
        is_last = attempts >= len(RETRY_SECONDS)
        text = str(logs.redact("".join(traceback.format_exception(error))[-MAX_ERROR_LENGTH:]))
        log.warning(
            "job failed",
            job=shown(job.id),
            function=job.func_name,
            attempt=attempts + 1,
            last=is_last,
            error=repr(error),
        )
        with self.connection.pipeline() as pipeline:
            self._end(job, execution, pipeline)
            self.increment_failed_job_count(pipeline)
            if is_last:
                _record_failure(job, text, self.served, pipeline)
                self._execute_and_repeat(job, pipeline)
            else:
                state: dict[Any, Any] = {"status": "scheduled", "number_of_retries": attempts + 1}
                pipeline.hset(job.key, mapping={**state, "exc_info": zlib.compress(text.encode())})
                moment = time.time() + RETRY_SECONDS[attempts]
                pipeline.zadd(self.served.scheduled_job_registry.key, {job.id: moment})
                pipeline.execute()

    def _hand_back(self, job: Job, execution: Execution) -> None:
        """Return a job that could not end to the head of its queue."""
        log.info("job returned to its queue", job=shown(job.id))
        with self.connection.pipeline() as pipeline:
            self._end(job, execution, pipeline)
            _return_to_queue(job, self.served, pipeline)
            pipeline.execute()

    def _end(self, job: Job, execution: Execution, pipeline: Pipeline) -> None:
        self.cleanup_execution(job, pipeline, execution)
        if not self.executions:
            self.set_state(WorkerStatus.IDLE, pipeline)

    def _execute_and_repeat(self, job: Job, pipeline: Pipeline) -> None:
        """Execute the commands that end a job, and enqueue it again if that was wanted while it ran."""
        pipeline.hget(self._enqueuer.repeats_key, job.id)
        pipeline.hdel(self._enqueuer.repeats_key, job.id)
        *_, wanted, _ = pipeline.execute()
        if wanted is None:
            return
        try:
            call = repeated_call(_text(wanted))
        except ValueError:
            log.warning("repetition of a job refused", job=shown(job.id))
            return
        self._enqueuer.enqueue([call])

    # Jobs of killed workers

    def _take_back_abandoned(self) -> None:
        """Return running jobs to the queue whose workers give no sign of life."""
        key = self.served.started_job_registry.key
        entries: Any = self.connection.zrangebyscore(key, 0, time.time())
        for entry in entries:
            if self.connection.zrem(key, entry):  # otherwise another worker takes it back
                self._take_back(entry.rpartition(b":")[0], counts=True)

    def _take_back_fetched(self) -> None:
        """Return jobs to the queue that a worker has fetched but not started since the last maintenance."""
        key = self.served.intermediate_queue_key
        entries: Any = self.connection.lrange(key, 0, -1)
        stuck, self._fetched = self._fetched & set(entries), set(entries) - self._fetched
        for entry in stuck:
            if self.connection.lrem(key, 1, entry):
                self._take_back(entry, counts=False)

    def _take_back(self, raw_id: bytes, *, counts: bool) -> None:
        """Return a job to the queue; with ``counts``, let it fail if it has killed too many workers."""
        try:
            job = Job.fetch(raw_id.decode(errors="replace"), connection=self.connection)
        except (NoSuchJobError, ValueError):
            return
        except ResponseError as error:
            if not is_of_another_type(error):
                raise
            return
        if job.refusal is not None:
            refuse(self.served, job.id, job.refusal)
            return
        kills = (job.number_of_retries or 0) + counts
        with self.connection.pipeline() as pipeline:
            if kills > MOST_KILLS:
                log.error("job failed: its workers were killed", job=shown(job.id), workers=kills)
                reason = f"{kills} workers were killed while they ran this job, which is probably the cause"
                _record_failure(job, reason, self.served, pipeline)
            else:
                log.warning("job taken back from a worker that vanished", job=shown(job.id))
                pipeline.hset(job.key, "number_of_retries", str(kills))
                _return_to_queue(job, self.served, pipeline)
            pipeline.execute()


def enqueue_planned(job_id: str, queue: Queue, pipeline: Pipeline) -> None:
    """Add the commands that put a planned job into its queue."""
    key = Job.key_for(job_id)
    state: dict[Any, Any] = {"status": "queued", "enqueued_at": utcformat(now())}
    pipeline.hset(key, mapping=state)
    pipeline.expire(key, waiting_seconds(queue.name))
    pipeline.rpush(queue.key, job_id)


def _return_to_queue(job: Job, queue: Queue, pipeline: Pipeline) -> None:
    pipeline.hset(job.key, "status", "queued")
    pipeline.expire(job.key, waiting_seconds(queue.name))
    pipeline.lpush(queue.key, job.id)


def _record_failure(job: Job, error: str, queue: Queue, pipeline: Pipeline) -> None:
    record: dict[Any, Any] = {
        "status": "failed",
        "ended_at": utcformat(now()),
        "exc_info": zlib.compress(error.encode()),
    }
    pipeline.hset(job.key, mapping=record)
    pipeline.expire(job.key, FAILED_SECONDS)
    pipeline.zadd(queue.failed_job_registry.key, {job.id: time.time() + FAILED_SECONDS})
