"""GET /matches/{id}/events: the feed page by page, and long polls."""

import asyncio
from time import monotonic
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.service import Service, Start
from tests.support.stopwatch import Stopwatch

EVENTS = 8


@pytest.fixture
async def match_id(service: Service) -> int:
    """A match with :data:`EVENTS` events."""
    made: int = (await service.create_match())["id"]
    for minute in range(EVENTS - 1):
        await service.comment(made, minute=minute)
    return made


async def _get(api: Service, match_id: int, **params: Any) -> httpx.Response:
    async with api.client() as http:
        return await http.get(f"/matches/{match_id}/events", params=params, timeout=30)


async def _events(api: Service, match_id: int, **params: Any) -> dict[str, Any]:
    answer = await _get(api, match_id, **params)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def test_request_without_parameters_returns_the_whole_feed(service: Service, match_id: int) -> None:
    answer = await _events(service, match_id)
    assert list(answer) == ["data", "seq", "epoch", "recovered"]
    assert (answer["seq"], answer["recovered"]) == (EVENTS, True)
    assert [event["seq"] for event in answer["data"]] == list(range(1, EVENTS + 1))
    assert all(list(event) == ["type", "seq", "matchId", "data"] for event in answer["data"])


@pytest.mark.parametrize("since", range(EVENTS + 1))
async def test_since_returns_later_events(service: Service, match_id: int, since: int) -> None:
    answer = await _events(service, match_id, since=since)
    assert [event["seq"] for event in answer["data"]] == list(range(since + 1, EVENTS + 1))
    assert answer["seq"] == EVENTS


async def test_limit_bounds_pages_and_pages_have_no_gaps(service: Service, match_id: int) -> None:
    seqs: list[int] = []
    while page := (await _events(service, match_id, since=seqs[-1] if seqs else 0, limit=3))["data"]:
        assert len(page) <= 3
        seqs += [event["seq"] for event in page]
    assert seqs == list(range(1, EVENTS + 1))


async def test_events_are_also_served_below_api(service: Service, match_id: int) -> None:
    async with service.client() as http:
        assert (await http.get(f"/api/matches/{match_id}/events")).json() == await _events(service, match_id)


async def test_response_is_never_cacheable(service: Service, match_id: int) -> None:
    assert (await _get(service, match_id)).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("params", [{"since": EVENTS + 1}, {"since": 2, "epoch": "another"}])
async def test_unrecoverable_position_gets_a_snapshot(service: Service, match_id: int, params: dict[str, Any]) -> None:
    answer = await _events(service, match_id, **params)
    assert (answer["data"], answer["seq"], answer["recovered"]) == ([], EVENTS, False)
    async with service.client() as http:
        assert answer["snapshot"]["match"] == (await http.get(f"/matches/{match_id}")).json()["data"]
        commentary = (await http.get(f"/matches/{match_id}/commentary")).json()["data"]
    assert answer["snapshot"]["commentary"] == commentary


async def test_position_before_the_pruning_horizon_gets_a_snapshot(service: Service, match_id: int) -> None:
    with psycopg.connect(service.environment["DATABASE_URL"]) as database:
        database.execute("UPDATE match SET pruned_seq = 5 WHERE id = %s", [match_id])
        database.execute("DELETE FROM event WHERE match_id = %s AND seq <= 5", [match_id])
    assert (await _events(service, match_id, since=4))["recovered"] is False
    answer = await _events(service, match_id, since=5)
    assert (answer["recovered"], [event["seq"] for event in answer["data"]]) == (True, [6, 7, 8])


async def test_epoch_of_a_response_is_accepted_by_the_next_request(service: Service, match_id: int) -> None:
    epoch = (await _events(service, match_id))["epoch"]
    assert (await _events(service, match_id, since=7, epoch=epoch))["recovered"] is True


@pytest.mark.parametrize(
    "query",
    [
        "since=-1",
        "since=x",
        "since=1.5",
        "since=",
        "since=2147483648",
        "since=1&since=2",
        "limit=0",
        "limit=1001",
        "limit=x",
        "wait=-1",
        "wait=26",
        "wait=x",
        "wait=nan",
        "wait=inf",
    ],
)
async def test_invalid_query_is_refused(service: Service, match_id: int, query: str) -> None:
    async with service.client() as http:
        answer = await http.get(f"/matches/{match_id}/events?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"] == "Invalid query"
    assert answer.json()["details"][0]["path"]


async def test_an_unknown_match_is_not_found(service: Service) -> None:
    for params in ({}, {"wait": 5}, {"since": 7}):
        answer = await _get(service, 2_000_000_000, **params)
        assert (answer.status_code, answer.json()) == (404, {"error": "Match not found"})


# Long poll


async def test_poll_returns_existing_events_at_once(service: Service, match_id: int) -> None:
    watch = Stopwatch()
    assert len((await _events(service, match_id, since=EVENTS - 2, wait=20))["data"]) == 2
    assert watch.seconds() < 5


async def test_poll_returns_the_next_event(service: Service, match_id: int) -> None:
    polling = asyncio.create_task(_events(service, match_id, since=EVENTS, wait=20))
    await asyncio.sleep(0.3)
    assert not polling.done()
    posted = await service.comment(match_id)
    async with asyncio.timeout(15):
        answer = await polling
    assert [event["data"] for event in answer["data"]] == [posted]
    assert answer["seq"] == EVENTS + 1


async def test_poll_without_an_event_ends_at_its_timeout(service: Service, match_id: int) -> None:
    started, watch = monotonic(), Stopwatch()
    answer = await _events(service, match_id, since=EVENTS, wait=0.7)
    assert monotonic() - started >= 0.7
    assert watch.seconds() < 3
    assert (answer["data"], answer["seq"], answer["recovered"]) == ([], EVENTS, True)


async def test_poll_returns_events_written_on_another_instance(start: Start) -> None:
    here, there = await asyncio.gather(start("api"), start("api"))
    match_id = (await here.create_match())["id"]
    polls = [asyncio.create_task(_events(there, match_id, since=1, wait=20)) for _ in range(5)]
    await asyncio.sleep(0.3)
    await here.comment(match_id)
    async with asyncio.timeout(15):
        for answer in await asyncio.gather(*polls):
            assert [event["seq"] for event in answer["data"]] == [2]


async def test_repeated_polls_return_each_event_once(start: Start) -> None:
    here, there = await asyncio.gather(start("api"), start("api"))
    match_id = (await here.create_match())["id"]

    async def write() -> None:
        for minute in range(40):
            await here.comment(match_id, minute=minute)

    writing = asyncio.create_task(write())
    seqs = [1]
    async with there.client() as http, asyncio.timeout(60):
        while seqs[-1] < 41:
            answer = await http.get(f"/matches/{match_id}/events", params={"since": seqs[-1], "wait": 5})
            seqs += [event["seq"] for event in answer.json()["data"]]
    await writing
    assert seqs == list(range(1, 42))


async def test_poll_ahead_of_the_feed_returns_at_once(service: Service, match_id: int) -> None:
    watch = Stopwatch()
    assert (await _events(service, match_id, since=EVENTS + 5, wait=20))["recovered"] is False
    assert watch.seconds() < 5
