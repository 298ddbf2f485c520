"""Real results, entered as they were played and as a source lists them. Each names its source."""

import json
from pathlib import Path
from typing import Any

import pytest

from livescore.scores.state import DecidedBy, Side
from tests.unit.sports.match import Match, assert_sum

Line = dict[str, Any]

SCORELINES = Path(__file__).parents[2] / "data" / "scorelines"


def lines(name: str) -> list[Line]:
    loaded: list[Line] = json.loads((SCORELINES / f"{name}.json").read_text())
    return loaded


def title(line: Line) -> str:
    return f"{line['date']} {line['home']} {line['away']}"


def check(match: Match, line: Line) -> None:
    """Check the state of a finished match against a line."""
    home, away = line["final"]
    assert match.score == (home, away)
    assert list(match.breakdown.items()) == [(code, tuple(points)) for code, points in line["scores"].items()]
    assert match.result == ("finished", "home" if home > away else "away", decided_by(line))
    assert match.state.period == "FT"
    assert_sum(match.state)


def decided_by(line: Line) -> DecidedBy:
    last = list(line["scores"])[-1]
    if last == "SO":
        return "penalties"
    return "extra_time" if last.startswith(("OT", "ET")) else "regular"


def list_periods(match: Match, line: Line) -> None:
    """Enter the score of each period at its end, as from a box score."""
    for code, (home, away) in line["scores"].items():
        if code != "SO":
            match.add("period_end", period=code, score={"home": home, "away": away})
    if "shootout" in line:
        home, away = line["shootout"]
        match.add("period_end", period="SO", score={"home": home, "away": away})


def baskets(match: Match, side: Side, points: int) -> None:
    """Enter baskets that add up to some points: threes, then twos and ones."""
    threes = points // 4
    twos, ones = divmod(points - 3 * threes, 2)
    for value, count in ((3, threes), (2, twos), (1, ones)):
        for _ in range(count):
            match.add("points", side, points=value)
            assert match.warnings == []


def has_all_periods(line: Line) -> bool:
    return not {"REG", "ET"} & set(line["scores"])


@pytest.mark.parametrize("line", lines("basketball"), ids=title)
def test_a_box_score_of_basketball(line: Line) -> None:
    match = Match("basketball", line["rules"])
    list_periods(match, line)
    check(match, line)


@pytest.mark.parametrize("line", [line for line in lines("basketball") if has_all_periods(line)], ids=title)
def test_a_match_of_basketball_as_it_was_played(line: Line) -> None:
    match = Match("basketball", line["rules"])
    for code, (home, away) in line["scores"].items():
        match.start()
        assert (match.state.period, match.warnings) == (code, [])
        baskets(match, "home", home)
        baskets(match, "away", away)
        match.end(after=1)
        assert match.warnings == []
    check(match, line)


@pytest.mark.parametrize("line", lines("ice-hockey"), ids=title)
def test_a_box_score_of_ice_hockey(line: Line) -> None:
    match = Match("ice hockey", line["rules"])
    list_periods(match, line)
    check(match, line)
    assert match.kicks == (tuple(line["shootout"]) if "shootout" in line else None)


@pytest.mark.parametrize("line", lines("ice-hockey"), ids=title)
def test_a_match_of_ice_hockey_as_it_was_played(line: Line) -> None:
    match = Match("ice hockey", line["rules"])
    for code, (home, away) in line["scores"].items():
        match.start()
        assert (match.state.period, match.warnings) == (code, [])
        if code == "SO":
            shoot(match, line)
        else:
            for _ in range(home):
                match.add("goal", "home")
            for _ in range(away):
                match.add("goal", "away")
        match.end(after=1)
        assert match.warnings == []
    check(match, line)


def shoot(match: Match, line: Line) -> None:
    """Enter the attempts of a shoot-out, only those that scored if the source does not list them."""
    home, away = line["shootout"]
    scored = [["home", None, True]] * home + [["away", None, True]] * away
    attempts = line.get("attempts", scored)
    for side, actor, is_goal in attempts:
        match.add("shootout_goal" if is_goal else "shootout_missed", side, actor=actor)
        assert match.warnings == []
    assert match.state.shootout is not None
    assert [kick.scored for kick in match.state.shootout.kicks] == [is_goal for _, _, is_goal in attempts]


@pytest.mark.parametrize("name", ["basketball", "ice-hockey"])
def test_the_lines_have_twenty_shapes(name: str) -> None:
    assert len({json.dumps(line["scores"]) for line in lines(name)}) >= 20
    assert all(line["source"] for line in lines(name))
