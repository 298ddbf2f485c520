"""``/health`` reports the state of all parts, ``/health/ready`` the readiness for requests, ``/`` the service."""

import asyncio

import httpx
import psycopg
import pytest

from livescore import __version__
from livescore.scores.schema import HEAD
from tests.support.clients import Listener
from tests.support.servers import OwnPostgres, Valkey
from tests.support.service import Service, Start, match_body
from tests.support.stopwatch import Stopwatch

PATHS = ["/health", "/health/ready", "/health/live"]


async def until(http: httpx.AsyncClient, path: str, status: int, timeout: float = 30.0) -> httpx.Response:
    """Poll until the response has this status, and return it."""
    async with asyncio.timeout(timeout):
        while (answer := await http.get(path)).status_code != status:
            await asyncio.sleep(0.05)
    return answer


async def test_healthy_service_lists_its_parts(service: Service) -> None:
    async with service.client() as http:
        answer = await until(http, "/health", 200)
    health = answer.json()
    assert list(health) == ["status", "timestamp", "version", "environment", "services"]
    assert (health["status"], health["version"], health["environment"]) == ("healthy", __version__, "test")
    assert health["services"] == {"api": "healthy", "redis": "healthy", "database": "healthy"}
    assert len(health["timestamp"]) == 24
    assert answer.headers["Cache-Control"] == "no-store"


async def test_readiness_names_the_open_connections(start: Start) -> None:
    api = await start("api")
    async with api.client() as http:
        assert (await http.get("/health/ready")).json() == {
            "ready": True,
            "instance": "api-0",
            "connections": 0,
            "streams": 0,
            "longPolls": 0,
        }
        async with Listener(api.ws_url), Listener(api.ws_url):
            assert (await http.get("/health/ready")).json()["connections"] == 2


@pytest.mark.parametrize("path", PATHS)
async def test_management_port_serves_the_same_probes(service: Service, path: str) -> None:
    async with service.client() as http:
        public, private = await http.get(path), await http.get(service.management_url + path)
    assert public.status_code == private.status_code == 200
    assert public.json().keys() == private.json().keys()


async def test_fault_14_without_redis_the_service_is_degraded_ready_and_quick(start: Start, own_valkey: Valkey) -> None:
    api = await start("api", REDIS_URL=own_valkey.url)
    await own_valkey.stop()
    async with api.client() as http:
        health = (await until(http, "/health", 503)).json()
        assert (health["status"], health["services"]["redis"]) == ("degraded", "unhealthy")
        assert health["services"]["database"] == "healthy"
        assert (await http.get("/health/ready")).status_code == 200
        watch = Stopwatch()
        assert (await http.post("/matches", json=match_body())).status_code == 201
        assert watch.seconds() < 2
        await own_valkey.start()
        await until(http, "/health", 200)


async def test_fault_15_health_reports_missing_postgresql(start: Start, own_postgres: OwnPostgres) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url)
    async with api.client() as http:
        await own_postgres.stop()
        health = (await until(http, "/health", 503)).json()
        assert (health["status"], health["services"]["database"]) == ("degraded", "unhealthy")
        not_ready = await http.get("/health/ready")
        assert (not_ready.status_code, not_ready.json()["ready"]) == (503, False)
        assert not_ready.json()["reason"] == "database away"
        assert (await http.get("/health/live")).json() == {"live": True}
        await own_postgres.start()
        await until(http, "/health/ready", 200)
        await until(http, "/health", 200)


async def test_hanging_database_is_detected_within_three_seconds(start: Start, own_postgres: OwnPostgres) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url)
    async with api.client() as http:
        own_postgres.pause()
        try:
            watch = Stopwatch()
            answers = await asyncio.gather(*(http.get(path) for path in PATHS))
            assert [answer.status_code for answer in answers] == [503, 503, 200]
            assert watch.seconds() < 3
        finally:
            own_postgres.resume()
        await until(http, "/health/ready", 200)


async def test_instance_with_an_outdated_schema_is_neither_ready_nor_healthy(start: Start, database_url: str) -> None:
    api = await start("api")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    reason = f"the database's schema is 0001 and this version needs {HEAD}: run `livescore migrate`"
    async with api.client() as http:
        answer = await http.get("/health/ready")
        assert (answer.status_code, answer.json()["ready"], answer.json()["reason"]) == (503, False, reason)
        answer = await http.get("/health")
        assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (503, "degraded", reason)
        answer = await http.post("/matches", json=match_body())
        assert (answer.status_code, answer.json()["reason"], answer.headers["Retry-After"]) == (503, reason, "1")


FAIL = (
    "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'cannot go on' USING ERRCODE = '53100'; END $$; "
    "CREATE TRIGGER fail BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION fail()"
)
FAULTS = {
    "has no disk space": (FAIL, "DROP FUNCTION fail CASCADE", "PostgreSQL has no disk space left"),
    "denies a right": (
        "REVOKE INSERT ON event FROM livescore",
        "GRANT INSERT ON event TO livescore",
        "PostgreSQL denies the service's role a right: see the log",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_instance_is_degraded_and_ready_while_postgresql_answers_and(
    start: Start, own_postgres: OwnPostgres, fault: str
) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url)
    begin, end, reason = FAULTS[fault]
    with psycopg.connect(own_postgres.url, autocommit=True) as owner:
        async with api.client() as http:
            owner.execute(begin)
            refused = await http.post("/matches", json=match_body())
            assert (refused.status_code, refused.json()["reason"]) == (503, reason)
            assert refused.headers["Retry-After"] == "1"
            degraded = await http.get("/health")
            assert (degraded.status_code, degraded.json()["status"]) == (503, "degraded")
            assert degraded.json()["services"] == {"api": "healthy", "redis": "healthy", "database": "unhealthy"}
            assert degraded.json()["reason"] == reason
            assert "livescore_database_up 0.0" in (await http.get(api.management_url + "/metrics")).text
            assert (await http.get("/health/ready")).status_code == 200
            assert (await http.get("/matches")).status_code == 200
            owner.execute(end)
            assert (await http.post("/matches", json=match_body())).status_code == 201
            await until(http, "/health", 200)
            assert "livescore_database_up 1.0" in (await http.get(api.management_url + "/metrics")).text


async def test_draining_instance_is_not_ready_but_alive(start: Start) -> None:
    api = await start("api", DRAIN_GRACE_SECONDS="2")
    async with api.client() as http:
        await http.post(f"{api.management_url}/drain")
        answer = await http.get("/health/ready")
        assert (answer.status_code, answer.json()["reason"]) == (503, "draining")
        assert (await http.get("/health/live")).status_code == 200
        assert (await http.get("/matches")).status_code == 200


async def test_probes_are_not_limited(start: Start) -> None:
    api = await start("api", SECURITY_MODE="LIVE", HTTP_LIMIT="3 per minute")
    async with api.client() as http:
        assert [(await http.get(path)).status_code for path in PATHS * 3] == [200] * 9
        assert [(await http.get("/matches")).status_code for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
async def test_root_describes_the_service(service: Service, accept: str) -> None:
    async with service.client() as http:
        answer = await http.get("/", headers={"Accept": accept})
        about = answer.json()
        members = ["name", "version", "environment", "features", "documentation", "websocket", "endpoints"]
        assert (answer.status_code, list(about)) == (200, members)
        assert about["websocket"] == "/ws"
        assert (await http.get(about["documentation"])).status_code == 200
        for path in ("health", "matches", "openapi"):
            assert (await http.get(about["endpoints"][path])).status_code == 200
