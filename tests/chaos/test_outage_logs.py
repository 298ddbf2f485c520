"""Every process logs the start and the end of an outage once each, without a traceback."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.command import Command
from tests.support.servers import Handle, OwnPostgres, Valkey
from tests.support.service import Kind, Service, Start, eventually, match_body

AWAY_SECONDS = 3.0
"""Long enough for every loop of every process to notice."""

KINDS: tuple[Kind, ...] = ("api", "worker", "scheduler")

Break = Callable[[Handle], Awaitable[None]]  # type: ignore[type-arg]  # any server


async def _stop(server: Handle) -> None:  # type: ignore[type-arg]
    await server.stop()


async def _kill(server: Handle) -> None:  # type: ignore[type-arg]
    await server.kill()


def outage_log_lines(service: Service, server: str) -> list[str]:
    """Return the starts and ends of outages of a server, as logged by the process."""
    lines = [line for line in service.log.splitlines() if f"server={server}" in line]
    return [word for line in lines for word in ("away", "back") if f"server is {word}" in line]


def assert_logged_once(services: list[Service], server: str) -> None:
    for service in services:
        assert outage_log_lines(service, server) == ["away", "back"], service.log
        assert "Traceback" not in service.log
        for library in ("psycopg", "redis", "rq"):
            assert f"[{library}" not in service.log


async def send_requests(api: Service) -> None:
    """Send requests of several kinds during the outage."""
    async with api.client(event_hooks={}) as http:
        for _ in range(2):
            await asyncio.gather(
                *(http.get(path) for path in ("/matches", "/matches/1", "/health", "/matches/1/events")),
                *(http.post("/matches", json=match_body()) for _ in range(3)),
                return_exceptions=True,
            )


@pytest.mark.parametrize("fault", [_stop, _kill])
@pytest.mark.parametrize("server", ["PostgreSQL", "Redis"])
async def test_every_process_logs_start_and_end_of_an_outage_once(
    start: Start, own_postgres: OwnPostgres, own_valkey: Valkey, server: str, fault: Break
) -> None:
    services = await asyncio.gather(
        *(
            start(
                kind,
                DATABASE_URL=own_postgres.url,
                DATABASE_TIMEOUT_SECONDS="1",
                REDIS_URL=own_valkey.url,
                HTTP_LIMIT="20 per 10 seconds",  # Redis is used from the third request on
            )
            for kind in KINDS
        )
    )
    await send_requests(services[0])
    broken = own_postgres if server == "PostgreSQL" else own_valkey
    await fault(broken)
    began = asyncio.get_running_loop().time()
    await send_requests(services[0])
    await asyncio.sleep(max(0.0, began + AWAY_SECONDS - asyncio.get_running_loop().time()))
    await broken.start()
    await eventually(lambda: all(outage_log_lines(service, server)[-1:] == ["back"] for service in services))
    await send_requests(services[0])
    assert_logged_once(services, server)


@pytest.mark.parametrize("arguments", [("migrate",), ("keys", "list"), ("keys", "create", "desk")])
async def test_command_reports_a_postgresql_outage_in_one_line(forked: Command, arguments: tuple[str, ...]) -> None:
    url = "postgresql://nobody:secret@127.0.0.1:1/none"
    done = await forked(*arguments, DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if '"level":"info"' not in line]
    assert len(said) == 1
    assert "Connection refused" in said[0]
    assert "secret" not in done.stderr
