"""Redis or Valkey as a broker: publish, and a subscription that says when it holds."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import redis.asyncio as redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from livescore.redis_driver import PrimaryPool
from livescore.redis_url import RedisUrl


class BrokerAway(Exception):
    """Redis cannot be reached or did not answer in time."""


# How often Sentinel is asked whether the primary is still the same.
PRIMARY_SECONDS = 1.0

FAULTS = (RedisError, OSError, TimeoutError, asyncio.IncompleteReadError)


@contextmanager
def away() -> Iterator[None]:
    """Whatever the driver raises because Redis is away is one error here."""
    try:
        yield
    except FAULTS as error:
        raise BrokerAway(str(error) or type(error).__name__) from error


class Subscription:
    """One pub/sub connection; it never reconnects by itself, because only its owner knows what was missed."""

    def __init__(self, pubsub: Any, timeout: float, *, sharded: bool = False) -> None:
        self._pubsub = pubsub
        # Names of one SSUBSCRIBE must share a slot, so each goes alone.
        self._sharded = sharded
        self._subscribe = pubsub.ssubscribe if sharded else pubsub.subscribe
        self._unsubscribe = pubsub.sunsubscribe if sharded else pubsub.unsubscribe
        self._timeout = timeout
        self._acknowledged: dict[str, asyncio.Future[None]] = {}
        self._held: set[str] = set()
        self._early: list[bytes] = []
        # Commands go out in the order in which they were asked for, or a late UNSUBSCRIBE undoes a SUBSCRIBE.
        self._order = asyncio.Lock()
        self._left = ""

    def leave(self, reason: str) -> None:
        """End it with :class:`BrokerAway`, within the time-out."""
        self._left = reason

    async def connect(self, names: Iterable[str]) -> None:
        """Subscribe to all names and wait for every acknowledgement, before anybody reads.

        Raises:
            BrokerAway: when Redis does not acknowledge in time.
        """
        missing = set(names) - self._held
        if not missing:
            return
        with away():
            async with asyncio.timeout(self._timeout + len(missing) / 1000):
                for group in [[name] for name in missing] if self._sharded else [missing]:
                    await self._subscribe(*group)
                while missing - self._held:
                    payload = self._note(await self._pubsub.parse_response(block=True))
                    if payload is not None:
                        self._early.append(payload)

    async def add(self, name: str) -> None:
        """Subscribe to one more while somebody reads, and wait for the acknowledgement."""
        with away():
            async with asyncio.timeout(self._timeout):
                async with self._order:
                    if name in self._held:
                        return
                    done = self._acknowledged.setdefault(name, asyncio.get_running_loop().create_future())
                    await self._subscribe(name)
                await asyncio.shield(done)

    async def remove(self, name: str) -> None:
        """Unsubscribe."""
        with away():
            async with asyncio.timeout(self._timeout), self._order:
                self._held.discard(name)
                await self._unsubscribe(name)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The payloads, for ever.

        Raises:
            BrokerAway: when the connection is lost, or silent although it was asked.
        """
        while True:
            while self._early:
                yield self._early.pop(0)
            payload = self._note(await self._next())
            if payload is not None:
                yield payload

    async def _next(self) -> Any:
        """The next reply; a connection that is silent is asked once whether it lives."""
        for asked in (False, True):
            if self._left:
                raise BrokerAway(self._left)
            with away():
                response = await self._pubsub.parse_response(block=False, timeout=self._timeout)
                if response is not None:
                    return response
                if not asked:
                    await self._pubsub.ping()
        raise BrokerAway("no answer to PING")

    def _note(self, response: Any) -> bytes | None:
        """Keep the books of subscriptions; an event's payload is what the caller wants."""
        if not isinstance(response, (list, tuple)):
            return None
        kind = response[0]
        if kind in (b"message", b"smessage"):
            payload: bytes = response[2]
            return payload
        if kind in (b"subscribe", b"ssubscribe"):
            name = response[1].decode()
            self._held.add(name)
            done = self._acknowledged.pop(name, None)
            if done is not None and not done.done():
                done.set_result(None)
        elif kind == b"sunsubscribe" and response[1].decode() in self._held:
            raise BrokerAway("the cluster moved a channel to another shard")
        return None

    def holds(self, name: str) -> bool:
        """Whether Redis has acknowledged this channel."""
        return name in self._held


def client(url: str, timeout: float) -> redis.Redis:
    """A client that fails at once instead of retrying: its users know better what to do meanwhile."""
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "livescore",
        # RESP2 hands every pub/sub reply to the reader, acknowledgements included; RESP3 keeps some for handlers.
        "protocol": 2,
    }
    # A peer that vanished is found by TCP keep-alive; a Unix socket has no such option.
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    parsed = RedisUrl.parse(url)
    if parsed.kind == "sentinel":
        return redis.Redis.from_pool(PrimaryPool(parsed, timeout, **options))
    return redis.Redis.from_url(url, **options)


class Broker:
    """The Redis of this process.

    Args:
        url: a ``REDIS_URL`` of one server or of one behind Sentinel.
        timeout: seconds that one command may take.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._timeout = timeout
        self.client = client(url, timeout)

    async def close(self) -> None:
        """Give the connections back."""
        with suppress(*FAULTS):
            await self.client.aclose()

    async def publish(self, messages: list[tuple[str, bytes]]) -> None:
        """Publish all messages in one round trip, in order.

        Raises:
            BrokerAway: when Redis is away; some of them may have been heard.
        """
        with away():
            async with asyncio.timeout(self._timeout), self.client.pipeline(transaction=False) as pipeline:
                for name, payload in messages:
                    pipeline.publish(name, payload)
                await pipeline.execute()

    async def ping(self) -> bool:
        """Whether Redis answers in time."""
        try:
            async with asyncio.timeout(self._timeout):
                await self.client.ping()
        except FAULTS:
            return False
        return True

    @asynccontextmanager
    async def subscription(self) -> AsyncIterator[Subscription]:
        """A pub/sub connection of its own for the length of a block."""
        pubsub = self.client.pubsub()
        subscription = Subscription(pubsub, self._timeout)
        watch = asyncio.create_task(self._watch_primary(pubsub, subscription))
        try:
            yield subscription
        finally:
            watch.cancel()
            with suppress(*FAULTS):
                await pubsub.aclose()

    async def _watch_primary(self, pubsub: Any, subscription: Subscription) -> None:
        """Leave a primary that lives on when Sentinel has chosen another: it demotes the old one seconds later."""
        pool = self.client.connection_pool
        while isinstance(pool, PrimaryPool):
            await asyncio.sleep(PRIMARY_SECONDS)
            with suppress(*FAULTS):
                chosen, held = await pool.get_master_address(), pubsub.connection
                if held is not None and chosen != (held.host, held.port):
                    subscription.leave("Sentinel has chosen another primary")
