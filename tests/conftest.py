"""Fixtures for all tests: a server per worker, a database per test, processes on demand. See ``tests/support``."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import redis
from hypothesis import HealthCheck, settings

from tests.support import forkserver
from tests.support.command import Command, forking
from tests.support.forkserver import ForkServer
from tests.support.kubernetes import choice
from tests.support.servers import OwnPostgres, Postgres, Valkey
from tests.support.service import Kind, Service, Start
from tests.support.virtual_time import VirtualTime, virtual_time

# Drawing its first text makes hypothesis build its character tables, which takes seconds on two busy cores and must
# not fail the test that happens to be first. pytest-timeout limits the duration of tests.
# The examples are the same in every run: a failure in one of a hundred runs could not be reproduced.
settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

SHOWN_CHARACTERS = 20_000
"""Characters printed of each log of a failed test: the last few hundred lines."""


LONGEST = ("test_schemathesis.py", "test_convergence.py")
"""Files with a test that takes half a minute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, so that the run does not end waiting for one of them."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_report_header() -> str:
    """Name the API server of the operator's tests."""
    return choice.header()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory, pristine_postgres: Path) -> Iterator[Postgres]:
    """PostgreSQL of this worker, with a migrated template. Tests that break a server use ``own_postgres``."""
    server = Postgres(tmp_path_factory.mktemp("servers"))
    try:
        server.open_copy(pristine_postgres)
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Valkey of this worker. Tests that break a server use ``own_valkey``."""
    with _valkey(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture
def database_url(postgres_server: Postgres) -> Iterator[str]:
    """``DATABASE_URL`` of a migrated, empty database that only this test uses."""
    name = postgres_server.create_database()
    yield postgres_server.url_of(name)
    postgres_server.drop_database(name)


@pytest.fixture
def redis_url(valkey_server: Valkey) -> str:
    """``REDIS_URL`` of an empty Valkey that only this test uses, because a worker runs its tests one by one."""
    valkey_server.flush()
    return valkey_server.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A Redis client for ``redis_url``."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def pristine_postgres(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directory of a migrated PostgreSQL, created by the first worker that needs it and shared by all."""
    own = tmp_path_factory.getbasetemp()
    directory = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "pristine"
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return Postgres(directory).pristine()


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory, pristine_postgres: Path) -> Iterator[OwnPostgres]:
    """A migrated PostgreSQL to stop, kill and freeze; use ``own_postgres.url`` as ``DATABASE_URL``."""
    server = OwnPostgres(tmp_path_factory.mktemp("own"))
    try:
        server.open_copy(pristine_postgres)
        yield server
    finally:
        server.close()


@pytest.fixture
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey to stop, kill, flush and freeze; use ``own_valkey.url`` as ``REDIS_URL``."""
    with _valkey(tmp_path_factory.mktemp("own")) as server:
        yield server


@pytest.fixture(scope="session")
def service_forks() -> Iterator[ForkServer]:
    """Fork server of this worker for processes of the service."""
    service = (f"livescore.{module}" for module in ("cli", "server", "jobs.processes", "scores.migrations"))
    with forkserver.running("livescore", *service, "livescore_dev.stack") as server:
        yield server


@pytest.fixture
async def virtual_clock() -> AsyncIterator[VirtualTime]:
    """The virtual clock of the test's event loop; see :mod:`tests.support.virtual_time`."""
    with virtual_time() as clock:
        yield clock


@pytest.fixture
def forked(service_forks: ForkServer, tmp_path: Path) -> Command:
    """Run a command of the service to its end: ``done = await forked("keys", "list", DATABASE_URL=…)``."""
    return forking(service_forks, tmp_path)


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the worker's ``service`` that validates every response against OpenAPI."""
    async with service.client() as client:
        yield client


@pytest.fixture
async def start(database_url: str, redis_url: str, service_forks: ForkServer, tmp_path: Path) -> AsyncIterator[Start]:
    """Start real processes: ``api = await start("api")``, ``await start("worker", DATABASE_URL=own_postgres.url)``.

    They use the test's ``database_url`` and ``redis_url`` unless overridden, and are stopped after the test. If the
    test fails, their logs are shown.
    """
    async with _starting({"DATABASE_URL": database_url, "REDIS_URL": redis_url}, tmp_path, service_forks) as started:
        yield started


@pytest.fixture
async def start_command(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Start processes without a fork server, for tests that measure start-up time or memory."""
    async with _starting({"DATABASE_URL": database_url, "REDIS_URL": redis_url}, tmp_path) as started:
        yield started


@pytest.fixture(scope="session")
def service(
    postgres_server: Postgres, service_forks: ForkServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One API of this worker, shared by tests that do not break it and do not depend on other data in its database.

    It has its own database and Valkey, so tests that use ``redis_url`` do not affect it. Writes need no key.
    """
    directory = tmp_path_factory.mktemp("service")
    with _valkey(directory) as valkey:
        urls = {"DATABASE_URL": postgres_server.url_of(postgres_server.create_database()), "REDIS_URL": valkey.url}
        api = Service("api", directory, "shared", urls, service_forks)
        try:
            api.launch()
            api.wait_ready()
            yield api
        finally:
            api.close()
            api.release()


@asynccontextmanager
async def _starting(urls: dict[str, str], directory: Path, forks: ForkServer | None = None) -> AsyncIterator[Start]:
    services: list[Service] = []

    async def started(kind: Kind, *, ready: bool = True, **environment: str) -> Service:
        process = Service(kind, directory, f"{kind}-{len(services)}", urls | environment, forks)
        services.append(process)
        await process.start(ready=ready)
        return process

    yield started
    await asyncio.gather(*(service.terminate() for service in services))
    for service in services:
        service.release()
        _show(service)


@contextmanager
def _valkey(directory: Path) -> Iterator[Valkey]:
    server = Valkey(directory)
    try:
        server.server.start()
        yield server
    finally:
        server.close()


def _show(service: Service) -> None:
    """Print the log of a service; pytest shows the output only if the test fails."""
    print(f"--- {service.name} ---\n{service.log[-SHOWN_CHARACTERS:]}")
