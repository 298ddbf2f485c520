"""Servers that fail some of their requests: clients of every kind miss nothing, and each outage is logged once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import psycopg
import pytest
import redis
from psycopg import sql

from tests.chaos.test_outage_logs import KINDS
from tests.support.delivery import DeliveryScenario
from tests.support.jobs import wait_for_status
from tests.support.servers import OwnPostgres, Valkey
from tests.support.service import Service, Start, eventually, instant
from tests.support.subscribers import Subscribers, subscribers

FAULT_SECONDS = 2.0

SUBSCRIBED = 10
"""Numbers of writes acknowledged before and after the fault."""

AWAY, BACK = "server is away", "server is back"

FAILS = {"server fails to read": "server reads again", "server fails to write": "server writes again"}


async def terminate(postgres: OwnPostgres) -> None:
    """Terminate all sessions repeatedly."""
    with psycopg.connect(postgres.server.admin_url(), autocommit=True) as admin:
        for _ in range(30):
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            await asyncio.sleep(FAULT_SECONDS / 30)


async def cancel(postgres: OwnPostgres) -> None:
    """Cancel all statements repeatedly."""
    with psycopg.connect(postgres.server.admin_url(), autocommit=True) as admin:
        for _ in range(30):
            admin.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            await asyncio.sleep(FAULT_SECONDS / 30)


def failing(code: str) -> Callable[[OwnPostgres], Awaitable[None]]:
    """Return a fault that makes every insert of an event fail with an SQLSTATE."""

    async def fail(postgres: OwnPostgres) -> None:
        function = (
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'cannot go on' USING ERRCODE = {}; END $$"
        )
        with psycopg.connect(postgres.url, autocommit=True) as owner:
            owner.execute(sql.SQL(function).format(sql.Literal(code)))
            owner.execute("CREATE TRIGGER fail BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION fail()")
            await asyncio.sleep(FAULT_SECONDS)
            owner.execute("DROP FUNCTION fail CASCADE")

    return fail


async def revoke_right(postgres: OwnPostgres) -> None:
    """Revoke the right to insert events."""
    with psycopg.connect(postgres.url, autocommit=True) as owner:
        owner.execute("REVOKE INSERT ON event FROM livescore")
        await asyncio.sleep(FAULT_SECONDS)
        owner.execute("GRANT INSERT ON event TO livescore")


POSTGRESQL = {
    "terminates sessions": (terminate, "PostgreSQL is away"),
    "cancels statements": (cancel, "PostgreSQL did not answer in time"),
    "has no disk space": (failing("53100"), "PostgreSQL has no disk space left"),
    "has an internal fault": (failing("XX000"), "PostgreSQL has a fault of its own: see the log"),
    "denies a right": (revoke_right, "PostgreSQL denies the service's role a right: see the log"),
}


@pytest.mark.parametrize("name", POSTGRESQL)
async def test_every_event_arrives_once_and_in_order_when_postgresql(
    start: Start, own_postgres: OwnPostgres, name: str
) -> None:
    fault, reason = POSTGRESQL[name]
    services = await start_services(start, DATABASE_URL=own_postgres.url)
    async with DeliveryScenario(services[0], services[1]) as scenario, subscribers(scenario) as every:
        await write_through(scenario, every, lambda: fault(own_postgres))
        refused = scenario.writer.refused
        assert {(answer.status_code, answer.json()["reason"]) for answer in refused} <= {(503, reason)}
        assert all(answer.headers["Retry-After"] == "1" for answer in refused)
    for service in services:
        await assert_logged_once(service)
    if name in ("has no disk space", "has an internal fault", "denies a right"):
        for api in services[:2]:
            assert "server fails to write" in api.log


async def cut(client: redis.Redis) -> None:
    """Close all connections repeatedly."""
    for _ in range(20):
        for kind in ("normal", "pubsub"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        await asyncio.sleep(FAULT_SECONDS / 20)


async def fill(client: redis.Redis) -> None:
    """Accept no more data: ``noeviction``."""
    client.config_set("maxmemory", 1)
    await asyncio.sleep(FAULT_SECONDS)
    client.config_set("maxmemory", 0)


async def demote(client: redis.Redis) -> None:
    """Make the server a read-only replica for a while."""
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    await asyncio.sleep(FAULT_SECONDS)
    client.execute_command("REPLICAOF", "NO", "ONE")


async def deny(client: redis.Redis) -> None:
    """Deny the service's user all channels and keys."""
    client.execute_command("ACL", "SETUSER", "default", "resetchannels", "resetkeys")
    await asyncio.sleep(FAULT_SECONDS)
    client.execute_command("ACL", "SETUSER", "default", "allchannels", "allkeys")


async def flush(client: redis.Redis) -> None:
    """Delete all keys repeatedly."""
    for _ in range(20):
        client.flushall()
        await asyncio.sleep(FAULT_SECONDS / 20)


REDIS = {
    "cuts connections": cut,
    "has no memory": fill,
    "is a replica": demote,
    "denies rights": deny,
    "is flushed": flush,
}


@pytest.mark.parametrize("name", REDIS)
async def test_every_event_arrives_once_and_in_order_when_redis(
    start: Start, database_url: str, own_valkey: Valkey, name: str
) -> None:
    services = await start_services(start, REDIS_URL=own_valkey.url, HTTP_LIMIT="50 per 10 seconds")
    async with DeliveryScenario(services[0], services[1]) as scenario, subscribers(scenario) as every:
        match = await scenario.one.create_match(startTime=instant(1.0), endTime=instant(3.0))
        with redis.Redis.from_url(own_valkey.url) as client:
            client.ping()
            await write_through(scenario, every, lambda: REDIS[name](client))
        assert scenario.writer.refused == []
        await wait_for_status(database_url, match["id"], "finished")
        for service in services:
            await assert_logged_once(service)
            assert "job refused" not in service.log


async def start_services(start: Start, **environment: str) -> list[Service]:
    """Start two instances, a worker and a scheduler."""
    return await asyncio.gather(*(start(kind, ready=True, **environment) for kind in ("api", *KINDS)))


async def write_through(scenario: DeliveryScenario, every: Subscribers, fault: Callable[[], Awaitable[None]]) -> None:
    """Write before, during and after a fault, then assert that every client has every event."""
    writer, over = scenario.writer, asyncio.Event()
    writing = asyncio.create_task(writer.write_until(over.is_set))
    try:
        await eventually(lambda: len(writer.acknowledged) > SUBSCRIBED)
        await fault()
        before = len(writer.acknowledged)
        await eventually(lambda: len(writer.acknowledged) > before + SUBSCRIBED)
    finally:
        over.set()
        await writing
    await every.assert_received()


async def assert_logged_once(service: Service) -> None:
    """Assert that every outage has ended, and that each was logged once."""
    await eventually(lambda: all(counts[began] == counts[ended] for counts, began, ended in outage_log_counts(service)))
    assert all(counts[began] <= 1 for counts, began, _ in outage_log_counts(service)), service.log
    assert "Traceback" not in service.log


def outage_log_counts(service: Service) -> Iterator[tuple[Counter[str], str, str]]:
    """Yield the counts of both log lines of every kind of outage, with the lines."""
    for server in ("PostgreSQL", "Redis"):
        lines = [line for line in service.log.splitlines() if f"server={server}" in line]
        for began, ended in {AWAY: BACK, **FAILS}.items():
            yield Counter({text: sum(text in line for line in lines) for text in (began, ended)}), began, ended
