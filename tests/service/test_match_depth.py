"""A match in depth: its details, its state by its entries, changes by hand among them, and timers that yield."""

from typing import Any

import httpx
import pytest

from livescore.scores import sports
from livescore.scores import statements as sql
from livescore.scores.database import fetch
from livescore.scores.sports.sport import Sport
from tests.support.clients import Listener, feed_of
from tests.support.databases import opened
from tests.support.service import Service, instant

Json = dict[str, Any]

DETAILS: Json = {
    "competition": "world-cup",
    "season": "2022",
    "stage": "group",
    "group": "C",
    "round": "Matchday 1",
    "leg": 1,
    "matchNumber": 8,
    "venue": "Lusail Stadium",
    "referee": "S. Marciniak",
    "attendance": 88012,
    "startTimeConfirmed": False,
    "metadata": {"weather": {"celsius": 25}},
}


async def read(http: httpx.AsyncClient, match_id: int) -> Json:
    answer = await http.get(f"/matches/{match_id}", headers={"Cache-Control": "no-cache"})
    match: Json = answer.json()["data"]
    return match


async def patch(http: httpx.AsyncClient, match_id: int, **change: Any) -> Json:
    answer = await http.patch(f"/matches/{match_id}", json=change)
    assert answer.status_code == 200, answer.text
    match: Json = answer.json()["data"]
    return match


async def sweep(service: Service) -> None:
    """Move every match that is due, as worker and scheduler do."""
    async with opened(service.environment["DATABASE_URL"], size=1, timeout=30) as database:
        await database.use(lambda connection: fetch(connection, sql.SWEEP, {"limit": 1000}))


async def types_of(service: Service, match_id: int, since: int = 0) -> list[str]:
    feed = await feed_of(service.base_url, match_id)
    return [event["type"] for event in feed if event["seq"] > since]


async def play(service: Service, match_id: int, *periods: str) -> None:
    """Start and end periods, each at once; the last one stays open."""
    for number, code in enumerate(periods):
        if number:
            await service.comment(match_id, eventType="period_end")
        await service.comment(match_id, eventType="period_start", periodCode=code)


# Details


async def test_details_of_a_match_are_stored_and_can_be_removed(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match(**DETAILS)
    assert {name: match[name] for name in DETAILS} == DETAILS
    changed = await patch(http, match["id"], venue=None, round="Final", metadata={"a": 1})
    assert (changed["venue"], changed["round"], changed["metadata"]) == (None, "Final", {"a": 1})
    assert await types_of(service, match["id"]) == ["match_created", "match_updated"]


async def test_an_external_id_belongs_to_one_match(http: httpx.AsyncClient, service: Service) -> None:
    first = await service.create_match(externalId="wc2022-final")
    second = await service.create_match()
    body = {name: second[name] for name in ("sport", "homeTeam", "awayTeam", "startTime", "endTime")}
    answers = [
        await http.post("/matches", json={**body, "externalId": "wc2022-final"}),
        await http.patch(f"/matches/{second['id']}", json={"externalId": "wc2022-final"}),
    ]
    for answer in answers:
        assert answer.status_code == 409
        assert [detail["path"] for detail in answer.json()["details"]] == [["externalId"]]
    await patch(http, first["id"], externalId=None)
    assert (await patch(http, second["id"], externalId="wc2022-final"))["externalId"] == "wc2022-final"


async def test_rules_are_completed_by_those_of_the_sport(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match(sport="soccer", rules={"halfSeconds": 1800})
    assert match["rules"]["halfSeconds"] == 1800
    assert match["rules"].keys() == {"halfSeconds", "extraTime", "penalties"}
    changed = await patch(http, match["id"], rules={"extraTime": True})
    assert (changed["rules"]["halfSeconds"], changed["rules"]["extraTime"]) == (1800, True)
    answer = await http.patch(f"/matches/{match['id']}", json={"rules": {"halfSeconds": "x", "sets": 3}})
    assert answer.status_code == 400
    assert [detail["path"] for detail in answer.json()["details"]] == [["rules", "halfSeconds"], ["rules", "sets"]]
    assert (await patch(http, match["id"], sport="curling"))["rules"] is None


# Entries


async def test_the_events_of_one_change_have_a_fixed_order(service: Service) -> None:
    match = await service.create_match(startTime=instant(3600), endTime=instant(7200))
    await service.comment(match["id"], eventType="period_start", periodCode="1H")
    assert await types_of(service, match["id"], since=1) == ["commentary", "period_changed", "match_status_changed"]
    goal = await service.comment(match["id"], eventType="goal", side="home", minute=4)
    update = (await feed_of(service.base_url, match["id"]))[-1]
    assert (update["type"], update["data"]["cause"]) == ("score_update", goal["id"])
    assert update["data"]["scores"] == [{"period": "1H", "home": 1, "away": 0}]
    assert update["data"]["clock"]["running"] is True


async def test_a_finished_match_announces_its_result(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    await play(service, match["id"], "1H", "2H")
    await service.comment(match["id"], eventType="goal", side="away")
    before = (await read(http, match["id"]))["seq"]
    await service.comment(match["id"], eventType="period_end")
    kinds = await types_of(service, match["id"], since=before)
    assert kinds == ["commentary", "period_changed", "match_status_changed", "match_updated"]
    over = await read(http, match["id"])
    assert (over["status"], over["period"], over["winner"], over["decidedBy"]) == ("finished", "FT", "away", "regular")


async def test_a_card_updates_the_match(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    await service.comment(match["id"], eventType="yellow_card", team=match["awayTeam"])
    assert await types_of(service, match["id"], since=1) == ["commentary", "match_updated"]
    assert (await read(http, match["id"]))["cards"]["away"]["yellow"] == 1


async def test_the_side_follows_from_the_team(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match(homeTeam="Home", awayTeam="Away")
    said = [await service.comment(match["id"], team=team) for team in ("Home", "Away", "Referees")]
    assert [entry["side"] for entry in said] == ["home", "away", None]
    goal = await service.comment(match["id"], eventType="goal", team="Away")
    assert (goal["side"], (await read(http, match["id"]))["awayScore"]) == ("away", 1)
    path = f"/matches/{match['id']}/commentary/{goal['id']}"
    assert (await http.patch(path, json={"team": "Home"})).json()["data"]["side"] == "home"
    corrected = await read(http, match["id"])
    assert (corrected["homeScore"], corrected["awayScore"]) == (1, 0)


async def test_a_derived_side_of_an_own_goal_has_a_warning(service: Service) -> None:
    match = await service.create_match(homeTeam="Home", awayTeam="Away")
    derived = await service.comment(match["id"], eventType="own_goal", team="Home")
    assert any("own goal" in warning for warning in derived["warnings"])
    given = await service.comment(match["id"], eventType="own_goal", team="Home", side="away")
    assert (given["side"], given["warnings"]) == ("away", [])


async def test_an_impossible_entry_is_accepted_with_a_warning(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    entry = await service.comment(match["id"], eventType="period_start", periodCode="2H")
    assert len(entry["warnings"]) == 1
    assert (await read(http, match["id"]))["period"] == "2H"
    path = f"/matches/{match['id']}/commentary/{entry['id']}"
    assert (await http.patch(path, json={"periodCode": "1H"})).json()["data"]["warnings"] == []


async def test_a_goal_without_side_is_free_commentary(service: Service) -> None:
    match = await service.create_match()
    await service.comment(match["id"], eventType="goal")
    assert await types_of(service, match["id"]) == ["match_created", "commentary"]


async def test_a_goal_corrected_to_an_own_goal_counts_for_the_side_that_benefits(
    http: httpx.AsyncClient, service: Service
) -> None:
    match = await service.create_match()
    await play(service, match["id"], "1H")
    goal = await service.comment(match["id"], eventType="goal", side="home")
    path = f"/matches/{match['id']}/commentary/{goal['id']}"
    answer = await http.patch(path, json={"eventType": "own_goal", "side": "away", "actor": "Marchena"})
    assert answer.json()["data"]["warnings"] == []
    after = await read(http, match["id"])
    assert (after["homeScore"], after["awayScore"]) == (0, 1)
    assert after["scores"] == [{"period": "1H", "home": 0, "away": 1}]


async def test_deleting_an_entry_in_the_middle_folds_the_rest(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    await play(service, match["id"], "1H")
    first, second, _ = [
        await service.comment(match["id"], eventType="goal", side=side) for side in ("home", "away", "home")
    ]
    await play(service, match["id"], "HT", "2H")
    await http.delete(f"/matches/{match['id']}/commentary/{second['id']}")
    after = await read(http, match["id"])
    assert (after["homeScore"], after["awayScore"], after["period"]) == (2, 0, "2H")
    await http.delete(f"/matches/{match['id']}/commentary/{first['id']}")
    assert (await read(http, match["id"]))["homeScore"] == 1


async def test_a_disallowed_goal_returns_when_its_reversal_is_deleted(
    http: httpx.AsyncClient, service: Service
) -> None:
    match = await service.create_match()
    goal = await service.comment(match["id"], eventType="goal", side="home")
    taken_back = await service.comment(match["id"], eventType="goal_disallowed", metadata={"commentaryId": goal["id"]})
    assert (await read(http, match["id"]))["homeScore"] == 0
    await http.delete(f"/matches/{match['id']}/commentary/{taken_back['id']}")
    assert (await read(http, match["id"]))["homeScore"] == 1


@pytest.mark.parametrize("sport", sports.SPORTS, ids=lambda sport: sport.name)
async def test_what_is_sent_of_every_sport_is_documented(
    http: httpx.AsyncClient, service: Service, sport: Sport
) -> None:
    """The clients of the tests compare every response and every message with OpenAPI and AsyncAPI."""
    async with Listener(service.ws_url) as listener:
        match = await service.create_match(sport=sport.name)
        await listener.until_seq(match["id"], 1)
        await listener.follow(match["id"])
        for event_type in ("period_start", *sorted(sport.moving - {"period_start"})):
            metadata = {"points": 2, "seconds": 90, "minutes": 3}
            await service.comment(match["id"], eventType=event_type, side="home", metadata=metadata)
            await read(http, match["id"])
        await listener.until_seq(match["id"], (await read(http, match["id"]))["seq"])
    assert {"commentary", "period_changed"} <= {event["type"] for event in listener.events(match["id"])}


# Changes by hand


async def test_correcting_an_earlier_goal_leaves_a_score_set_by_hand(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    goal = await service.comment(match["id"], eventType="goal", side="home")
    await http.patch(f"/matches/{match['id']}/score", json={"homeScore": 3, "awayScore": 1})
    later = await service.comment(match["id"], eventType="goal", side="away")
    await http.delete(f"/matches/{match['id']}/commentary/{goal['id']}")
    after = await read(http, match["id"])
    assert (after["homeScore"], after["awayScore"]) == (3, 2)
    await http.delete(f"/matches/{match['id']}/commentary/{later['id']}")
    after = await read(http, match["id"])
    assert (after["homeScore"], after["awayScore"]) == (3, 1)


async def test_another_sport_folds_the_entries_again(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match(sport="curling")
    await service.comment(match["id"], eventType="goal", side="home")
    assert (await read(http, match["id"]))["homeScore"] == 0
    changed = await patch(http, match["id"], sport="football")
    assert changed["homeScore"] == 1
    assert await types_of(service, match["id"], since=2) == ["score_update", "match_updated"]


# Timers


async def test_extra_time_past_the_end_stays_live_and_takes_a_score(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    await play(service, match["id"], "1H", "2H", "ET1")
    await patch(http, match["id"], endTime=instant(-60))
    await sweep(service)
    assert (await read(http, match["id"]))["status"] == "live"
    answer = await http.patch(f"/matches/{match['id']}/score", json={"homeScore": 2, "awayScore": 1})
    assert answer.status_code == 200
    assert answer.json()["data"]["scores"][-1] == {"period": "ET1", "home": 2, "away": 1}


async def test_a_delayed_match_stays_delayed_past_its_start(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match(startTime=instant(3600), endTime=instant(7200))
    await patch(http, match["id"], status="delayed")
    assert (await patch(http, match["id"], startTime=instant(-60)))["status"] == "delayed"
    await sweep(service)
    assert (await read(http, match["id"]))["status"] == "delayed"
    await service.comment(match["id"], eventType="period_start", periodCode="1H")
    assert (await read(http, match["id"]))["status"] == "live"


async def test_an_interrupted_match_resumes(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    await play(service, match["id"], "1H")
    interrupted = await patch(http, match["id"], status="interrupted")
    assert (interrupted["status"], interrupted["clock"]["running"]) == ("interrupted", False)
    await patch(http, match["id"], endTime=instant(-60))
    await sweep(service)
    resumed = await patch(http, match["id"], status="live")
    assert (resumed["status"], resumed["period"], resumed["clock"]["running"]) == ("live", "1H", True)
    assert resumed["clock"]["seconds"] == interrupted["clock"]["seconds"]


@pytest.mark.parametrize(("end", "status"), [(3600, "live"), (-60, "finished")])
async def test_between_periods_the_clock_decides_about_a_sport_without_rules(
    http: httpx.AsyncClient, service: Service, end: float, status: str
) -> None:
    match = await service.create_match(sport="curling")
    await service.comment(match["id"], eventType="period_start", periodCode="End 1")
    await patch(http, match["id"], endTime=instant(end))
    await sweep(service)
    assert (await read(http, match["id"]))["status"] == "live"
    await service.comment(match["id"], eventType="period_end")
    assert (await read(http, match["id"]))["status"] == status


async def test_a_match_that_the_clock_finishes_has_the_result_of_its_score(service: Service) -> None:
    match = await service.create_match(startTime=instant(-20), endTime=instant(-10), homeScore=2)
    assert (match["status"], match["winner"], match["decidedBy"]) == ("finished", "home", "regular")
