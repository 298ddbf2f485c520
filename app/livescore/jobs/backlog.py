"""The jobs in Redis as people and autoscalers see them: length and age of the queues, and the jobs themselves.

Everything in Redis may have been written by another client. So it is only read as text of bounded length, and nothing
is unpickled, imported or unpacked without limit.
"""

import json
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Literal

from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.utils import utcparse

from livescore import redis_clients
from livescore.deployment import Deployment
from livescore.http_errors import ServiceUnavailable
from livescore.jobs.enqueue import waiting_seconds
from livescore.jobs.queue import MAX_ERROR_LENGTH, Job, enqueue_planned, queue, shown
from livescore.jobs.queues import QUEUES
from livescore.redis_clients import AWAY
from livescore.settings import Settings
from livescore.telemetry import metrics

# Seconds for which a reading is reused, so that frequent requests cost Redis nothing.
FRESH_SECONDS = 1.0

# Jobs at the head of a queue that are read to find the oldest one. Jobs whose data has expired remain in the list.
HEAD = 10

State = Literal["queued", "running", "planned", "failed"]


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue.

    Attributes:
        name: Name within the deployment.
        depth: Jobs that wait for a worker. Planned and running jobs are not counted.
        oldest_age_seconds: Seconds for which the oldest of them has waited; 0 if none waits.
    """

    name: str
    depth: int
    oldest_age_seconds: float


class Backlog:
    """Length and age of the queues. Thread-safe.

    Args:
        settings: Settings of this process.
        deployment: Returns the deployment, or None while it is unknown.
    """

    def __init__(self, settings: Settings, deployment: Callable[[], Deployment | None]) -> None:
        self._settings = settings
        self._deployment = deployment
        self._has_queues = not redis_clients.redis_url(settings).is_cluster
        self._lock = Lock()
        self._connection: Redis | None = None
        self._read_at = float("-inf")
        self._states: list[QueueState] = []

    def read(self) -> list[QueueState]:
        """Return the state of every queue, most urgent first; none on a Redis Cluster, which RQ cannot use.

        Raises:
            ServiceUnavailable: Redis is away, or PostgreSQL has not been reached yet.
        """
        if not self._has_queues:
            return []
        deployment = self._deployment()
        if deployment is None:
            raise ServiceUnavailable("PostgreSQL was not reached yet")
        with self._lock:
            if time.monotonic() - self._read_at >= FRESH_SECONDS:
                try:
                    self._connection = self._connection or redis_clients.rq_client(self._settings)
                    self._states = queue_states(self._connection, deployment)
                except AWAY:
                    raise ServiceUnavailable("Redis is away") from None
                self._read_at = time.monotonic()
            return self._states

    def body(self) -> bytes:
        """Return the response body of ``GET /jobs``.

        Raises:
            ServiceUnavailable: See :meth:`read`.
        """
        queues = [
            {"name": state.name, "depth": state.depth, "oldestAgeSeconds": round(state.oldest_age_seconds, 3)}
            for state in self.read()
        ]
        return json.dumps({"queues": queues}).encode()

    def update_metrics(self) -> None:
        """Set the metrics of the queues; remove them if they cannot be read."""
        metrics.QUEUE_DEPTH.clear()
        metrics.QUEUE_OLDEST_AGE_SECONDS.clear()
        with suppress(ServiceUnavailable):
            for state in self.read():
                metrics.QUEUE_DEPTH.labels(state.name).set(state.depth)
                metrics.QUEUE_OLDEST_AGE_SECONDS.labels(state.name).set(state.oldest_age_seconds)


def queue_states(connection: Redis, deployment: Deployment) -> list[QueueState]:
    """Read the state of every queue.

    Raises:
        RedisError, OSError: Redis is away.
    """
    served = [queue(connection, deployment, known) for known in QUEUES]
    with connection.pipeline(transaction=False) as pipeline:
        for one in served:
            pipeline.llen(one.key)
            pipeline.lrange(one.key, 0, HEAD - 1)
        answers: Any = pipeline.execute(raise_on_error=False)
    states = []
    for number, (known, one) in enumerate(zip(QUEUES, served, strict=True)):
        depth, head = answers[2 * number : 2 * number + 2]
        if isinstance(depth, Exception) or isinstance(head, Exception):  # another client wrote a key of another type
            depth, head = 0, []
        states.append(QueueState(known.name, depth, _oldest_age(connection, one, head) if head else 0.0))
    return states


def _oldest_age(connection: Redis, served: Queue, ids: list[bytes]) -> float:
    with connection.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.hget(Job.key_for(job_id.decode(errors="replace")), "enqueued_at")
        answers: Any = pipeline.execute(raise_on_error=False)
    moments = [moment for answer in answers if (moment := _moment(answer)) is not None]
    if not moments:  # the data of all of them has expired
        return float(waiting_seconds(served.name))
    return max(0.0, time.time() - min(moments).timestamp())


def _moment(value: Any) -> datetime | None:
    with suppress(ValueError, TypeError, AttributeError):
        return utcparse(value.decode()).replace(tzinfo=UTC)
    return None


# The jobs themselves


@dataclass(frozen=True, slots=True)
class ListedJob:
    """One job in Redis.

    Attributes:
        queue: Name of its queue within the deployment.
        id: Its id within the deployment.
        call: The function and its arguments, as text.
        moment: Time since which it waits, at which it started, for which it is planned or at which it failed.
        error: Last line of the error of its last attempt; empty if there was none.
    """

    queue: str
    id: str
    state: State
    call: str
    moment: datetime | None
    error: str


_FIELD_OF_MOMENT: dict[State, str] = {"queued": "enqueued_at", "running": "started_at", "failed": "ended_at"}


class JobList:
    """The jobs of a deployment. Every method raises RedisError or OSError while Redis is away."""

    def __init__(self, connection: Redis, deployment: Deployment) -> None:
        self._connection = connection
        self._prefix = deployment.job_id("")
        self._queues = {known.name: queue(connection, deployment, known) for known in QUEUES}

    def jobs(self, limit: int) -> Iterator[ListedJob]:
        """Yield the jobs of every queue: queued, running, planned and failed ones, of each at most ``limit``.

        The next planned and the latest failed jobs come first.
        """
        for name, served in self._queues.items():
            for job_id in self._ids("lrange", served.key, 0, limit - 1):
                yield self._listed(name, job_id, "queued", None)
            for entry in self._ids("zrange", served.started_job_registry.key, 0, limit - 1):
                yield self._listed(name, entry.rpartition(b":")[0], "running", None)
            for job_id in self._ids("zrange", served.scheduled_job_registry.key, 0, limit - 1):
                score: Any = self._connection.zscore(served.scheduled_job_registry.key, job_id)
                moment = None if score is None else datetime.fromtimestamp(score, UTC)
                yield self._listed(name, job_id, "planned", moment)
            for job_id in self._ids("zrevrange", served.failed_job_registry.key, 0, limit - 1):
                yield self._listed(name, job_id, "failed", None)

    def failed_ids(self) -> list[str]:
        """Return the ids of all failed jobs within the deployment."""
        return [
            self._name(job_id)
            for served in self._queues.values()
            for job_id in self._ids("zrange", served.failed_job_registry.key, 0, -1)
        ]

    def retry(self, name: str) -> str | None:
        """Return a failed job to its queue. Returns why that is not possible, or None.

        Args:
            name: Id of the job within the deployment.
        """
        job_id = self._prefix + name
        for served in self._queues.values():
            key = served.failed_job_registry.key
            if self._connection.zscore(key, job_id) is None:
                continue
            try:
                job = Job.fetch(job_id, connection=self._connection)
            except (NoSuchJobError, ValueError, ResponseError):
                return "its data is lost or cannot be read"
            if job.refusal is not None:
                return "it was refused, because this service did not write it"
            with self._connection.pipeline() as pipeline:
                pipeline.zrem(key, job_id)
                pipeline.hdel(job.key, "exc_info", "ended_at", "number_of_retries")
                enqueue_planned(job_id, served, pipeline)
                pipeline.execute()
            return None
        return "there is no failed job of this id"

    def _ids(self, command: str, key: str, first: int, last: int) -> list[bytes]:
        try:
            ids: Any = getattr(self._connection, command)(key, first, last)
        except ResponseError:  # another client wrote a key of another type
            return []
        return list(ids)

    def _listed(self, queue_name: str, job_id: bytes, state: State, moment: datetime | None) -> ListedJob:
        field = _FIELD_OF_MOMENT.get(state, "created_at")
        key = Job.key_for(job_id.decode(errors="replace"))
        try:
            values: Any = self._connection.hmget(key, ["description", field, "exc_info"])
        except ResponseError:
            values = [None, None, None]
        description, at, error = values
        return ListedJob(
            queue_name,
            self._name(job_id),
            state,
            _printable(description or b"?"),
            moment or _moment(at),
            _last_line(error),
        )

    def _name(self, job_id: bytes) -> str:
        return _printable(job_id).removeprefix(self._prefix)


def _printable(value: bytes) -> str:
    text = value.decode(errors="replace")
    return shown("".join(character if character.isprintable() else "?" for character in text))


def _last_line(error: bytes | None) -> str:
    """Return the last line of an error as RQ stores it: plain or compressed."""
    if not error:
        return ""
    with suppress(zlib.error):
        error = zlib.decompressobj().decompress(error, 4 * MAX_ERROR_LENGTH)
    lines = error.decode(errors="replace").strip().splitlines()
    return _printable(lines[-1].encode()) if lines else ""
