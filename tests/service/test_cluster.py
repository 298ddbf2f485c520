"""The service on a Redis Cluster: instances share events, transitions and limits; RQ is not used."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from livescore import broker as brokers
from livescore.broker import Subscription
from livescore.jobs.publisher import Publisher
from livescore.scores.feed import EVERYTHING, Event, channel, unpack
from livescore.security.limiter import Limiter
from livescore.settings import Settings, load
from tests.support import valkeys
from tests.support.clients import Message
from tests.support.delivery import DeliveryScenario
from tests.support.deployments import DEPLOYMENT, ORIGIN
from tests.support.service import Kind, Service, Start, instant

NEVER = "60"
"""Longer than the test: events arrive through Redis, not by polling the feed."""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[valkeys.Cluster]:
    async with valkeys.cluster(tmp_path / "cluster") as started:
        yield started


async def test_events_and_transitions_reach_the_sockets_of_another_instance(
    start: Start, cluster: valkeys.Cluster
) -> None:
    kinds: list[Kind] = ["api", "api", "worker", "scheduler"]
    one, two, worker, scheduler = await asyncio.gather(
        *(start(kind, REDIS_URL=cluster.url, AUDIT_INTERVAL_SECONDS=NEVER) for kind in kinds)
    )
    async with DeliveryScenario(one, two) as scenario:
        await scenario.writer.write(30)
        await scenario.assert_delivered(timeout=5)
        for match_id in [await _soon(one) for _ in range(4)]:  # most likely on both shards
            for watcher in scenario.watchers:
                await watcher.follow(match_id)
                await watcher.until_seq(match_id, 3)
            assert _statuses(watcher.events(match_id)) == ["live", "finished"]
    await _is_healthy(one)
    for process in (one, two, worker, scheduler):
        assert process.log.count("Redis is a cluster, which RQ cannot use") == 1
        assert "away" not in process.log


async def _soon(api: Service) -> int:
    match = await api.create_match(startTime=instant(2), endTime=instant(4))
    match_id: int = match["id"]
    return match_id


def _statuses(events: list[Message]) -> list[str]:
    return [event["data"]["newStatus"] for event in events if event["type"] == "match_status_changed"]


async def _is_healthy(api: Service) -> None:
    async with api.client() as http:
        assert (await http.get("/health")).json()["services"]["redis"] == "healthy"


def _settings(cluster: valkeys.Cluster, **overrides: str) -> Settings:
    return load(database_url="postgresql://localhost/x", redis_url=cluster.url, **overrides)


async def test_job_process_publishes_to_the_shard_of_each_channel(cluster: valkeys.Cluster) -> None:
    events = [Event.from_row(number, 2, "commentary", "{}", 0.0, "") for number in range(1, 21)]
    # A batch that times out is dropped, so the time-out must be longer than a busy machine takes.
    broker = brokers.create(_settings(cluster, redis_timeout_seconds="30"))
    try:
        async with broker.subscription() as subscription:
            names = [EVERYTHING, *(channel(event.match_id) for event in events)]
            await subscription.connect(map(DEPLOYMENT.name, names))
            received = asyncio.create_task(_receive(subscription, 2 * len(events)))
            await Publisher(broker).send(events, ORIGIN)
            assert sorted(await asyncio.wait_for(received, 60)) == sorted([event.match_id for event in events] * 2)
    finally:
        await broker.close()


async def _receive(subscription: Subscription, count: int) -> list[int]:
    received: list[int] = []
    async for payload in subscription:
        received.append(unpack(payload)[1].match_id)
        if len(received) == count:
            break
    return received


async def test_instances_share_one_rate_limit(start: Start, cluster: valkeys.Cluster) -> None:
    limits = {"SECURITY_MODE": "LIVE", "HTTP_LIMIT": "40 per 60 seconds"}
    one, two = await asyncio.gather(*(start("api", ready=False, REDIS_URL=cluster.url, **limits) for _ in range(2)))
    await asyncio.gather(one.logged("Uvicorn running"), two.logged("Uvicorn running"))
    statuses: list[int] = []
    async with one.client() as first, two.client() as second:
        for _ in range(30):
            statuses += [(await http.get("/matches")).status_code for http in (first, second)]
    assert statuses.count(200) == 40
    assert statuses[-10:] == [429] * 10


async def test_rate_limits_hold_when_a_shard_is_down(cluster: valkeys.Cluster) -> None:
    limiter = Limiter(
        _settings(cluster, http_limit="20 per 60 seconds", redis_timeout_seconds="0.5"), lambda: DEPLOYMENT
    )
    await cluster.nodes[1].kill()
    for address in ("a", "b", "c"):
        allowed = [(await limiter.hit("http", address)).allowed for _ in range(25)]
        assert allowed == [True] * 20 + [False] * 5
    await limiter.close()
