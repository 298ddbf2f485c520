"""The example matches of docs/sports show the state that their comments name, after every entry."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sports.match import Match

DOCS = Path(__file__).parents[3] / "docs" / "sports"
# The comments on the page of tennis name points and games: test_tennis_example.py reads them.
PAGES = [page for page in sorted(DOCS.glob("*.md")) if page.stem != "tennis"]

CREATION = re.compile(r"localhost:8000/matches -H .*? -d '(\{.*?\})'", re.DOTALL)
STEP = re.compile(
    r"^(?:enter '(?P<entry>.*)'|curl -s -X DELETE \S+/commentary/(?P<deleted>\d+))"
    r" +# (?P<home>\d+)–(?P<away>\d+) (?P<period>.+)$",
    re.MULTILINE,
)


def example(page: Path) -> str:
    return page.read_text().partition("\n## Example\n")[2]


def enter(match: Match, entry: dict[str, Any]) -> None:
    match.add(
        entry["eventType"],
        entry.get("side"),
        minute=entry["minute"],
        period=entry.get("periodCode"),
        actor=entry.get("actor"),
        **entry.get("metadata", {}),
    )
    assert match.warnings == [], entry


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_comments_name_the_state_after_each_step(page: Path) -> None:
    creation = CREATION.search(example(page))
    assert creation is not None
    body = json.loads(creation[1])
    match = Match(body["sport"], body.get("rules"))
    for step in STEP.finditer(example(page)):
        if step["deleted"]:
            match.delete(int(step["deleted"]))
        else:
            enter(match, json.loads(step["entry"]))
        shown = (int(step["home"]), int(step["away"]), step["period"])
        assert (*match.score, match.state.period) == shown, step[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_shown_match_is_that_after_the_last_entry(page: Path) -> None:
    creation = CREATION.search(example(page))
    shown = re.search(r"```json\n(.*?)```", example(page), re.DOTALL)
    assert creation is not None
    assert shown is not None
    body = json.loads(creation[1])
    match = Match(body["sport"], body.get("rules"))
    for step in STEP.finditer(example(page)):
        if step["entry"]:
            enter(match, json.loads(step["entry"]))
    state = json.loads(match.state.to_json()) | {"homeScore": match.score[0], "awayScore": match.score[1]}
    for name, value in json.loads(shown[1]).items():
        if name == "shootout" and value is not None:
            # The page shows only the first kick.
            assert value == state[name] | {"kicks": state[name]["kicks"][:1]}
        elif name != "clock":
            assert state[name] == value, name
