"""Pruned events: a client that resumes from before the horizon gets a snapshot, never a partial history."""

import asyncio
from dataclasses import dataclass

import httpx
import psycopg
import pytest

from livescore.scores import statements as sql
from tests.support.clients import Listener
from tests.support.delivery import TimingListener
from tests.support.service import Json, Service, Start, eventually
from tests.support.sse import event_stream

LAST_PRUNED = 5
"""The feed before pruning: creation, three commentaries, end. One more commentary follows as seq 6."""

LOST = range(LAST_PRUNED)
KEPT = (LAST_PRUNED, LAST_PRUNED + 1)
"""A seq that a client can no longer resume from, and one that it can."""

INSTANT_DAYS = "0.0000001"
"""A retention of 0.01 s: a worker prunes at its start, and again only after a minute."""


@dataclass(frozen=True)
class Pruned:
    """A match with pruned events, an instance that never loaded them, and one that has them in memory."""

    fresh: Service
    old: Service
    match_id: int


@pytest.fixture
async def pruned(start: Start, database_url: str) -> Pruned:
    """Create a finished match pruned by the worker's own sweep, and one event after it."""
    old = await start("api")
    match_id = (await old.create_match())["id"]
    for _ in range(3):
        await old.comment(match_id)
    async with old.client() as http:
        assert (await http.patch(f"/matches/{match_id}/end")).status_code == 200
    worker = await start("worker", EVENT_RETENTION_DAYS=INSTANT_DAYS)
    await eventually(lambda: count_events(database_url) == 0)
    await worker.terminate()
    await old.comment(match_id)
    return Pruned(await start("api"), old, match_id)


def count_events(database_url: str) -> int:
    """Return the number of events in the database."""
    with psycopg.connect(database_url) as connection:
        return len(connection.execute("SELECT FROM event").fetchall())


async def test_websocket_resuming_from_before_the_horizon_gets_a_snapshot(pruned: Pruned) -> None:
    for since in LOST:
        async with Listener(pruned.fresh.ws_url) as listener:
            answer = await listener.subscribe(pruned.match_id, since=since)
            assert (answer["recovered"], answer["seq"]) == (False, 6)
            snapshot = await listener.next("snapshot")
            assert (snapshot["seq"], len(snapshot["data"]["commentary"])) == (6, 4)
            await pruned.fresh.create_match()
            await listener.next("match_created")
            assert listener.events(pruned.match_id) == []


async def test_websocket_resuming_from_after_the_horizon_gets_the_rest(pruned: Pruned) -> None:
    for since in KEPT:
        async with Listener(pruned.fresh.ws_url) as listener:
            assert (await listener.subscribe(pruned.match_id, since=since))["recovered"]
            await pruned.old.comment(pruned.match_id)
            feed = await feed_since(pruned, since)
            await listener.until_seq(pruned.match_id, feed[-1])
            assert [event["seq"] for event in listener.events(pruned.match_id)] == feed


async def feed_since(pruned: Pruned, since: int) -> list[int]:
    """Return the seqs of the events after ``since``, read by REST."""
    async with pruned.fresh.client() as http:
        page = (await http.get(f"/matches/{pruned.match_id}/events", params={"since": since})).json()
    assert page["recovered"]
    return [event["seq"] for event in page["data"]]


async def test_rest_and_long_polls_from_before_the_horizon_get_a_snapshot(pruned: Pruned) -> None:
    async with pruned.fresh.client() as http:
        for since in LOST:
            for wait in (0, 1):
                page = await page_of(http, pruned.match_id, since, wait)
                assert (page["data"], page["recovered"], page["seq"]) == ([], False, 6)
                assert len(page["snapshot"]["commentary"]) == 4
        assert [event["seq"] for event in (await page_of(http, pruned.match_id, LAST_PRUNED))["data"]] == [6]


async def page_of(http: httpx.AsyncClient, match_id: int, since: int, wait: int = 0) -> Json:
    """Return one page of the catch-up."""
    answer = await http.get(f"/matches/{match_id}/events", params={"since": since, "wait": wait})
    assert answer.status_code == 200
    page: Json = answer.json()
    return page


async def test_event_stream_from_before_the_horizon_starts_with_a_snapshot(pruned: Pruned) -> None:
    path = f"/matches/{pruned.match_id}/events/stream"
    async with pruned.fresh.client() as http:
        for since in LOST:
            async with event_stream(http, path, last_event_id=str(since)) as events:
                said, snapshot = (await anext(events)).json(), await anext(events)
                assert (said["type"], said["recovered"]) == ("subscribed", False)
                assert (snapshot.json()["type"], snapshot.id) == ("snapshot", "6")
        async with event_stream(http, path, last_event_id=str(LAST_PRUNED)) as events:
            assert (await anext(events)).json()["recovered"]
            assert (await anext(events)).json()["seq"] == 6


async def test_connected_client_is_unaffected_by_pruning(start: Start, database_url: str) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    async with TimingListener(api.ws_url) as watcher:
        await watcher.follow(match_id)
        async with api.client() as http:
            await http.patch(f"/matches/{match_id}/end")
        await watcher.until_seq(match_id, 2)
        prune(database_url)
        await api.comment(match_id)
        await watcher.until_seq(match_id, 3)
        assert [event["seq"] for event in watcher.events(match_id)] == [1, 2, 3]
        assert watcher.of_type("snapshot") == []


async def test_instance_that_missed_pruned_events_sends_a_snapshot(start: Start, database_url: str) -> None:
    sleeper, other = await asyncio.gather(start("api"), start("api", REDIS_URL="unix:///nowhere/valkey.sock"))
    match_id = (await sleeper.create_match())["id"]
    async with TimingListener(sleeper.ws_url) as watcher:
        await watcher.follow(match_id)
        await watcher.until_seq(match_id, 1)
        sleeper.pause()
        await other.comment(match_id)
        async with other.client() as http:
            assert (await http.patch(f"/matches/{match_id}/end")).status_code == 200
        prune(database_url)
        await other.comment(match_id)
        sleeper.resume()
        assert (await watcher.next("snapshot"))["seq"] == 4
        await other.comment(match_id)
        await watcher.until_seq(match_id, 5)
        assert [event["seq"] for event in watcher.events(match_id)] == [1, 5]
        assert [event["seq"] for event in await feed_after(other, match_id, 3)] == [4, 5]


async def feed_after(service: Service, match_id: int, since: int) -> list[Json]:
    """Return the events after ``since``."""
    async with service.client() as http:
        events: list[Json] = (await page_of(http, match_id, since))["data"]
    return events


def prune(database_url: str) -> None:
    """Prune at once, as the worker does."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert connection.execute(sql.PRUNE, {"age": 0, "limit": 10}).rowcount > 0
