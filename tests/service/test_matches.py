"""``/matches``: create, list, page, filter, read, change."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.clients import feed_of
from tests.support.service import Service, instant, match_body

Json = dict[str, Any]

KEYS = [
    "id",
    "sport",
    "homeTeam",
    "awayTeam",
    "status",
    "startTime",
    "endTime",
    "homeScore",
    "awayScore",
    "createdAt",
    "updatedAt",
    "seq",
    "competition",
    "season",
    "stage",
    "group",
    "round",
    "leg",
    "matchNumber",
    "venue",
    "referee",
    "externalId",
    "attendance",
    "startTimeConfirmed",
    "rules",
    "period",
    "clock",
    "scores",
    "shootout",
    "winner",
    "decidedBy",
    "aggregate",
    "cards",
    "state",
    "metadata",
]


@pytest.fixture
def sport() -> str:
    """A sport used only by this test, to separate its matches from others."""
    return f"sport-{uuid4().hex}"


async def listed(http: httpx.AsyncClient, **query: Any) -> list[int]:
    answer = await http.get("/matches", params=query)
    assert answer.status_code == 200, answer.text
    return [match["id"] for match in answer.json()["data"]]


async def types_of(service: Service, match_id: int) -> list[str]:
    return [event["type"] for event in await feed_of(service.base_url, match_id)]


# Create


async def test_created_match_has_all_members_in_order(http: httpx.AsyncClient) -> None:
    body = match_body(startTime="2026-02-20T15:00:00Z", endTime="2026-02-20T17:00:00.5Z", homeScore="3")
    answer = await http.post("/matches", json=body)
    assert answer.status_code == 201
    assert list(answer.json()) == ["data"]
    match = answer.json()["data"]
    assert list(match) == KEYS
    assert match["startTime"] == "2026-02-20T15:00:00.000Z"
    assert match["endTime"] == "2026-02-20T17:00:00.500Z"
    assert (match["homeScore"], match["awayScore"], match["seq"]) == (3, 0, 1)


@pytest.mark.parametrize(("start", "end", "status"), [(60, 90, "scheduled"), (-60, 60, "live"), (-90, -60, "finished")])
async def test_status_of_a_new_match_follows_the_clock_not_the_body(
    http: httpx.AsyncClient, start: float, end: float, status: str
) -> None:
    body = match_body(startTime=instant(start), endTime=instant(end), status="cancelled", id=1, unknown=[])
    assert (await http.post("/matches", json=body)).json()["data"]["status"] == status


async def test_fault_16_match_of_the_first_century_keeps_its_year(http: httpx.AsyncClient) -> None:
    body = match_body(startTime="0001-01-01T00:00:00Z", endTime="0099-12-31T23:59:59.999Z")
    match = (await http.post("/matches", json=body)).json()["data"]
    assert (match["startTime"], match["endTime"]) == ("0001-01-01T00:00:00.000Z", "0099-12-31T23:59:59.999Z")


async def test_text_is_returned_unchanged(http: httpx.AsyncClient) -> None:
    name = 'Ünïted "Ѳ" \\ 🏟\u2028\n\t</script>'
    match = (await http.post("/matches", json=match_body(homeTeam=name))).json()["data"]
    assert match["homeTeam"] == name
    assert (await http.get(f"/matches/{match['id']}")).json()["data"]["homeTeam"] == name


async def test_both_prefixes_serve_the_same_matches(http: httpx.AsyncClient) -> None:
    match = (await http.post("/api/matches", json=match_body())).json()["data"]
    for prefix in ("", "/api"):
        assert (await http.get(f"{prefix}/matches/{match['id']}")).json()["data"] == match
        assert (await http.get(f"{prefix}/matches/{match['id']}/commentary")).json() == {"data": []}


# List


async def test_fault_7_newest_match_is_first_and_ties_are_ordered(http: httpx.AsyncClient, sport: str) -> None:
    made = [(await http.post("/matches", json=match_body(sport=sport))).json()["data"]["id"] for _ in range(5)]
    assert await listed(http, sport=sport) == sorted(made, reverse=True)


async def test_limit_bounds_the_list(http: httpx.AsyncClient, service: Service, sport: str) -> None:
    for _ in range(3):
        await service.create_match(sport=sport)
    assert len(await listed(http, sport=sport, limit=2)) == 2
    assert len(await listed(http, sport=sport, limit=100)) == 3


async def test_cursor_pages_contain_every_match_once(http: httpx.AsyncClient, service: Service, sport: str) -> None:
    made = [(await service.create_match(sport=sport))["id"] for _ in range(7)]
    seen: list[int] = []
    query: Json = {"sport": sport, "limit": 3}
    while True:
        page = (await http.get("/matches", params=query)).json()
        seen += [match["id"] for match in page["data"]]
        await service.create_match(sport=sport)  # newer matches do not shift the pages
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert seen == made[::-1]


async def test_the_last_page_has_no_cursor_even_when_it_is_full(
    http: httpx.AsyncClient, service: Service, sport: str
) -> None:
    for _ in range(2):
        await service.create_match(sport=sport)
    page = (await http.get("/matches", params={"sport": sport, "limit": 2})).json()
    assert (len(page["data"]), page["nextCursor"]) == (2, None)


async def test_times_with_any_offset_are_returned_in_utc(http: httpx.AsyncClient, sport: str) -> None:
    times = {"startTime": "2026-02-20T20:30:00+05:30", "endTime": "2026-02-20t13:00:00.5-0330"}
    match = (await http.post("/matches", json=match_body(sport=sport, **times))).json()["data"]
    assert (match["startTime"], match["endTime"]) == ("2026-02-20T15:00:00.000Z", "2026-02-20T16:30:00.500Z")
    changed = await http.patch(f"/matches/{match['id']}", json={"endTime": "2026-02-20T19:00:00+02:00"})
    assert changed.json()["data"]["endTime"] == "2026-02-20T17:00:00.000Z"
    for offset in ("+01:00", "%2B01:00", " 01:00", "%2b0100"):
        for query in (f"from=2026-02-20T16:00:00{offset}", f"to=2026-02-20T16:00:00.001{offset}"):
            listed = (await http.get(f"/matches?sport={sport}&{query}")).json()["data"]
            assert [found["id"] for found in listed] == [match["id"]]
    assert (await http.get(f"/matches?sport={sport}&to=2026-02-20T16:00:00+01:00")).json()["data"] == []


async def test_a_repeated_filter_means_any_of_its_values(http: httpx.AsyncClient, service: Service, sport: str) -> None:
    other = f"{sport}, too"
    live = await service.create_match(sport=sport, homeTeam="One")
    over = await service.create_match(sport=other, awayTeam="Two", startTime=instant(-20), endTime=instant(-10))
    ahead = await service.create_match(sport=sport, startTime=instant(7200), endTime=instant(9000))
    both = [sport, other]
    assert await listed(http, sport=both) == [ahead["id"], over["id"], live["id"]]
    assert await listed(http, sport=both, status=["live", "finished"]) == [over["id"], live["id"]]
    assert await listed(http, sport=both, status=["scheduled", "live,finished"]) == await listed(http, sport=both)
    assert await listed(http, sport=both, team=["One", "Two"]) == [over["id"], live["id"]]


async def test_matches_are_filtered_by_status(http: httpx.AsyncClient, service: Service, sport: str) -> None:
    live = await service.create_match(sport=sport)
    over = await service.create_match(sport=sport, startTime=instant(-20), endTime=instant(-10))
    ahead = await service.create_match(sport=sport, startTime=instant(7200), endTime=instant(9000))
    assert await listed(http, sport=sport, status="live") == [live["id"]]
    assert await listed(http, sport=sport, status="scheduled,finished") == [ahead["id"], over["id"]]
    assert await listed(http, sport=sport, status="cancelled") == []


async def test_matches_are_filtered_by_team_at_home_or_away(
    http: httpx.AsyncClient, service: Service, sport: str
) -> None:
    home = await service.create_match(sport=sport, homeTeam="Ajax & Co")
    away = await service.create_match(sport=sport, awayTeam="Ajax & Co")
    await service.create_match(sport=sport)
    assert await listed(http, sport=sport, team="Ajax & Co") == [away["id"], home["id"]]


async def test_from_is_inclusive_and_to_exclusive(http: httpx.AsyncClient, service: Service, sport: str) -> None:
    times = {"startTime": "2026-02-20T15:00:00.000Z", "endTime": "2026-02-20T17:00:00Z"}
    match = await service.create_match(sport=sport, **times)
    at, after = "2026-02-20T15:00:00.000Z", "2026-02-20T15:00:00.001Z"
    assert await listed(http, sport=sport, **{"from": at, "to": after}) == [match["id"]]
    assert await listed(http, sport=sport, **{"from": after}) == []
    assert await listed(http, sport=sport, to=at) == []


async def test_updated_since_finds_changed_matches(http: httpx.AsyncClient, service: Service, sport: str) -> None:
    first, second = await service.create_match(sport=sport), await service.create_match(sport=sport)
    await service.comment(first["id"])
    changed = (await http.get(f"/matches/{first['id']}")).json()["data"]
    assert changed["updatedAt"] > second["updatedAt"]
    assert await listed(http, sport=sport, updatedSince=changed["updatedAt"]) == [first["id"]]


# Read


async def test_an_unknown_match_is_not_found(http: httpx.AsyncClient) -> None:
    answer = await http.get("/matches/2147483647")
    assert (answer.status_code, answer.json()) == (404, {"error": "Match not found"})


# Change


async def test_patch_corrects_single_members(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    answer = await http.patch(f"/matches/{match['id']}", json={"homeTeam": "Z", "awayScore": "2"})
    assert answer.status_code == 200
    changed = answer.json()["data"]
    different = {name for name in KEYS if changed[name] != match[name]}
    assert different == {"homeTeam", "awayScore", "scores", "updatedAt", "seq"}
    assert (changed["homeTeam"], changed["awayScore"], changed["seq"]) == ("Z", 2, 3)
    assert await types_of(service, match["id"]) == ["match_created", "score_update", "match_updated"]


@pytest.mark.parametrize("status", ["postponed", "cancelled", "finished"])
async def test_status_can_be_set_by_patch(http: httpx.AsyncClient, service: Service, status: str) -> None:
    match = await service.create_match()
    answer = await http.patch(f"/matches/{match['id']}", json={"status": status})
    assert answer.json()["data"]["status"] == status
    (_, event) = await feed_of(service.base_url, match["id"])
    assert event["type"] == "match_status_changed"
    assert event["data"] | {"timestamp": ""} == {
        "matchId": match["id"],
        "oldStatus": "live",
        "newStatus": status,
        "timestamp": "",
    }


async def test_changed_times_update_the_status(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    times = {"startTime": instant(3600), "endTime": instant(7200)}
    answer = await http.patch(f"/matches/{match['id']}", json=times)
    assert answer.json()["data"]["status"] == "scheduled"


async def test_an_end_before_the_stored_start_is_refused(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    answer = await http.patch(f"/matches/{match['id']}", json={"endTime": match["startTime"]})
    assert answer.status_code == 400
    assert [detail["path"] for detail in answer.json()["details"]] == [["endTime"]]
    assert await types_of(service, match["id"]) == ["match_created"]


async def test_patch_without_changes_creates_no_event(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    answer = await http.patch(f"/matches/{match['id']}", json={"homeTeam": match["homeTeam"]})
    assert (answer.status_code, answer.json()["data"]) == (200, match)


async def test_score_of_a_live_match_can_be_set(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    answer = await http.patch(f"/matches/{match['id']}/score", json={"homeScore": 2, "awayScore": "1"})
    assert (answer.json()["data"]["homeScore"], answer.json()["data"]["awayScore"]) == (2, 1)
    (_, event) = await feed_of(service.base_url, match["id"])
    assert event["type"] == "score_update"
    data = event["data"]
    assert (data["matchId"], data["homeScore"], data["awayScore"], data["cause"]) == (match["id"], 2, 1, None)


async def test_score_cannot_be_set_unless_live(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match(startTime=instant(60), endTime=instant(90))
    answer = await http.patch(f"/matches/{match['id']}/score", json={"homeScore": 2, "awayScore": 1})
    assert answer.status_code == 409
    assert "scheduled" in answer.json()["error"]


async def test_live_match_can_be_ended_only_once(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    first, second = [await http.patch(f"/matches/{match['id']}/end") for _ in range(2)]
    assert first.json()["data"]["status"] == "finished"
    assert (second.status_code, second.json()) == (200, first.json())
    assert await types_of(service, match["id"]) == ["match_created", "match_status_changed"]


async def test_scheduled_match_cannot_be_ended(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match(startTime=instant(60), endTime=instant(90))
    assert (await http.patch(f"/matches/{match['id']}/end")).status_code == 409


@pytest.mark.parametrize(
    ("path", "body"), [("", {"sport": "x"}), ("/score", {"homeScore": 1, "awayScore": 1}), ("/end", None)]
)
async def test_an_unknown_match_cannot_be_changed(http: httpx.AsyncClient, path: str, body: Json | None) -> None:
    answer = await http.patch(f"/matches/2147483647{path}", json=body)
    assert (answer.status_code, answer.json()) == (404, {"error": "Match not found"})
