"""Loading a dump into a new cluster: stream ids identify the feed they belong to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tests.chaos.test_delivery_restore import postgres_program, run
from tests.support.servers import OwnPostgres
from tests.support.service import Json, Service, Start
from tests.support.sse import ServerSentEvent, event_stream, take

ALL = "/events/stream"
RESTORED = "restored"

AHEAD = 300
"""Number of transactions the old cluster is ahead, so that the new one reuses the transaction ids of old events."""


@pytest.fixture
async def new_postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnPostgres]:
    """A PostgreSQL of another ``initdb``, with an empty database."""
    server = OwnPostgres(tmp_path_factory.mktemp("new"))
    try:
        await asyncio.to_thread(server.server.start)
        server.server.create_database(RESTORED)
        yield server
    finally:
        server.close()


@asynccontextmanager
async def stream(api: Service, path: str, last: str | None = None) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    async with api.client() as http, event_stream(http, path, last_event_id=last) as events:
        yield events


async def rest(events: AsyncIterator[ServerSentEvent]) -> list[tuple[int, int]]:
    found: list[Json] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            async for event in events:
                found.append(event.json())  # noqa: PERF401 - a comprehension would lose all items at the timeout
    return [(message["matchId"], message["seq"]) for message in found]


def spend_transactions(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(count):
            connection.execute("SELECT pg_current_xact_id()")


async def test_old_stream_ids_get_snapshots_and_new_ids_get_later_events(
    start: Start, own_postgres: OwnPostgres, new_postgres: OwnPostgres, tmp_path: Path
) -> None:
    old = await start("api", DATABASE_URL=own_postgres.url)
    spend_transactions(own_postgres.url, AHEAD)
    one, two = [(await old.create_match())["id"] for _ in range(2)]
    for match_id in (one, two, one, two):
        await old.comment(match_id)
    async with stream(old, ALL) as events:
        await take(events)
        await old.comment(one)
        (last,) = await take(events)
    epoch = await epoch_of(old, one)

    dump, url = tmp_path / "dump.sql", new_postgres.url_of(RESTORED)
    await run(postgres_program("pg_dump"), "--no-owner", f"--file={dump}", own_postgres.url)
    await old.comment(one)  # lost with the old cluster
    await old.terminate()
    await run(postgres_program("psql"), "--quiet", "--set=ON_ERROR_STOP=1", f"--file={dump}", url)
    new = await start("api", DATABASE_URL=url)
    await new.comment(two)
    await new.comment(one)

    async with stream(new, ALL, last.id) as events:
        said, *states = await take(events, 3)
        assert said.json() == {"type": "subscribedAll", "recovered": False}
        assert [(event.json()["type"], event.json()["matchId"], event.json()["seq"]) for event in states] == [
            ("snapshot", two, 4),
            ("snapshot", one, 5),
        ]
        await new.comment(two)
        (fresh,) = await take(events)
        assert (fresh.json()["matchId"], fresh.json()["seq"]) == (two, 5), "an unexpected event follows the snapshots"
    await new.comment(one)
    spend_transactions(url, AHEAD + 100)  # past the transaction ids of the old events
    await new.comment(two)
    async with stream(new, ALL, fresh.id) as events:
        (said,) = await take(events)
        assert said.json()["recovered"] is True
        assert await rest(events) == [(one, 6), (two, 6)]

    path = f"/matches/{one}/events/stream"
    async with stream(new, path, f"5~{epoch}") as events:
        said, state = await take(events, 2)
        assert (said.json()["recovered"], state.json()["type"]) == (False, "snapshot")
    async with new.client() as http:
        page = (await http.get(f"/matches/{one}/events", params={"since": 5, "epoch": epoch, "wait": 5})).json()
    assert (page["recovered"], page["snapshot"]["match"]["seq"]) == (False, 6)


async def epoch_of(api: Service, match_id: int) -> str:
    async with api.client() as http:
        epoch: str = (await http.get(f"/matches/{match_id}/events")).json()["epoch"]
    return epoch


async def test_stream_open_during_a_restore_ends_and_its_id_gets_snapshots(
    start: Start, own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url, AUDIT_INTERVAL_SECONDS="0.5")
    match_id = (await api.create_match())["id"]
    dump = tmp_path / "dump.sql"
    await run(postgres_program("pg_dump"), "--clean", "--if-exists", f"--file={dump}", own_postgres.url)
    async with stream(api, ALL) as events:
        await take(events)
        await api.comment(match_id)
        (last,) = await take(events)
        await run(postgres_program("psql"), "--quiet", "--single-transaction", f"--file={dump}", own_postgres.url)
        with pytest.raises(StopAsyncIteration):
            await take(events)
    async with stream(api, ALL, last.id) as events:
        said, state = await take(events, 2)
        assert said.json()["recovered"] is False
        assert (state.json()["type"], state.json()["seq"]) == ("snapshot", 1)
