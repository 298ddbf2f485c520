"""The example matches of docs/sports, typed on a running service."""

import json
from pathlib import Path

import httpx
import pytest

from tests.support.service import Service
from tests.unit.sports.test_documented_matches import CREATION, PAGES, STEP, example


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_the_service_shows_what_the_comments_say(http: httpx.AsyncClient, service: Service, page: Path) -> None:
    creation = CREATION.search(example(page))
    assert creation is not None
    body = json.loads(creation[1])
    created = await service.create_match(sport=body["sport"], rules=body.get("rules"))
    url = f"/matches/{created['id']}"
    ids: list[int] = []
    for step in STEP.finditer(example(page)):
        if step["deleted"]:
            answer = await http.delete(f"{url}/commentary/{ids[int(step['deleted']) - 1]}")
        else:
            answer = await http.post(f"{url}/commentary", json=json.loads(step["entry"]))
            entry = answer.json()["data"]
            ids.append(entry["id"])
            assert entry["warnings"] == []
        assert answer.is_success, answer.text
        match = (await http.get(url, headers={"Cache-Control": "no-cache"})).json()["data"]
        shown = (match["homeScore"], match["awayScore"], match["period"])
        assert shown == (int(step["home"]), int(step["away"]), step["period"]), step[0]
        assert (match["status"] == "finished") == (match["period"] == "FT")
