"""Sharded pub/sub on a real Valkey in cluster mode."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from livescore import broker as brokers
from livescore.broker import BrokerAway, Subscription
from livescore.scores.feed import EVERYBODY, channel
from livescore.settings import Settings, load
from tests.support import valkeys


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[valkeys.Cluster]:
    async with valkeys.cluster(tmp_path) as started:
        yield started


def _settings(cluster: valkeys.Cluster, redis_timeout_seconds: str = "2") -> Settings:
    return load(
        database_url="postgresql://localhost/x", redis_url=cluster.url, redis_timeout_seconds=redis_timeout_seconds
    )


async def _receive(subscription: Subscription, count: int, received: list[bytes]) -> None:
    async for payload in subscription:
        received.append(payload)
        if len(received) == count:
            return


async def test_events_reach_subscribers_on_both_shards(cluster: valkeys.Cluster) -> None:
    broker = brokers.create(_settings(cluster))
    names = [EVERYBODY, *(channel(number) for number in range(1, 21))]
    received: list[bytes] = []
    async with broker.subscription() as subscription:
        await subscription.connect(names[:10])
        reader = asyncio.create_task(_receive(subscription, len(names), received))
        for name in names[10:]:
            await subscription.add(name)
        assert all(subscription.holds(name) for name in names)
        await broker.publish([(name, name.encode()) for name in names])
        await asyncio.wait_for(reader, 5)
    assert sorted(received) == sorted(name.encode() for name in names)
    await broker.close()


async def test_death_of_a_shard_ends_the_subscription(cluster: valkeys.Cluster) -> None:
    broker = brokers.create(_settings(cluster, redis_timeout_seconds="0.5"))
    async with broker.subscription() as subscription:
        await subscription.connect([channel(number) for number in range(1, 21)])
        await cluster.nodes[1].kill()
        with pytest.raises(BrokerAway):
            await asyncio.wait_for(_receive(subscription, 1, []), 5)
    await broker.close()
