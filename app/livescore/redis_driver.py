"""Sentinel's and cluster's URLs for redis-py, with asyncio and in threads.

The Sentinels are asked for the primary whenever a connection is opened. Connections to a former primary that lives end
some ten seconds after the choice of another one, when Sentinel demotes it; until then it takes what it is given.
"""

from contextlib import suppress
from typing import Any

import redis
from redis.asyncio.connection import BlockingConnectionPool
from redis.asyncio.connection import Connection as AsyncConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import Connection, SSLConnection, parse_url
from redis.exceptions import AuthenticationError
from redis.retry import Retry
from redis.sentinel import Sentinel

from livescore.redis_url import Address, RedisUrl

Options = dict[str, Any]


def options(url: RedisUrl) -> Options:
    """What the URL says of a connection to any server behind it, as keyword arguments of redis-py."""
    found: Options = dict(parse_url(url.node(url.addresses[0])))
    found["ssl"] = found.pop("connection_class", None) is SSLConnection
    for name in ("host", "port", *(["db"] if url.kind == "cluster" else [])):
        del found[name]
    return found


class PrimaryPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to whichever server the Sentinels call the primary when they are opened.

    Args:
        url: of kind ``sentinel``.
        asking_seconds: how long finding the primary may take, all Sentinels together.
        further: options of the pool and its connections.
    """

    def __init__(self, url: RedisUrl, asking_seconds: float, **further: Any) -> None:
        asking = _asking(url, asking_seconds) | {"retry": AsyncRetry(NoBackoff(), 0), "redis_connect_func": _greet}
        sentinel = AsyncSentinel(url.addresses, sentinel_kwargs=asking)
        super().__init__(url.service, sentinel, **options(url), **further)  # type: ignore[no-untyped-call]  # in redis-py

    async def get_master_address(self) -> Address:
        """Ask the Sentinels for the primary, and close idle connections to another one.

        Raises:
            RedisError: when no Sentinel knows a primary that lives.
        """
        address: Address = await super().get_master_address()  # type: ignore[no-untyped-call]  # in redis-py
        return address

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, when all of them also those to the Sentinels."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()


def primary(url: RedisUrl, asking_seconds: float, **further: Any) -> redis.Redis:
    """A client for threads of the primary behind Sentinel; as :class:`PrimaryPool` otherwise."""
    asking = _asking(url, asking_seconds) | {"retry": Retry(NoBackoff(), 0), "redis_connect_func": _greet_in_thread}
    sentinel = Sentinel(url.addresses, sentinel_kwargs=asking)
    client: redis.Redis = sentinel.master_for(url.service, **options(url), **further)
    return client


def cluster(url: RedisUrl, **further: Any) -> RedisCluster:
    """A client for threads of the cluster.

    It always finds the cluster by the hosts of the URL: they may be names of a service whose addresses change.

    Raises:
        RedisError, RedisClusterException, OSError: when no node of the URL answers.
    """
    nodes = [ClusterNode(*address) for address in url.addresses]
    return RedisCluster(startup_nodes=nodes, dynamic_startup_nodes=False, **options(url), **further)


def _asking(url: RedisUrl, seconds: float) -> Options:
    """Options of the connections to the Sentinels: one that does not answer leaves time for the others."""
    share = seconds / (len(url.addresses) + 1)
    return {**options(url), "db": 0, "socket_timeout": share, "socket_connect_timeout": share}


# The URL's password is the servers'. Sentinels may have the same or none, and those with none refuse to be told one.


async def _greet(connection: AsyncConnection) -> None:
    with suppress(AuthenticationError):
        await connection.on_connect()


def _greet_in_thread(connection: Connection) -> None:
    with suppress(AuthenticationError):
        connection.on_connect()
