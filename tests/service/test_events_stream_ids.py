"""Stream ids: a client can resume after any block, and receives every event exactly once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import psycopg
import pytest

from livescore.live.all_matches import MAX_LATE_MATCHES
from livescore.scores import statements as sql
from tests.support.clients import Listener
from tests.support.servers import OwnPostgres
from tests.support.service import Json, Service, Start
from tests.support.sse import Block, ServerSentEvent, event_blocks, event_stream, take

ALL = "/events/stream"


def of_match(match_id: int) -> str:
    return f"/matches/{match_id}/events/stream"


@asynccontextmanager
async def stream(api: Service, path: str, last: str | None = None) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    async with api.client() as http, event_stream(http, path, last_event_id=last) as events:
        yield events


async def rest(events: AsyncIterator[ServerSentEvent], seconds: float = 0.7) -> list[Json]:
    """Return what arrives within ``seconds``."""
    found: list[Json] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for event in events:
                found.append(event.json())  # noqa: PERF401 - a comprehension would lose all items at the timeout
    return found


def places(messages: list[Json]) -> list[tuple[int, int]]:
    return [(message["matchId"], message["seq"]) for message in messages]


@pytest.mark.parametrize("path", [ALL, "match"])
async def test_acknowledgement_of_the_first_subscriber_is_resumable(start: Start, path: str) -> None:
    """No other client follows a match on this instance, and the connection is cut before the first event."""
    api = await start("api")
    match_id = (await api.create_match())["id"]
    await api.comment(match_id)
    path = ALL if path == ALL else of_match(match_id)
    async with stream(api, path) as events:
        (acknowledged,) = await take(events)
    await api.comment(match_id)
    async with stream(api, path, acknowledged.id) as events:
        again, event = await take(events, 2)
        assert again.json()["recovered"] is True
        assert places([event.json(), *await rest(events)]) == [(match_id, 3)]


@pytest.mark.parametrize("path", [ALL, "match"])
async def test_every_block_including_the_heartbeat_has_an_id(start: Start, path: str) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    path = ALL if path == ALL else of_match(match_id)
    async with api.client() as http, event_blocks(http, path) as blocks, asyncio.timeout(30):
        seen = [await anext(blocks)]
        assert (seen[0].retry, seen[0].data is None) == (1000, False), "the first block has all of it"
        await api.comment(match_id)
        while seen[-1].comment is None:
            seen.append(await anext(blocks))
    assert all(one.id for one in seen), seen
    heartbeat: Block = seen[-1]
    assert heartbeat.data is None
    await api.comment(match_id)
    async with stream(api, path, heartbeat.id) as events:
        _, event = await take(events, 2)
        assert places([event.json(), *await rest(events)]) == [(match_id, 3)]


async def test_long_running_transaction_causes_no_duplicates(start: Start, database_url: str) -> None:
    """The old transaction holds back the horizon, possibly for hours if its session was forgotten."""
    api = await start("api", AUDIT_INTERVAL_SECONDS="0.2")
    one, two = [(await api.create_match())["id"] for _ in range(2)]
    async with await psycopg.AsyncConnection.connect(database_url) as forgotten:
        await forgotten.execute("SELECT pg_current_xact_id()")
        async with stream(api, ALL) as events:
            await take(events)
            await api.comment(one)
            await take(events)
            await asyncio.sleep(1)  # several horizons
            await api.comment(two)
            (last,) = await take(events)
        async with stream(api, ALL, last.id) as events:
            await take(events)
            await api.comment(two)
            assert places(await rest(events, 2)) == [(two, 3)]


async def test_events_committed_out_of_order_arrive_once(start: Start, database_url: str) -> None:
    """A transaction with a lower id commits after the stream has sent a later event and read new horizons."""
    api = await start("api", AUDIT_INTERVAL_SECONDS="0.2")
    early, late = [(await api.create_match())["id"] for _ in range(2)]
    async with await psycopg.AsyncConnection.connect(database_url) as slow:
        async with stream(api, ALL) as events:
            await take(events)
            await slow.execute(sql.CREATE_COMMENTARY, commentary(early))
            await api.comment(late)
            await take(events)
            await asyncio.sleep(0.6)
            await api.comment(late)
            (last,) = await take(events)
        await slow.commit()
    await api.comment(early)
    async with stream(api, ALL, last.id) as events:
        await take(events)
        assert places(await rest(events, 2)) == [(early, 2), (early, 3)]


def commentary(match_id: int) -> Json:
    plain = {"minute": 1, "sequence": 0, "period": 1, "event_type": "commentary", "message": "a chance"}
    empty = dict.fromkeys(("actor", "team", "metadata", "tags", "side", "period_code", "stoppage"))
    return {**plain, **empty, "match_id": match_id, "request_id": "test"}


async def test_ids_stay_short_while_many_matches_change(start: Start) -> None:
    api = await start("api", AUDIT_INTERVAL_SECONDS="60")
    count = MAX_LATE_MATCHES + 100
    async with stream(api, ALL) as events:
        await take(events)
        for _ in range(count):
            await api.create_match()
        lengths = [len(event.id) for event in await take(events, count)]
    assert max(lengths) < 4_096
    assert lengths[-1] < max(lengths), "a new horizon was due"


async def test_client_can_be_cut_off_anywhere_in_a_long_history(start: Start, database_url: str) -> None:
    api = await start("api")
    matches = [(await api.create_match())["id"] for _ in range(3)]
    async with stream(api, ALL) as events:
        (first,) = await take(events)
    with psycopg.connect(database_url) as database:
        for match_id in matches:
            database.execute("UPDATE match SET seq = seq + 900 WHERE id = %s", [match_id])
            database.execute(
                "INSERT INTO event (match_id, seq, type, data, created_at)"
                " SELECT match_id, n, 'commentary_deleted', '{\"id\":1,\"matchId\":1}', now()"
                " FROM event, generate_series(2, 901) n WHERE match_id = %s AND seq = 1",
                [match_id],
            )
    last, received = first.id, list[tuple[int, int]]()
    while len(received) < 2_700:
        async with stream(api, ALL, last) as events:
            (said,) = await take(events)
            assert said.json()["recovered"]
            part = await take(events, min(437, 2_700 - len(received)))
            received += places([event.json() for event in part])
            last = part[-1].id
            assert len(last) < 4_096
    assert received == [(match_id, seq) for match_id in matches for seq in range(2, 902)]
    async with stream(api, ALL, last) as events:
        await take(events)
        assert await rest(events) == []


async def test_missed_pruned_events_are_replaced_by_a_snapshot(start: Start, database_url: str) -> None:
    api = await start("api")
    seen, missed, other = [(await api.create_match())["id"] for _ in range(3)]
    async with api.client() as http:
        async with stream(api, ALL) as events:
            await take(events)
            (await http.patch(f"/matches/{seen}/end")).raise_for_status()
            (last,) = await take(events)
        (await http.patch(f"/matches/{missed}/end")).raise_for_status()
    await api.comment(other)
    with psycopg.connect(database_url, autocommit=True) as database:
        assert database.execute(sql.PRUNE, {"age": 0, "limit": 10}).rowcount > 0
    async with stream(api, ALL, last.id) as events:
        said, state, event = [event.json() for event in await take(events, 3)]
        assert said == {"type": "subscribedAll", "recovered": True}
        assert (state["type"], state["matchId"], state["seq"]) == ("snapshot", missed, 2)
        assert state["data"]["match"]["status"] == "finished"
        assert places([event]) == [(other, 2)]
        await api.comment(missed)
        assert places(await rest(events)) == [(missed, 3)]


FOREIGN = ["812~7.42~9.3", "812", "0", "0123456789ab~5:9:", "0123456789ab~5:9:6,7~1.1"]


@pytest.mark.parametrize("last", FOREIGN)
async def test_id_of_another_feed_gets_a_snapshot_of_every_match(start: Start, last: str) -> None:
    """Also ids of the first version of the service, which did not contain the feed."""
    api = await start("api")
    matches = [(await api.create_match())["id"] for _ in range(12)]
    await api.comment(matches[3])
    async with stream(api, ALL, last) as events:
        said, *states = await take(events, 1 + 12)
        assert said.json() == {"type": "subscribedAll", "recovered": False}
        assert [event.json()["type"] for event in states] == ["snapshot"] * 12
        expected = [(match_id, 2 if match_id == matches[3] else 1) for match_id in reversed(matches)]
        assert places([event.json() for event in states]) == expected
        await api.comment(matches[0])
        assert places(await rest(events)) == [(matches[0], 2)]
    for event in (said, states[6]):
        async with stream(api, ALL, event.id) as events:
            again, *more = await take(events, 13 if event is said else 6)
            assert again.json()["recovered"] is True
            begun = 0 if event is said else 7
            assert [one.json()["matchId"] for one in more] == list(reversed(matches))[begun:][: len(more)]


@pytest.mark.parametrize("change", ["future", "ahead", "unknown match"])
async def test_id_ahead_of_the_feed_is_not_recovered(start: Start, change: str) -> None:
    """A copy of the data files keeps the epoch, so only the client's position reveals the difference."""
    api = await start("api")
    match_id = (await api.create_match())["id"]
    async with stream(api, ALL) as events:
        (first,) = await take(events)
    epoch, horizon = first.id.split("~")[:2]
    ids = {
        "future": f"{epoch}~9000000000000000000:9000000000000000000:",
        "ahead": f"{epoch}~{horizon}~{match_id}.2",
        "unknown match": f"{epoch}~{horizon}~{match_id + 1}.1",
    }
    async with stream(api, ALL, ids[change]) as events:
        said, state = await take(events, 2)
        assert said.json()["recovered"] is False
        assert state.json()["type"] == "snapshot"


MALFORMED = [
    "abc~",
    "abc~1:2",
    "abc~2:1:",
    "abc~0:1:",
    "abc~1:5:7",
    "abc~1:5:3,2",
    "abc~1:9:~1",
    "abc~1:9:~1.2147483648",
    "abc~1:9:~2147483648.1",
    "abc~1:9:~1:9:",
    "abc~1:9:~1:9:@1",
    "abc~9223372036854775808:9223372036854775808:",
    "ABC~1:9:",
    "abc~١:9:",
    "abc~1:9:~~",
    "-1",
    "nan",
]


@pytest.mark.parametrize("last", MALFORMED)
async def test_invalid_stream_id_is_named_in_the_error(service: Service, last: str) -> None:
    async with service.client() as http:
        by_header = await http.get(ALL, headers={b"Last-Event-ID": last.encode()})
        by_query = await http.get(ALL, params={"lastEventId": last})
    for answer in (by_header, by_query):
        assert (answer.status_code, answer.json()["error"]) == (400, "Invalid Last-Event-ID")
        assert answer.json()["details"][0]["path"] == ["Last-Event-ID"]


@pytest.mark.parametrize("last", ["%00", "5%00", "5%0Aretry: 1", "5%0D"])
@pytest.mark.parametrize("path", [ALL, "match"])
async def test_control_characters_in_an_id_are_refused(service: Service, path: str, last: str) -> None:
    path = ALL if path == ALL else of_match((await service.create_match())["id"])
    async with service.client() as http:
        answer = await http.get(f"{path}?lastEventId={last}", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 400


async def test_id_in_the_url_resumes_and_the_header_takes_precedence(start: Start) -> None:
    """A new EventSource has no id yet, and a page cannot set the header."""
    api = await start("api")
    match_id = (await api.create_match())["id"]
    async with stream(api, ALL) as events:
        (first,) = await take(events)
        await api.comment(match_id)
        (second,) = await take(events)
    await api.comment(match_id)
    async with stream(api, f"{ALL}?lastEventId={first.id}") as events:
        assert places([event.json() for event in (await take(events, 3))[1:]]) == [(match_id, 2), (match_id, 3)]
    async with stream(api, f"{ALL}?lastEventId={first.id}", second.id) as events:
        assert places([event.json() for event in (await take(events, 2))[1:]]) == [(match_id, 3)]
    async with stream(api, f"{of_match(match_id)}?lastEventId=2&since=0") as events:
        assert [event.id for event in await take(events, 2)] == ["2", "3"]


async def test_ids_of_one_match_carry_a_known_epoch(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    await api.comment(match_id)
    path = of_match(match_id)
    async with stream(api, path) as events:
        (first,) = await take(events)
        assert first.id == "2"
        epoch = first.json()["epoch"]
    async with stream(api, f"{path}?epoch={epoch}&since=1") as events:
        assert [event.id for event in await take(events, 2)] == [f"1~{epoch}", f"2~{epoch}"]
    async with stream(api, path, f"1~{epoch}") as events:
        assert [event.id for event in await take(events, 2)] == [f"1~{epoch}", f"2~{epoch}"]
    async with stream(api, path, "1~abc") as events:
        said, state = await take(events, 2)
        assert (said.json()["recovered"], said.id) == (False, "1~abc"), (
            "the id must request the snapshot again after a cut here"
        )
        assert (state.json()["type"], state.id) == ("snapshot", f"2~{epoch}")


async def test_first_subscriber_waits_for_a_slow_database_or_is_refused_in_time(
    start: Start, own_postgres: OwnPostgres
) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url, DATABASE_TIMEOUT_SECONDS="1")
    match_id = (await api.create_match())["id"]
    own_postgres.pause()
    try:
        async with api.client() as http, asyncio.timeout(10):
            answer = await http.get(ALL)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    finally:
        own_postgres.resume()
    async with asyncio.timeout(20):
        while True:
            with suppress(httpx.HTTPError, StopAsyncIteration):
                async with stream(api, ALL) as events:
                    (first,) = await take(events)
                    break
    await api.comment(match_id)
    async with stream(api, ALL, first.id) as events:
        assert places([event.json() for event in (await take(events, 2))[1:]]) == [(match_id, 2)]


async def test_websocket_of_all_matches_misses_no_event_after_its_acknowledgement(start: Start) -> None:
    """The client is the first subscriber to all matches on this instance, while matches change."""
    here, there = await asyncio.gather(start("api"), start("api"))
    match_id = (await there.create_match())["id"]

    async def write() -> None:
        for minute in range(30):
            await there.comment(match_id, minute=minute)

    writing = asyncio.create_task(write())
    async with Listener(here.ws_url) as listener:
        await listener.ask({"type": "subscribeAll"}, "subscribedAll")
        acknowledged = len(listener.log)
        await writing
        await listener.until_seq(match_id, 31)
        seqs = [message["seq"] for message in listener.log[acknowledged:] if message["type"] == "commentary"]
    assert seqs == list(range(seqs[0], 32))
