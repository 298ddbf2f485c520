"""Server-sent events of one match: ``id`` is the event's seq, and ``Last-Event-ID`` resumes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.clients import feed_of
from tests.support.service import Service, Start
from tests.support.sse import ServerSentEvent, event_stream
from tests.support.stopwatch import Stopwatch

EVENTS = 8


@pytest.fixture
async def match_id(service: Service) -> int:
    """A match with :data:`EVENTS` events."""
    made: int = (await service.create_match())["id"]
    for minute in range(EVENTS - 1):
        await service.comment(made, minute=minute)
    return made


@asynccontextmanager
async def _stream(
    api: Service, match_id: int, last_event_id: str | None = None, query: str = ""
) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    path = f"/matches/{match_id}/events/stream{query}"
    async with api.client() as http, event_stream(http, path, last_event_id=last_event_id) as events:
        yield events


async def _take(events: AsyncIterator[ServerSentEvent], count: int) -> list[ServerSentEvent]:
    async with asyncio.timeout(30):
        return [await anext(events) for _ in range(count)]


async def test_new_stream_reports_its_position_and_continues_from_there(service: Service, match_id: int) -> None:
    async with _stream(service, match_id) as events:
        first = await anext(events)
        said = first.json()
        assert (said["type"], said["matchId"], said["seq"]) == ("subscribed", match_id, EVENTS)
        assert first.id == str(EVENTS)
        posted = await service.comment(match_id)
        (event,) = await _take(events, 1)
        assert (event.id, event.event) == (str(EVENTS + 1), "message")
        assert event.json()["data"] == posted


@pytest.mark.parametrize("since", range(EVENTS + 1))
async def test_last_event_id_resumes_at_every_position(service: Service, match_id: int, since: int) -> None:
    feed = await feed_of(service.base_url, match_id)
    async with _stream(service, match_id, last_event_id=str(since)) as events:
        first, *rest = await _take(events, 1 + EVENTS - since)
        assert first.json()["recovered"] is True
        assert first.id == str(since)
        assert [event.json() for event in rest] == feed[since:]
        assert [event.id for event in rest] == [str(seq) for seq in range(since + 1, EVENTS + 1)]
        await service.comment(match_id)
        assert (await _take(events, 1))[0].id == str(EVENTS + 1)


async def test_since_in_the_url_resumes_and_the_header_takes_precedence(service: Service, match_id: int) -> None:
    async with _stream(service, match_id, query="?since=6") as events:
        assert [event.id for event in await _take(events, 3)] == ["6", "7", "8"]
    async with _stream(service, match_id, last_event_id="7", query="?since=1") as events:
        assert [event.id for event in await _take(events, 2)] == ["7", "8"]


@pytest.mark.parametrize(("last", "query"), [(str(EVENTS + 1), ""), ("3", "?epoch=another")])
async def test_unrecoverable_position_gets_a_snapshot(service: Service, match_id: int, last: str, query: str) -> None:
    async with _stream(service, match_id, last, query) as events:
        said, snapshot = await _take(events, 2)
        assert said.json()["recovered"] is False
        assert (snapshot.json()["type"], snapshot.json()["seq"], snapshot.id) == ("snapshot", EVENTS, str(EVENTS))
        assert snapshot.json()["data"]["match"]["id"] == match_id
        await service.comment(match_id)
        assert (await _take(events, 1))[0].id == str(EVENTS + 1)


async def test_position_before_the_pruning_horizon_gets_a_snapshot(service: Service, match_id: int) -> None:
    with psycopg.connect(service.environment["DATABASE_URL"]) as database:
        database.execute("UPDATE match SET pruned_seq = 5 WHERE id = %s", [match_id])
        database.execute("DELETE FROM event WHERE match_id = %s AND seq <= 5", [match_id])
    async with _stream(service, match_id, "2") as events:
        said, snapshot = await _take(events, 2)
        assert (said.json()["recovered"], snapshot.json()["type"]) == (False, "snapshot")
    async with _stream(service, match_id, "5") as events:
        assert [event.id for event in await _take(events, 4)] == ["5", "6", "7", "8"]


async def test_headers_disable_buffering_in_proxies(service: Service, match_id: int) -> None:
    async with service.client() as http, http.stream("GET", f"/matches/{match_id}/events/stream") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-accel-buffering"] == "no"
        assert await anext(stream.aiter_lines()) == "retry: 1000"


async def test_idle_stream_has_a_heartbeat(service: Service, match_id: int) -> None:
    """The heartbeat is a comment, which clients do not treat as an event, every 15 seconds."""
    async with service.client() as http, http.stream("GET", f"/matches/{match_id}/events/stream", timeout=30) as stream:
        started, watch = monotonic(), Stopwatch()
        async for line in stream.aiter_lines():
            if line.startswith(":"):
                break
        assert monotonic() - started > 14
        assert watch.seconds() < 20


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "2147483648", "99999999999", "1 2"])
async def test_invalid_last_event_id_is_refused(service: Service, match_id: int, last: str) -> None:
    answer = await _get(service, f"/matches/{match_id}/events/stream", last)
    assert answer.status_code == 400
    assert answer.json()["details"][0]["path"] == ["Last-Event-ID"]


async def test_a_stream_of_an_unknown_match_is_not_found(service: Service) -> None:
    answer = await _get(service, "/matches/2000000000/events/stream")
    assert (answer.status_code, answer.json()) == (404, {"error": "Match not found"})


async def _get(api: Service, path: str, last_event_id: str | None = None) -> httpx.Response:
    async with api.client() as http:
        return await http.get(path, headers={"Last-Event-ID": last_event_id} if last_event_id else {})


async def test_streams_on_two_instances_send_the_same_events(start: Start) -> None:
    here, there = await asyncio.gather(start("api"), start("api"))
    match_id = (await here.create_match())["id"]
    async with _stream(here, match_id, "1") as one, _stream(there, match_id, "1") as two:
        for minute in range(10):
            await (here if minute % 2 else there).comment(match_id, minute=minute)
        first, second = await _take(one, 11), await _take(two, 11)
    feed = await feed_of(here.base_url, match_id)
    assert [event.json() for event in first[1:]] == [event.json() for event in second[1:]] == feed[1:]


async def test_reconnecting_client_receives_each_event_once(start: Start) -> None:
    here, there = await asyncio.gather(start("api"), start("api"))
    match_id = (await here.create_match())["id"]

    async def write() -> None:
        for minute in range(60):
            await here.comment(match_id, minute=minute)

    writing = asyncio.create_task(write())
    last, seqs, turns = "1", [1], 0
    async with asyncio.timeout(60):
        while seqs[-1] < 61:
            turns += 1
            async with _stream(there if turns % 2 else here, match_id, last) as events:
                await anext(events)
                for _ in range(4):
                    event = await anext(events)
                    last = event.id
                    seqs.append(event.json()["seq"])
                    if seqs[-1] == 61:
                        break
    await writing
    assert seqs == list(range(1, 62))
    assert turns > 10


async def test_fault_17_unread_stream_is_cut_off_and_can_resume(start: Start) -> None:
    """Fault 17 for streams: buffered data is bounded, the stream ends, and the client resumes from its last id."""
    api = await start("api", SLOW_CONSUMER_BYTES="65536")
    match_id = (await api.create_match())["id"]
    bodies: list[dict[str, Any]] = [{"minute": minute, "message": "x" * 60_000} for minute in range(120)]
    async with _stream(api, match_id) as events, api.client() as http:
        assert (await anext(events)).id == "1"
        for body in bodies:
            (await http.post(f"/matches/{match_id}/commentary", json=body)).raise_for_status()
        async with asyncio.timeout(20):
            seqs = [event.json()["seq"] async for event in events]
    assert seqs == list(range(2, seqs[-1] + 1))
    assert seqs[-1] < 121
    async with _stream(api, match_id, str(seqs[-1])) as events:
        rest = await _take(events, 1 + 121 - seqs[-1])
        assert [event.json()["seq"] for event in rest[1:]] == list(range(seqs[-1] + 1, 122))
