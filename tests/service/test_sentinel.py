"""The service behind Sentinel: Redis is healthy again seconds after a failover, and no event is lost or duplicated."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import httpx
import pytest

from livescore import broker as brokers
from livescore.broker import Broker, BrokerAway, Subscription
from livescore.redis_clients import rq_client
from livescore.security.limiter import Limiter
from livescore.settings import Settings, load
from tests.support import valkeys
from tests.support.delivery import MARGIN_SECONDS, DeliveryScenario
from tests.support.deployments import DEPLOYMENT
from tests.support.service import Kind, Service, Start, eventually, instant

FAILOVER_SECONDS = 5.0
"""After the primary's death: 0.5 s until Sentinel is sure, 1 to 2 s for its election, then our reconnection."""


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[valkeys.Watched]:
    async with valkeys.watched(tmp_path / "watched") as started:
        yield started


def _settings(watched: valkeys.Watched, **overrides: str) -> Settings:
    return load(database_url="postgresql://localhost/x", redis_url=watched.url, **overrides)


async def test_failover_delivers_each_event_once_and_redis_is_used_again(
    start: Start, watched: valkeys.Watched
) -> None:
    kinds: list[Kind] = ["api", "api", "worker", "scheduler"]
    one, two, worker, scheduler = await asyncio.gather(*(start(kind, REDIS_URL=watched.url) for kind in kinds))
    async with DeliveryScenario(one, two) as scenario:
        over = asyncio.Event()
        writing = asyncio.create_task(scenario.writer.write_until(over.is_set))
        await eventually(lambda: len(scenario.writer.acknowledged) > 10)
        await watched.primary.kill()
        killed = monotonic()
        await eventually(lambda: _redis(one) == _redis(two) == "unhealthy")
        await eventually(lambda: _redis(one) == _redis(two) == "healthy", 20)
        recovery = monotonic() - killed
        before = _relayed(two)
        await eventually(lambda: _relayed(two) > before + 5)
        over.set()
        await writing
        await scenario.assert_delivered()
        print(f"sentinel: redis healthy {recovery:.2f} s after its primary was killed")
        scenario.assert_delays_below("failover", 1.0)
        assert recovery < FAILOVER_SECONDS + MARGIN_SECONDS
        assert scenario.writer.refused == []
        await _transitions(scenario)
    for process in (worker, scheduler):
        await process.logged("server is back")
    assert await watched.primary_port() == watched.replica.port


async def _transitions(scenario: DeliveryScenario) -> None:
    match_id = (await scenario.one.create_match(startTime=instant(1), endTime=instant(3600)))["id"]
    watcher = scenario.watchers[1]
    await watcher.follow(match_id)
    await watcher.until_seq(match_id, 2)


def _redis(api: Service) -> str:
    state: str = httpx.get(f"{api.base_url}/health", verify=False).json()["services"]["redis"]
    return state


def _relayed(api: Service) -> float:
    metrics = httpx.get(f"{api.management_url}/metrics", verify=False).text
    (count,) = re.findall(r"^livescore_relay_lag_seconds_count (\S+)", metrics, re.MULTILINE)
    return float(count)


async def test_demoted_primary_ends_the_subscription(watched: valkeys.Watched) -> None:
    broker = brokers.create(_settings(watched, redis_timeout_seconds="2"))
    async with broker.subscription() as subscription:
        await subscription.connect(["channel"])
        async with watched.sentinel.client() as sentinel:
            await valkeys.until(lambda: sentinel.execute_command("SENTINEL", "FAILOVER", valkeys.SERVICE))
        with pytest.raises(BrokerAway):
            await asyncio.wait_for(_listen(subscription), 10)
    await valkeys.until(lambda: _receives_itself(broker))
    assert await watched.primary_port() == watched.replica.port
    await broker.close()


async def _listen(subscription: Subscription) -> None:
    async for _ in subscription:
        pass


async def _receives_itself(broker: Broker) -> bool:
    try:
        async with broker.subscription() as subscription:
            await subscription.connect(["channel"])
            await broker.publish([("channel", b"said")])
            async for payload in subscription:
                return payload == b"said"
    except BrokerAway:
        return False
    return False


async def test_rate_limits_are_shared_through_the_primary(watched: valkeys.Watched) -> None:
    settings = _settings(watched, http_limit="20 per 60 seconds")
    limiters = [Limiter(settings, lambda: DEPLOYMENT), Limiter(settings, lambda: DEPLOYMENT)]
    allowed = [(await each.hit("http", "a")).allowed for _ in range(20) for each in limiters]
    assert sum(allowed) == 20
    async with watched.primary.client() as client:
        assert await client.dbsize() == 1
    for each in limiters:
        await each.close()


async def test_servers_may_have_a_password_and_sentinels_none(watched: valkeys.Watched) -> None:
    async with watched.primary.client() as client:
        await client.config_set("requirepass", "s3cr3t")
    async with watched.sentinel.client() as sentinel:
        await sentinel.execute_command("SENTINEL", "SET", valkeys.SERVICE, "auth-pass", "s3cr3t")
    url = watched.url.replace("://", "://:s3cr3t@")
    settings = load(database_url="postgresql://localhost/x", redis_url=url, redis_timeout_seconds="2")
    broker = brokers.create(settings)
    await valkeys.until(broker.ping)
    await broker.close()
    with rq_client(settings) as client:
        await valkeys.until(lambda: asyncio.to_thread(client.ping))
