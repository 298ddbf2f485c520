"""Windows that all processes of a deployment share through Redis, with this process's memory as the fallback."""

import asyncio
import time
from collections.abc import Callable

from livescore import outages, redis_clients
from livescore.deployment import Deployment
from livescore.rate import Rate
from livescore.redis_clients import AWAY
from livescore.security.windows import LocalWindows, RedisWindows, Verdict
from livescore.settings import Settings

# Seconds between two attempts to reach Redis while it is away. No request waits for these attempts.
RETRY_SECONDS = 2.0

_REDIS_CONNECTIONS = 16


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
        self._client = redis_clients.command_client(settings, _REDIS_CONNECTIONS)
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
            except AWAY as error:
                self._count_locally(error, started)
        return self._local.hit(f"{kind}:{address}", rate, cost)

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._retry is not None:
            self._retry.cancel()
            await asyncio.wait([self._retry])  # it may be opening a connection
        await redis_clients.close(self._client)

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
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                await redis_clients.ping(self._client)
        except AWAY:
            return False
        outages.REDIS.answered(started)
        return True
