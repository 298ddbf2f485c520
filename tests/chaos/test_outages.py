"""PostgreSQL restarts, crashes and freezes: requests fail in time, sockets stay open, no event is lost or repeated."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic

import httpx
import pytest

from tests.support.delivery import MARGIN_SECONDS, DeliveryScenario
from tests.support.servers import OwnPostgres, Valkey
from tests.support.service import Json, Service, Start, eventually, match_body
from tests.support.stopwatch import Stopwatch

TIMEOUT_SECONDS = 2.0
"""``DATABASE_TIMEOUT_SECONDS`` of these tests: the default of 5 s would only make them longer."""

RECOVERY_SECONDS = 2.0
"""Target: everything works again this long after PostgreSQL is back."""

CHECK_SECONDS = 2.0
"""Timeout of a probe's query to PostgreSQL, see ``livescore.api.health``."""


@asynccontextmanager
async def run_scenario(start: Start, postgres: OwnPostgres) -> AsyncIterator[DeliveryScenario]:
    """Run two instances on this PostgreSQL with clients."""
    timeout = str(TIMEOUT_SECONDS)
    apis = (start("api", DATABASE_URL=postgres.url, DATABASE_TIMEOUT_SECONDS=timeout) for _ in range(2))
    one, two = await asyncio.gather(*apis)
    async with DeliveryScenario(one, two) as scenario:
        yield scenario


async def _fast(postgres: OwnPostgres) -> None:
    await postgres.stop()


async def _immediate(postgres: OwnPostgres) -> None:
    """Stop without disconnecting clients and without a checkpoint; the next start recovers from the WAL."""
    assert postgres.server.process is not None
    postgres.server.process.send_signal(signal.SIGQUIT)
    await asyncio.to_thread(postgres.server.process.wait)


async def _kill(postgres: OwnPostgres) -> None:
    await postgres.kill()


async def _freeze(postgres: OwnPostgres) -> None:
    postgres.pause()


async def _thaw(postgres: OwnPostgres) -> None:
    postgres.resume()


async def _start(postgres: OwnPostgres) -> None:
    await postgres.start()


Act = Callable[[OwnPostgres], Awaitable[None]]
OUTAGES: dict[str, tuple[Act, Act]] = {
    "stopped fast": (_fast, _start),
    "stopped immediately": (_immediate, _start),
    "killed": (_kill, _start),
    "frozen": (_freeze, _thaw),
}


@pytest.mark.parametrize("name", OUTAGES)
async def test_no_event_is_lost_and_sockets_stay_open_while_postgres_is(
    start: Start, own_postgres: OwnPostgres, name: str
) -> None:
    begin, end = OUTAGES[name]
    async with run_scenario(start, own_postgres) as scenario:
        writer, over = scenario.writer, asyncio.Event()
        writing = asyncio.create_task(writer.write_until(over.is_set))
        await eventually(lambda: len(writer.acknowledged) > 10)
        await begin(own_postgres)
        await eventually(lambda: len(writer.refused) > 2)
        await end(own_postgres)
        back, before = monotonic(), set(writer.acknowledged)
        await eventually(lambda: len(writer.acknowledged) > len(before) + 5)
        recovery = min(at for seq, at in writer.acknowledged.items() if seq not in before) - back
        over.set()
        await writing
        await scenario.assert_delivered()
        delay = max(scenario.delays())
        print(f"postgres {name}: first write {recovery:.2f} s after it was back, healing delay {delay:.2f} s")
        assert recovery < RECOVERY_SECONDS + scenario.margin()
        assert {answer.status_code for answer in writer.refused} == {503}
        assert max(writer.durations) < TIMEOUT_SECONDS + scenario.margin()
        assert all(watcher.closes == [] for watcher in scenario.watchers)
        assert all(message["type"] != "snapshot" for watcher in scenario.watchers for message in watcher.log)


@pytest.mark.parametrize("name", ["stopped fast", "frozen"])
async def test_requests_get_503_in_time_and_probes_give_the_reason_while_postgres_is(
    start: Start, own_postgres: OwnPostgres, name: str
) -> None:
    begin, end = OUTAGES[name]
    async with run_scenario(start, own_postgres) as scenario:
        await begin(own_postgres)
        async with scenario.one.client() as http:
            answers = await asyncio.gather(
                *(timed_request(http, *request) for request in requests_needing_postgres(scenario.match_id))
            )
        for answer, seconds in answers:
            assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "1"), answer.request.url
            assert answer.json()["error"]
            assert seconds < TIMEOUT_SECONDS + MARGIN_SECONDS
        await assert_probes(scenario.one)
        await end(own_postgres)
        watch = Stopwatch()
        await eventually(lambda: scenario.one.is_ready() and scenario.two.is_ready())
        recovery = watch.seconds()
        print(f"postgres {name}: ready {recovery:.2f} s after it was back")
        assert recovery < RECOVERY_SECONDS + MARGIN_SECONDS
        await scenario.writer.write(2)
        await scenario.assert_delivered()


def requests_needing_postgres(match_id: int) -> list[tuple[str, str, Json | None]]:
    """Return one request of each kind that needs PostgreSQL."""
    return [
        ("GET", "/matches", None),
        ("GET", f"/matches/{match_id}/commentary", None),
        ("GET", f"/matches/{match_id}/events", None),
        ("GET", f"/matches/{match_id}/events?since=1000&wait=20", None),
        ("GET", f"/matches/{match_id}/events/stream", None),
        ("POST", "/matches", match_body()),
        ("POST", f"/matches/{match_id}/commentary", {"minute": 1, "message": "a chance"}),
        ("PATCH", f"/matches/{match_id}/score", {"homeScore": 1, "awayScore": 0}),
    ]


async def timed_request(
    http: httpx.AsyncClient, method: str, path: str, body: Json | None
) -> tuple[httpx.Response, float]:
    """Return a response and its duration in seconds."""
    watch = Stopwatch()
    return await http.request(method, path, json=body), watch.seconds()


async def assert_probes(service: Service) -> None:
    """Fault 15: ``/health`` stayed 200 without PostgreSQL."""
    async with service.client() as http:
        for path in ("/health", "/health/ready", f"{service.management_url}/health/ready"):
            answer, seconds = await timed_request(http, "GET", path, None)
            assert answer.status_code == 503
            assert seconds < CHECK_SECONDS + MARGIN_SECONDS
            if path == "/health":
                assert answer.json()["status"] == "degraded"
                assert answer.json()["services"] == {"api": "healthy", "redis": "healthy", "database": "unhealthy"}
            else:
                assert (answer.json()["ready"], answer.json()["reason"]) == (False, "database away")
        assert (await http.get("/health/live")).status_code == 200


async def test_subscription_is_refused_during_a_postgres_outage_and_works_afterwards(
    start: Start, own_postgres: OwnPostgres
) -> None:
    async with run_scenario(start, own_postgres) as scenario:
        other = (await scenario.one.create_match())["id"]
        await own_postgres.stop()
        watcher = scenario.watchers[1]
        refusal = await watcher.ask({"type": "subscribe", "matchId": other, "since": 1}, "error")
        assert refusal["code"] == "unavailable"
        assert (await watcher.ask({"type": "ping"}, "pong")) == {"type": "pong"}
        await own_postgres.start()
        await eventually(scenario.two.is_ready)
        assert (await watcher.follow(other))["recovered"]
        await scenario.one.comment(other)
        await watcher.until_seq(other, 2)
        await scenario.writer.write(2)
        await scenario.assert_delivered()


async def test_simultaneous_restart_of_postgres_and_valkey_loses_no_event(
    start: Start, own_postgres: OwnPostgres, own_valkey: Valkey
) -> None:
    apis = (start("api", DATABASE_URL=own_postgres.url, REDIS_URL=own_valkey.url) for _ in range(2))
    one, two = await asyncio.gather(*apis)
    async with DeliveryScenario(one, two) as scenario:
        over = asyncio.Event()
        writing = asyncio.create_task(scenario.writer.write_until(over.is_set))
        await eventually(lambda: len(scenario.writer.acknowledged) > 10)
        await asyncio.gather(own_postgres.kill(), own_valkey.kill())
        await own_postgres.start()
        watch, known = Stopwatch(), len(scenario.writer.acknowledged)
        await eventually(lambda: len(scenario.writer.acknowledged) > known + 5)
        assert watch.seconds() < RECOVERY_SECONDS + MARGIN_SECONDS
        await own_valkey.start()
        over.set()
        await writing
        await scenario.assert_delivered()


async def test_api_started_without_servers_becomes_ready_once_they_are_up(
    start: Start, own_postgres: OwnPostgres, own_valkey: Valkey
) -> None:
    await asyncio.gather(own_postgres.stop(), own_valkey.stop())
    api = await start("api", ready=False, DATABASE_URL=own_postgres.url, REDIS_URL=own_valkey.url)
    await api.logged("Uvicorn running on", timeout=20)
    await assert_not_ready(api)
    await own_postgres.start()
    await eventually(api.is_ready)
    await own_valkey.start()
    await eventually(lambda: httpx.get(f"{api.base_url}/health", verify=False).status_code == 200)
    async with api.client() as http:
        # Writes are refused until the API keys have been read, because a key might forbid them.
        await post_until(http, "/matches", match_body(), 201)


async def post_until(http: httpx.AsyncClient, path: str, body: Json, status: int, timeout: float = 10.0) -> None:
    """Repeat a POST until its status is ``status``."""
    async with asyncio.timeout(timeout):
        while (await http.post(path, json=body)).status_code != status:
            await asyncio.sleep(0.05)


async def assert_not_ready(service: Service) -> None:
    """Assert that the process is alive but not ready."""
    async with service.client() as http:
        assert (await http.get("/health/ready")).status_code == 503
        answer = await http.get("/health")
        assert answer.json()["services"] == {"api": "healthy", "redis": "unhealthy", "database": "unhealthy"}
