"""The service behind PgBouncer, which assigns connections to PostgreSQL per transaction."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from livescore.scores import migrations, schema, sessions
from livescore.scores.database import Database
from livescore.scores.sessions import Profile
from tests.support.command import Command
from tests.support.databases import opened
from tests.support.failover import admit, execute, set_read_only
from tests.support.pgbouncer import ANYONE, PgBouncer
from tests.support.servers import OwnPostgres
from tests.support.service import Kind, Start, eventually, instant, match_body

SETTINGS = ("default_transaction_isolation = serializable", "synchronous_commit = off", "datestyle = german")


@pytest.fixture
def empty_url(own_postgres: OwnPostgres) -> str:
    """A database without a schema, with settings that the service must override."""
    name = "behind_pgbouncer"
    own_postgres.server.create_database(name)
    execute(own_postgres.server.admin_url(), *(f"ALTER DATABASE {name} SET {setting}" for setting in SETTINGS))
    return own_postgres.url_of(name)


@pytest.fixture(params=["transaction", "session"])
def bouncer(
    request: pytest.FixtureRequest, own_postgres: OwnPostgres, empty_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PgBouncer]:
    """PgBouncer in front of ``empty_url``."""
    bouncer = PgBouncer(tmp_path_factory.mktemp("b"), own_postgres, empty_url, request.param)
    try:
        bouncer.start()
        yield bouncer
    finally:
        bouncer.close()


@pytest.mark.parametrize("bouncer", ["transaction"], indirect=True)
async def test_concurrent_migrations_need_no_direct_connection(
    bouncer: PgBouncer, empty_url: str, forked: Command
) -> None:
    runs = [forked("migrate", DATABASE_URL=bouncer.url, REDIS_URL="redis://127.0.0.1:1") for _ in range(5)]
    for done in await asyncio.gather(*runs):
        assert (done.returncode, done.stdout.strip()) == (0, f"schema is at {schema.HEAD}"), done.stderr
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


async def test_service_works_with_more_clients_than_connections(
    bouncer: PgBouncer, start: Start, forked: Command
) -> None:
    migrations.upgrade(bouncer.url)
    kinds: tuple[Kind, ...] = ("api", "worker", "scheduler")
    api, worker, scheduler = await asyncio.gather(*(start(kind, DATABASE_URL=bouncer.url) for kind in kinds))
    async with api.client() as http:
        body = match_body()
        answers = await asyncio.gather(
            *(http.post("/matches", json=body, headers={"Idempotency-Key": str(n % 15)}) for n in range(30))
        )
        assert {answer.status_code for answer in answers} <= {201, 409}
        match = await api.create_match()
        place = f"/matches/{match['id']}"
        goals = [
            http.post(
                f"{place}/commentary",
                json={"minute": 1, "message": "x", "eventType": "goal", "metadata": {"scoreDelta": {"home": 1}}},
            )
            for _ in range(40)
        ]
        answers = await asyncio.gather(*goals)
        assert {answer.status_code for answer in answers} == {201}
        first = answers[0].json()["data"]["id"]
        assert (await http.patch(f"{place}/commentary/{first}", json={"message": "y"})).status_code == 200
        assert (await http.delete(f"{place}/commentary/{first}")).status_code == 200
        assert (await http.get(place)).json()["data"]["homeScore"] == 39
        due = await http.post("/matches", json=match_body(startTime=instant(1), endTime=instant(100)))
        path = f"/matches/{due.json()['data']['id']}"
        async with asyncio.timeout(30):
            while (await http.get(path)).json()["data"]["status"] != "live":
                await asyncio.sleep(0.1)
    keys = await forked("keys", "create", "desk", DATABASE_URL=bouncer.url, REDIS_URL="redis://127.0.0.1:1")
    assert keys.returncode == 0, keys.stderr
    for service in (api, worker, scheduler):
        assert "Traceback" not in service.log
        assert "server is away" not in service.log


@pytest.mark.parametrize("bouncer", ["transaction"], indirect=True)
async def test_timeouts_and_isolation_are_local_to_the_transaction(
    bouncer: PgBouncer,
) -> None:
    names = ("statement_timeout", "transaction_isolation", "synchronous_commit", "DateStyle", "TimeZone")
    query = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    migrations.upgrade(bouncer.url)

    async with opened(bouncer.url, size=1, timeout=7) as database:

        async def ask(connection: psycopg.AsyncConnection[tuple[str, ...]]) -> tuple[str, ...]:
            return (await (await connection.execute(query.encode())).fetchall())[0]

        assert await database.use(ask) == ("7s", "read committed", "on", "ISO, YMD", "UTC")
        with psycopg.connect(bouncer.url, autocommit=True) as other:
            for _ in range(5):
                values = other.execute(query.encode()).fetchone()
                assert values is not None
                assert values[:4] == ("0", "serializable", "off", "German, DMY")


@pytest.mark.parametrize("bouncer", ["transaction"], indirect=True)
async def test_statements_are_prepared_only_on_direct_connections(bouncer: PgBouncer, empty_url: str) -> None:
    for url, prepared, expected in (
        (empty_url, "auto", 1),
        (empty_url, "off", None),
        (bouncer.url, "auto", None),
        (bouncer.url, "on", 1),
    ):
        connection, facts = await sessions.connect(url, Profile(5, prepared, migrated=False))  # type: ignore[arg-type]
        assert (facts.pooled, connection.prepare_threshold) == (url == bouncer.url, expected)
        await connection.close()


async def test_read_only_server_behind_pgbouncer_is_detected(
    start: Start, own_postgres: OwnPostgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bouncer = PgBouncer(tmp_path_factory.mktemp("b"), own_postgres, own_postgres.url, "transaction")
    bouncer.start()
    try:
        api = await start("api", DATABASE_URL=bouncer.url)
        await api.create_match()
        set_read_only(own_postgres, "on")
        async with api.client() as http:
            await eventually(lambda: not api.is_ready())
            answer = await http.post("/matches", json=match_body())
            assert (answer.status_code, answer.json()["reason"]) == (503, "PostgreSQL is read-only")
            set_read_only(own_postgres, "off")
            await eventually(api.is_ready)
            assert (await http.post("/matches", json=match_body())).status_code == 201
            await own_postgres.restart()
            admit(own_postgres, ANYONE)
            bouncer_down = await http.get("/matches")
            assert bouncer_down.status_code in (200, 503)
            await eventually(api.is_ready)
            bouncer.stop()
            bouncer.start()
            await eventually(api.is_ready)
            assert (await http.post("/matches", json=match_body())).status_code == 201
        assert "Traceback" not in api.log
    finally:
        bouncer.close()


def test_pgbouncer_is_detected_automatically(database_url: str) -> None:
    connection, facts = sessions.connect_sync(database_url, Profile())
    assert not facts.pooled
    connection.close()
    assert Database(database_url, size=1, timeout=1).fault is None
