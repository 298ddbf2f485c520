"""The interface of a broker. One server, a primary behind Sentinel and a cluster look the same to their users."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Protocol

from livescore import redis_clients


class BrokerAway(Exception):
    """Redis is unreachable, did not answer in time or refused the command."""


class Subscription(Protocol):
    """A set of subscribed channels and their messages.

    It never reconnects by itself: only its user knows how to find out what was missed meanwhile. Every method raises
    :class:`BrokerAway` when Redis does not answer in time.
    """

    async def connect(self, names: Iterable[str]) -> None:
        """Subscribe to all names and wait for every acknowledgement. Call it before iterating."""

    async def add(self, name: str) -> None:
        """Subscribe to one more channel, while another task iterates, and wait for the acknowledgement."""

    async def remove(self, name: str) -> None:
        """Unsubscribe from a channel without waiting for the acknowledgement."""

    def holds(self, name: str) -> bool:
        """Return True if Redis has acknowledged this channel."""

    def leave(self, reason: str) -> None:
        """End the iteration with :class:`BrokerAway` within the time-out."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the payloads until the connection is lost or silent."""


class Broker(Protocol):
    """Publishes messages and opens subscriptions."""

    async def publish(self, messages: list[tuple[str, bytes]]) -> None:
        """Publish pairs of channel and payload, in order per channel.

        Raises:
            BrokerAway: Redis is away. Some of the messages may have been delivered.
        """

    async def ping(self) -> bool:
        """Return True if Redis answers in time."""

    def subscription(self) -> AbstractAsyncContextManager[Subscription]:
        """Open a subscription, with connections of its own, for the length of a block."""

    async def close(self) -> None:
        """Close the connections that are not part of a subscription."""


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise :class:`BrokerAway` in place of the driver's exceptions."""
    try:
        yield
    except redis_clients.AWAY as error:
        raise BrokerAway(str(error) or type(error).__name__) from error


async def answers(client: redis_clients.AnyClient, timeout: float) -> bool:
    """Return True if Redis answers a PING within ``timeout`` seconds."""
    try:
        async with asyncio.timeout(timeout):
            await redis_clients.ping(client)
    except redis_clients.AWAY:
        return False
    return True
