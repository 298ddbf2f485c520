"""Moving windows: exact and shared in Redis, by its clock, or approximate in this process, by its monotonic clock.

No window depends on the clock of another instance: if one were ahead, its hits would block a client until that time.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from livescore.rate import Rate

_MICROSECONDS = 1_000_000

# A list of the times of the hits, newest first. Times in the future are those of a former primary whose clock was
# ahead; such a list is deleted.
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
    """Answer to hits.

    Attributes:
        allowed: True if the hits were within the rate and counted.
        remaining: Hits left in the window.
        reset_seconds: Seconds until the oldest hit leaves the window.
    """

    allowed: bool
    remaining: int
    reset_seconds: float


def _verdict(rate: Rate, allowed: bool, remaining: float, reset_seconds: float) -> Verdict:
    return Verdict(allowed, max(0, int(remaining)), min(max(0.0, reset_seconds), float(rate.seconds)))


class RedisWindows:
    """Windows that all processes share.

    Args:
        client: A client of ``redis.asyncio``.
    """

    def __init__(self, client: Any) -> None:
        self._hit = client.register_script(_HIT)

    async def hit(self, key: str, rate: Rate, cost: int) -> Verdict:
        """Add hits unless they exceed the rate.

        Raises:
            RedisError, RedisClusterException, OSError: Redis is away.
        """
        arguments = [rate.amount, rate.seconds * _MICROSECONDS, cost]
        allowed, remaining, reset = await self._hit([key], arguments)
        return _verdict(rate, bool(allowed), remaining, reset / _MICROSECONDS)


class LocalWindows:
    """Windows of this process, each with two counters.

    Hits of the previous period are weighted by the part of it that the window still covers.

    Args:
        capacity: Most windows; the oldest are dropped.
        clock: Returns seconds that never go back.
    """

    def __init__(self, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        # Key → start of the current period, its hits, and the hits of the period before.
        self._periods: dict[str, tuple[float, int, int]] = {}

    def hit(self, key: str, rate: Rate, cost: int) -> Verdict:
        """Add hits unless they exceed the rate."""
        now = self._clock()
        start, current, previous = self._period(key, rate.seconds, now)
        weight = 1 - (now - start) / rate.seconds
        used = current + int(previous * weight)
        allowed = used + cost <= rate.amount
        if allowed:
            current += cost
            used += cost
        self._periods[key] = (start, current, previous)
        if len(self._periods) > self._capacity:
            oldest = next(iter(self._periods))
            del self._periods[oldest]
        return _verdict(rate, allowed, rate.amount - used, start + rate.seconds - now)

    def _period(self, key: str, seconds: int, now: float) -> tuple[float, int, int]:
        start, current, previous = self._periods.get(key, (now, 0, 0))
        elapsed_periods = int((now - start) // seconds)
        if elapsed_periods == 0:
            return start, current, previous
        if elapsed_periods == 1:
            return start + seconds, 0, current
        return now, 0, 0
