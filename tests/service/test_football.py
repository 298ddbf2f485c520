"""A football match through the API: own goals, video reviews, extra time past the end, and scores set by hand."""

from typing import Any

import httpx
import pytest

from tests.support.service import Service, instant

Json = dict[str, Any]


@pytest.fixture
async def match_id(service: Service) -> int:
    match = await service.create_match()
    return int(match["id"])


async def enter(http: httpx.AsyncClient, match_id: int, event_type: str, **fields: Any) -> Json:
    body = {"minute": 1, "message": event_type, "eventType": event_type, **fields}
    answer = await http.post(f"/matches/{match_id}/commentary", json=body)
    assert answer.status_code == 201, answer.text
    entry: Json = answer.json()["data"]
    return entry


async def match_of(http: httpx.AsyncClient, match_id: int) -> Json:
    answer = await http.get(f"/matches/{match_id}", headers={"Cache-Control": "no-cache"})
    match: Json = answer.json()["data"]
    return match


async def score(http: httpx.AsyncClient, match_id: int) -> tuple[int, int]:
    match = await match_of(http, match_id)
    return match["homeScore"], match["awayScore"]


async def test_an_own_goal_counts_for_its_side(http: httpx.AsyncClient, match_id: int) -> None:
    entry = await enter(http, match_id, "own_goal", side="away", actor="a player of Home")
    assert entry["warnings"] == []
    assert await score(http, match_id) == (0, 1)


async def test_an_own_goal_with_the_team_that_benefits_counts_for_it_with_a_warning(
    http: httpx.AsyncClient, match_id: int
) -> None:
    entry = await enter(http, match_id, "own_goal", team="Away", actor="a player of Home")
    assert entry["side"] == "away"
    assert len(entry["warnings"]) == 1
    assert await score(http, match_id) == (0, 1)


async def test_a_goal_is_corrected_to_an_own_goal(http: httpx.AsyncClient, match_id: int) -> None:
    goal = await enter(http, match_id, "goal", side="home")
    correction = {"eventType": "own_goal", "side": "away"}
    answer = await http.patch(f"/matches/{match_id}/commentary/{goal['id']}", json=correction)
    assert answer.status_code == 200
    assert await score(http, match_id) == (0, 1)


async def test_a_disallowed_goal_counts_again_without_the_decision(http: httpx.AsyncClient, match_id: int) -> None:
    goal = await enter(http, match_id, "goal", side="home")
    decision = await enter(http, match_id, "goal_disallowed", side="home", metadata={"commentaryId": goal["id"]})
    assert await score(http, match_id) == (0, 0)
    answer = await http.delete(f"/matches/{match_id}/commentary/{decision['id']}")
    assert answer.is_success
    assert await score(http, match_id) == (1, 0)


async def test_a_goal_after_a_score_set_by_hand_counts_from_there(http: httpx.AsyncClient, match_id: int) -> None:
    early = await enter(http, match_id, "goal", side="home")
    answer = await http.patch(f"/matches/{match_id}/score", json={"homeScore": 2, "awayScore": 1})
    assert answer.status_code == 200
    await enter(http, match_id, "goal", side="away")
    await http.delete(f"/matches/{match_id}/commentary/{early['id']}")
    assert await score(http, match_id) == (2, 2)


async def test_extra_time_past_the_end_stays_live_and_the_score_can_be_set(
    service: Service, http: httpx.AsyncClient
) -> None:
    created = await service.create_match(
        startTime=instant(-7200), endTime=instant(3600), rules={"extraTime": True, "penalties": True}
    )
    match_id = int(created["id"])
    for event_type, code in (
        ("period_start", "1H"),
        ("period_end", "1H"),
        ("period_start", "2H"),
        ("period_end", "2H"),
        ("period_start", "ET1"),
    ):
        await enter(http, match_id, event_type, periodCode=code)
    answer = await http.patch(f"/matches/{match_id}", json={"endTime": instant(-60)})
    assert answer.status_code == 200
    match = await match_of(http, match_id)
    assert (match["status"], match["period"], match["clock"]["running"]) == ("live", "ET1", True)
    answer = await http.patch(f"/matches/{match_id}/score", json={"homeScore": 1, "awayScore": 0})
    assert answer.status_code == 200
    await enter(http, match_id, "period_end", periodCode="ET1")
    await enter(http, match_id, "period_end", periodCode="ET2")
    match = await match_of(http, match_id)
    assert (match["status"], match["winner"], match["decidedBy"]) == ("finished", "home", "extra_time")
    assert match["scores"][2] == {"period": "ET1", "home": 1, "away": 0}
