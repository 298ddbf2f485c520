"""The RQ queue: its Redis connection, its jobs as JSON, and a worker that stays in its own process."""

from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import Any

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError, ResponseError
from redis.retry import Retry
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.worker import WorkerStatus

from livescore import redis_driver
from livescore.redis_url import RedisUrl
from livescore.settings import Settings

log = structlog.get_logger(__name__)

# Seconds that a worker waits for a job: how long it may take to notice that it shall stop.
DEQUEUE_SECONDS = 1

# Seconds. A hint that waited this long is of no use: the sweep has done its work.
JOB_SECONDS = 60

# Seconds of silence after which a connection is asked whether it lives before it is used.
HEALTH_CHECK_SECONDS = 10

AWAY = (RedisError, RedisClusterException, OSError)
"""What a Redis that is away raises."""


def redis_sync(settings: Settings, *, wait: float = 0) -> Redis:
    """A client for threads, of one server or of the primary behind Sentinel. A broken connection is replaced silently.

    No command takes longer than the time-out, and ``wait`` seconds more for commands that wait for something.
    """
    text, timeout = settings.redis_url.get_secret_value(), settings.redis_timeout_seconds
    options: dict[str, Any] = {
        "socket_timeout": wait + timeout,
        "socket_connect_timeout": timeout,
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "retry": Retry(NoBackoff(), 1),
        "client_name": "livescore-jobs",
    }
    url = RedisUrl.parse(text)
    return redis_driver.primary(url, timeout, **options) if url.kind == "sentinel" else Redis.from_url(text, **options)


def is_cluster(settings: Settings) -> bool:
    """Whether Redis is a cluster: RQ cannot use one, so there are no hints, and the sweeps alone make transitions."""
    return RedisUrl.parse(settings.redis_url.get_secret_value()).kind == "cluster"


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


class Job(RqJob):
    """A job whose data is JSON: whoever can write to Redis must not be able to run code here, as pickle would allow."""

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:
        super().__init__(id, connection, serializer or JSONSerializer)

    @classmethod
    def create(cls, *arguments: Any, **options: Any) -> "Job":
        """As RQ does, but failures are not kept for a year, its default, which rq-scheduler cannot change."""
        return super().create(*arguments, **{"failure_ttl": JOB_SECONDS, **options})  # type: ignore[return-value]  # of cls


def queue(connection: Redis, settings: Settings) -> Queue:
    """The queue of transitions."""
    return Queue(settings.queue, connection=connection, job_class=Job, serializer=JSONSerializer)


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

    def _serve_once(self) -> None:
        self.heartbeat()
        if self.should_run_maintenance_tasks:
            self.run_maintenance_tasks()  # type: ignore[no-untyped-call]  # same
        with suppress(DequeueTimeout):
            found = self.queue_class.dequeue_any(
                self.queues, self.dequeue_timeout, self.connection, Job, JSONSerializer, _NoDeadline
            )
            if found is not None:
                self.execute_job(*found)


def worker(connection: Redis, settings: Settings) -> Worker:
    """A worker of the queue.

    Raises:
        RedisError, OSError: when Redis is away.
    """
    return Worker([queue(connection, settings)], connection=connection, job_class=Job, serializer=JSONSerializer)
