"""Limits on requests and handshakes per client address, in a moving window.

The window is shared through Redis (see :mod:`livescore.security.shared_windows`). A lookup costs some 150 µs of CPU, so
a process asks Redis only about addresses that have used between a tenth of their limit (:data:`LIGHT_SHARE`) and all of
it: below, it counts alone; above, it already knows until when to refuse. An address whose requests are spread over n
processes may therefore exceed its limit by n tenths at most.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from livescore.deployment import Deployment
from livescore.rate import Rate
from livescore.security.shared_windows import SharedWindows
from livescore.settings import Settings

Kind = Literal["http", "handshake"]

LIGHT_SHARE = 10
"""Addresses that used less than one tenth of their limit in this process are not looked up in Redis."""

MAX_ADDRESSES = 50_000
"""Addresses remembered at once, some 250 bytes each. The oldest are forgotten first."""

# Concurrent background lookups. More would only queue for the same Redis.
_MAX_LOOKUPS = 64


class Decision(NamedTuple):
    """Answer to one hit.

    Attributes:
        allowed: True if the hit is within the limit.
        limit: Hits allowed per window.
        remaining: Hits left in the current window.
        reset_after_seconds: Seconds until some of the quota is available again.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_after_seconds: float


@dataclass(slots=True, eq=False)
class _Usage:
    """Use of the limit by one address, as this process knows it. Times are those of :func:`time.monotonic`."""

    window_ends: float
    remaining: int
    resets: float
    count: int = 0  # hits counted by this process in its own window
    pending: int = 0  # hits counted here that the shared window does not have yet
    is_looked_up: bool = False
    refused_until: float = 0.0
    logged_until: float = 0.0


class Limiter:
    """Counts hits per kind and address against the limits of the settings.

    Args:
        settings: Settings of this process.
        deployment: Returns the deployment that owns the windows, None while it is unknown.
    """

    def __init__(self, settings: Settings, deployment: Callable[[], Deployment | None]) -> None:
        self._rates: dict[Kind, Rate] = {
            "http": Rate.parse(settings.http_limit),
            "handshake": Rate.parse(settings.handshake_limit),
        }
        self._shared = SharedWindows(settings, deployment, MAX_ADDRESSES)
        self._usage: dict[tuple[Kind, str], _Usage] = {}
        self._lookups: set[asyncio.Task[None]] = set()

    def policy(self, kind: Kind) -> str:
        """Return the ``RateLimit-Policy`` of a kind, as in draft-ietf-httpapi-ratelimit-headers-10."""
        rate = self._rates[kind]
        return f'"{kind}";q={rate.amount};w={rate.seconds}'

    async def hit(self, kind: Kind, address: str) -> Decision:
        """Count a hit and decide.

        Waits for Redis, at most its time-out, if the answer may depend on it.
        """
        rate = self._rates[kind]
        usage = self._count(kind, address)
        allowed = usage.refused_until <= time.monotonic()
        if allowed and not _is_light(usage, rate):
            allowed = await self._look_up(kind, address, usage)
        return _decision(usage, rate, allowed)

    def observe(self, kind: Kind, address: str) -> Decision:
        """Count a hit and decide at once by what this process knows.

        Redis is asked in the background, so that later decisions are based on its answer.
        """
        rate = self._rates[kind]
        usage = self._count(kind, address)
        allowed = usage.refused_until <= time.monotonic()
        if allowed and not _is_light(usage, rate):
            self._look_up_later(kind, address, usage)
        return _decision(usage, rate, allowed)

    def should_log(self, kind: Kind, address: str) -> bool:
        """Return True once per window for an address that exceeds its limit."""
        now = time.monotonic()
        usage = self._usage.get((kind, address))
        if usage is None or usage.logged_until > now:
            return False
        usage.logged_until = now + self._rates[kind].seconds
        return True

    async def close(self) -> None:
        """Release the connections to Redis."""
        for task in tuple(self._lookups):
            task.cancel()
        await self._shared.close()

    def _count(self, kind: Kind, address: str) -> _Usage:
        now = time.monotonic()
        rate = self._rates[kind]
        usage = self._usage.get((kind, address))
        if usage is None:
            usage = self._remember(kind, address, now)
        elif usage.window_ends <= now and not usage.is_looked_up:
            _start_window(usage, rate, now)
        if usage.refused_until <= now:
            usage.count += 1
            usage.pending += 1
            usage.remaining = max(0, usage.remaining - 1)
        return usage

    def _remember(self, kind: Kind, address: str, now: float) -> _Usage:
        rate = self._rates[kind]
        ends = now + rate.seconds
        usage = _Usage(window_ends=ends, remaining=rate.amount, resets=ends)
        self._usage[kind, address] = usage
        if len(self._usage) > MAX_ADDRESSES:
            oldest = next(iter(self._usage))
            del self._usage[oldest]
        return usage

    async def _look_up(self, kind: Kind, address: str, usage: _Usage) -> bool:
        """Add the pending hits to the shared window. Return True if they are within the rate."""
        rate = self._rates[kind]
        cost = min(usage.pending, rate.amount)
        usage.pending = 0
        verdict = await self._shared.hit(rate, kind, address, cost)
        now = time.monotonic()
        if usage.refused_until <= now:  # otherwise a later lookup has been answered first
            usage.remaining = verdict.remaining
            usage.resets = now + verdict.reset_seconds
        if not verdict.allowed:
            usage.remaining = 0
            usage.refused_until = usage.resets
        return verdict.allowed

    def _look_up_later(self, kind: Kind, address: str, usage: _Usage) -> None:
        if usage.is_looked_up or len(self._lookups) >= _MAX_LOOKUPS:
            return  # the hit stays pending and is part of the next lookup
        usage.is_looked_up = True
        task = asyncio.create_task(self._look_up_pending(kind, address, usage))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _look_up_pending(self, kind: Kind, address: str, usage: _Usage) -> None:
        try:
            while usage.pending and usage.refused_until <= time.monotonic():
                await self._look_up(kind, address, usage)
        finally:
            usage.is_looked_up = False


def _is_light(usage: _Usage, rate: Rate) -> bool:
    return usage.count < rate.amount // LIGHT_SHARE


def _start_window(usage: _Usage, rate: Rate, now: float) -> None:
    if _is_light(usage, rate):  # no lookup has corrected or will correct the remaining quota
        usage.remaining = rate.amount
    usage.window_ends = now + rate.seconds
    usage.count = 0
    usage.pending = 0


def _decision(usage: _Usage, rate: Rate, allowed: bool) -> Decision:
    now = time.monotonic()
    resets = usage.resets if usage.resets > now else usage.window_ends
    remaining = usage.remaining if allowed else 0
    return Decision(allowed, rate.amount, remaining, max(0.0, resets - now))
