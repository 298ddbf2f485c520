"""A Redis Cluster as a broker: sharded pub/sub, each channel on the shard of its slot.

Plain pub/sub would send every event to every node of the cluster. A channel that moves to another shard ends the
subscription; its owner subscribes anew with the new slots and finds in the feed what was said meanwhile.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import redis.asyncio as redis
from redis.crc import key_slot

from livescore.live.broker import FAULTS, BrokerAway, Subscription, away, client
from livescore.redis_url import Address, RedisUrl


class Shards:
    """Which node has a channel, as the cluster told it last; one plain client per node."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = RedisUrl.parse(url)
        self._timeout = timeout
        self._clients: dict[Address, redis.Redis] = {}
        self._slots: list[tuple[int, int, Address]] = []

    async def close(self) -> None:
        """Give the connections back."""
        for connected in self._clients.values():
            with suppress(*FAULTS):
                await connected.aclose()

    def client(self, address: Address) -> redis.Redis:
        """The client of a node."""
        if address not in self._clients:
            self._clients[address] = client(self._url.node(address), self._timeout)
        return self._clients[address]

    async def refresh(self) -> None:
        """Ask any node that answers which shard has which slots."""
        for address in dict.fromkeys([*self._url.addresses, *self._clients]):
            with suppress(*FAULTS):
                self._slots = _slots(await _ask_slots(self.client(address)), address[0])
                return
        raise BrokerAway("no node of the cluster answers")

    async def of(self, name: str) -> Address:
        """The primary that has this channel."""
        if not self._slots:
            await self.refresh()
        slot = key_slot(name.encode())
        for first, last, address in self._slots:
            if first <= slot <= last:
                return address
        raise BrokerAway(f"the cluster serves no slot {slot}")

    async def group(self, names: Iterable[str]) -> dict[Address, list[str]]:
        """The channels by their shard."""
        groups: dict[Address, list[str]] = defaultdict(list)
        for name in names:
            groups[await self.of(name)].append(name)
        return groups

    def forget(self) -> None:
        """Ask again before the next use."""
        self._slots = []


async def _ask_slots(node: redis.Redis) -> list[list[object]]:
    reply: list[list[object]] = await node.execute_command("CLUSTER SLOTS")
    return reply


def _slots(reply: list[list[object]], asked: str) -> list[tuple[int, int, Address]]:
    """The ranges of a ``CLUSTER SLOTS`` reply; a node that does not name its host is the one that was asked."""
    return [(int(str(first)), int(str(last)), _address(primary, asked)) for first, last, primary, *_ in reply]


def _address(primary: object, asked: str) -> Address:
    if not isinstance(primary, (list, tuple)):
        raise BrokerAway("CLUSTER SLOTS cannot be read")
    host = primary[0].decode() if isinstance(primary[0], bytes) else primary[0]
    return str(host or asked), int(primary[1])


class ShardedSubscription:
    """One :class:`Subscription` per shard, read as one."""

    def __init__(self, shards: Shards, stack: AsyncExitStack, timeout: float) -> None:
        self._shards = shards
        self._stack = stack
        self._timeout = timeout
        self._parts: dict[Address, Subscription] = {}
        self._payloads: asyncio.Queue[bytes | BrokerAway] = asyncio.Queue()
        self._readers: list[asyncio.Task[None]] = []

    async def connect(self, names: Iterable[str]) -> None:
        """Subscribe to all names and wait for every acknowledgement, before anybody reads."""
        for address, group in (await self._shards.group(names)).items():
            await self._part(address).connect(group)

    async def add(self, name: str) -> None:
        """Subscribe to one more while somebody reads."""
        address = await self._shards.of(name)
        if address in self._parts:
            await self._parts[address].add(name)
            return
        part = self._part(address)
        await part.connect([name])
        self._read(part)

    async def remove(self, name: str) -> None:
        """Unsubscribe."""
        part = self._parts.get(await self._shards.of(name))
        if part is not None:
            await part.remove(name)

    def leave(self, reason: str) -> None:
        """End the subscription with :class:`BrokerAway`, within the time-out."""
        for part in self._parts.values():
            part.leave(reason)

    def holds(self, name: str) -> bool:
        """Whether Redis has acknowledged this channel."""
        return any(part.holds(name) for part in self._parts.values())

    def _part(self, address: Address) -> Subscription:
        if address not in self._parts:
            pubsub = self._shards.client(address).pubsub()
            self._stack.push_async_callback(_close, pubsub)
            self._parts[address] = Subscription(pubsub, self._timeout, sharded=True)
        return self._parts[address]

    def _read(self, part: Subscription) -> None:
        self._readers.append(asyncio.create_task(self._pass_on(part)))

    async def _pass_on(self, part: Subscription) -> None:
        try:
            async for payload in part:
                self._payloads.put_nowait(payload)
        except BrokerAway as error:
            self._payloads.put_nowait(error)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The payloads of all shards; the first shard that is away ends it."""
        for part in self._parts.values():
            self._read(part)
        while True:
            payload = await self._payloads.get()
            if isinstance(payload, BrokerAway):
                raise payload
            yield payload

    def stop(self) -> None:
        """Read no more."""
        for reader in self._readers:
            reader.cancel()


async def _close(pubsub: redis.client.PubSub) -> None:
    with suppress(*FAULTS):
        await pubsub.aclose()


class ClusterBroker:
    """The Redis Cluster of this process; like :class:`livescore.live.broker.Broker`."""

    def __init__(self, url: str, timeout: float) -> None:
        self._timeout = timeout
        self._shards = Shards(url, timeout)

    async def close(self) -> None:
        """Give the connections back."""
        await self._shards.close()

    async def publish(self, messages: list[tuple[str, bytes]]) -> None:
        """Publish all messages, those of one shard in one round trip and in order.

        Raises:
            BrokerAway: when a shard is away or has moved; some messages may have been heard.
        """
        try:
            async with asyncio.timeout(self._timeout):
                groups = await self._shards.group(name for name, _ in messages)
                for address, names in groups.items():
                    await self._publish(address, [message for message in messages if message[0] in names])
        except (*FAULTS, BrokerAway) as error:
            self._shards.forget()
            raise BrokerAway(str(error) or type(error).__name__) from error

    async def _publish(self, address: Address, messages: list[tuple[str, bytes]]) -> None:
        async with self._shards.client(address).pipeline(transaction=False) as pipeline:
            for name, payload in messages:
                pipeline.execute_command("SPUBLISH", name, payload)
            await pipeline.execute()

    async def ping(self) -> bool:
        """Whether the cluster answers in time."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._shards.refresh()
        except (*FAULTS, BrokerAway):
            return False
        return True

    @asynccontextmanager
    async def subscription(self) -> AsyncIterator[ShardedSubscription]:
        """Pub/sub connections of their own for the length of a block."""
        with away():
            await self._shards.refresh()
        async with AsyncExitStack() as stack:
            subscription = ShardedSubscription(self._shards, stack, self._timeout)
            try:
                yield subscription
            finally:
                subscription.stop()
