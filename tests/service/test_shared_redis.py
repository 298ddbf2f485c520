"""Services of different databases that share a Redis are isolated from each other."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from livescore.deployment import Deployment, Origin
from livescore.jobs.queue import Job, queue
from livescore.jobs.queues import TRANSITIONS
from livescore.jobs.scheduler import Scheduler
from livescore.jobs.transition_jobs import Plan, TransitionJobs
from livescore.redis_clients import rq_client
from livescore.scores import feed
from livescore.scores.feed import Event
from livescore.settings import load
from tests.chaos.test_delivery_restore import postgres_program
from tests.support.clients import Listener
from tests.support.delivery import TimingListener, Writer, assert_same_events
from tests.support.deployments import DEPLOYMENT, deployment_of, origin_of
from tests.support.jobs import soon
from tests.support.servers import Postgres, Valkey
from tests.support.service import Kind, Service, Start, eventually, instant

DOCS = Path(__file__).parents[2] / "docs"

NEVER = "60"
"""Longer than the test: events arrive through Redis, not by polling the feed."""

FOREIGN = re.compile(r'^livescore_foreign_messages_total\{reason="(\w+)"\} (\S+)$', re.MULTILINE)

COMMON_KEYS = {"rq:queues", "rq:workers"}
"""RQ's lists of queue and worker names; the names themselves are specific to a deployment."""


@pytest.fixture
def other_database_url(postgres_server: Postgres) -> Iterator[str]:
    """A second migrated database."""
    name = postgres_server.create_database()
    yield postgres_server.url_of(name)
    postgres_server.drop_database(name)


@pytest.fixture
def copied_database_url(postgres_server: Postgres, database_url: str) -> Iterator[str]:
    """A copy of ``database_url``, like a copy of production data for staging."""
    name = "copied"
    with closing(psycopg.connect(database_url)) as connection:
        source = connection.info.dbname
    postgres_server.copy_database(source, name)
    yield postgres_server.url_of(name)
    postgres_server.drop_database(name)


@dataclass
class CompleteService:
    """A complete service with a client for every kind of subscription."""

    api: Service
    others: list[Service]
    watcher: TimingListener
    everything: TimingListener

    @property
    def writer(self) -> Writer:
        return Writer([self.api], 1)

    async def assert_delivered(self, match_id: int, seq: int) -> None:
        """Assert that every client received exactly the feed of this service's match."""
        for watcher in (self.watcher, self.everything):
            await watcher.until_seq(match_id, seq)
        async with self.api.client() as http:
            events = (await http.get(f"/matches/{match_id}/events", params={"limit": 1000})).json()["data"]
        for watcher in (self.watcher, self.everything):
            assert_same_events(watcher.events(match_id), events)


@asynccontextmanager
async def complete_service(
    start: Start, database_url: str, redis_url: str, **environment: str
) -> AsyncIterator[CompleteService]:
    kinds: tuple[Kind, ...] = ("api", "worker", "scheduler")
    variables = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "AUDIT_INTERVAL_SECONDS": NEVER, **environment}
    api, *others = await asyncio.gather(*(start(kind, ready=True, **variables) for kind in kinds))
    for service in (api, *others):
        await service.logged("deployment identified")
    await eventually(lambda: httpx.get(f"{api.base_url}/health", verify=False).is_success)
    async with TimingListener(api.ws_url) as watcher, TimingListener(f"{api.ws_url}?all=1") as everything:
        yield CompleteService(api, others, watcher, everything)


async def dropped_messages(api: Service) -> dict[str, float]:
    """Return the numbers of messages that an API dropped, by reason."""
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"{api.management_url}/metrics")).text
    return {reason: float(count) for reason, count in FOREIGN.findall(text)}


def keys(client: redis.Redis) -> set[str]:
    return {key.decode() for key in client.scan_iter()}


def channels(client: redis.Redis) -> set[str]:
    names: list[bytes] = client.execute_command("PUBSUB", "CHANNELS")
    return {name.decode() for name in names}


async def write_together(services: list[CompleteService], count: int) -> None:
    """Let each service create a match with the same id and write to it at the same time."""
    matches = [(await service.api.create_match(homeTeam=f"of {n}"))["id"] for n, service in enumerate(services)]
    assert matches == [1] * len(services)
    for service in services:
        await service.watcher.until_seq(1, 1)
        await service.watcher.follow(1)
    await asyncio.gather(*(service.writer.write(count) for service in services))
    for service in services:
        await service.assert_delivered(1, 1 + count)


async def assert_transitions(services: list[CompleteService]) -> None:
    for service in services:
        match_id = (await service.api.create_match(startTime=instant(1.2), endTime=instant(2)))["id"]
        await service.everything.until_seq(match_id, 3)
        said = [event.get("data", {}).get("newStatus") for event in service.everything.events(match_id)]
        assert said == [None, "live", "finished"]


@pytest.mark.parametrize("other_number", [0, 7])
async def test_two_services_on_one_redis_are_isolated(
    start: Start,
    database_url: str,
    other_database_url: str,
    redis_url: str,
    valkey_server: Valkey,
    redis_client: redis.Redis,
    other_number: int,
) -> None:
    async with AsyncExitStack() as stack:
        other_redis_url = valkey_server.server.url(other_number)
        services = [
            await stack.enter_async_context(complete_service(start, database_url, redis_url)),
            await stack.enter_async_context(complete_service(start, other_database_url, other_redis_url)),
        ]
        await write_together(services, 40)
        await assert_transitions(services)
        for service in services:
            assert await dropped_messages(service.api) == {}
            assert len(service.watcher.of_type("match_created")) == 2
        ids = [deployment_of(url).id for url in (database_url, other_database_url)]
        with redis.Redis.from_url(other_redis_url) as other_client:
            names = {*keys(redis_client), *keys(other_client), *channels(redis_client)} - COMMON_KEYS
        assert names
        assert [name for name in names if sum(id in name for id in ids) != 1] == []


async def test_copied_database_on_the_same_redis_does_not_reach_the_original_s_clients(
    start: Start, copied_database_url: str, database_url: str, redis_url: str
) -> None:
    one, two = origin_of(database_url), origin_of(copied_database_url)
    assert one.deployment == two.deployment
    assert one.epoch != two.epoch
    async with AsyncExitStack() as stack:
        services = [
            await stack.enter_async_context(complete_service(start, url, redis_url))
            for url in (database_url, copied_database_url)
        ]
        await write_together(services, 20)
        await assert_transitions(services)
        for service in services:
            dropped = await dropped_messages(service.api)
            assert set(dropped) == {"epoch"}
            assert dropped["epoch"] > 20


async def test_copy_with_its_own_prefix_shares_nothing(
    start: Start, copied_database_url: str, database_url: str, redis_url: str, redis_client: redis.Redis
) -> None:
    async with (
        complete_service(start, database_url, redis_url) as one,
        complete_service(start, copied_database_url, redis_url, REDIS_PREFIX="staging") as two,
    ):
        await write_together([one, two], 20)
        await assert_transitions([one, two])
        assert await dropped_messages(one.api) == await dropped_messages(two.api) == {}
        assert {name.partition(":")[0] for name in channels(redis_client)} == {"livescore", "staging"}
        id = deployment_of(database_url).id
        for name in keys(redis_client) - COMMON_KEYS:
            assert sum(f"{prefix}{mark}{id}" in name for prefix in ("livescore", "staging") for mark in ":-") == 1, name
        assert redis_client.sismember("rq:queues", f"rq:queue:staging:{id}:transitions")


async def test_a_foreign_envelope_is_dropped_and_counted(
    start: Start, database_url: str, redis_client: redis.Redis
) -> None:
    api = await start("api", AUDIT_INTERVAL_SECONDS=NEVER)
    await eventually(lambda: httpx.get(f"{api.base_url}/health", verify=False).is_success)
    ours = origin_of(database_url)
    match_id = (await api.create_match())["id"]
    async with Listener(api.ws_url) as listener, Listener(f"{api.ws_url}?all=1") as everything:
        await everything.next("subscribedAll")
        await listener.subscribe(match_id)
        event = Event.from_row(match_id, 2, "commentary", '{"message":"forged"}', 0.0, "")
        foreign_payloads = {
            "deployment": feed.pack(event, Origin(DEPLOYMENT, ours.epoch)),
            "epoch": feed.pack(event, Origin(ours.deployment, "0" * 12)),
            "malformed": b"another program",
        }
        for payload in foreign_payloads.values():
            for channel in (*feed.channels(event), feed.EVERYBODY):
                redis_client.publish(ours.deployment.name(channel), payload)
        async with asyncio.timeout(20):
            while await dropped_messages(api) != dict.fromkeys(foreign_payloads, 3.0):
                await asyncio.sleep(0.05)
        await api.comment(match_id, message="true")
        for each in (listener, everything):
            await each.until_seq(match_id, 2)
            assert [message["data"]["message"] for message in each.of_type("commentary")] == ["true"]


async def test_every_process_follows_a_change_of_deployment(
    start: Start, database_url: str, redis_url: str, redis_client: redis.Redis
) -> None:
    async with complete_service(start, database_url, redis_url, AUDIT_INTERVAL_SECONDS="0.2") as service:
        before = deployment_of(database_url)
        with closing(psycopg.connect(database_url, autocommit=True)) as connection:
            connection.execute("UPDATE catalog SET deployment = gen_random_uuid()")
        after = deployment_of(database_url)
        for process in (service.api, *service.others):
            await process.logged(after.namespace)
        await eventually(lambda: after.name(feed.EVERYBODY) in channels(redis_client))
        await eventually(lambda: not [name for name in channels(redis_client) if before.id in name])
        await write_together([service], 10)
        await assert_transitions([service])


def test_deployment_survives_a_dump_but_the_epoch_does_not(postgres_server: Postgres, database_url: str) -> None:
    before = origin_of(database_url)
    dump = subprocess.run(
        [postgres_program("pg_dump"), database_url], check=True, capture_output=True, timeout=60
    ).stdout
    postgres_server.server.create_database("restored")
    try:
        url = postgres_server.url_of("restored")
        subprocess.run(
            [postgres_program("psql"), "--quiet", url], input=dump, check=True, capture_output=True, timeout=60
        )
        after = origin_of(url)
    finally:
        postgres_server.drop_database("restored")
    assert after.deployment == before.deployment
    assert after.epoch != before.epoch


def test_separately_migrated_databases_are_different_deployments(database_url: str, other_database_url: str) -> None:
    assert deployment_of(database_url) != deployment_of(other_database_url)


# Jobs in Redis


@pytest.fixture
def others(database_url: str, redis_url: str) -> list[TransitionJobs]:
    """The jobs of two deployments in one Redis."""
    settings = load(database_url=database_url, redis_url=redis_url)
    deployments = [DEPLOYMENT, Deployment("livescore", "f" * 12)]
    return [TransitionJobs(rq_client(settings), deployment) for deployment in deployments]


def test_scheduler_ignores_jobs_of_other_deployments(
    database_url: str, redis_url: str, others: list[TransitionJobs], redis_client: redis.Redis
) -> None:
    one, two = others
    for jobs in others:
        jobs.write([Plan(7, "live", soon(-9), soon(-5))])
    settings = load(database_url=database_url, redis_url=redis_url)
    schedulers = [Scheduler(rq_client(settings), settings, jobs.deployment) for jobs in others]
    assert all(scheduler.lock.acquire(blocking=False) for scheduler in schedulers)
    schedulers[0].enqueue_due_jobs()
    assert one.known() == {}
    assert list(two.known()) == ["match-7-end"]
    assert [queue(redis_client, jobs.deployment, TRANSITIONS).count for jobs in others] == [1, 0]
    one.cancel(["match-7-end"])
    assert Job.exists(two.deployment.job_id("match-7-end"), connection=redis_client)


async def test_documented_redis_user_has_sufficient_permissions(
    start: Start, database_url: str, redis_url: str, redis_client: redis.Redis
) -> None:
    (rule,) = re.findall(r"^ACL SETUSER .*$", (DOCS / "operations.md").read_text(), re.MULTILINE)
    redis_client.execute_command(*rule.replace("ID", deployment_of(database_url).id).split())
    try:
        async with complete_service(
            start, database_url, redis_url.replace("unix://", "unix://livescore:password@")
        ) as service:
            await write_together([service], 10)
            await assert_transitions([service])
            for process in (service.api, *service.others):
                assert "away" not in process.log
                assert "permission" not in process.log
    finally:
        redis_client.acl_deluser("livescore")
