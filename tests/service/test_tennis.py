"""The example match of docs/sports/tennis.md on a running service: the state after every entry and after a deletion."""

import json
from typing import Any

import httpx

from tests.support.service import Service
from tests.unit.sports.test_tennis_example import COMMANDS, RULES, STATES


async def test_the_example_shows_the_state_of_its_comments(http: httpx.AsyncClient, service: Service) -> None:
    created = await service.create_match(sport="tennis", rules=RULES)
    url = f"/matches/{created['id']}"
    ids: list[int] = []
    for body, deleted, comment in COMMANDS:
        if deleted:
            answer = await http.delete(f"{url}/commentary/{ids[int(deleted) - 1]}")
        else:
            answer = await http.post(f"{url}/commentary", json=json.loads(body))
            entry = answer.json()["data"]
            ids.append(entry["id"])
            assert entry["warnings"] == []
        assert answer.status_code in (200, 201, 204), answer.text
        match = await read(http, url)
        assert shown(match) == comment
        scores = [entry["home"] for entry in match["scores"]]
        assert match["period"] == "FT" or scores[-1] == match["state"]["games"]["home"]
    final = await read(http, url)
    assert {name: final[name] for name in STATES[-1]} == STATES[-1]


async def test_a_point_after_the_match_and_a_contradictory_rule_are_answered(
    http: httpx.AsyncClient, service: Service
) -> None:
    created = await service.create_match(sport="tennis", rules={"bestOf": 1})
    await service.comment(created["id"], eventType="points", side="home", metadata={"points": 24})
    late = await service.comment(created["id"], eventType="point", side="away")
    assert late["warnings"] == ["the match is decided: the entry has no effect"]
    match = await read(http, f"/matches/{created['id']}")
    assert (match["status"], match["winner"], match["homeScore"]) == ("finished", "home", 1)
    body = {name: created[name] for name in ("sport", "homeTeam", "awayTeam", "startTime", "endTime")}
    answer = await http.post("/matches", json={**body, "rules": {"bestOf": 4}})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["path"] == ["rules", "bestOf"]


async def read(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer = await http.get(url, headers={"Cache-Control": "no-cache"})
    match: dict[str, Any] = answer.json()["data"]
    return match


def shown(match: dict[str, Any]) -> str:
    """Return a match as the comments of the example show it."""
    state = match["state"]
    headline = f"{match['homeScore']}–{match['awayScore']}"
    numbers = [f"{pair['home']}–{pair['away']}" for pair in (state["games"], state["points"])]
    return " | ".join([headline, *numbers, state["server"] or "–", match["period"] or ""])
