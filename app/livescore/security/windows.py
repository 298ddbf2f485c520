"""Moving windows: exact and shared in Redis, by Redis' clock, or approximate in this process, by its monotonic clock.

No window trusts the clock of another machine: hits of an instance whose clock is ahead would otherwise keep a client
out until that time has come.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from livescore.rate import Rate

_MICROSECONDS = 1_000_000

# Times of the hits, newest first. Times in the future remain when a server with a slower clock became the primary.
_HIT = """
local key, amount, window, cost = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local newest = tonumber(redis.call('LINDEX', key, 0) or now)
if newest > now or newest <= now - window then
    redis.call('DEL', key)
end
local oldest = redis.call('LINDEX', key, -1)
while oldest and tonumber(oldest) <= now - window do
    redis.call('RPOP', key)
    oldest = redis.call('LINDEX', key, -1)
end
local count = redis.call('LLEN', key)
local allowed = count + cost <= amount
if allowed then
    local stamp = string.format('%.0f', now)
    for _ = 1, cost do
        redis.call('LPUSH', key, stamp)
    end
    redis.call('PEXPIRE', key, window / 1000)
    count = count + cost
    oldest = oldest or stamp
end
return {allowed and 1 or 0, amount - count, oldest and tonumber(oldest) + window - now or window}
"""


class Verdict(NamedTuple):
    """Whether hits were within the rate; ``reset_seconds`` until the oldest hit leaves the window."""

    allowed: bool
    remaining: int
    reset_seconds: float


def _verdict(rate: Rate, allowed: bool, remaining: float, reset_seconds: float) -> Verdict:
    return Verdict(allowed, max(0, int(remaining)), min(max(0.0, reset_seconds), float(rate.seconds)))


class RedisWindows:
    """Windows that all processes share.

    Args:
        client: of ``redis.asyncio``, for one server, a primary behind Sentinel or a cluster.
    """

    def __init__(self, client: Any) -> None:
        self._hit = client.register_script(_HIT)

    async def hit(self, key: str, rate: Rate, cost: int) -> Verdict:
        """Add hits unless they exceed the rate.

        Raises:
            RedisError, RedisClusterException, OSError: if Redis is away.
        """
        arguments = [rate.amount, rate.seconds * _MICROSECONDS, cost]
        allowed, remaining, reset = await self._hit([key], arguments)
        return _verdict(rate, bool(allowed), remaining, reset / _MICROSECONDS)


class LocalWindows:
    """Windows of this process, each two counters: hits of the previous period count by its share in the window.

    Args:
        capacity: windows kept at once; the oldest are dropped.
        clock: seconds that never go back.
    """

    def __init__(self, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        # Key → begin of the current period, its hits, and those of the period before.
        self._periods: dict[str, tuple[float, int, int]] = {}

    def hit(self, key: str, rate: Rate, cost: int) -> Verdict:
        """Add hits unless they exceed the rate."""
        now = self._clock()
        begin, current, previous = self._period(key, rate.seconds, now)
        share = 1 - (now - begin) / rate.seconds
        used = current + int(previous * share)
        allowed = used + cost <= rate.amount
        if allowed:
            current, used = current + cost, used + cost
        self._periods[key] = (begin, current, previous)
        if len(self._periods) > self._capacity:
            del self._periods[next(iter(self._periods))]
        return _verdict(rate, allowed, rate.amount - used, begin + rate.seconds - now)

    def _period(self, key: str, seconds: int, now: float) -> tuple[float, int, int]:
        begin, current, previous = self._periods.get(key, (now, 0, 0))
        periods = int((now - begin) // seconds)
        if periods == 0:
            return begin, current, previous
        if periods == 1:
            return begin + seconds, 0, current
        return now, 0, 0
