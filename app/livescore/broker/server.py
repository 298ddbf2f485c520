"""Pub/sub on one server: a standalone Redis, or the primary behind Sentinel."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from livescore import redis_clients
from livescore.broker.protocol import BrokerAway, answers, translated_errors
from livescore.redis_clients import AWAY, PrimaryPool
from livescore.settings import Settings

# Seconds between two checks that Sentinel still names the same primary.
PRIMARY_CHECK_SECONDS = 1.0

# Acknowledgements per second that Redis sends at least: many channels get more time than one.
_ACKNOWLEDGEMENTS_PER_SECOND = 1000


class PubSubSubscription:
    """Implements :class:`livescore.broker.Subscription` on one connection.

    Args:
        pubsub: redis-py's object for one connection, which nothing else uses.
        timeout: Seconds within which Redis must answer.
        sharded: Use SSUBSCRIBE, for channels that belong to a shard of a cluster.
    """

    def __init__(self, pubsub: Any, timeout: float, *, sharded: bool = False) -> None:
        self._pubsub = pubsub
        self._sharded = sharded
        self._subscribe = pubsub.ssubscribe if sharded else pubsub.subscribe
        self._unsubscribe = pubsub.sunsubscribe if sharded else pubsub.unsubscribe
        self._timeout = timeout
        self._pending: dict[str, asyncio.Future[None]] = {}
        self._acknowledged: set[str] = set()
        # Payloads that arrived while connect() waited for acknowledgements.
        self._early: list[bytes] = []
        # Commands are sent in the order of the calls, or a late UNSUBSCRIBE would undo a SUBSCRIBE.
        self._command_order = asyncio.Lock()
        self._leave_reason = ""

    def leave(self, reason: str) -> None:
        self._leave_reason = reason

    def holds(self, name: str) -> bool:
        return name in self._acknowledged

    async def connect(self, names: Iterable[str]) -> None:
        missing = set(names) - self._acknowledged
        if not missing:
            return
        with translated_errors():
            async with asyncio.timeout(self._timeout + len(missing) / _ACKNOWLEDGEMENTS_PER_SECOND):
                # The channels of one SSUBSCRIBE must share a slot, so each gets a command of its own.
                for group in [[name] for name in missing] if self._sharded else [missing]:
                    await self._subscribe(*group)
                while missing - self._acknowledged:
                    payload = self._process_reply(await self._pubsub.parse_response(block=True))
                    if payload is not None:
                        self._early.append(payload)

    async def add(self, name: str) -> None:
        with translated_errors():
            async with asyncio.timeout(self._timeout):
                async with self._command_order:
                    if name in self._acknowledged:
                        return
                    acknowledged = self._pending.setdefault(name, asyncio.get_running_loop().create_future())
                    await self._subscribe(name)
                await asyncio.shield(acknowledged)

    async def remove(self, name: str) -> None:
        with translated_errors():
            async with asyncio.timeout(self._timeout), self._command_order:
                self._acknowledged.discard(name)
                await self._unsubscribe(name)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._early:
                yield self._early.pop(0)
            payload = self._process_reply(await self._next_reply())
            if payload is not None:
                yield payload

    async def _next_reply(self) -> Any:
        """Wait for the next reply. After a time-out without one, send PING and wait once more.

        Raises:
            BrokerAway: The connection is lost, PING was not answered, or :meth:`leave` was called.
        """
        for pinged in (False, True):
            if self._leave_reason:
                raise BrokerAway(self._leave_reason)
            with translated_errors():
                reply = await self._pubsub.parse_response(block=False, timeout=self._timeout)
                if reply is not None:
                    return reply
                if not pinged:
                    await self._pubsub.ping()
        raise BrokerAway("no answer to PING")

    def _process_reply(self, reply: Any) -> bytes | None:
        """Note an acknowledgement, or return the payload of a message."""
        if not isinstance(reply, (list, tuple)):
            return None
        kind = reply[0]
        if kind in (b"message", b"smessage"):
            payload: bytes = reply[2]
            return payload
        if kind in (b"subscribe", b"ssubscribe"):
            name = reply[1].decode()
            self._acknowledged.add(name)
            waiting = self._pending.pop(name, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        elif kind == b"sunsubscribe" and reply[1].decode() in self._acknowledged:
            raise BrokerAway("the cluster moved a channel to another shard")
        return None


class ServerBroker:
    """Implements :class:`livescore.broker.Broker` for one server, or for one behind Sentinel."""

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.redis_timeout_seconds
        self._client = redis_clients.pubsub_client(settings)

    async def close(self) -> None:
        with suppress(*AWAY):
            await self._client.aclose()

    async def publish(self, messages: list[tuple[str, bytes]]) -> None:
        with translated_errors():
            async with asyncio.timeout(self._timeout), self._client.pipeline(transaction=False) as pipeline:
                for name, payload in messages:
                    pipeline.publish(name, payload)
                await pipeline.execute()

    async def ping(self) -> bool:
        return await answers(self._client, self._timeout)

    @asynccontextmanager
    async def subscription(self) -> AsyncIterator[PubSubSubscription]:
        pubsub = self._client.pubsub()
        subscription = PubSubSubscription(pubsub, self._timeout)
        primary_check = asyncio.create_task(self._leave_former_primary(pubsub, subscription))
        try:
            yield subscription
        finally:
            primary_check.cancel()
            with suppress(*AWAY):
                await pubsub.aclose()

    async def _leave_former_primary(self, pubsub: Any, subscription: PubSubSubscription) -> None:
        """End the subscription when Sentinel names another primary: the former one may live on for seconds."""
        pool = self._client.connection_pool
        while isinstance(pool, PrimaryPool):
            await asyncio.sleep(PRIMARY_CHECK_SECONDS)
            with suppress(*AWAY):
                primary, connection = await pool.get_master_address(), pubsub.connection
                if connection is not None and primary != (connection.host, connection.port):
                    subscription.leave("Sentinel has chosen another primary")
