"""Limits per client address: requests and handshakes in a moving window, sockets by number.

The window is shared through Redis and falls back to this process's memory while Redis is away. Redis costs some
150 µs of CPU per hit, so it is asked only about addresses between a tenth of their limit (:data:`LIGHT_SHARE`) and
the limit itself: below, this process counts alone; above, it knows until when to refuse. So an address spread over
n processes may get at most n times a tenth more than its limit.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Literal, NamedTuple

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livescore import outages
from livescore.deployment import Deployment
from livescore.rate import Rate
from livescore.redis_driver import PrimaryPool, options
from livescore.redis_url import RedisUrl
from livescore.security.windows import LocalWindows, RedisWindows, Verdict
from livescore.settings import Settings

log = structlog.get_logger(__name__)

Kind = Literal["http", "handshake"]

LIGHT_SHARE = 10
"""An address that used less than a tenth of its limit in this process is not looked up in Redis."""

_RETURN_SECONDS = 2.0  # between two looks whether Redis is back; requests never wait for these
_BACKGROUND_TASKS = 64  # DRY_RUN lookups under way; more would only queue up behind the same Redis
_REDIS_CONNECTIONS = 16
_ADDRESSES = 50_000  # remembered at once, some 250 bytes each; the oldest are forgotten
_FORWARDED_HOPS = 32  # entries of X-Forwarded-For looked at, from the right
_FORWARDED_BYTES = 2_048  # more than as many entries take


class ClientAddress:
    """Who a connection is counted as: the peer, or what trusted proxies say of it.

    IPv6 is grouped by /64, the least a provider hands to one customer; an IPv4 address written as IPv6 is IPv4.
    """

    def __init__(self, trusted_proxies: Iterable[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted_proxies)
        self._resolved = lru_cache(maxsize=16_384)(self._resolve)
        self.of_peer = lru_cache(maxsize=16_384)(self._resolve_peer)

    def _resolve_peer(self, host: str) -> str | None:
        """Return who a connection without a request is counted as; None for a trusted proxy, which stands for many."""
        address = _parse(host)
        return None if address is None or self._is_trusted(address) else self._resolved(host, b"")

    def __call__(self, scope: Scope) -> str:
        client = scope.get("client")
        peer = client[0] if client else ""
        return self._resolved(peer, self._forwarded(scope) if self._trusted else b"")

    @staticmethod
    def _forwarded(scope: Scope) -> bytes:
        # Only its end is looked at, and the whole would stay in the cache.
        return b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")[-_FORWARDED_BYTES:]

    def _resolve(self, peer: str, forwarded: bytes) -> str:
        address = _parse(peer)
        if address is None:
            return peer or "unknown"
        entries = forwarded.decode("latin-1").split(",")[-_FORWARDED_HOPS:]
        while entries and self._is_trusted(address):
            before = _parse(entries.pop())
            if before is None:  # nonsense: the last proxy that made sense answers for it
                break
            address = before
        return _group(address)

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    text = text.strip()
    if text.startswith("["):  # [2001:db8::1]:443
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 192.0.2.1:443
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _group(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


class Decision(NamedTuple):
    """Whether a hit is within its limit; ``reset_after_seconds`` until some of the quota is free again."""

    allowed: bool
    limit: int
    remaining: int
    reset_after_seconds: float


class _Usage:
    """What this process knows of one address; times are ``time.monotonic()``."""

    __slots__ = ("checking", "count", "ends", "noted_until", "pending", "refused_until", "remaining", "resets")

    def __init__(self, now: float, seconds: float, amount: int) -> None:
        self.ends = now + seconds  # of the window in which `count` was counted here
        self.count = 0
        self.pending = 0  # counted here and not yet in the shared window
        self.checking = False
        self.remaining = amount
        self.resets = now + seconds
        self.refused_until = 0.0
        self.noted_until = 0.0


_AWAY = (RedisError, RedisClusterException, OSError, TimeoutError)


def _client(text: str, timeout: float) -> Any:
    url = RedisUrl.parse(text)
    if url.kind == "cluster":
        return RedisCluster(**_cluster(url, timeout))
    # One time-out around the whole question covers the two of the socket, and costs a timer less per command.
    connection = {"socket_connect_timeout": None, "socket_timeout": None, "retry": Retry(NoBackoff(), 0)}
    pool: dict[str, Any] = {"max_connections": _REDIS_CONNECTIONS, "timeout": timeout, **connection}
    if url.kind == "sentinel":
        return Redis(connection_pool=PrimaryPool(url, timeout, **pool))
    return Redis(connection_pool=BlockingConnectionPool.from_url(text, **pool))


def _cluster(url: RedisUrl, timeout: float) -> dict[str, Any]:
    return {
        **options(url),
        "startup_nodes": [ClusterNode(*address) for address in url.addresses],
        "dynamic_startup_nodes": False,  # names of a service stay, the addresses that the nodes tell change
        "socket_connect_timeout": timeout / (len(url.addresses) + 1),  # one that is gone leaves time for the others
        "socket_timeout": None,
        "retry": Retry(NoBackoff(), 1),  # once, so that a slot that has moved is found
    }


class _Shared:
    """The window of all processes in Redis, of this process while Redis is away. Never raises, never waits long.

    Args:
        settings: of this process.
        deployment: returns whose windows these are; while it is unknown (None), this process counts alone.
    """

    def __init__(self, settings: Settings, deployment: Callable[[], Deployment | None]) -> None:
        self._deployment = deployment
        self._timeout = settings.redis_timeout_seconds
        self._client = _client(settings.redis_url.get_secret_value(), self._timeout)
        self._redis = RedisWindows(self._client)
        self._local = LocalWindows(_ADDRESSES)
        self._return: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        return self._return is not None

    async def hit(self, rate: Rate, kind: Kind, address: str, cost: int) -> Verdict:
        deployment = self._deployment()
        if not self.away and deployment is not None:
            name, started = deployment.name("limit", kind, rate.amount, rate.seconds, address), time.monotonic()
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._redis.hit(name, rate, cost)
            except _AWAY as error:
                self._leave(error, started)
        return self._local.hit(f"{kind}:{address}", rate, cost)

    def _leave(self, error: Exception, started: float) -> None:
        """Count in this process until Redis answers again."""
        if self._return is None:
            outages.REDIS.failed(error, started)
            self._return = asyncio.create_task(self._wait_for_return())

    async def _wait_for_return(self) -> None:
        while not await self._answers():  # noqa: ASYNC110 -- no event announces that a server is back
            await asyncio.sleep(_RETURN_SECONDS)
        self._return = None

    async def _answers(self) -> bool:
        # Not by the library's own check: it takes its own cancellation for an answer.
        everybody = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(self._client, RedisCluster) else {}
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                await self._client.ping(**everybody)
        except _AWAY:
            return False
        outages.REDIS.answered(started)
        return True

    async def close(self) -> None:
        if self._return:
            self._return.cancel()
            await asyncio.wait([self._return])  # it may be connecting
        with suppress(*_AWAY):
            await _disconnect(self._client)


async def _disconnect(client: Any) -> None:
    if not isinstance(client, RedisCluster):
        await client.connection_pool.disconnect()
        return
    await client.aclose()
    for nodes in ("nodes_cache", "startup_nodes"):  # which it leaves open when the cluster was away
        await client.nodes_manager.aclose(nodes)


class Limiter:
    """Counts hits per kind and address against the limits of the settings."""

    def __init__(self, settings: Settings, deployment: Callable[[], Deployment | None]) -> None:
        self._rates: dict[Kind, Rate] = {
            "http": Rate.parse(settings.http_limit),
            "handshake": Rate.parse(settings.handshake_limit),
        }
        self._shared = _Shared(settings, deployment)
        self._usage: dict[tuple[Kind, str], _Usage] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def policy(self, kind: Kind) -> str:
        """The ``RateLimit-Policy`` of a kind, as in draft-ietf-httpapi-ratelimit-headers-10."""
        rate = self._rates[kind]
        return f'"{kind}";q={rate.amount};w={rate.seconds}'

    async def hit(self, kind: Kind, address: str) -> Decision:
        """Count a hit and decide, waiting for Redis (at most its time-out) where the decision may depend on it."""
        rate, usage = self._rates[kind], self._count(kind, address)
        allowed = usage.refused_until <= time.monotonic()
        if allowed and not self._is_light(usage, rate):
            allowed = await self._share(kind, address, usage)
        return _decision(usage, rate, allowed)

    def observe(self, kind: Kind, address: str) -> Decision:
        """Count a hit and decide by what is known; Redis is asked afterwards, and the next decision knows more."""
        rate, usage = self._rates[kind], self._count(kind, address)
        if usage.refused_until <= time.monotonic() and not self._is_light(usage, rate):
            self._share_later(kind, address, usage)
        return _decision(usage, rate, usage.refused_until <= time.monotonic())

    def note(self, kind: Kind, address: str) -> bool:
        """Whether an address over its limit should be logged now: once per window."""
        usage, now = self._usage.get((kind, address)), time.monotonic()
        if usage is None or usage.noted_until > now:
            return False
        usage.noted_until = now + self._rates[kind].seconds
        return True

    async def close(self) -> None:
        """Release the connections to Redis."""
        for task in tuple(self._tasks):
            task.cancel()
        await self._shared.close()

    def _count(self, kind: Kind, address: str) -> _Usage:
        now, rate = time.monotonic(), self._rates[kind]
        usage = self._usage.get((kind, address))
        if usage is None:
            usage = self._usage[kind, address] = _Usage(now, rate.seconds, rate.amount)
            if len(self._usage) > _ADDRESSES:
                del self._usage[next(iter(self._usage))]
        elif usage.ends <= now and not usage.checking:
            self._begin_window(usage, rate, now)
        if usage.refused_until <= now:
            usage.count += 1
            usage.pending += 1
            usage.remaining = max(0, usage.remaining - 1)
        return usage

    def _begin_window(self, usage: _Usage, rate: Rate, now: float) -> None:
        if self._is_light(usage, rate):  # nobody else corrects what is left of its quota
            usage.remaining = rate.amount
        usage.ends, usage.count, usage.pending = now + rate.seconds, 0, 0

    @staticmethod
    def _is_light(usage: _Usage, rate: Rate) -> bool:
        return usage.count < rate.amount // LIGHT_SHARE

    async def _share(self, kind: Kind, address: str, usage: _Usage) -> bool:
        """Add the pending hits to the shared window. Returns whether they are within the rate."""
        rate, cost = self._rates[kind], usage.pending
        usage.pending = 0
        verdict = await self._shared.hit(rate, kind, address, min(cost, rate.amount))
        now = time.monotonic()
        if usage.refused_until <= now:  # else a later answer has overtaken this one
            usage.remaining = verdict.remaining
            usage.resets = now + verdict.reset_seconds
        if not verdict.allowed:
            usage.remaining = 0
            usage.refused_until = usage.resets
        return verdict.allowed

    def _share_later(self, kind: Kind, address: str, usage: _Usage) -> None:
        if usage.checking or len(self._tasks) >= _BACKGROUND_TASKS:
            return  # the hit stays pending and goes with the next lookup
        usage.checking = True
        task = asyncio.create_task(self._share_pending(kind, address, usage))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _share_pending(self, kind: Kind, address: str, usage: _Usage) -> None:
        try:
            while usage.pending and usage.refused_until <= time.monotonic():
                await self._share(kind, address, usage)
        finally:
            usage.checking = False


def _decision(usage: _Usage, rate: Rate, allowed: bool) -> Decision:
    now = time.monotonic()
    until = usage.resets if usage.resets > now else usage.ends
    return Decision(allowed, rate.amount, usage.remaining if allowed else 0, max(0.0, until - now))


OnLimited = Callable[[str, str], None]
"""Told the kind and the mode of every hit over its limit, for the metrics."""


class RateLimit:
    """ASGI middleware: refuses (``LIVE``) or logs (``DRY_RUN``) what is over the limit; ``/health*`` is exempt."""

    def __init__(
        self, app: ASGIApp, *, settings: Settings, limiter: Limiter, on_limited: OnLimited = lambda kind, mode: None
    ) -> None:
        self.app = app
        self._limiter = limiter
        self._address = ClientAddress(settings.trusted_proxies)
        self._live = settings.security_mode == "LIVE"
        self._mode = settings.security_mode
        self._on_limited = on_limited
        self._policy = (b"ratelimit-policy", limiter.policy("http").encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_probe(scope["path"]):
            await self._limit_request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._limit_handshake(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _limit_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        decision = await self._decide("http", self._address(scope))
        headers = (self._policy, (b"ratelimit", _quota("http", decision)))

        async def send_limited(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        if decision.allowed or not self._live:
            await self.app(scope, receive, send_limited)
        else:
            await _answer(send_limited, "http.response", 429, "Too many requests", _retry_after(decision))

    async def _limit_handshake(self, scope: Scope, receive: Receive, send: Send) -> None:
        decision = await self._decide("handshake", self._address(scope))
        if decision.allowed or not self._live:
            await self.app(scope, receive, send)
        else:
            await refuse_handshake(scope, receive, send, 429, "Too many requests", _retry_after(decision))

    async def _decide(self, kind: Kind, address: str) -> Decision:
        # DRY_RUN refuses nothing, so nothing need wait for the answer.
        decision = await self._limiter.hit(kind, address) if self._live else self._limiter.observe(kind, address)
        if not decision.allowed:
            self._on_limited(kind, self._mode)
            if self._limiter.note(kind, address):
                log.warning("rate limit exceeded", kind=kind, address=address, limit=decision.limit, mode=self._mode)
        return decision


def _is_probe(path: str) -> bool:
    return path == "/health" or path.startswith("/health/")


def _quota(kind: Kind, decision: Decision) -> bytes:
    return b'"%s";r=%d;t=%d' % (kind.encode(), decision.remaining, math.ceil(decision.reset_after_seconds))


def _retry_after(decision: Decision) -> list[tuple[bytes, bytes]]:
    # At least one second: 0 would invite to come back at once.
    return [(b"retry-after", b"%d" % max(1, math.ceil(decision.reset_after_seconds)))]


async def refuse_handshake(
    scope: Scope, receive: Receive, send: Send, status: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer a WebSocket handshake by an HTTP error, or by a plain refusal (403) where the server knows no better."""
    await receive()  # websocket.connect
    if "websocket.http.response" in scope.get("extensions", {}):
        await _answer(send, "websocket.http.response", status, message, headers)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": message})


async def _answer(
    send: Send, prefix: str, status: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    body = b'{"error":"%s"}' % message.encode()
    content = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": f"{prefix}.start", "status": status, "headers": [*content, *headers]})
    await send({"type": f"{prefix}.body", "body": body})


class TooManyConnections(Exception):
    """A socket beyond the caps; ``status`` and ``message`` are the answer to its handshake."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


class ConnectionCaps:
    """How many connections are open, in all and per address: sockets, streams, and requests that are not complete."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_connections
        self._most_per_address = settings.max_connections_per_address
        self._open: Counter[str | None] = Counter()
        self.total = 0

    def acquire(self, address: str | None) -> None:
        """Count one more connection of ``address``; each needs one :meth:`release`.

        Args:
            address: None for a proxy, whose connections are counted in total only.

        Raises:
            TooManyConnections: 503 when this process is full, 429 when the address has its share.
        """
        if self.total >= self._most:
            raise TooManyConnections(503, "Too many connections")
        if address is not None and self._open[address] >= self._most_per_address:
            raise TooManyConnections(429, "Too many connections from this address")
        self._open[address] += 1
        self.total += 1

    def release(self, address: str | None) -> None:
        """Count one connection of ``address`` less."""
        self.total -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]
