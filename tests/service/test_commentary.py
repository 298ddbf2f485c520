"""``/matches/{id}/commentary``: create, read, correct, delete, and the effect on the score."""

from typing import Any

import httpx
import pytest

from tests.support.clients import feed_of
from tests.support.service import Service

Json = dict[str, Any]

KEYS = [
    "id",
    "matchId",
    "minute",
    "sequence",
    "period",
    "eventType",
    "actor",
    "team",
    "message",
    "metadata",
    "tags",
    "createdAt",
    "updatedAt",
    "seq",
    "side",
    "periodCode",
    "stoppage",
    "warnings",
]


@pytest.fixture
async def match_id(service: Service) -> int:
    match = await service.create_match()
    return int(match["id"])


def goal(home: int = 0, away: int = 0) -> Json:
    return {"eventType": "goal", "message": "Goal!", "metadata": {"scoreDelta": {"home": home, "away": away}}}


async def score(http: httpx.AsyncClient, match_id: int) -> tuple[int, int]:
    match = (await http.get(f"/matches/{match_id}", headers={"Cache-Control": "no-cache"})).json()["data"]
    return match["homeScore"], match["awayScore"]


async def types_of(service: Service, match_id: int) -> list[str]:
    return [event["type"] for event in await feed_of(service.base_url, match_id)]


# Create


async def test_commentary_response_has_all_members_in_order(http: httpx.AsyncClient, match_id: int) -> None:
    answer = await http.post(f"/matches/{match_id}/commentary", json={"minute": 0, "message": "Kick-off"})
    assert answer.status_code == 201
    made = answer.json()["data"]
    assert list(made) == KEYS
    assert made | {"id": 0, "createdAt": "", "updatedAt": ""} == {
        "id": 0,
        "matchId": match_id,
        "minute": 0,
        "sequence": 0,
        "period": 1,
        "eventType": "commentary",
        "actor": None,
        "team": None,
        "message": "Kick-off",
        "metadata": None,
        "tags": None,
        "createdAt": "",
        "updatedAt": "",
        "seq": 2,
        "side": None,
        "periodCode": None,
        "stoppage": None,
        "warnings": [],
    }


async def test_every_member_is_stored(http: httpx.AsyncClient, match_id: int) -> None:
    sent = {
        "minute": 45,
        "sequence": -2147483648,
        "period": 2,
        "eventType": "",
        "actor": "Ödegaard",
        "team": "",
        "message": "🎉 “…”",
        "metadata": {"z": 1, "a": [None, True, 1.5, {"": -0.25}], "": {}},
        "tags": ["", "b", "b"],
    }
    made = (await http.post(f"/matches/{match_id}/commentary", json=sent)).json()["data"]
    assert {name: made[name] for name in sent} == sent
    assert list(made["metadata"]) == ["z", "a", ""]


async def test_match_id_comes_from_the_path_not_the_body(
    http: httpx.AsyncClient, service: Service, match_id: int
) -> None:
    other = await service.create_match()
    body = {"minute": 1, "message": "m", "matchId": other["id"]}
    assert (await http.post(f"/matches/{match_id}/commentary", json=body)).json()["data"]["matchId"] == match_id


async def test_fault_13_commentary_of_an_unknown_match_is_not_found(http: httpx.AsyncClient) -> None:
    answer = await http.post("/matches/2147483647/commentary", json={"minute": 1, "message": "m"})
    assert (answer.status_code, answer.json()) == (404, {"error": "Match not found"})


# Read


async def test_the_newest_commentary_comes_first(http: httpx.AsyncClient, service: Service, match_id: int) -> None:
    made = [await service.comment(match_id, minute=minute) for minute in range(4)]
    answer = await http.get(f"/matches/{match_id}/commentary")
    assert answer.json() == {"data": made[::-1]}
    assert (await http.get(f"/matches/{match_id}/commentary?limit=2")).json() == {"data": made[:1:-1]}


async def test_an_unknown_match_has_no_commentary(http: httpx.AsyncClient) -> None:
    answer = await http.get("/matches/2147483647/commentary")
    assert (answer.status_code, answer.json()) == (200, {"data": []})


# The score


async def test_goal_changes_the_score_in_the_same_transaction(
    http: httpx.AsyncClient, service: Service, match_id: int
) -> None:
    made = await service.comment(match_id, **goal(home=1))
    assert await score(http, match_id) == (1, 0)
    _, commentary, update = await feed_of(service.base_url, match_id)
    assert (commentary["type"], commentary["seq"], commentary["data"]) == ("commentary", 2, made)
    assert (update["type"], update["seq"]) == ("score_update", 3)
    data = update["data"]
    assert (data["matchId"], data["homeScore"], data["awayScore"], data["cause"]) == (match_id, 1, 0, made["id"])


async def test_only_goals_change_the_score(http: httpx.AsyncClient, service: Service, match_id: int) -> None:
    await service.comment(match_id, **{**goal(home=1), "eventType": "disallowed"})
    await service.comment(match_id, eventType="goal")
    assert await score(http, match_id) == (0, 0)


async def test_a_score_beyond_int4_is_a_conflict(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match(homeScore=2147483647)
    answer = await http.post(f"/matches/{match['id']}/commentary", json={"minute": 1, **goal(home=1)})
    assert answer.status_code == 409
    assert await types_of(service, match["id"]) == ["match_created"]


# Correct


async def test_patch_changes_only_given_members(http: httpx.AsyncClient, service: Service, match_id: int) -> None:
    made = await service.comment(match_id, actor="A", tags=["x"], metadata={"a": 1})
    answer = await http.patch(f"/matches/{match_id}/commentary/{made['id']}", json={"message": "better", "tags": []})
    assert answer.status_code == 200
    changed = answer.json()["data"]
    assert {name for name in KEYS if changed[name] != made[name]} == {"message", "tags", "updatedAt", "seq"}
    assert (await feed_of(service.base_url, match_id))[-1]["data"] == changed
    assert await types_of(service, match_id) == ["match_created", "commentary", "commentary_updated"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"metadata": {"scoreDelta": {"away": 2}}}, (0, 2)),
        ({"metadata": {"scoreDelta": {"home": 3}}}, (3, 0)),
        ({"metadata": {}}, (0, 0)),
        ({"eventType": "offside"}, (0, 0)),
        ({"eventType": ""}, (0, 0)),
        ({"message": "by the knee"}, (1, 0)),
    ],
)
async def test_the_score_follows_a_corrected_goal(
    http: httpx.AsyncClient, service: Service, match_id: int, change: Json, expected: tuple[int, int]
) -> None:
    made = await service.comment(match_id, **goal(home=1))
    await http.patch(f"/matches/{match_id}/commentary/{made['id']}", json=change)
    assert await score(http, match_id) == expected


async def test_commentary_corrected_to_a_goal_counts(http: httpx.AsyncClient, service: Service, match_id: int) -> None:
    made = await service.comment(match_id, metadata={"scoreDelta": {"away": 1}})
    await http.patch(f"/matches/{match_id}/commentary/{made['id']}", json={"eventType": "goal"})
    assert await score(http, match_id) == (0, 1)


# Delete


async def test_deleting_a_goal_reverts_its_score(http: httpx.AsyncClient, service: Service, match_id: int) -> None:
    made = await service.comment(match_id, **goal(away=1))
    answer = await http.delete(f"/matches/{match_id}/commentary/{made['id']}")
    assert (answer.status_code, answer.json()) == (200, {"data": {"id": made["id"], "matchId": match_id}})
    assert await score(http, match_id) == (0, 0)
    assert (await http.get(f"/matches/{match_id}/commentary")).json() == {"data": []}
    expected = ["match_created", "commentary", "score_update", "commentary_deleted", "score_update"]
    assert await types_of(service, match_id) == expected


async def test_reverted_goal_does_not_lower_a_set_score_below_zero(
    http: httpx.AsyncClient, service: Service, match_id: int
) -> None:
    made = await service.comment(match_id, **goal(home=1))
    await http.patch(f"/matches/{match_id}/score", json={"homeScore": 0, "awayScore": 4})
    assert (await http.delete(f"/matches/{match_id}/commentary/{made['id']}")).status_code == 200
    assert await score(http, match_id) == (0, 4)


async def test_commentary_can_be_deleted_only_once(http: httpx.AsyncClient, service: Service, match_id: int) -> None:
    made = await service.comment(match_id)
    first, second = [await http.delete(f"/matches/{match_id}/commentary/{made['id']}") for _ in range(2)]
    assert first.status_code == 200
    assert (second.status_code, second.json()) == (404, {"error": "Commentary not found"})


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_commentary_is_found_only_under_its_own_match(
    http: httpx.AsyncClient, service: Service, match_id: int, method: str
) -> None:
    made = await service.comment(match_id)
    other = await service.create_match()
    path = f"/matches/{other['id']}/commentary/{made['id']}"
    answer = await http.request(method, path, json={"message": "x"})
    assert (answer.status_code, answer.json()) == (404, {"error": "Commentary not found"})
