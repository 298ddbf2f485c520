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
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Literal, NamedTuple, TypeVar

import limits
import structlog
from limits.aio.storage import MemoryStorage, RedisClusterStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livescore.redis_driver import PrimaryPool, options
from livescore.redis_url import RedisUrl
from livescore.settings import Settings

log = structlog.get_logger(__name__)

Kind = Literal["http", "handshake"]

LIGHT_SHARE = 10
"""An address that used less than a tenth of its limit in this process is not looked up in Redis."""

_RETURN_SECONDS = 2.0  # between two looks whether Redis is back; requests never wait for these
_STATS_SECONDS = 1.0  # how old the remaining quota in the headers may be: it is advice to the client
_BACKGROUND_TASKS = 64  # DRY_RUN lookups under way; more would only queue up behind the same Redis
_REDIS_CONNECTIONS = 16
_LIBRARY: dict[str, Any] = {"implementation": "redispy", "key_prefix": "limits"}
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

    def of_peer(self, host: str) -> str | None:
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

    __slots__ = ("checking", "count", "ends", "noted_until", "pending", "refused_until", "remaining", "resets", "stale")

    def __init__(self, now: float, seconds: float, amount: int) -> None:
        self.ends = now + seconds  # of the window in which `count` was counted here
        self.count = 0
        self.pending = 0  # counted here and not yet in the shared window
        self.checking = False
        self.remaining = amount
        self.resets = now + seconds
        self.stale = now + _STATS_SECONDS  # when `remaining` and `resets` should be read again
        self.refused_until = 0.0
        self.noted_until = 0.0


_Answer = TypeVar("_Answer")


_AWAY = (RedisError, RedisClusterException, OSError, TimeoutError)


def _storage(text: str, timeout: float) -> RedisStorage:
    url = RedisUrl.parse(text)
    if url.kind == "cluster":
        return RedisClusterStorage("async+redis+cluster://", **_LIBRARY, **_cluster(url, timeout))
    # One time-out around the whole question covers the two of the socket, and costs a timer less per command.
    connection = {"socket_connect_timeout": None, "socket_timeout": None, "retry": Retry(NoBackoff(), 0)}
    pool: dict[str, Any] = {"max_connections": _REDIS_CONNECTIONS, "timeout": timeout, **connection}
    far = PrimaryPool(url, timeout, **pool) if url.kind == "sentinel" else BlockingConnectionPool.from_url(text, **pool)
    given: dict[str, Any] = {"connection_pool": far}  # which the library's own annotation leaves out
    # The URL only names the scheme: the pool knows the server.
    return RedisStorage("async+redis://", **_LIBRARY, **given)


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
    """The window of all processes in Redis, of this one while Redis is away. Never raises, never waits long."""

    def __init__(self, settings: Settings) -> None:
        timeout = settings.redis_timeout_seconds
        self._timeout = timeout
        self._redis = _storage(settings.redis_url.get_secret_value(), timeout)
        bridge: Any = self._redis.bridge
        self._client = bridge.get_connection()
        self._far: RateLimiter = MovingWindowRateLimiter(self._redis)
        # Approximate, but cheap: the moving window in memory costs a thread per look.
        self._near: RateLimiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._return: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        return self._return is not None

    async def hit(self, item: limits.RateLimitItem, kind: Kind, address: str, cost: int) -> bool:
        try:
            return await self._ask(lambda limiter: limiter.hit(item, kind, address, cost=cost))
        except _AWAY as error:
            self._leave(error)
            return await self._near.hit(item, kind, address, cost=cost)

    async def stats(self, item: limits.RateLimitItem, kind: Kind, address: str) -> limits.WindowStats:
        try:
            return await self._ask(lambda limiter: limiter.get_window_stats(item, kind, address))
        except _AWAY as error:
            self._leave(error)
            return await self._near.get_window_stats(item, kind, address)

    async def _ask(self, question: Callable[[RateLimiter], Coroutine[Any, Any, _Answer]]) -> _Answer:
        if self.away:
            return await question(self._near)
        async with asyncio.timeout(self._timeout):
            return await question(self._far)

    def _leave(self, error: Exception) -> None:
        if self._return is None:
            log.warning("Redis is away, limits are counted in this process", error=repr(error))
            self._return = asyncio.create_task(self._wait_for_return())

    async def _wait_for_return(self) -> None:
        while not await self._answers():  # noqa: ASYNC110 -- no event announces that a server is back
            await asyncio.sleep(_RETURN_SECONDS)
        self._return = None
        log.info("Redis is back, limits are shared again")

    async def _answers(self) -> bool:
        # Not by the library's own check: it takes its own cancellation for an answer.
        everybody = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(self._client, RedisCluster) else {}
        try:
            async with asyncio.timeout(self._timeout):
                await self._client.ping(**everybody)
        except _AWAY:
            return False
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

    def __init__(self, settings: Settings) -> None:
        self._items: dict[Kind, limits.RateLimitItem] = {
            "http": limits.parse(settings.http_limit),
            "handshake": limits.parse(settings.handshake_limit),
        }
        self._shared = _Shared(settings)
        self._usage: dict[tuple[Kind, str], _Usage] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def policy(self, kind: Kind) -> str:
        """The ``RateLimit-Policy`` of a kind, as in draft-ietf-httpapi-ratelimit-headers-10."""
        item = self._items[kind]
        return f'"{kind}";q={item.amount};w={item.get_expiry()}'

    async def hit(self, kind: Kind, address: str) -> Decision:
        """Count a hit and decide, waiting for Redis (at most its time-out) where the decision may depend on it."""
        item, usage = self._items[kind], self._count(kind, address)
        if usage.refused_until <= time.monotonic() and not self._is_light(usage, item):
            await self._share(kind, address, usage)
        return _decide(usage, item)

    def observe(self, kind: Kind, address: str) -> Decision:
        """Count a hit and decide by what is known; Redis is asked afterwards, and the next decision knows more."""
        item, usage = self._items[kind], self._count(kind, address)
        if usage.refused_until <= time.monotonic() and not self._is_light(usage, item):
            self._share_later(kind, address, usage)
        return _decide(usage, item)

    def note(self, kind: Kind, address: str) -> bool:
        """Whether an address over its limit should be logged now: once per window."""
        usage, now = self._usage.get((kind, address)), time.monotonic()
        if usage is None or usage.noted_until > now:
            return False
        usage.noted_until = now + self._items[kind].get_expiry()
        return True

    async def close(self) -> None:
        """Release the connections to Redis."""
        for task in tuple(self._tasks):
            task.cancel()
        await self._shared.close()

    def _count(self, kind: Kind, address: str) -> _Usage:
        now, item = time.monotonic(), self._items[kind]
        usage = self._usage.get((kind, address))
        if usage is None:
            usage = self._usage[kind, address] = _Usage(now, item.get_expiry(), item.amount)
            if len(self._usage) > _ADDRESSES:
                del self._usage[next(iter(self._usage))]
        elif usage.ends <= now and not usage.checking:
            self._begin_window(usage, item, now)
        if usage.refused_until <= now:
            usage.count += 1
            usage.pending += 1
            usage.remaining = max(0, usage.remaining - 1)
        return usage

    def _begin_window(self, usage: _Usage, item: limits.RateLimitItem, now: float) -> None:
        if self._is_light(usage, item):  # nobody else corrects what is left of its quota
            usage.remaining = item.amount
        usage.ends, usage.count, usage.pending = now + item.get_expiry(), 0, 0

    @staticmethod
    def _is_light(usage: _Usage, item: limits.RateLimitItem) -> bool:
        return usage.count < item.amount // LIGHT_SHARE

    async def _share(self, kind: Kind, address: str, usage: _Usage) -> None:
        item, cost = self._items[kind], usage.pending
        usage.pending = 0
        allowed = await self._shared.hit(item, kind, address, min(cost, item.amount))
        if not allowed or usage.stale <= time.monotonic():
            await self._learn(kind, address, usage)
        if not allowed:
            usage.remaining = 0
            usage.refused_until = usage.resets

    async def _learn(self, kind: Kind, address: str, usage: _Usage) -> None:
        stats = await self._shared.stats(self._items[kind], kind, address)
        now = time.monotonic()
        usage.remaining = max(0, stats.remaining)
        usage.resets = now + max(0.0, stats.reset_time - time.time())
        usage.stale = max(usage.resets, now + _STATS_SECONDS)

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


def _decide(usage: _Usage, item: limits.RateLimitItem) -> Decision:
    now = time.monotonic()
    allowed = usage.refused_until <= now
    until = usage.resets if usage.resets > now else usage.ends
    return Decision(allowed, item.amount, usage.remaining if allowed else 0, max(0.0, until - now))


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
