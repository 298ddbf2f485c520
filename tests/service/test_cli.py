"""Output and exit status of the ``livescore`` command."""

import asyncio
import json
import signal
import socket
from collections.abc import Iterator

import psycopg
import pytest

from livescore.scores.schema import HEAD
from tests.support.clients import Listener
from tests.support.command import Command, livescore
from tests.support.servers import Postgres
from tests.support.service import Kind, Start, eventually, instant
from tests.support.stopwatch import Stopwatch

NOWHERE = {"DATABASE_URL": "postgresql://127.0.0.1:1/livescore", "REDIS_URL": "redis://127.0.0.1:1"}
"""URLs for commands that need no server."""

STOP_SECONDS = 5.0
"""A process without clients needs at most two seconds; the rest is tolerance for a busy machine."""


@pytest.fixture
def occupied_port() -> Iterator[str]:
    """A port that another socket listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


async def test_version_and_commit_are_shown() -> None:
    done = await livescore("--version", LIVESCORE_COMMIT="c0ffee")

    assert (done.returncode, done.stdout) == (0, "livescore 0.1.0 (c0ffee)\n")


async def test_help_names_every_command() -> None:
    done = await livescore("--help")

    names = ("api", "worker", "scheduler", "migrate", "dev", "replay", "keys", "openapi", "asyncapi")
    assert done.returncode == 0
    assert [name for name in names if f" {name} " not in done.stdout] == []


@pytest.mark.parametrize("arguments", [("serve",), ("api", "--port", "1"), ("replay",)])
async def test_unknown_command_exits_with_2(forked: Command, arguments: tuple[str, ...]) -> None:
    done = await forked(*arguments, **NOWHERE)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("command", "version"), [("openapi", "3.1"), ("asyncapi", "3.")])
async def test_descriptions_are_printed_as_json_without_configuration(command: str, version: str) -> None:
    done = await livescore(command)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[command].startswith(version)


@pytest.mark.parametrize("command", ["api", "worker", "scheduler", "migrate"])
async def test_invalid_configuration_exits_with_2_and_lists_every_error(forked: Command, command: str) -> None:
    done = await forked(command, PORT="eighty", SECURITY_MODE="ON", REDIS_URL="redis://127.0.0.1:1")

    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(":")[0].strip() for line in done.stderr.splitlines()] == [
        "invalid configuration",
        "DATABASE_URL",
        "PORT",
        "SECURITY_MODE",
    ]


@pytest.mark.parametrize("command", ["api", "worker", "scheduler", "migrate", "keys list", "dev"])
async def test_every_command_validates_both_urls_alike(forked: Command, command: str) -> None:
    wrong = {
        "DATABASE_URL": "mysql://desk:s3cr3t@localhost/scores",
        "REDIS_URL": "redis://:s3cr3t@localhost?decode_responses=true",
        "HTTP_LIMIT": "5 per second, 100 per minute",
        "DRAIN_SECONDS": "inf",
    }

    done = await forked(*command.split(), **wrong)

    assert (done.returncode, done.stdout) == (2, "")
    head, *problems = done.stderr.splitlines()
    assert head == "invalid configuration:"
    assert sorted(problem.split(":")[0].strip() for problem in problems) == sorted(wrong)
    assert "s3cr3t" not in done.stderr


async def test_every_process_accepts_common_spellings_of_the_urls(
    start: Start, forked: Command, database_url: str, redis_url: str
) -> None:
    """URLs with a trailing newline as in a Secret, an upper-case scheme, and SQLAlchemy's name of the driver."""
    urls = {
        "DATABASE_URL": f" {database_url.replace('postgresql://', 'postgresql+psycopg://')}\n",
        "REDIS_URL": f"{redis_url.replace('unix://', 'UNIX://')}\r\n",
    }
    for command in (["migrate"], ["keys", "list"]):
        done = await forked(*command, **urls)
        assert done.returncode == 0, done.stderr
    kinds: tuple[Kind, ...] = ("api", "worker", "scheduler")
    api, *others = await asyncio.gather(*(start(kind, ready=True, **urls) for kind in kinds))
    match_id = (await api.create_match(startTime=instant(0.5), endTime=instant(3600)))["id"]
    async with Listener(api.ws_url) as listener:
        await listener.subscribe(match_id, since=0)
        await listener.until_seq(match_id, 2)
    for process in (api, *others):
        assert "away" not in process.log


async def test_repeated_migration_changes_nothing(postgres_server: Postgres) -> None:
    name = postgres_server.create_database()
    url = postgres_server.url_of(name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    environment = NOWHERE | {"DATABASE_URL": url}

    together = await asyncio.gather(*(livescore("migrate", **environment) for _ in range(2)))
    again = await livescore("migrate", **environment)

    assert {(done.returncode, done.stdout) for done in (*together, again)} == {(0, f"schema is at {HEAD}\n")}
    postgres_server.drop_database(name)


async def test_migration_without_a_database_fails_with_one_line(forked: Command) -> None:
    done = await forked("migrate", **NOWHERE)

    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("livescore migrate: connection failed")


@pytest.mark.parametrize("name", ["PORT", "MANAGEMENT_PORT"])
async def test_occupied_port_fails_with_one_line(forked: Command, name: str, occupied_port: str) -> None:
    ports = {
        "HOST": "127.0.0.1",
        "MANAGEMENT_HOST": "127.0.0.1",
        "PORT": "0",
        "MANAGEMENT_PORT": "0",
        name: occupied_port,
    }

    done = await forked("api", **NOWHERE, **ports)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("livescore api: ")
    assert f"{name} {occupied_port} cannot be used: Address already in use" in done.stderr
    assert done.stderr.count("\n") == 1


async def test_foreign_address_fails_with_one_line(forked: Command) -> None:
    # An address of the range for documentation, which no machine has.
    done = await forked("api", **NOWHERE, HOST="192.0.2.1", PORT="0")

    assert done.returncode == 1
    assert done.stderr == "livescore api: HOST 192.0.2.1 and PORT 0 cannot be used: Cannot assign requested address\n"


@pytest.mark.parametrize("kind", ["api", "worker", "scheduler"])
async def test_process_stops_cleanly_and_promptly(start_command: Start, kind: Kind) -> None:
    process = await start_command(kind)
    watch = Stopwatch()

    assert await process.terminate() == 0

    assert watch.seconds() < STOP_SECONDS
    assert "Traceback" not in process.log


@pytest.mark.parametrize("kind", ["api", "worker", "scheduler"])
async def test_process_stops_without_its_servers(start: Start, kind: Kind) -> None:
    process = await start(kind, ready=False, DATABASE_TIMEOUT_SECONDS="1", **NOWHERE)
    await eventually(lambda: process.log)
    watch = Stopwatch()

    assert await process.terminate() == 0

    assert watch.seconds() < STOP_SECONDS


async def test_api_stops_while_clients_are_connected(start: Start) -> None:
    api = await start("api")
    async with Listener(api.ws_url) as listener, api.client() as http:
        await http.get("/matches")
        watch = Stopwatch()

        assert await api.terminate() == 0

        assert watch.seconds() < STOP_SECONDS
        assert await listener.until_closed() == 1012


async def test_ctrl_c_stops_the_api(start: Start) -> None:
    api = await start("api")

    api.signal(signal.SIGINT)

    await eventually(lambda: not api.is_running)
    assert api.process is not None
    assert api.process.returncode == 130
