"""Every Redis client of the service, whatever ``REDIS_URL`` leads to: one server, a primary behind Sentinel, a cluster.

This is the adapter of redis-py: its undocumented parts are used here and in :mod:`livescore.broker`, and nowhere else.

Behind Sentinel, the Sentinels are asked for the primary whenever a connection is opened. Connections to a former
primary that is still alive end some ten seconds after the failover, when Sentinel demotes it; until then it accepts
writes that are lost later.
"""

import asyncio
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import Connection as AsyncConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, parse_url
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from livescore.redis_url import Address, RedisUrl
from livescore.settings import Settings

Options = dict[str, Any]
AnyClient = AsyncRedis | RedisCluster

AWAY = (RedisError, RedisClusterException, OSError, TimeoutError, asyncio.IncompleteReadError)
"""Everything that redis-py raises when Redis is away, too slow or refuses a command."""

# Names of the connections in CLIENT LIST.
_CLIENT_NAME = "livescore"
_JOBS_CLIENT_NAME = "livescore-jobs"

# Seconds of silence after which a connection of the jobs is checked before it is used.
_HEALTH_CHECK_SECONDS = 10


def redis_url(settings: Settings) -> RedisUrl:
    """Return the parsed ``REDIS_URL``."""
    return RedisUrl.parse(settings.redis_url.get_secret_value())


def pubsub_client(settings: Settings, node: Address | None = None) -> AsyncRedis:
    """Create a client for pub/sub and publishing that never retries: its user decides what to do meanwhile.

    Args:
        settings: Settings of this process.
        node: Address of the cluster node to use; required when Redis is a cluster.
    """
    url = redis_url(settings)
    options: Options = {
        "socket_timeout": settings.redis_timeout_seconds,
        "socket_connect_timeout": settings.redis_timeout_seconds,
        "retry": AsyncRetry(NoBackoff(), 0),
        "client_name": _CLIENT_NAME,
        # With RESP2 every pub/sub reply reaches the reader, acknowledgements included; RESP3 routes some to handlers.
        "protocol": 2,
    }
    # TCP keepalive detects a peer that vanished; Unix sockets do not have this option.
    if not url.text.startswith("unix:"):
        options["socket_keepalive"] = True
    if url.kind == "sentinel":
        return AsyncRedis.from_pool(PrimaryPool(url, settings.redis_timeout_seconds, **options))
    return AsyncRedis.from_url(url.text if node is None else url.node(node), **options)


def command_client(settings: Settings, max_connections: int) -> AnyClient:
    """Create a client for commands whose user bounds each call with a time-out of its own.

    One time-out around the whole call replaces those of the socket and saves a timer per command.

    Args:
        settings: Settings of this process.
        max_connections: Connections in use at the same time, except on a cluster; further calls wait.
    """
    url, timeout = redis_url(settings), settings.redis_timeout_seconds
    if url.is_cluster:
        return cluster_client(settings)
    options: Options = {
        "max_connections": max_connections,
        "timeout": timeout,
        "socket_connect_timeout": None,
        "socket_timeout": None,
        "retry": AsyncRetry(NoBackoff(), 0),
    }
    if url.kind == "sentinel":
        return AsyncRedis(connection_pool=PrimaryPool(url, timeout, **options))
    return AsyncRedis(connection_pool=BlockingConnectionPool.from_url(url.text, **options))


def cluster_client(settings: Settings) -> RedisCluster:
    """Create a client of the cluster whose user bounds each call with a time-out of its own."""
    url = redis_url(settings)
    return RedisCluster(
        startup_nodes=[ClusterNode(*address) for address in url.addresses],
        # Host names of a service stay valid while the addresses that the nodes announce change.
        dynamic_startup_nodes=False,
        # A node that is gone must leave time for the others.
        socket_connect_timeout=settings.redis_timeout_seconds / (len(url.addresses) + 1),
        socket_timeout=None,
        retry=AsyncRetry(NoBackoff(), 1),  # one retry finds a slot that has moved
        **connection_options(url),
    )


async def ping(client: AnyClient) -> None:
    """Ping the server, or every primary of a cluster.

    The client's own health check is not usable here: it takes its own cancellation for an answer.
    """
    if isinstance(client, RedisCluster):
        await client.ping(target_nodes=RedisCluster.PRIMARIES)
    else:
        await client.ping()


async def close(client: AnyClient) -> None:
    """Close all connections of a client of :func:`command_client` or :func:`cluster_client`."""
    with suppress(*AWAY):
        if not isinstance(client, RedisCluster):
            await client.connection_pool.disconnect()
            return
        await client.aclose()
        # RedisCluster.aclose() leaves these open when the cluster was away.
        for nodes in ("nodes_cache", "startup_nodes"):
            await client.nodes_manager.aclose(nodes)


def rq_client(settings: Settings, *, wait: float = 0) -> Redis:
    """Create a synchronous client for RQ and rq-scheduler, which cannot use a cluster.

    A connection that broke while it was idle is replaced silently.

    Args:
        settings: Settings of this process.
        wait: Seconds beyond the time-out that a blocking command may take.
    """
    url, timeout = redis_url(settings), settings.redis_timeout_seconds
    options: Options = {
        "socket_timeout": wait + timeout,
        "socket_connect_timeout": timeout,
        "health_check_interval": _HEALTH_CHECK_SECONDS,
        "retry": Retry(NoBackoff(), 1),
        "client_name": _JOBS_CLIENT_NAME,
    }
    if url.kind == "sentinel":
        return _primary(url, timeout, **options)
    return Redis.from_url(url.text, **options)


def connection_options(url: RedisUrl) -> Options:
    """Return what a Sentinel or cluster URL says about connections to any of its servers, as redis-py's arguments."""
    options: Options = dict(parse_url(url.node(url.addresses[0])))
    options["ssl"] = options.pop("connection_class", None) is SSLConnection
    del options["host"], options["port"]
    if url.is_cluster:
        del options["db"]
    return options


class PrimaryPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the server that the Sentinels name as the primary at the time of opening.

    Args:
        url: URL of kind ``sentinel``.
        discovery_seconds: Time to find the primary, all Sentinels together.
        options: Further options of the pool and its connections.
    """

    def __init__(self, url: RedisUrl, discovery_seconds: float, **options: Any) -> None:
        sentinel_options = {
            **_sentinel_options(url, discovery_seconds),
            "retry": AsyncRetry(NoBackoff(), 0),
            "redis_connect_func": _authenticate_if_possible,
        }
        sentinel = AsyncSentinel(url.addresses, sentinel_kwargs=sentinel_options)
        super().__init__(  # type: ignore[no-untyped-call]  # in redis-py
            url.service, sentinel, **connection_options(url), **options
        )

    async def get_master_address(self) -> Address:
        """Ask the Sentinels for the primary, and close idle connections to any other server.

        Raises:
            RedisError: No Sentinel knows a live primary.
        """
        address: Address = await super().get_master_address()  # type: ignore[no-untyped-call]  # in redis-py
        return address

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections; with those in use, also the ones to the Sentinels."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()


def _primary(url: RedisUrl, discovery_seconds: float, **options: Any) -> Redis:
    """Create a synchronous client that finds the primary as :class:`PrimaryPool` does."""
    sentinel_options = {
        **_sentinel_options(url, discovery_seconds),
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": _authenticate_if_possible_sync,
    }
    sentinel = Sentinel(url.addresses, sentinel_kwargs=sentinel_options)
    client: Redis = sentinel.master_for(url.service, **connection_options(url), **options)
    return client


def _sentinel_options(url: RedisUrl, seconds: float) -> Options:
    """Return options for connections to the Sentinels: one that does not answer leaves time for the others."""
    share = seconds / (len(url.addresses) + 1)
    return {**connection_options(url), "db": 0, "socket_timeout": share, "socket_connect_timeout": share}


# The password in the URL is that of the servers. Sentinels may have the same password or none, and a Sentinel without
# a password rejects AUTH.


async def _authenticate_if_possible(connection: AsyncConnection) -> None:
    with suppress(AuthenticationError):
        await connection.on_connect()


def _authenticate_if_possible_sync(connection: Connection) -> None:
    with suppress(AuthenticationError):
        connection.on_connect()
