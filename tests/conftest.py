"""Fixtures for everybody: a server per worker, a database per test, processes on demand. See ``tests/support``."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis
from hypothesis import HealthCheck, settings

from tests.support.kubernetes import choice
from tests.support.servers import OwnPostgres, Postgres, Valkey
from tests.support.service import Kind, Service, Start

# The first text that hypothesis draws on a machine builds its tables of characters: seconds on two busy cores, and no
# fault of the test that happens to be first. Time is bounded by pytest-timeout.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

SHOWN_CHARACTERS = 20_000
"""Of each log of a failed test: its last few hundred lines."""


def pytest_report_header() -> str:
    """Which API server the operator meets."""
    return choice.header()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """PostgreSQL of this worker, with a migrated template; don't break it, see ``own_postgres``."""
    server = Postgres(tmp_path_factory.mktemp("servers"))
    try:
        server.open()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Valkey of this worker; don't break it, see ``own_valkey``."""
    with _valkey(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture
def database_url(postgres_server: Postgres) -> Iterator[str]:
    """``DATABASE_URL`` of a migrated, empty database for this test alone."""
    name = postgres_server.create_database()
    yield postgres_server.url_of(name)
    postgres_server.drop_database(name)


@pytest.fixture
def redis_url(valkey_server: Valkey) -> str:
    """``REDIS_URL`` of an empty Valkey for this test alone, as the tests of one worker come one after the other."""
    valkey_server.flush()
    return valkey_server.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of ``redis_url``."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def pristine_postgres(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of a migrated PostgreSQL that never ran since."""
    return OwnPostgres(tmp_path_factory.mktemp("pristine")).pristine()


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


@pytest.fixture
async def http(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the worker's ``service``; every answer is checked against OpenAPI."""
    async with service.client() as client:
        yield client


@pytest.fixture
async def start(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Start real processes: ``api = await start("api")``, ``await start("worker", DATABASE_URL=own_postgres.url)``.

    They use ``database_url`` and ``redis_url`` of the test unless the variables say otherwise, and end with the test.
    Their logs are shown when it fails.
    """
    services: list[Service] = []

    async def started(kind: Kind, *, ready: bool = True, **environment: str) -> Service:
        urls = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
        process = Service(kind, tmp_path, f"{kind}-{len(services)}", urls | environment)
        services.append(process)
        await process.start(ready=ready)
        return process

    yield started
    await asyncio.gather(*(service.terminate() for service in services))
    for service in services:
        service.release()
        _show(service)


@pytest.fixture(scope="session")
def service(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One API of this worker for tests that don't break it and don't care what else is in its database.

    It has a database and a Valkey of its own, so tests that use ``redis_url`` don't disturb it. Writes need no key.
    """
    directory = tmp_path_factory.mktemp("service")
    with _valkey(directory) as valkey:
        urls = {"DATABASE_URL": postgres_server.url_of(postgres_server.create_database()), "REDIS_URL": valkey.url}
        api = Service("api", directory, "shared", urls)
        try:
            api.launch()
            api.wait_ready()
            yield api
        finally:
            api.close()
            api.release()


@contextmanager
def _valkey(directory: Path) -> Iterator[Valkey]:
    server = Valkey(directory)
    try:
        server.server.start()
        yield server
    finally:
        server.close()


def _show(service: Service) -> None:
    """pytest shows what is printed here with a failed test only."""
    print(f"--- {service.name} ---\n{service.log[-SHOWN_CHARACTERS:]}")
