"""Migrations: repeated, concurrent, up and down; and the schemas that a process accepts."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import httpx
import psycopg
import pytest
import structlog
from alembic import command
from alembic.script import ScriptDirectory
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.pool import NullPool

from livescore.scores import migrations, models, schema
from livescore.scores.match_state import status_at
from tests.support.clients import Listener
from tests.support.command import Command
from tests.support.delivery import DeliveryScenario
from tests.support.forkserver import Forked, ForkServer
from tests.support.jobs import wait_for_status
from tests.support.servers import Postgres
from tests.support.service import Kind, Start, eventually, instant, match_body
from tests.support.stopwatch import Stopwatch

PROCESSES = 8

KICK_OFF = datetime(2026, 6, 11, 19, tzinfo=UTC)
FULL_TIME = KICK_OFF + timedelta(hours=2)

DATABASE_TIMEOUT_SECONDS = 5.0
"""The default of the setting: a statement that takes longer fails."""

END_SECONDS = 60.0
"""Timeout until all of them have ended."""

WAITING = """
SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted
"""

NEWER = f"{int(schema.HEAD) + 1:04}"

TOO_OLD = f"the database's schema is 0001 and this version needs {schema.HEAD}: run `livescore migrate`"

MATCH_OF_0001 = """
WITH counted AS (UPDATE catalog SET last_match_id = 7)
INSERT INTO match (id, sport, home_team, away_team, status, start_time, end_time, home_score, away_score, created_at,
    updated_at, seq)
VALUES (7, 'football', 'Older', 'Away', 'live', now() - interval '1 hour', now() + interval '1 hour', 0, 0, now(),
    now(), 1)
"""

EVENT_OF_0001 = """
INSERT INTO event (match_id, seq, type, data, created_at) VALUES (7, 1, 'match_created', '{"id":7}', now())
"""

EXPANSION: tuple[LiteralString, ...] = (
    "CREATE TABLE tournament (id integer PRIMARY KEY)",
    *(
        f"ALTER TABLE {table} ADD COLUMN added text NOT NULL DEFAULT 'x'"
        for table in ("match", "commentary", "event", "catalog", "api_key", "idempotency_key")
    ),
    "ALTER TABLE match ADD COLUMN tournament_id integer REFERENCES tournament",
    "CREATE INDEX event_created ON event (created_at)",
)


@pytest.fixture
def empty_url(postgres_server: Postgres) -> Iterator[str]:
    """A database without any objects."""
    name = "empty"
    postgres_server.server.create_database(name)
    yield postgres_server.url_of(name)
    postgres_server.drop_database(name)


def engine_of(url: str) -> Engine:
    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {row[0] for row in rows}


def migrate(forks: ForkServer, url: str, log_file: Path) -> Forked:
    """Run ``livescore migrate`` in a process of its own."""
    environment = os.environ | {"DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1"}
    with log_file.open("wb") as log:
        return forks.run(["migrate"], environment, log)


def test_upgrade_is_idempotent(empty_url: str) -> None:
    assert migrations.upgrade(empty_url) == schema.HEAD
    before = tables(empty_url)
    assert migrations.upgrade(empty_url) == schema.HEAD
    assert tables(empty_url) == before


def test_upgrade_works_from_many_processes_at_once(empty_url: str, service_forks: ForkServer, tmp_path: Path) -> None:
    logs = [tmp_path / f"{number}.log" for number in range(PROCESSES)]
    started = [migrate(service_forks, empty_url, log) for log in logs]
    codes = [process.wait(END_SECONDS) for process in started]
    said = [log.read_text() for log in logs]
    assert codes == [0] * PROCESSES, said
    assert {text.splitlines()[-1] for text in said} == {f"schema is at {schema.HEAD}"}
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(schema.HEAD,)]
        assert connection.execute("SELECT last_match_id FROM catalog").fetchall() == [(0,)]


async def test_killed_upgrade_leaves_nothing_and_releases_its_lock(
    empty_url: str, service_forks: ForkServer, tmp_path: Path
) -> None:
    holder = psycopg.connect(empty_url)
    holder.execute("SELECT pg_advisory_lock(%s)", [migrations.ADVISORY_LOCK])
    process = migrate(service_forks, empty_url, tmp_path / "log")
    await eventually(lambda: holder.execute(WAITING).fetchone(), END_SECONDS)
    process.kill()
    process.wait()
    assert tables(empty_url) == set()
    holder.close()
    migrations.upgrade(empty_url)
    assert {"match", "commentary", "event"} <= tables(empty_url)


def test_downgrade_removes_everything_and_upgrade_restores_it(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    whole = tables(empty_url)
    with engine_of(empty_url).connect() as connection:
        command.downgrade(migrations.config(connection), "base")
        connection.commit()
    assert tables(empty_url) == {"alembic_version"}
    migrations.upgrade(empty_url)
    assert tables(empty_url) == whole


def test_models_and_migrations_describe_the_same_schema(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ischema_names, "xid8", models.TransactionId)
    migrations.upgrade(empty_url)
    with engine_of(empty_url).connect() as connection:
        command.check(migrations.config(connection))


def test_known_revision_is_the_latest_file() -> None:
    assert ScriptDirectory.from_config(migrations.config()).get_current_head() == schema.HEAD


@pytest.mark.parametrize("kind", ["api", "worker", "scheduler"])
async def test_process_is_ready_on_its_own_and_newer_schemas(start: Start, empty_url: str, kind: Kind) -> None:
    service = await start(kind, ready=False, DATABASE_URL=empty_url)
    async with httpx.AsyncClient(base_url=service.management_url, timeout=5) as http:
        await wait_for_reason(http, "the database has no schema yet: run `livescore migrate`")
        await asyncio.to_thread(migrations.upgrade, empty_url)
        await wait_for_reason(http, None)
        for newer in (NEWER, "9999", "12345"):
            set_version(empty_url, newer)
            await service.terminate()
            await service.start()
        set_version(empty_url, "ae1027a6acf")
        await service.terminate()
        await service.start(ready=False)
        await wait_for_reason(
            http, "the database's schema is ae1027a6acf, which is not a revision of LiveScore: check DATABASE_URL"
        )
        set_version(empty_url, "0001")
        await wait_for_reason(http, TOO_OLD)
        set_version(empty_url, schema.HEAD)
        await wait_for_reason(http, None)
    assert "Traceback" not in service.log


async def test_running_processes_serve_an_older_schema_once_migrated(
    start: Start, forked: Command, empty_url: str
) -> None:
    with engine_of(empty_url).connect() as connection:
        command.upgrade(migrations.config(connection), "0001")
        connection.commit()
    with psycopg.connect(empty_url) as older:
        older.execute(MATCH_OF_0001)
        older.execute(EVENT_OF_0001)
    kinds: tuple[Kind, ...] = ("api", "worker", "scheduler")
    processes = await asyncio.gather(*(start(kind, ready=False, DATABASE_URL=empty_url) for kind in kinds))
    for process in processes:
        async with httpx.AsyncClient(base_url=process.management_url, timeout=5) as http:
            await wait_for_reason(http, TOO_OLD)
    api = processes[0]
    async with api.client() as http:
        assert (await http.post("/matches", json=match_body())).status_code == 503

    done = await forked("migrate", DATABASE_URL=empty_url, REDIS_URL="redis://127.0.0.1:1")

    assert (done.returncode, done.stdout) == (0, f"schema is at {schema.HEAD}\n")
    for process in processes:
        await eventually(process.is_ready)
        assert "Traceback" not in process.log
    async with api.client() as http, Listener(api.ws_url) as listener:
        assert (await http.get("/matches/7")).json()["data"]["homeTeam"] == "Older"
        await listener.subscribe(7, since=1)
        await api.comment(7)
        await listener.until_seq(7, 2)
        assert [event["type"] for event in listener.events(7)] == ["commentary"]
        assert (await api.create_match())["id"] == 8


async def test_migration_by_a_newer_version_fails_no_request(start: Start, forked: Command, database_url: str) -> None:
    """The newer schema has more columns and tables, as in the first of the two steps of every change."""
    api, _ = await asyncio.gather(start("api"), start("worker"))
    async with DeliveryScenario(api, await start("api")) as scenario:
        await scenario.writer.write(10)
        with psycopg.connect(database_url) as newer:
            for statement in EXPANSION:
                newer.execute(statement)
            newer.execute("UPDATE alembic_version SET version_num = %s", [NEWER])
        await scenario.writer.write(10)
        done = await forked("migrate", DATABASE_URL=database_url, REDIS_URL="redis://127.0.0.1:1")
        assert (done.returncode, done.stdout) == (0, f"schema is at {NEWER}\n")
        assert f"newer than {schema.HEAD}" in done.stderr
        await scenario.writer.write(10)
        assert scenario.writer.refused == []
        assert api.is_ready()
        await scenario.assert_delivered()
        soon = await api.create_match(startTime=instant(1.0))
        await wait_for_status(database_url, soon["id"], "live")
    assert "Traceback" not in api.log


async def test_migrate_refuses_a_foreign_schema(forked: Command, database_url: str) -> None:
    set_version(database_url, "ae1027a6acf")
    done = await forked("migrate", DATABASE_URL=database_url, REDIS_URL="redis://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        "livescore migrate: the database's schema is ae1027a6acf, "
        "which is not a revision of LiveScore: check DATABASE_URL"
    )


def migrate_to(url: str, revision: str) -> None:
    with engine_of(url).connect() as connection:
        command.upgrade(migrations.config(connection), revision)
        connection.commit()


async def test_migration_waiting_for_a_long_transaction_blocks_no_other_session(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Revision 0003 alters tables, for which PostgreSQL waits until no transaction uses them."""
    monkeypatch.setattr(migrations, "RETRY_SECONDS", 0.5)
    migrate_to(empty_url, "0002")
    with psycopg.connect(empty_url, application_name="report") as reporter, psycopg.connect(empty_url) as client:
        client.autocommit = True
        client.execute(MATCH_OF_0001)
        reporter.execute("SELECT count(*) FROM match")
        with structlog.testing.capture_logs() as logs:
            migration = asyncio.create_task(asyncio.to_thread(migrations.upgrade, empty_url))
            delays = []
            while len(logs) < 2:
                delays.append(await asyncio.to_thread(use, client))
        assert not migration.done()
        assert max(delays) < DATABASE_TIMEOUT_SECONDS
        for entry in logs:
            assert entry["reason"].startswith(f"process {reporter.info.backend_pid} (application report, user ")
            assert "idle in transaction, open for" in entry["reason"]
            assert f"SELECT pg_terminate_backend({reporter.info.backend_pid})" in entry["reason"]
        reporter.rollback()
        assert await migration == schema.HEAD
        use(client)


def use(client: psycopg.Connection[tuple[object, ...]]) -> float:
    """Read and write a match. Returns how many seconds that took."""
    watch = Stopwatch()
    client.execute("SELECT status FROM match WHERE id = 7")
    client.execute("UPDATE match SET seq = seq + 1 WHERE id = 7")
    return watch.seconds()


def test_a_migration_that_waits_too_long_gives_up_and_leaves_the_schema_as_it_was(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.1)
    migrate_to(empty_url, "0002")
    before = tables(empty_url)
    with psycopg.connect(empty_url) as reporter:
        reporter.execute("SELECT count(*) FROM match")
        with pytest.raises(migrations.SchemaLocked, match=rf"process {reporter.info.backend_pid} .* on match"):
            migrations.upgrade(empty_url, patience=0.0)
    assert tables(empty_url) == before
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0002",)]


def test_a_migration_waits_for_another_one_as_long_as_that_takes(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.1)
    with psycopg.connect(empty_url) as other, ThreadPoolExecutor() as threads:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [migrations.ADVISORY_LOCK])
        migration = threads.submit(migrations.upgrade, empty_url, patience=0.0)
        with pytest.raises(TimeoutError):
            migration.result(timeout=1.0)
        other.rollback()
        assert migration.result(timeout=60.0) == schema.HEAD


MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 -- hypothesis adds it


def test_the_status_by_the_clock_is_one_rule_in_python_and_sql(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:

        @given(MOMENTS, MOMENTS, MOMENTS, st.sampled_from([None, "start", "end"]))
        @example(KICK_OFF, FULL_TIME, KICK_OFF, None)
        @example(KICK_OFF, FULL_TIME, FULL_TIME, None)
        def holds(start: datetime, end: datetime, now: datetime, equal: str | None) -> None:
            now = {"start": start, "end": end}.get(equal or "", now)
            row = connection.execute("SELECT livescore_status(%s, %s, %s)", (start, end, now)).fetchone()
            assert row == (status_at(start, end, now),)

        holds()


def test_the_function_of_the_status_costs_no_call_and_ignores_the_search_path(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        plan = connection.execute(
            "EXPLAIN VERBOSE SELECT livescore_status(start_time, end_time, statement_timestamp()) FROM match"
        ).fetchall()
        assert "livescore_status" not in str(plan)
        connection.execute("CREATE SCHEMA other")
        connection.execute(
            "CREATE FUNCTION other.later(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql RETURN true"
        )
        connection.execute(
            "CREATE OPERATOR other.< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = other.later)"
        )
        connection.execute("SET search_path = other, pg_catalog")
        row = connection.execute("SELECT public.livescore_status(%s, %s, %s)", (KICK_OFF, FULL_TIME, FULL_TIME))
        assert row.fetchone() == ("finished",)


async def wait_for_reason(http: httpx.AsyncClient, expected: str | None) -> None:
    """Wait until readiness reports this reason; None for ready."""
    found: object = ...
    async with asyncio.timeout(30):
        while found != expected:
            await asyncio.sleep(0.05)
            with suppress(httpx.TransportError):
                found = (await http.get("/health/ready")).json().get("reason")


def set_version(url: str, version: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [version])
