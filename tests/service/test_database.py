"""Connections to PostgreSQL: restarts, closed connections, and settings of the database and the role."""

import asyncio
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from psycopg import sql

from livescore.scores import migrations, sessions
from livescore.scores.database import Database, DatabaseAway, Row
from tests.support.command import Command
from tests.support.databases import opened
from tests.support.failover import execute
from tests.support.servers import OwnPostgres, Postgres
from tests.support.service import Kind, Start, eventually, instant, match_body
from tests.support.stopwatch import Stopwatch

CONNECTIONS = 10

PROMPT_SECONDS = 1.0
"""psycopg_pool needed three to five seconds; opening a connection takes about ten milliseconds."""


END_ALL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


async def fill(database: Database) -> None:
    """Leave ten idle connections in the pool."""
    pids = await asyncio.gather(*(database.rows("SELECT pg_backend_pid(), pg_sleep(0.2)") for _ in range(CONNECTIONS)))
    assert len({rows[0][0] for rows in pids}) == CONNECTIONS


async def timed_read(database: Database) -> float:
    """Return the duration of a read in seconds."""
    watch = Stopwatch()
    assert await database.rows("SELECT 1") == [(1,)]
    return watch.seconds()


async def test_first_request_after_a_restart_is_served_at_once(
    own_postgres: OwnPostgres,
) -> None:
    async with opened(own_postgres.url, size=CONNECTIONS, timeout=5) as database:
        await fill(database)
        await own_postgres.restart()
        assert await timed_read(database) < PROMPT_SECONDS


@pytest.mark.parametrize("write", [False, True])
async def test_request_during_a_restart_is_served_once_postgresql_is_up(own_postgres: OwnPostgres, write: bool) -> None:
    async with opened(own_postgres.url, size=CONNECTIONS, timeout=10) as database:
        await fill(database)
        await own_postgres.stop()
        request = database.execute("UPDATE catalog SET last_match_id = 0") if write else database.rows("SELECT 1")
        waiting = asyncio.create_task(request)
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await own_postgres.start()
        watch = Stopwatch()
        await waiting
        assert watch.seconds() < PROMPT_SECONDS


async def test_idle_connections_closed_by_the_server_are_replaced_without_an_outage(
    own_postgres: OwnPostgres,
) -> None:
    execute(
        own_postgres.server.admin_url(), "ALTER SYSTEM SET idle_session_timeout = '100ms'", "SELECT pg_reload_conf()"
    )
    async with opened(own_postgres.url, size=CONNECTIONS, timeout=5) as database:
        await fill(database)
        for _ in range(3):
            await asyncio.sleep(0.3)
            assert await timed_read(database) < PROMPT_SECONDS
            await database.execute("UPDATE catalog SET last_match_id = 0")
        assert database.fault is None


async def test_terminated_connections_are_replaced(own_postgres: OwnPostgres) -> None:
    async with opened(own_postgres.url, size=CONNECTIONS, timeout=5) as database:
        for _ in range(3):
            await fill(database)
            execute(own_postgres.server.admin_url(), END_ALL)
            assert await timed_read(database) < PROMPT_SECONDS


async def test_read_is_retried_after_a_broken_connection_and_write_is_not(own_postgres: OwnPostgres) -> None:
    end = "SELECT pg_terminate_backend(pg_backend_pid()) FROM catalog WHERE last_match_id = 0"
    async with opened(own_postgres.url, size=2, timeout=5) as database:

        async def end_once(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> bool:
            attempts.append(connection)
            if len(attempts) == 1:
                await connection.execute(end)
            return True

        attempts: list[object] = []
        assert await database.read(end_once)
        assert len(attempts) == 2
        attempts.clear()
        with pytest.raises(DatabaseAway):
            await database.use(end_once)
        assert len(attempts) == 1


async def test_too_many_connections_is_not_an_outage_while_others_work(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, opened_so_far = sessions.connect, 0

    async def limited(url: str, profile: sessions.Profile) -> tuple[psycopg.AsyncConnection[Row], sessions.Facts]:
        nonlocal opened_so_far
        opened_so_far += 1
        if opened_so_far > 2:
            raise psycopg.OperationalError("FATAL: sorry, too many clients already")
        return await connect(url, profile)

    monkeypatch.setattr(sessions, "connect", limited)
    async with opened(database_url, size=CONNECTIONS, timeout=10) as database:
        await asyncio.gather(*(database.rows("SELECT pg_sleep(0.3)") for _ in range(2)))
        answers = await asyncio.gather(*(database.rows("SELECT 1, pg_sleep(0.05)") for _ in range(CONNECTIONS)))
        assert len(answers) == CONNECTIONS
        assert database.fault is None


async def test_request_waiting_too_long_for_a_statement_is_refused_in_time(database_url: str) -> None:
    async with opened(database_url, size=1, timeout=0.3) as database:
        watch = Stopwatch()
        with pytest.raises(DatabaseAway):
            await database.rows("SELECT pg_sleep(30)")
        assert watch.seconds() < 5
        assert await database.rows("SELECT 1") == [(1,)]


# Settings of the database and the role

UNUSUAL_TIMEOUT = "500ms"
"""Applies to a connection's first statements, until the service sets its own: not too short for a busy machine."""

UNUSUAL = {
    "client_encoding": "LATIN1",
    "DateStyle": "German, DMY",
    "TimeZone": "Asia/Kathmandu",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": UNUSUAL_TIMEOUT,
    "lock_timeout": UNUSUAL_TIMEOUT,
    "idle_in_transaction_session_timeout": UNUSUAL_TIMEOUT,
    "transaction_timeout": UNUSUAL_TIMEOUT,
    "synchronous_commit": "off",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "client_min_messages": "debug1",
}


@pytest.fixture
def unusual_url(postgres_server: Postgres) -> Iterator[str]:
    """A migrated database with every unusual setting, most of which the service cannot change."""
    name = "unusual"
    postgres_server.server.create_database(name)
    with psycopg.connect(postgres_server.server.admin_url(), autocommit=True) as connection:
        for setting, value in UNUSUAL.items():
            change = sql.SQL("ALTER DATABASE {} SET {} = {}")
            connection.execute(change.format(sql.Identifier(name), sql.SQL(setting), sql.Literal(value)))
    migrations.upgrade(postgres_server.url_of(name))
    yield postgres_server.url_of(name)
    postgres_server.drop_database(name)


@pytest.mark.parametrize("kind", ["worker"])
async def test_unusual_settings_of_the_database_change_nothing(start: Start, unusual_url: str, kind: Kind) -> None:
    api, worker = await asyncio.gather(start("api", DATABASE_URL=unusual_url), start(kind, DATABASE_URL=unusual_url))
    async with api.client() as http:
        key = {"Idempotency-Key": "one"}
        body = match_body(
            homeTeam="Łódź ⚽ 日本", startTime="2026-02-03T10:00:00.123Z", endTime="2099-12-31T23:59:59.999Z"
        )
        match = (await http.post("/matches", json=body, headers=key)).json()["data"]
        again = await http.post("/matches", json=body, headers=key)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.json()["data"] == match
        assert (match["homeTeam"], match["startTime"]) == ("Łódź ⚽ 日本", "2026-02-03T10:00:00.123Z")
        notes = [
            http.post(
                f"/matches/{match['id']}/commentary",
                json={
                    "minute": n,
                    "message": "naïve \\ ' \" 🎉",
                    "tags": ["NULL", "a,b", "\\"],
                    "metadata": {"x": 0.1},
                },
            )
            for n in range(20)
        ]
        answers = await asyncio.gather(*notes)
        assert {answer.status_code for answer in answers} == {201}
        assert answers[0].json()["data"]["tags"] == ["NULL", "a,b", "\\"]
        assert answers[0].json()["data"]["message"] == "naïve \\ ' \" 🎉"
        events = (await http.get(f"/matches/{match['id']}/events")).json()["data"]
        assert [event["seq"] for event in events] == list(range(1, 22))
        due = await http.post("/matches", json=match_body(startTime=instant(1.0), endTime=instant(100)))
        path = f"/matches/{due.json()['data']['id']}"
        async with asyncio.timeout(30):
            while (await http.get(path)).json()["data"]["status"] != "live":
                await asyncio.sleep(0.1)
        page = (await http.get("/matches?limit=1")).json()
        following = (await http.get("/matches", params={"cursor": page["nextCursor"]})).json()["data"]
        assert following[0]["id"] == match["id"]
    assert "Traceback" not in api.log + worker.log


async def test_every_connection_has_the_timeouts_of_the_service(unusual_url: str) -> None:
    async with opened(unusual_url, size=1, timeout=5) as database:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
        known = [name for name in names if await database.rows(f"SELECT current_setting('{name}', true)") != [(None,)]]
        values = [(await database.rows(f"SELECT current_setting('{name}')"))[0][0] for name in known]
    assert values == ["5s", "5s", "5s", "0"][: len(known)]


async def test_every_connection_commits_to_disk_and_reads_committed_rows(unusual_url: str) -> None:
    async with opened(unusual_url, size=1, timeout=5) as database:
        names = ("synchronous_commit", "transaction_isolation", "client_encoding", "DateStyle", "TimeZone")
        values = [(await database.rows(f"SELECT current_setting('{name}')"))[0][0] for name in names]
    assert values == ["on", "read committed", "UTF8", "ISO, YMD", "UTC"]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
async def test_database_with_a_limited_encoding_is_refused_with_the_reason(
    postgres_server: Postgres, start: Start, forked: Command, encoding: str
) -> None:
    name = f"encoded_{encoding.lower()}"
    execute(
        postgres_server.server.admin_url(),
        f"CREATE DATABASE {name} OWNER livescore TEMPLATE template0 "
        f"ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'",
    )
    url = postgres_server.url_of(name)
    sentence = f"the database's encoding is {encoding}, which cannot hold every text"
    done = await forked("migrate", DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    api, worker = await asyncio.gather(
        start("api", ready=False, DATABASE_URL=url), start("worker", ready=False, DATABASE_URL=url)
    )
    for service in (api, worker):
        await eventually(lambda service=service: sentence in _ready(service.management_url))  # type: ignore[misc]
    async with api.client() as http:
        answer = await http.post("/matches", json=match_body())
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    await asyncio.gather(api.terminate(), worker.terminate())
    postgres_server.drop_database(name)


def _ready(url: str) -> str:
    try:
        return httpx.get(f"{url}/health/ready", timeout=5, verify=False).text
    except httpx.HTTPError:
        return ""
