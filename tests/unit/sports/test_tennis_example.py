"""The example match of docs/sports/tennis.md, command by command."""

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.unit.sports.match import Match

PAGE = (Path(__file__).parents[3] / "docs" / "sports" / "tennis.md").read_text()
EXAMPLE = PAGE[PAGE.index("## Example") :]

RULES: dict[str, Any] = json.loads(re.findall(r'"rules": (\{.*?\})', EXAMPLE)[0])
COMMANDS = re.findall(r"^(?:enter '(\{.*\})'|curl .*/commentary/(\d+)) +# (.*)$", EXAMPLE, re.MULTILINE)
STATES = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", EXAMPLE, re.DOTALL)]


def shown(match: Match) -> str:
    """Return a state as the comments of the example show it."""
    detail = match.state.detail
    assert detail is not None
    pairs = ({"home": match.score[0], "away": match.score[1]}, detail["games"], detail["points"])
    numbers = [f"{pair['home']}–{pair['away']}" for pair in pairs]  # as the page
    return " | ".join([*numbers, detail["server"] or "–", match.state.period or ""])


def run(count: int) -> Match:
    """Return the match after some commands."""
    match = Match("tennis", RULES)
    for body, deleted, _ in COMMANDS[:count]:
        if deleted:
            match.delete(int(deleted))
            continue
        entry = json.loads(body)
        match.add(entry["eventType"], entry.get("side"), period=entry.get("periodCode"), **entry.get("metadata", {}))
        assert match.warnings == []
    return match


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_each_command_leads_to_the_state_in_its_comment(number: int) -> None:
    assert shown(run(number + 1)) == COMMANDS[number][2]


def test_the_states_of_the_example_are_those_of_the_match() -> None:
    deletion = next(number for number, command in enumerate(COMMANDS) if command[1])
    before, after, final = STATES
    assert run(deletion).state.detail == before
    assert run(deletion + 1).state.detail == after
    end = run(len(COMMANDS))
    members = orjson.loads(end.state.to_json())
    assert final == {**{name: members[name] for name in final if name in members}, "homeScore": 1, "awayScore": 2}
    assert end.score == (1, 2)


def test_the_example_has_points_a_deletion_and_results() -> None:
    assert len(COMMANDS) == 18
    assert len([command for command in COMMANDS if command[1]]) == 1
