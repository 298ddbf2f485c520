"""Limits on a real Valkey: exact, shared between processes, and harmless when Redis is away."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import redis
import structlog

from livescore import settings as configuration
from livescore.api.middleware.rate_limit import RateLimit
from livescore.deployment import Deployment
from livescore.security.limiter import Limiter
from tests.support.deployments import DEPLOYMENT
from tests.support.servers import Valkey
from tests.support.stopwatch import Stopwatch

WINDOW_SECONDS = 60
"""Longer than the hits of any of these tests take on a busy machine; the same goes for the timeout of Redis."""


@pytest.fixture
async def limiter(redis_url: str) -> AsyncIterator[Callable[..., Limiter]]:
    made: list[Limiter] = []

    def make(**overrides: Any) -> Limiter:
        made.append(Limiter(_settings(overrides.pop("url", redis_url), **overrides), lambda: DEPLOYMENT))
        return made[-1]

    yield make
    for each in made:
        await each.close()


def _settings(url: str, **overrides: Any) -> configuration.Settings:
    defaults = {
        "database_url": "postgresql://localhost/x",
        "redis_url": url,
        "redis_timeout_seconds": 10,
        "http_limit": f"20 per {WINDOW_SECONDS} seconds",
        "handshake_limit": f"3 per {WINDOW_SECONDS} seconds",
    }
    return configuration.load(**{**defaults, **overrides})


async def _hits(limiter: Limiter, number: int, address: str = "a") -> list[bool]:
    return [(await limiter.hit("http", address)).allowed for _ in range(number)]


async def _until(condition: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_exactly_the_limit_is_allowed(limiter: Callable[..., Limiter]) -> None:
    assert await _hits(limiter(), 25) == [True] * 20 + [False] * 5


async def test_exactly_the_limit_is_allowed_to_concurrent_hits(limiter: Callable[..., Limiter]) -> None:
    one = limiter()
    decisions = await asyncio.gather(*(one.hit("http", "a") for _ in range(60)))
    assert sum(decision.allowed for decision in decisions) == 20


async def test_addresses_and_kinds_are_counted_apart(limiter: Callable[..., Limiter]) -> None:
    one = limiter()
    await _hits(one, 25)
    assert (await one.hit("http", "b")).allowed
    assert [(await one.hit("handshake", "a")).allowed for _ in range(4)] == [True, True, True, False]


async def test_processes_share_one_window(limiter: Callable[..., Limiter]) -> None:
    first, second = limiter(), limiter()
    allowed = [(await one.hit("http", "a")).allowed for _ in range(20) for one in (first, second)]
    assert sum(allowed) == 20


async def test_address_seen_by_one_process_is_known_to_the_other(limiter: Callable[..., Limiter]) -> None:
    first, second = limiter(), limiter()
    await _hits(first, 25)
    # The first tenth of the limit is not looked up in Redis, so these hits go unnoticed.
    assert sum(await _hits(second, 25)) <= 2


async def test_hit_is_allowed_again_after_the_announced_time(limiter: Callable[..., Limiter]) -> None:
    one = limiter(http_limit="3 per 1 second")
    await _hits(one, 3)
    refused = await one.hit("http", "a")
    assert not refused.allowed
    assert refused.remaining == 0
    assert 0 < refused.reset_after_seconds <= 1
    await asyncio.sleep(refused.reset_after_seconds)
    assert (await one.hit("http", "a")).allowed


async def test_the_remaining_quota_counts_down(limiter: Callable[..., Limiter]) -> None:
    one = limiter()
    decisions = [await one.hit("http", "a") for _ in range(20)]
    assert [decision.remaining for decision in decisions] == list(range(19, -1, -1))
    assert all(decision.limit == 20 and 0 < decision.reset_after_seconds <= WINDOW_SECONDS for decision in decisions)


async def test_address_over_its_limit_causes_no_redis_requests(
    limiter: Callable[..., Limiter], redis_client: redis.Redis
) -> None:
    one = limiter(http_limit="3 per 60 seconds")
    await _hits(one, 4)
    before = redis_client.info("commandstats")["cmdstat_evalsha"]
    await _hits(one, 1_000)
    assert redis_client.info("commandstats")["cmdstat_evalsha"] == before


async def test_address_far_below_its_limit_causes_no_redis_requests(
    limiter: Callable[..., Limiter], redis_client: redis.Redis
) -> None:
    one = limiter()
    await _hits(one, 1)
    assert redis_client.dbsize() == 0


async def test_observing_does_not_block_and_updates_soon_after(limiter: Callable[..., Limiter]) -> None:
    one = limiter()
    assert all(one.observe("http", "a").allowed for _ in range(20))

    async def over() -> bool:
        return not one.observe("http", "a").allowed

    await _until(over)


async def test_number_of_remembered_addresses_is_bounded(
    limiter: Callable[..., Limiter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livescore.security.limiter.MAX_ADDRESSES", 10)
    one = limiter()
    for number in range(100):
        await one.hit("http", str(number))
    assert len(one._usage) == 10


# Redis away


async def test_without_redis_the_limit_holds_in_memory() -> None:
    one = Limiter(_settings("redis://127.0.0.1:1/0"), lambda: DEPLOYMENT)
    try:
        assert await _hits(one, 25) == [True] * 20 + [False] * 5
    finally:
        await one.close()


async def test_stalled_redis_delays_requests_at_most_by_its_timeout(
    limiter: Callable[..., Limiter], own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livescore.security.shared_windows.RETRY_SECONDS", 0.05)
    # Much longer than a hit takes on a busy machine.
    timeout = 1.0
    one = limiter(url=own_valkey.url, redis_timeout_seconds=timeout)
    await _hits(one, 3, "warm")
    own_valkey.pause()
    delays = [await _delay(one, f"address-{number}") for number in range(20)]
    own_valkey.resume()
    assert max(delays) < 3 * timeout
    assert sorted(delays)[-2] < timeout / 2
    await _until(lambda: _is_back(one))
    await _hits(one, 25, "fresh")
    with redis.Redis.from_url(own_valkey.url) as client:
        assert any(b"fresh" in key for key in client.scan_iter())


async def _delay(limiter: Limiter, address: str) -> float:
    watch = Stopwatch()
    await _hits(limiter, 3, address)
    return watch.seconds()


async def _is_back(limiter: Limiter) -> bool:
    return not limiter._shared.is_away


# The middleware


class Client:
    """Sends requests and handshakes through the middleware and records the responses."""

    def __init__(self, limiter: Limiter, settings: configuration.Settings) -> None:
        self.limited: list[tuple[str, str]] = []
        self.middleware = RateLimit(
            self._application,
            settings=settings,
            limiter=limiter,
            on_limited=lambda kind, mode: self.limited.append((kind, mode)),
        )

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})

    async def request(self, path: str = "/matches") -> tuple[int, dict[str, str], bytes]:
        scope = {"type": "http", "path": path, "headers": [], "client": ("192.0.2.1", 1)}
        start, body = await self._send(scope)
        return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body["body"]

    async def handshake(self, extensions: dict[str, Any]) -> list[Any]:
        return await self._send(
            {"type": "websocket", "path": "/ws", "headers": [], "client": ("192.0.2.1", 1), "extensions": extensions}
        )

    async def _send(self, scope: dict[str, Any]) -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.middleware(scope, receive, send)
        return sent


@pytest.fixture
def client(limiter: Callable[..., Limiter], redis_url: str) -> Callable[[str], Client]:
    return lambda mode: Client(limiter(), _settings(redis_url, security_mode=mode))


async def test_live_mode_refuses_with_429_and_retry_after(client: Callable[[str], Client]) -> None:
    live = client("LIVE")
    answers = [await live.request() for _ in range(21)]
    assert [status for status, _, _ in answers] == [200] * 20 + [429]
    _, headers, body = answers[-1]
    assert body == b'{"error":"Too many requests"}'
    assert headers["content-type"] == "application/json"
    assert 1 <= int(headers["retry-after"]) <= WINDOW_SECONDS
    assert live.limited == [("http", "LIVE")]


async def test_every_limited_response_names_policy_and_quota(client: Callable[[str], Client]) -> None:
    live = client("LIVE")
    for remaining in (19, 18):
        _, headers, _ = await live.request()
        assert headers["ratelimit-policy"] == f'"http";q=20;w={WINDOW_SECONDS}'
        assert headers["ratelimit"] == f'"http";r={remaining};t={WINDOW_SECONDS}'


async def test_only_probes_are_exempt(client: Callable[[str], Client]) -> None:
    live = client("LIVE")
    for path in ("/health", "/health/ready", "/health/live") * 20:
        status, headers, _ = await live.request(path)
        assert status == 200
        assert "ratelimit" not in headers
    assert [(await live.request("/healthy"))[0] for _ in range(21)][-1] == 429


async def test_live_mode_refuses_a_handshake_over_the_limit_before_the_upgrade(client: Callable[[str], Client]) -> None:
    live = client("LIVE")
    for _ in range(3):
        assert (await live.handshake({"websocket.http.response": {}}))[0]["type"] == "websocket.accept"
    start, body = await live.handshake({"websocket.http.response": {}})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 429)
    assert (body["type"], body["body"]) == ("websocket.http.response.body", b'{"error":"Too many requests"}')
    assert b"retry-after" in dict(start["headers"])


async def test_server_without_the_extension_closes_instead(client: Callable[[str], Client]) -> None:
    live = client("LIVE")
    answers = [await live.handshake({}) for _ in range(4)]
    assert [answer[0]["type"] for answer in answers] == ["websocket.accept"] * 3 + ["websocket.close"]


async def test_dry_run_refuses_nothing_and_logs_once_per_window(client: Callable[[str], Client]) -> None:
    dry = client("DRY_RUN")

    async def over() -> bool:
        assert (await dry.request())[0] == 200
        return len(dry.limited) >= 5

    with structlog.testing.capture_logs() as captured:
        await _until(over)
    assert [(entry["address"], entry["mode"]) for entry in captured] == [("192.0.2.1", "DRY_RUN")]
    assert set(dry.limited) == {("http", "DRY_RUN")}


# Clocks


async def test_hits_from_a_clock_ahead_block_no_longer_than_the_window(
    limiter: Callable[..., Limiter], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, right = limiter(http_limit="3 per 2 seconds"), limiter(http_limit="3 per 2 seconds")
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda now=time.time: now() + 3_600)
        assert (await _hits(ahead, 4))[-1] is False
    refused = await right.hit("http", "a")
    assert not refused.allowed
    assert 0 < refused.reset_after_seconds <= 2
    await asyncio.sleep(refused.reset_after_seconds)
    assert (await right.hit("http", "a")).allowed


@pytest.mark.parametrize("seconds", [-3_600, 3_600])
async def test_instance_with_a_wrong_clock_announces_a_time_within_the_window(
    limiter: Callable[..., Limiter], monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    right, wrong = limiter(), limiter()
    await _hits(right, 20)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda now=time.time: now() + seconds)
        decisions = [await wrong.hit("http", "a") for _ in range(5)]
    assert not decisions[-1].allowed
    assert all(0 <= decision.reset_after_seconds <= WINDOW_SECONDS for decision in decisions)


async def test_window_written_with_a_clock_ahead_is_restarted(
    limiter: Callable[..., Limiter], redis_client: redis.Redis
) -> None:
    one = limiter()
    await _hits(one, 25)
    (key,) = redis_client.keys("livescore:*:limit:*")
    seconds, microseconds = redis_client.time()
    future = (seconds + 3_600) * 1_000_000 + microseconds
    for place in range(redis_client.llen(key)):
        redis_client.lset(key, place, str(future))
    assert await _hits(limiter(), 25) == [True] * 20 + [False] * 5


async def test_clock_set_back_changes_nothing_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Limiter(_settings("redis://127.0.0.1:1/0", http_limit="3 per 1 second"), lambda: DEPLOYMENT)
    try:
        await _hits(one, 4)
        monkeypatch.setattr(time, "time", lambda now=time.time: now() - 3_600)
        refused = await one.hit("http", "a")
        assert not refused.allowed
        await asyncio.sleep(refused.reset_after_seconds + 0.05)
        assert (await one.hit("http", "a")).allowed
    finally:
        await one.close()


async def test_process_counts_alone_while_the_deployment_is_unknown(redis_url: str, redis_client: redis.Redis) -> None:
    known: list[Deployment | None] = [None]
    one = Limiter(_settings(redis_url), lambda: known[0])
    try:
        assert await _hits(one, 25) == [True] * 20 + [False] * 5
        assert redis_client.dbsize() == 0
        known[0] = DEPLOYMENT
        await _hits(one, 25, "b")
        assert redis_client.keys() == [b"livescore:0123456789ab:limit:http:20:60:b"]
    finally:
        await one.close()


async def test_deployments_on_one_redis_have_separate_windows(redis_url: str) -> None:
    other = Deployment("livescore", "f" * 12)
    limiters = [Limiter(_settings(redis_url), lambda: DEPLOYMENT), Limiter(_settings(redis_url), lambda: other)]
    for each in limiters:
        assert await _hits(each, 25) == [True] * 20 + [False] * 5
        await each.close()
