"""``livescore jobs`` and ``GET /jobs`` of worker and scheduler."""

import httpx
import pytest
import redis
from rq.job import Job as RqJob

from livescore.deployment import Deployment
from livescore.jobs import queues
from livescore.jobs.context import JobCall
from livescore.jobs.enqueue import Enqueuer
from livescore.jobs.queue import RETRY_SECONDS, Worker
from livescore.redis_clients import rq_client
from livescore.settings import Settings, load
from tests.support.command import Command
from tests.support.deployments import deployment_of
from tests.support.jobs import soon
from tests.support.service import Kind, Start, eventually


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return load(database_url=database_url, redis_url=redis_url)


@pytest.fixture
def deployment(database_url: str) -> Deployment:
    return deployment_of(database_url)


def fail(*_: object) -> None:
    raise RuntimeError("the disk is full")


@pytest.fixture
def failed(settings: Settings, deployment: Deployment, redis_client: redis.Redis) -> None:
    """A failed job, and one that is planned."""
    connection = rq_client(settings, wait=1)
    enqueuer = Enqueuer(connection, deployment)
    enqueuer.enqueue([JobCall("retention", (), "old-rows")])
    redis_client.hset(RqJob.key_for(deployment.job_id("old-rows")), "number_of_retries", len(RETRY_SECONDS))
    Worker(connection, deployment, queues.RETENTION, 1, fail).run_next()
    enqueuer.enqueue([JobCall("retention", (), "later", at=soon(1000))])


@pytest.mark.usefixtures("failed")
async def test_command_lists_and_retries_jobs(forked: Command, settings: Settings) -> None:
    variables = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "COLUMNS": "200",
    }
    listed = await forked("jobs", **variables)
    assert listed.returncode == 0, listed.stderr
    for text in ("old-rows", "failed", "RuntimeError: the disk is full", "later", "planned", "retention()"):
        assert text in listed.stdout
    unknown = await forked("jobs", "retry", "match-7", **variables)
    assert (unknown.returncode, "there is no failed job of this id" in unknown.stderr) == (1, True)
    retried = await forked("jobs", "retry", "--all", **variables)
    assert (retried.returncode, retried.stdout) == (0, "retried old-rows\n")
    listed = await forked("jobs", **variables)
    assert "queued" in listed.stdout
    assert "failed" not in listed.stdout


async def test_command_says_that_redis_is_away(forked: Command, database_url: str) -> None:
    done = await forked("jobs", DATABASE_URL=database_url, REDIS_URL="redis://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("livescore jobs: Redis is away")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["worker", "scheduler"])
async def test_management_port_reports_the_queues(start: Start, kind: Kind) -> None:
    service = await start(kind)
    async with httpx.AsyncClient(base_url=service.management_url, timeout=10) as http:
        await service.logged("deployment identified")
        answer = await http.get("/jobs")
        assert answer.status_code == 200
        queues_ = answer.json()["queues"]
        assert [queue["name"] for queue in queues_] == [known.name for known in queues.QUEUES]
        assert queues_[0] == {"name": "transitions", "depth": 0, "oldestAgeSeconds": 0.0}
        assert 'livescore_queue_oldest_age_seconds{queue="webhooks"} 0.0' in (await http.get("/metrics")).text


async def test_management_port_reports_that_redis_is_away(start: Start) -> None:
    service = await start("worker", REDIS_URL="redis://127.0.0.1:1")
    await service.logged("deployment identified")
    async with httpx.AsyncClient(base_url=service.management_url, timeout=10) as http:
        answer = await http.get("/jobs")
        assert (answer.status_code, answer.json()["error"]) == (503, "Redis is away")
        assert "livescore_queue_depth{" not in (await http.get("/metrics")).text


async def test_dashboards_show_planned_jobs_of_a_running_service(
    start: Start, deployment: Deployment, redis_client: redis.Redis
) -> None:
    await start("scheduler")
    await start("worker")
    registry = f"rq:scheduled:{deployment.name('retention')}"
    await eventually(lambda: redis_client.zcard(registry) == 1)
    assert redis_client.sismember("rq:queues", f"rq:queue:{deployment.name('webhooks')}") == 1
