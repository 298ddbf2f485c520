"""Processes of the benchmark: the measured servers on one core; PostgreSQL, Valkey and the load on the others."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from livescore.scores.migrations import upgrade
from livescore_dev.processes import guarded
from livescore_dev.servers import Postgres, Valkey
from tests.load.http_load import answers
from tests.support.ports import Port
from tests.support.service import Service

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = set(CORES[:1])
OTHER_CORES = set(CORES[1:]) or SERVER_CORE

START_SECONDS = 30.0
"""Timeout until a server answers."""

STOP_SECONDS = 5.0
"""Timeout until a server without connections has ended."""

SERVICE_ENVIRONMENT = {
    "ENVIRONMENT": "bench",
    "LOG_FORMAT": "json",
    "SECURITY_MODE": "DRY_RUN",
    # All subscribers connect from 127.0.0.1.
    "MAX_CONNECTIONS_PER_ADDRESS": "50000",
}
"""Settings other than addresses that differ from the defaults."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A server process and its resource usage according to the kernel."""

    name: str
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of all threads since the start in seconds (``clock_getcpuclockid(3)``)."""
        return time.clock_gettime(~self.pid << 3 | 2)

    def resident_bytes(self) -> int:
        """Resident set size."""
        return int(psutil.Process(self.pid).memory_info().rss)


@dataclass(frozen=True, slots=True)
class Backends:
    """PostgreSQL with a database for each application, and Valkey."""

    directory: Path
    postgres: Postgres
    valkey: Valkey


def keep_off_the_server_core() -> None:
    """Move this process and its future children to the other cores."""
    os.sched_setaffinity(0, OTHER_CORES)


def allow_many_sockets(wanted: int) -> None:
    """Raise the limit of open files, which children inherit.

    Raises:
        SystemExit: the machine's hard limit is lower.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except (ValueError, OSError):
        raise SystemExit(f"the benchmark needs {wanted} open files: raise `ulimit -Hn`, now {hard}") from None


@contextmanager
def backends() -> Iterator[Backends]:
    """Start PostgreSQL and Valkey on temporary data, without fsync, which would not use the server's CPU anyway."""
    with tempfile.TemporaryDirectory(prefix="livescore-bench-") as path:
        directory = Path(path)
        postgres, valkey = Postgres(directory, durable=False), Valkey(directory, durable=False)
        try:
            postgres.start()
            valkey.start()
            postgres.create_database("livescore")
            postgres.create_database("textbook")
            upgrade(postgres.url("livescore"))
            yield Backends(directory, postgres, valkey)
        finally:
            valkey.stop()
            postgres.stop()


@contextmanager
def livescore(backends: Backends, name: str = "livescore") -> Iterator[Measured]:
    """Run one ``livescore api`` on the server core; ``name`` names its log."""
    urls = {"DATABASE_URL": backends.postgres.url("livescore"), "REDIS_URL": backends.valkey.url()}
    service = Service("api", backends.directory, name, {**SERVICE_ENVIRONMENT, **urls})
    try:
        with on_the_server_core():
            service.launch()
        service.wait_ready(START_SECONDS)
        assert service.process is not None
        yield Measured("livescore", service.port, service.process.pid)
    finally:
        service.close(STOP_SECONDS)
        service.release()


@contextmanager
def textbook(backends: Backends) -> Iterator[Measured]:
    """Run the textbook application under uvicorn on the server core, without an access log, like the service."""
    url = backends.postgres.url("textbook").replace("postgresql://", "postgresql+psycopg://")
    port = Port()
    process = _start_textbook(backends.directory / "textbook.log", url, port.number)
    try:
        _wait(process, port.number, backends.directory / "textbook.log")
        yield Measured("textbook", port.number, process.pid)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
        port.release()


def _start_textbook(log_file: Path, url: str, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "uvicorn", "tests.load.textbook:app", "--port", str(port), "--no-access-log"]
    with on_the_server_core(), log_file.open("wb") as log:
        return subprocess.Popen(
            guarded(command, signal.SIGKILL),
            env=os.environ | {"TEXTBOOK_DATABASE_URL": url},
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[2],
        )


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the textbook application did not start:\n{log.read_text()}")
        time.sleep(0.02)


@contextmanager
def on_the_server_core() -> Iterator[None]:
    """Pin this thread to the server core; children inherit the affinity of the thread that starts them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, SERVER_CORE)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
