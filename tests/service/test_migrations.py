"""The schema's way to its present state: again, from many processes at once, back and forth; and who refuses which."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.pool import NullPool

from livescore.scores import migrations, models
from tests.support.forkserver import Forked, ForkServer
from tests.support.servers import Postgres
from tests.support.service import Start, eventually

PROCESSES = 8

END_SECONDS = 60.0
"""Longest until all of them have ended."""

WAITING = """
SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted
"""


@pytest.fixture
def empty_url(postgres_server: Postgres) -> Iterator[str]:
    """A database in which nobody has done anything."""
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
    """``livescore migrate`` in a process of its own."""
    environment = os.environ | {"DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1"}
    with log_file.open("wb") as log:
        return forks.run(["migrate"], environment, log)


def test_upgrade_may_be_repeated(empty_url: str) -> None:
    assert migrations.upgrade(empty_url) == migrations.HEAD
    before = tables(empty_url)
    assert migrations.upgrade(empty_url) == migrations.HEAD
    assert tables(empty_url) == before


def test_upgrade_works_from_many_processes_at_once(empty_url: str, service_forks: ForkServer, tmp_path: Path) -> None:
    logs = [tmp_path / f"{number}.log" for number in range(PROCESSES)]
    started = [migrate(service_forks, empty_url, log) for log in logs]
    codes = [process.wait(END_SECONDS) for process in started]
    said = [log.read_text() for log in logs]
    assert codes == [0] * PROCESSES, said
    assert {text.splitlines()[-1] for text in said} == {f"schema is at {migrations.HEAD}"}
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(migrations.HEAD,)]
        assert connection.execute("SELECT last_match_id FROM catalog").fetchall() == [(0,)]


async def test_an_upgrade_that_dies_leaves_nothing_behind_and_its_lock_to_the_next(
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


def test_downgrade_removes_everything_and_upgrade_brings_it_back(empty_url: str) -> None:
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


def test_the_revision_a_node_knows_is_the_latest_file() -> None:
    assert ScriptDirectory.from_config(migrations.config()).get_current_head() == migrations.HEAD


async def test_a_node_is_ready_on_the_schema_it_knows_only(start: Start, empty_url: str) -> None:
    api = await start("api", ready=False, DATABASE_URL=empty_url)
    async with httpx.AsyncClient(base_url=api.management_url, timeout=5) as http:
        assert await objection(http) == "unknown schema: none"
        await asyncio.to_thread(migrations.upgrade, empty_url)
        await eventually(api.is_ready)
        set_version(empty_url, "9999")
        assert await objection(http) == "unknown schema: 9999"
        set_version(empty_url, migrations.HEAD)
        assert await objection(http) is None


async def objection(http: httpx.AsyncClient) -> str | None:
    """Why the node is not ready; asked until it answers at all."""
    async with asyncio.timeout(20):
        while True:
            try:
                reason: str | None = (await http.get("/health/ready")).json().get("reason")
                return reason
            except httpx.TransportError:
                await asyncio.sleep(0.05)


def set_version(url: str, version: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [version])
