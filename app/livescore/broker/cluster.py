"""Sharded pub/sub on a Redis Cluster: each channel lives on the shard of its slot.

Plain pub/sub would send every message to every node of the cluster. redis-py knows the slots and publishes; the reader
is our own, because redis-py's ``ClusterPubSub`` (asyncio, 8.1) does not fit:

- It polls the shards one after the other, so a message waits for the time-outs of all other shards. On two shards the
  median delay was 288 ms with a time-out of 1 s and 8.5 ms with one of 10 ms, and polling without a time-out cost nine
  times as much CPU. One reading task per shard delivers in 0.4 ms.
- After a broken connection it raises once, then subscribes again silently. What was published meanwhile would go
  unnoticed until the next audit; here a broken connection ends the subscription, and its user compares at once.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import RedisCluster

from livescore import redis_clients
from livescore.broker.protocol import BrokerAway, answers, translated_errors
from livescore.broker.server import PubSubSubscription
from livescore.redis_clients import AWAY
from livescore.redis_url import Address
from livescore.settings import Settings


class ShardedSubscription:
    """Implements :class:`livescore.broker.Subscription` with one connection per shard.

    A channel that moves to another shard ends it: the user then opens a new one, which reads the slots again.

    Args:
        settings: Settings of this process.
        cluster: Client that knows the slots.
        stack: Closes the connections at the end of the subscription.
    """

    def __init__(self, settings: Settings, cluster: RedisCluster, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._cluster = cluster
        self._stack = stack
        self._shards: dict[Address, PubSubSubscription] = {}
        self._payloads: asyncio.Queue[bytes | BrokerAway] = asyncio.Queue()
        self._readers: list[asyncio.Task[None]] = []

    async def connect(self, names: Iterable[str]) -> None:
        groups: dict[Address, list[str]] = defaultdict(list)
        for name in names:
            groups[self._address(name)].append(name)
        for address, group in groups.items():
            await self._shard(address).connect(group)

    async def add(self, name: str) -> None:
        address = self._address(name)
        if address in self._shards:
            await self._shards[address].add(name)
            return
        shard = self._shard(address)
        await shard.connect([name])
        self._start_reading(shard)

    async def remove(self, name: str) -> None:
        shard = self._shards.get(self._address(name))
        if shard is not None:
            await shard.remove(name)

    def leave(self, reason: str) -> None:
        for shard in self._shards.values():
            shard.leave(reason)

    def holds(self, name: str) -> bool:
        return any(shard.holds(name) for shard in self._shards.values())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the payloads of all shards; the first shard that is away ends the iteration."""
        for shard in self._shards.values():
            self._start_reading(shard)
        while True:
            payload = await self._payloads.get()
            if isinstance(payload, BrokerAway):
                raise payload
            yield payload

    def stop_reading(self) -> None:
        """Cancel the reading tasks."""
        for reader in self._readers:
            reader.cancel()

    def _address(self, name: str) -> Address:
        """Return the address of the primary that serves a channel.

        Raises:
            BrokerAway: No shard serves the slot of the channel.
        """
        with translated_errors():
            node = self._cluster.get_node_from_key(name)
            if node is None:
                raise BrokerAway("no shard of the cluster serves a channel")
            return str(node.host), int(node.port)

    def _shard(self, address: Address) -> PubSubSubscription:
        if address not in self._shards:
            client = redis_clients.pubsub_client(self._settings, node=address)
            self._stack.push_async_callback(_close, client)
            pubsub = client.pubsub()
            self._stack.push_async_callback(_close, pubsub)
            self._shards[address] = PubSubSubscription(pubsub, self._settings.redis_timeout_seconds, sharded=True)
        return self._shards[address]

    def _start_reading(self, shard: PubSubSubscription) -> None:
        self._readers.append(asyncio.create_task(self._forward(shard)))

    async def _forward(self, shard: PubSubSubscription) -> None:
        try:
            async for payload in shard:
                self._payloads.put_nowait(payload)
        except BrokerAway as error:
            self._payloads.put_nowait(error)


async def _close(connection: Redis | PubSub) -> None:
    with suppress(*AWAY):
        await connection.aclose()


class ClusterBroker:
    """Implements :class:`livescore.broker.Broker` for a Redis Cluster."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timeout = settings.redis_timeout_seconds
        self._client = redis_clients.cluster_client(settings)

    async def close(self) -> None:
        await redis_clients.close(self._client)

    async def publish(self, messages: list[tuple[str, bytes]]) -> None:
        with translated_errors():
            async with asyncio.timeout(self._timeout):
                pipeline = self._client.pipeline()
                for name, payload in messages:
                    pipeline.execute_command("SPUBLISH", name, payload)
                await pipeline.execute()

    async def ping(self) -> bool:
        return await answers(self._client, self._timeout)

    @asynccontextmanager
    async def subscription(self) -> AsyncIterator[ShardedSubscription]:
        async with AsyncExitStack() as stack:
            # A client of its own for each subscription reads the present slots.
            cluster = redis_clients.cluster_client(self._settings)
            stack.push_async_callback(redis_clients.close, cluster)
            with translated_errors():
                async with asyncio.timeout(self._timeout):
                    await cluster.initialize()
            subscription = ShardedSubscription(self._settings, cluster, stack)
            stack.callback(subscription.stop_reading)
            yield subscription
