"""The management port reports current and upcoming matches to the operator, and is closed to web pages."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.servers import OwnPostgres
from tests.support.service import Kind, Service, Start, instant
from tests.support.stopwatch import Stopwatch


def management_of(api: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=api.management_url, timeout=20, verify=False)


async def fixtures(http: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    answer = await http.get(f"/fixtures{query}")
    assert answer.status_code == 200
    assert list(answer.json()) == ["fixtures"]
    found: list[dict[str, Any]] = answer.json()["fixtures"]
    return found


def ids(found: list[dict[str, Any]]) -> list[int]:
    return [fixture["id"] for fixture in found]


async def create_match_between(api: Service, start: float, end: float, **fields: Any) -> dict[str, Any]:
    """Create a match that starts and ends in ``start`` and ``end`` seconds."""
    return await api.create_match(startTime=instant(start), endTime=instant(end), **fields)


async def test_fixtures_are_live_matches_and_those_starting_soon(start: Start) -> None:
    api = await start("api")
    async with management_of(api) as http:
        assert await fixtures(http) == []
    later = await create_match_between(api, 1_800, 7_200, sport="rugby")
    live = await create_match_between(api, -600, 3_600, homeTeam="Köln", awayTeam='"Quoted"')
    await create_match_between(api, -7_200, -3_600)
    tomorrow = await create_match_between(api, 80_000, 90_000)
    await create_match_between(api, 90_000, 100_000)
    async with management_of(api) as http:
        assert ids(await fixtures(http, "?withinSeconds=0")) == [live["id"]]
        assert ids(await fixtures(http, "?withinSeconds=86400")) == [live["id"], later["id"], tomorrow["id"]]
        names = ("id", "sport", "homeTeam", "awayTeam", "status", "startTime", "endTime")
        expected = [{name: match[name] for name in names} for match in (live, later)]
        assert await fixtures(http) == expected
        assert [fixture["status"] for fixture in expected] == ["live", "scheduled"]
        assert list((await fixtures(http))[0]) == list(names)


async def test_fixtures_with_equal_start_are_ordered_by_id(start: Start) -> None:
    api = await start("api")
    together = {"startTime": instant(60), "endTime": instant(600)}
    made_then = [(await api.create_match(**together))["id"] for _ in range(5)]
    earlier = (await create_match_between(api, 30, 600))["id"]
    async with management_of(api) as http:
        assert ids(await fixtures(http)) == [earlier, *made_then]


async def test_cancelled_match_is_not_a_fixture(start: Start) -> None:
    api = await start("api")
    *moved, other = [(await create_match_between(api, 60, 600))["id"] for _ in range(4)]
    async with api.client() as http:
        for match_id, status in zip(moved, ("postponed", "cancelled", "finished"), strict=True):
            (await http.patch(f"/matches/{match_id}", json={"status": status})).raise_for_status()
    async with management_of(api) as http:
        assert ids(await fixtures(http)) == [other]


async def test_overdue_scheduled_match_is_a_fixture(start: Start) -> None:
    api = await start("api")
    match_id = (await create_match_between(api, 0.3, 600))["id"]
    async with management_of(api) as http, asyncio.timeout(10):
        assert ids(await fixtures(http)) == [match_id]
        while not (found := await fixtures(http, "?withinSeconds=0")):
            await asyncio.sleep(0.05)
        assert [(fixture["id"], fixture["status"]) for fixture in found] == [(match_id, "scheduled")], "no sweeper runs"


async def test_number_of_fixtures_is_bounded(start: Start, database_url: str) -> None:
    api = await start("api")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO match (id, sport, home_team, away_team, status, start_time, end_time, home_score, away_score,
                created_at, updated_at, seq)
            SELECT id, 's', 'h', 'a', 'scheduled', now() + make_interval(secs => 3000 - id), now() + interval '1 day',
                0, 0, now(), now(), 1 FROM generate_series(1, 1200) AS id"""
        )
    async with management_of(api) as http:
        assert ids(await fixtures(http)) == list(range(1_200, 200, -1))


WRONG = ["", "-1", "x", "1.5", "86401", "99999999999", "007", "1&withinSeconds=2"]


@pytest.mark.parametrize("value", WRONG)
async def test_invalid_time_is_refused_with_its_name(service: Service, value: str) -> None:
    async with management_of(service) as http:
        answer = await http.get(f"/fixtures?withinSeconds={value}")
    assert (answer.status_code, [detail["path"] for detail in answer.json()["details"]]) == (400, [["withinSeconds"]])


async def test_fixtures_get_503_without_postgresql_and_other_routes_work(
    start: Start, own_postgres: OwnPostgres
) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url, DATABASE_TIMEOUT_SECONDS="1")
    async with management_of(api) as http:
        own_postgres.pause()
        try:
            watch = Stopwatch()
            hanging, connections = await asyncio.gather(http.get("/fixtures"), http.get("/connections"))
            assert watch.seconds() < 10
        finally:
            own_postgres.resume()
        await own_postgres.stop()
        away = await http.get("/fixtures")
    assert connections.status_code == 200
    for answer in (hanging, away):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json().keys() == {"error", "reason"}


async def test_unknown_management_route_gets_the_usual_error(service: Service) -> None:
    async with management_of(service) as http:
        missing, wrong = await http.get("/nothing"), await http.get("/drain")
    assert (missing.status_code, missing.json()) == (404, {"error": "Not found"})
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")


REFUSED: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Host": "evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("kind", ["api", "worker", "scheduler"])
async def test_web_pages_cannot_use_a_management_port(start: Start, kind: Kind) -> None:
    service = await start(kind)
    async with management_of(service) as http:
        for path in ("/metrics", "/health/live", "/health/ready"):
            assert (await http.get(path)).status_code == 200
            for headers in REFUSED:
                answer = await http.get(path, headers=headers)
                assert answer.status_code == 403, (path, headers)
                assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("kind", ["api", "worker", "scheduler"])
async def test_every_process_serves_its_metrics(start: Start, kind: Kind) -> None:
    service = await start(kind)
    async with management_of(service) as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert "livescore_queue_depth" in answer.text


async def test_web_pages_cannot_drain_an_instance(service: Service) -> None:
    forms = [{"Content-Type": kind} for kind in ("text/plain", "application/x-www-form-urlencoded")]
    async with management_of(service) as http:
        for path in ("/drain", "/shed?count=1", "/drain?cancel=true"):
            for headers in [*REFUSED, *forms]:
                assert (await http.post(path, headers=headers)).status_code == 403, (path, headers)
        assert (await http.options("/drain", headers=REFUSED[0])).status_code == 403
        assert (await http.get("/connections")).json()["draining"] is False
