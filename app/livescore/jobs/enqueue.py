"""Writing of jobs to Redis, as RQ and rq-scheduler keep them.

The state of an id and the change that follows from it are one script, so that no wish is lost between two commands: a
job that is enqueued while it runs must run once more.
"""

import json
import time
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from pydantic import ValidationError
from redis import Redis
from redis.client import Pipeline
from rq.executions import ExecutionRegistry
from rq.job import Job as RqJob
from rq.queue import Queue
from rq.utils import utcformat

from livescore.deployment import Deployment
from livescore.jobs import functions
from livescore.jobs.context import JobCall
from livescore.jobs.queues import QUEUES, TRANSITIONS, JobQueue

log = structlog.get_logger(__name__)

# Seconds. A transition that waited this long for a worker is useless: the sweep has made it.
TRANSITION_SECONDS = 60

# Seconds that another job waits for a worker at most, a day. Its sweep then enqueues it again, if it is still wanted.
WAITING_SECONDS = 86_400

# Seconds that a failed job is kept, a week.
FAILED_SECONDS = 7 * 86_400

# Seconds after which a failed job that the table still asks for is tried again.
FAILED_PAUSE_SECONDS = 300

# Seconds after its moment from which a planned job counts as forgotten by the scheduler.
FORGOTTEN_SECONDS = 10

Mode = Literal["wanted", "moved", "missing"]
"""How a call treats an earlier one of the same id.

``wanted``: the earlier moment of the two is valid. ``moved``: the new moment is valid. ``missing``: the earlier call is
valid, unless it failed a while ago.
"""

_ENQUEUE = """
local job, queue, fetched, planned, failed, executions, repeats, queues = unpack(KEYS)
local id, mode, moment, now, call = unpack(ARGV, 1, 5)
local wanted_at = tonumber(moment)
local status = redis.call('HGET', job, 'status')
if status == 'started' and redis.call('EXISTS', executions) == 1 then
    if mode == 'missing' then return 0 end
    local other = redis.call('HGET', repeats, id)
    if mode == 'moved' or not other or wanted_at < tonumber(string.match(other, '%S+')) then
        redis.call('HSET', repeats, id, moment .. ' ' .. call)
        redis.call('EXPIRE', repeats, ARGV[6])
    end
    return 0
end
if status == 'queued' and mode ~= 'moved' then
    if redis.call('LPOS', queue, id) or redis.call('LPOS', fetched, id) then return 0 end
end
local due = tonumber(redis.call('ZSCORE', planned, id))
if due and mode == 'missing' and due + tonumber(ARGV[8]) > tonumber(now) then return 0 end
if due and mode == 'wanted' and due <= wanted_at then return 0 end
local kept_until = tonumber(redis.call('ZSCORE', failed, id))
if kept_until and mode == 'missing' and kept_until > tonumber(ARGV[7]) then return 0 end
redis.call('LREM', queue, 0, id)
redis.call('ZREM', failed, id)
redis.call('DEL', job)
redis.call('HSET', job, unpack(ARGV, 10))
redis.call('SADD', queues, queue)
if wanted_at > 0 then
    redis.call('ZADD', planned, moment, id)
else
    redis.call('ZREM', planned, id)
    redis.call('RPUSH', queue, id)
    redis.call('EXPIRE', job, ARGV[9])
end
return 1
"""


def queue_name(deployment: Deployment, queue: JobQueue) -> str:
    """Return the name of a queue in RQ.

    RQ's keys begin with ``rq:``, which cannot be changed. Names of queues, jobs and workers contain the deployment, so
    ``rq info`` and dashboards work as usual; only RQ's lists of queues and workers are shared by all deployments.
    """
    return deployment.name(queue.name)


def waiting_seconds(queue_name: str) -> int:
    """Return the seconds that a job of a queue waits for a worker at most."""
    return TRANSITION_SECONDS if queue_name.endswith(f":{TRANSITIONS.name}") else WAITING_SECONDS


class Enqueuer:
    """Writes the jobs of a deployment. Every method raises RedisError or OSError while Redis is away."""

    def __init__(self, connection: Redis, deployment: Deployment) -> None:
        self.deployment = deployment
        self.repeats_key = deployment.name("repeated-jobs")
        self._connection = connection
        self._script = connection.register_script(_ENQUEUE)
        self._queues = {queue: Queue(queue_name(deployment, queue), connection=connection) for queue in QUEUES}

    def register_queues(self) -> None:
        """Add the queues to RQ's list, so that dashboards show them before their first job."""
        self._connection.sadd(Queue.redis_queues_keys, *(queue.key for queue in self._queues.values()))

    def enqueue(self, calls: Iterable[JobCall], mode: Mode = "wanted") -> None:
        """Write jobs in one round trip. Calls that fit no declared function are logged and dropped."""
        with self._connection.pipeline(transaction=False) as pipeline:
            for call in calls:
                self._add(pipeline, call, mode)
            for answer in pipeline.execute(raise_on_error=False):
                if isinstance(answer, Exception):
                    log.error("job could not be written", error=str(answer))

    def cancel(self, queue: JobQueue, ids: Iterable[str]) -> None:
        """Delete planned jobs if they exist, with their data."""
        planned = self._queues[queue].scheduled_job_registry.key
        with self._connection.pipeline(transaction=False) as pipeline:
            for name in ids:
                job_id = self.deployment.job_id(name)
                pipeline.zrem(planned, job_id)
                pipeline.delete(RqJob.key_for(job_id))
            pipeline.execute()

    def planned(self, queue: JobQueue) -> dict[str, float]:
        """Return the ids of the planned jobs of a queue, and their moments in seconds since 1970."""
        key = self._queues[queue].scheduled_job_registry.key
        pairs: Any = self._connection.zrange(key, 0, -1, withscores=True)
        prefix = self.deployment.job_id("")
        return {job_id.decode(errors="replace").removeprefix(prefix): score for job_id, score in pairs}

    def _add(self, pipeline: Pipeline, call: JobCall, mode: Mode) -> None:
        try:
            declared = functions.FUNCTIONS[call.name]
            arguments = declared.arguments.dump_python(declared.arguments.validate_python(call.arguments), mode="json")
        except (KeyError, ValidationError):
            log.exception("job fits no declared function", function=call.name)
            return
        queue, job_id = self._queues[declared.queue], self.deployment.job_id(call.id)
        now, moment = time.time(), 0.0 if call.at is None else call.at.timestamp()
        data = json.dumps([call.name, None, arguments, {}])
        ttl = waiting_seconds(queue.name)
        keys = [
            RqJob.key_for(job_id),
            queue.key,
            queue.intermediate_queue_key,
            queue.scheduled_job_registry.key,
            queue.failed_job_registry.key,
            ExecutionRegistry(job_id, self._connection).key,
            self.repeats_key,
            Queue.redis_queues_keys,
        ]
        options: list[str | bytes | int | float] = [
            *(job_id, mode, repr(moment), repr(now), f"{call.id} {data}"),
            *(WAITING_SECONDS, now + FAILED_SECONDS - FAILED_PAUSE_SECONDS, FORGOTTEN_SECONDS, ttl),
        ]
        created = utcformat(datetime.fromtimestamp(now, UTC))
        fields: dict[str, str | bytes | int] = {
            "data": zlib.compress(data.encode()),
            "created_at": created,
            "enqueued_at": created,
            "origin": queue.name,
            "status": "scheduled" if moment else "queued",
            "description": f"{call.name}({', '.join(map(str, arguments))})",
            "timeout": int(declared.seconds),
            "ttl": ttl,
            "result_ttl": 0,
            "failure_ttl": FAILED_SECONDS,
        }
        pairs = [part for field in fields.items() for part in field]
        self._script(keys, [*options, *pairs], pipeline)


def repeated_call(text: str) -> JobCall:
    """Return the call that was wanted while its job ran, from its entry in Redis.

    Raises:
        ValueError: The entry was not written by :class:`Enqueuer`.
    """
    moment, id_, data = text.split(" ", 2)
    name, _, arguments, _ = json.loads(data)
    at = datetime.fromtimestamp(float(moment), UTC) if float(moment) else None
    if not isinstance(name, str) or not isinstance(arguments, list):
        raise ValueError("the call is malformed")
    return JobCall(name, tuple(arguments), id_, at)
