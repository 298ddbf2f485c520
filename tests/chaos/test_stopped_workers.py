"""Workers that are stopped or killed while they run a job: no job is lost."""

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import redis

from livescore.deployment import Deployment
from livescore.jobs.backlog import JobList
from livescore.jobs.context import JobCall
from livescore.jobs.enqueue import Enqueuer
from livescore.redis_clients import rq_client
from livescore.settings import load
from tests.support.deployments import deployment_of
from tests.support.service import Service, Start, eventually

JOB = "retention"
"""A job that is easily held up: it deletes from a table that a test can lock."""

KEYS = "SELECT count(*) FROM idempotency_key"
OLD_KEY = """
INSERT INTO idempotency_key (scope, key, fingerprint, status, body, created_at)
VALUES ('s', 'k', '', 201, '', now() - interval '1 year')
"""


@dataclass
class Scene:
    """A worker that runs a job as long as the table is locked."""

    database_url: str
    client: redis.Redis
    deployment: Deployment
    worker: Service

    def states(self) -> list[str]:
        """Return the states of the job except planned, for which it always has a moment."""
        jobs = JobList(self.client, self.deployment).jobs(10)
        return [job.state for job in jobs if job.id == JOB and job.state != "planned"]

    def keys(self) -> int:
        """Return the number of idempotency keys; the job deletes the only one."""
        with closing(psycopg.connect(self.database_url)) as connection:
            row = connection.execute(KEYS).fetchone()
        return int(row[0]) if row else 0

    @contextmanager
    def running_job(self, redis_url: str) -> Iterator[None]:
        """Enqueue the job, and hold it up for the length of a block."""
        settings = load(database_url=self.database_url, redis_url=redis_url)
        with closing(psycopg.connect(self.database_url)) as connection:
            connection.execute(OLD_KEY)
            connection.commit()
            connection.execute("LOCK TABLE idempotency_key IN ACCESS EXCLUSIVE MODE")
            Enqueuer(rq_client(settings), self.deployment).enqueue([JobCall(JOB, (), JOB)])
            yield
            connection.rollback()


async def prepare(start: Start, database_url: str, redis_client: redis.Redis, grace: str) -> Scene:
    worker = await start("worker", DATABASE_TIMEOUT_SECONDS="60", WORKER_GRACE_SECONDS=grace)
    return Scene(database_url, redis_client, deployment_of(database_url), worker)


async def test_stopped_worker_ends_its_job_within_the_grace_time(
    start: Start, database_url: str, redis_url: str, redis_client: redis.Redis
) -> None:
    scene = await prepare(start, database_url, redis_client, grace="60")
    with scene.running_job(redis_url):
        await eventually(lambda: scene.states() == ["running"])
        scene.worker.signal(signal.SIGTERM)
        await scene.worker.logged("worker waits for running jobs")
    await eventually(lambda: not scene.worker.is_running)
    assert scene.keys() == 0
    assert scene.states() == []
    assert "return to their queues" not in scene.worker.log


async def test_job_of_a_stopped_worker_returns_to_its_queue_after_the_grace_time(
    start: Start, database_url: str, redis_url: str, redis_client: redis.Redis
) -> None:
    scene = await prepare(start, database_url, redis_client, grace="0.2")
    with scene.running_job(redis_url):
        await eventually(lambda: scene.states() == ["running"])
        assert await scene.worker.terminate() == 0
        assert scene.states() == ["queued"]
    await scene.worker.start()
    await eventually(lambda: scene.keys() == 0 and scene.states() == [])


async def test_job_of_a_killed_worker_is_taken_by_another_one(
    start: Start, database_url: str, redis_url: str, redis_client: redis.Redis
) -> None:
    scene = await prepare(start, database_url, redis_client, grace="60")
    with scene.running_job(redis_url):
        await eventually(lambda: scene.states() == ["running"])
        await scene.worker.kill()
        registry = f"rq:wip:{scene.deployment.name('retention')}"
        entries: Any = redis_client.zrange(registry, 0, -1)
        redis_client.zadd(registry, dict.fromkeys(entries, 1))  # half a minute has passed
        await scene.worker.start()
        await scene.worker.logged("job taken back from a worker that vanished")
    await eventually(lambda: scene.keys() == 0 and scene.states() == [])
