"""Windows that all processes of a deployment share through Redis, with this process's memory as the fallback."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from livescore import outages
from livescore.deployment import Deployment
from livescore.rate import Rate
from livescore.redis_driver import PrimaryPool, options
from livescore.redis_url import RedisUrl
from livescore.security.windows import LocalWindows, RedisWindows, Verdict
from livescore.settings import Settings

# Seconds between two attempts to reach Redis while it is away. No request waits for these attempts.
RETRY_SECONDS = 2.0

_REDIS_CONNECTIONS = 16

_REDIS_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)


class SharedWindows:
    """Counts hits in Redis, or in this process while Redis is away.

    A hit never raises and never takes longer than ``REDIS_TIMEOUT_SECONDS``.

    Args:
        settings: Settings of this process.
        deployment: Returns the deployment that owns the windows. While it is unknown (None), hits are counted in this
            process.
        capacity: Windows that this process keeps in memory.
    """

    def __init__(self, settings: Settings, deployment: Callable[[], Deployment | None], capacity: int) -> None:
        self._deployment = deployment
        self._timeout = settings.redis_timeout_seconds
        self._client = _client(settings.redis_url.get_secret_value(), self._timeout)
        self._redis = RedisWindows(self._client)
        self._local = LocalWindows(capacity)
        self._retry: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Return True while Redis is away and hits are counted in this process."""
        return self._retry is not None

    async def hit(self, rate: Rate, kind: str, address: str, cost: int) -> Verdict:
        """Add ``cost`` hits of an address unless they exceed the rate."""
        deployment = self._deployment()
        if deployment is not None and not self.is_away:
            key = deployment.name("limit", kind, rate.amount, rate.seconds, address)
            started = time.monotonic()
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._redis.hit(key, rate, cost)
            except _REDIS_ERRORS as error:
                self._count_locally(error, started)
        return self._local.hit(f"{kind}:{address}", rate, cost)

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._retry is not None:
            self._retry.cancel()
            await asyncio.wait([self._retry])  # it may be opening a connection
        with suppress(*_REDIS_ERRORS):
            await _disconnect(self._client)

    def _count_locally(self, error: Exception, started: float) -> None:
        """Count hits in this process until Redis answers again."""
        if self._retry is None:
            outages.REDIS.failed(error, started)
            self._retry = asyncio.create_task(self._wait_for_redis())

    async def _wait_for_redis(self) -> None:
        while not await self._ping():  # noqa: ASYNC110 -- no event announces that a server is back
            await asyncio.sleep(RETRY_SECONDS)
        self._retry = None

    async def _ping(self) -> bool:
        # redis-py's own health check takes its cancellation for an answer.
        target: dict[str, Any] = {}
        if isinstance(self._client, RedisCluster):
            target["target_nodes"] = RedisCluster.PRIMARIES
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                await self._client.ping(**target)
        except _REDIS_ERRORS:
            return False
        outages.REDIS.answered(started)
        return True


def _client(text: str, timeout: float) -> Any:
    url = RedisUrl.parse(text)
    if url.kind == "cluster":
        return RedisCluster(**_cluster(url, timeout))
    # The time-out around a whole hit covers connecting and reading, and costs one timer less per command than both of
    # the client's own.
    connection = {"socket_connect_timeout": None, "socket_timeout": None, "retry": Retry(NoBackoff(), 0)}
    pool: dict[str, Any] = {"max_connections": _REDIS_CONNECTIONS, "timeout": timeout, **connection}
    if url.kind == "sentinel":
        return Redis(connection_pool=PrimaryPool(url, timeout, **pool))
    return Redis(connection_pool=BlockingConnectionPool.from_url(text, **pool))


def _cluster(url: RedisUrl, timeout: float) -> dict[str, Any]:
    return {
        **options(url),
        "startup_nodes": [ClusterNode(*address) for address in url.addresses],
        "dynamic_startup_nodes": False,  # the names in the URL are stable, the addresses that the nodes report are not
        "socket_connect_timeout": timeout / (len(url.addresses) + 1),  # leaves time for the other nodes if one is gone
        "socket_timeout": None,
        "retry": Retry(NoBackoff(), 1),  # one retry follows a slot that has moved
    }


async def _disconnect(client: Any) -> None:
    if not isinstance(client, RedisCluster):
        await client.connection_pool.disconnect()
        return
    await client.aclose()
    for nodes in ("nodes_cache", "startup_nodes"):  # aclose() leaves these open if the cluster was away
        await client.nodes_manager.aclose(nodes)
