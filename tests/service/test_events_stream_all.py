"""Server-sent events of all matches: the opaque id resumes on any instance, with each (match, seq) exactly once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest

from tests.support.clients import feed_of
from tests.support.service import Service, Start, match_body
from tests.support.sse import ServerSentEvent, event_stream


@asynccontextmanager
async def _stream(api: Service, last_event_id: str | None = None) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    async with api.client() as http, event_stream(http, "/events/stream", last_event_id=last_event_id) as events:
        yield events


def _place(event: ServerSentEvent) -> tuple[int, int]:
    message = event.json()
    return message["matchId"], message["seq"]


async def _begin(events: AsyncIterator[ServerSentEvent]) -> ServerSentEvent:
    async with asyncio.timeout(30):
        first = await anext(events)
    assert first.json()["type"] == "subscribedAll"
    assert first.id
    return first


async def _read(events: AsyncIterator[ServerSentEvent], count: int) -> list[ServerSentEvent]:
    async with asyncio.timeout(30):
        return [await anext(events) for _ in range(count)]


async def _read_of(events: AsyncIterator[ServerSentEvent], matches: set[int], count: int) -> list[ServerSentEvent]:
    """Read ``count`` events of these matches, skipping the events of others."""
    found: list[ServerSentEvent] = []
    while len(found) < count:
        found += [event for event in await _read(events, 1) if _place(event)[0] in matches]
    return found


async def _read_what_comes(events: AsyncIterator[ServerSentEvent], seconds: float) -> list[ServerSentEvent]:
    found: list[ServerSentEvent] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for event in events:
                found.append(event)  # noqa: PERF401 - a comprehension would lose all items at the timeout
    return found


async def _with_id(api: Service, events: AsyncIterator[ServerSentEvent], match_id: int) -> str:
    """Write one event, read until it arrives, and return its id."""
    posted = await api.comment(match_id)
    (event,) = await _read(events, 1)
    while event.json()["data"] != posted:  # skip the announcement of the match
        (event,) = await _read(events, 1)
    return event.id


async def test_every_event_of_every_match_arrives_once(service: Service) -> None:
    async with _stream(service) as events:
        await _begin(events)
        first, second = [(await service.create_match())["id"] for _ in range(2)]
        for match_id in (first, second, first):
            await service.comment(match_id)
        places = [_place(event) for event in await _read_of(events, {first, second}, 5)]
    assert places == [(first, 1), (second, 1), (first, 2), (second, 2), (first, 3)]


async def test_resuming_on_another_instance_returns_missed_events(start: Start) -> None:
    here, there = await asyncio.gather(start("api"), start("api"))
    matches = [(await here.create_match())["id"] for _ in range(3)]
    async with _stream(here) as events:
        await _begin(events)
        last = await _with_id(here, events, matches[0])
    for match_id in (*matches, *matches):
        await there.comment(match_id)
    new = (await there.create_match())["id"]
    async with _stream(there, last) as events:
        await _begin(events)
        received = await _read(events, 7)
        await here.comment(new)
        received += await _read(events, 1)
        received += await _read_what_comes(events, 2.5)
    heads = {match_id: len(await feed_of(here.base_url, match_id)) for match_id in (*matches, new)}
    expected = [(match_id, seq) for match_id in matches for seq in (heads[match_id] - 1, heads[match_id])]
    assert sorted(map(_place, received)) == sorted([*expected, (new, 1), (new, 2)])


async def test_client_can_disconnect_after_any_resumed_event(start: Start) -> None:
    """The id of an event covers that event and all before it, but none of the events still to come."""
    api = await start("api")
    matches = [(await api.create_match())["id"] for _ in range(3)]
    async with _stream(api) as events:
        await _begin(events)
        last = await _with_id(api, events, matches[0])
    before = {match_id: len(await feed_of(api.base_url, match_id)) for match_id in matches}
    for match_id in (*matches, *matches, *matches):
        await api.comment(match_id)
    await asyncio.sleep(2.5)  # until the process has read a new horizon, beyond all of these events
    received: Counter[tuple[int, int]] = Counter()
    while received.total() < 9:
        async with _stream(api, last) as events:
            last = (await _begin(events)).id or last
            (event,) = await _read(events, 1)
            received[_place(event)] += 1
            last = event.id
    expected = [(match_id, before[match_id] + more) for match_id in matches for more in (1, 2, 3)]
    assert received == Counter(expected)
    async with _stream(api, last) as events:
        await _begin(events)
        assert await _read_what_comes(events, 0.5) == []


async def test_disconnecting_after_the_first_block_loses_no_event(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    async with _stream(api) as events:
        await _begin(events)
        last = await _with_id(api, events, match_id)
    head = len(await feed_of(api.base_url, match_id))
    await api.comment(match_id)
    await asyncio.sleep(2.5)
    for _ in range(3):
        async with _stream(api, last) as events:
            last = (await _begin(events)).id or last
    async with _stream(api, last) as events:
        await _begin(events)
        assert [_place(event) for event in await _read(events, 1)] == [(match_id, head + 1)]


async def test_alternating_instances_under_load_delivers_exactly_once(start: Start) -> None:
    here, there = await asyncio.gather(start("api"), start("api"))
    matches = [(await here.create_match())["id"] for _ in range(4)]
    async with _stream(here) as events:
        await _begin(events)
        last = await _with_id(here, events, matches[0])
    before = {match_id: len(await feed_of(here.base_url, match_id)) for match_id in matches}
    writers = [asyncio.create_task(_write(api, match_id)) for api in (here, there) for match_id in matches]
    received: list[tuple[int, int]] = []
    turn = 0
    while not all(writer.done() for writer in writers):
        turn += 1
        async with _stream((here, there)[turn % 2], last) as events:
            last = (await _begin(events)).id or last
            for event in await _read_what_comes(events, 0.35):
                received.append(_place(event))
                last = event.id or last
    await asyncio.gather(*writers)
    async with _stream(here, last) as events:
        await _begin(events)
        received += [_place(event) for event in await _read(events, 2 * WRITES * len(matches) - len(received))]
        received += [_place(event) for event in await _read_what_comes(events, 0.2)]
    doubled = [place for place, times in Counter(received).items() if times > 1]
    assert doubled == []
    for match_id in matches:
        seqs = [seq for received_match, seq in received if received_match == match_id]
        assert seqs == list(range(before[match_id] + 1, before[match_id] + 2 * WRITES + 1))
    assert turn > 3


WRITES = 40


async def _write(api: Service, match_id: int) -> None:
    async with api.client() as http:
        for minute in range(WRITES):
            body = {"minute": minute, "message": "a chance"}
            (await http.post(f"/matches/{match_id}/commentary", json=body)).raise_for_status()
            await asyncio.sleep(0.03)


async def test_resume_larger_than_one_query_is_complete(start: Start, database_url: str) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    async with _stream(api) as events:
        await _begin(events)
        last = await _with_id(api, events, match_id)
    head = len(await feed_of(api.base_url, match_id))
    with psycopg.connect(database_url) as database:
        database.execute("UPDATE match SET seq = seq + 12000 WHERE id = %s", [match_id])
        database.execute(
            "INSERT INTO event (match_id, seq, type, data, created_at)"
            " SELECT match_id, n, type, data, now() FROM event, generate_series(%s::int, %s::int) n"
            " WHERE match_id = %s AND seq = 2",
            [head + 1, head + 12_000, match_id],
        )
    async with _stream(api, last) as events:
        await _begin(events)
        seqs = [_place(event)[1] for event in await _read(events, 12_000)]
        assert seqs == list(range(head + 1, head + 12_001))
        await api.comment(match_id)
        assert [_place(event)[1] for event in await _read(events, 1)] == [head + 12_001]


@pytest.mark.parametrize("last", ["x", "1~", "1~2", "1~2.", "-1", "1~2.3~", "1 ~2.3", "9" * 20, "1~99999999999.1"])
async def test_forged_stream_id_is_refused(service: Service, last: str) -> None:
    async with service.client() as http:
        answer = await http.get("/events/stream", headers={"Last-Event-ID": last})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["path"] == ["Last-Event-ID"]


async def test_stream_is_also_served_below_api(service: Service) -> None:
    async with service.client() as http, event_stream(http, "/api/events/stream") as events:
        await _begin(events)
        made = (await http.post("/matches", json=match_body())).json()["data"]
        assert (await _read_of(events, {made["id"]}, 1))[0].json()["data"] == made
