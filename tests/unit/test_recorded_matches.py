"""The entries of a recorded match say what the file says, and nothing beyond it."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from livescore.imports.entries import Record, RecordedEntry, record
from livescore.imports.openfootball import Goal, Match, Outcome, Pair, Score, read
from livescore.scores import sports
from livescore.scores.fold import Folder, Step
from livescore.scores.state import Override, State
from tests.support.openfootball import FINALS, world_cup
from tests.unit.sports.match import assert_sum, replay

WORLD_CUPS = [year for year in range(1930, 2027, 4) if year not in (1942, 1946)]
FOOTBALL = sports.of("football")
KICK_OFF = datetime(2021, 6, 11, 19, tzinfo=UTC)
FINAL = -1


def folder(recorded: Record) -> Folder:
    return Folder(FOOTBALL, FOOTBALL.rules.model_validate(recorded.rules))


def steps(match: Match, recorded: Record) -> list[Step]:
    entries: list[Step] = [entry.entry(number, match.kick_off) for number, entry in enumerate(recorded.entries, 1)]
    if recorded.status is not None:
        entries.append(Override(len(entries) + 1, match.kick_off, sets_status=True, status=recorded.status))
    return entries


def state_of(match: Match) -> State:
    recorded = record(match)
    return folder(recorded).fold(steps(match, recorded))


def breakdown(state: State) -> dict[str, tuple[int, int]]:
    return {entry.period: (entry.score.home, entry.score.away) for entry in state.scores}


def pair(value: Any) -> tuple[int, int]:
    return value.home, value.away


def raw_matches(path: Path) -> Iterator[dict[str, Any]]:
    yield from json.loads(path.read_text())["matches"]


def raw_match(path: Path, match: Match) -> dict[str, Any]:
    """Return a match as the file has it. Teams that met twice in a tournament did so on different days."""
    day = str(match.day)
    return next(
        raw for raw in raw_matches(path) if (raw["team1"], raw["team2"], raw["date"]) == (match.home, match.away, day)
    )


def minutes(raw: dict[str, Any], first: int, last: int) -> tuple[int, int]:
    """Count the goals that a file lists from a minute to another. Own goals are under the side that benefits."""
    counts = []
    for name in ("goals1", "goals2"):
        played = [int(str(goal["minute"]).partition("+")[0]) for goal in raw.get(name) or []]
        counts.append(sum(first <= minute <= last for minute in played))
    return counts[0], counts[1]


def difference(later: list[int], earlier: list[int]) -> tuple[int, int]:
    return later[0] - earlier[0], later[1] - earlier[1]


def expected_breakdown(raw: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return what the file says about the periods, read without the parser."""
    score = raw["score"]
    full_time, extra_time = score["ft"], score.get("et")
    expected: dict[str, tuple[int, int]] = {}
    if "goals1" in raw or full_time == [0, 0]:
        expected["1H"] = minutes(raw, 0, 45)
        # Some goals have minute 92 instead of 90+2, or 121 instead of 120+1.
        expected["2H"] = minutes(raw, 46, 90 if extra_time else 99)
    elif "ht" in score:
        expected["1H"] = tuple(score["ht"])
        expected["2H"] = difference(full_time, score["ht"])
    else:
        expected["REG"] = tuple(full_time)
    if extra_time is not None and ("goals1" in raw or extra_time == full_time):
        expected["ET1"] = minutes(raw, 91, 105)
        expected["ET2"] = minutes(raw, 106, 129)
    elif extra_time is not None:
        expected["ET"] = difference(extra_time, full_time)
    return expected


def test_the_data_are_all_world_cups() -> None:
    found = [raw for year in WORLD_CUPS for raw in raw_matches(world_cup(year))]
    members = Counter(member for raw in found for member in raw.get("score", {}))
    assert len(WORLD_CUPS) == 23
    assert len(found) == 1069
    assert members == {"ft": 1068, "ht": 360, "et": 82, "p": 39}


@pytest.mark.parametrize("year", WORLD_CUPS)
def test_every_match_of_a_world_cup_has_its_recorded_result(year: int) -> None:
    path = world_cup(year)
    for match in read(path).matches:
        raw = raw_match(path, match)
        if raw.get("status") == "canceled":
            continue
        state, score = state_of(match), raw["score"]
        final = score.get("et") or score["ft"]
        kicks = score.get("p")
        leader = (kicks or final)[0] - (kicks or final)[1]
        assert pair(state.score) == tuple(final), match.title
        assert breakdown(state) == expected_breakdown(raw), match.title
        assert (None if state.shootout is None else pair(state.shootout.score)) == (tuple(kicks) if kicks else None)
        assert state.shootout is None or state.shootout.kicks == ()
        assert state.winner == ("home" if leader > 0 else "away" if leader < 0 else "draw"), match.title
        assert state.decided_by == ("penalties" if kicks else "extra_time" if "et" in score else "regular")
        assert (state.period, state.status, state.clock) == ("FT", "finished", None)


@pytest.mark.parametrize("year", WORLD_CUPS)
def test_entries_apply_one_by_one_as_they_fold_and_their_goals_are_those_of_the_file(year: int) -> None:
    for match in read(world_cup(year)).matches:
        recorded = record(match)
        for state in replay(folder(recorded), steps(match, recorded)):
            assert_sum(state)
        listed = [entry for entry in recorded.entries if entry.key.startswith("goal-")]
        assert Counter(entry.actor for entry in listed) == Counter(goal.scorer for goal in match.goals)
        assert len({entry.key for entry in recorded.entries}) == len(recorded.entries)


def test_a_final_with_extra_time_and_penalties_has_its_breakdown() -> None:
    state = state_of(read(FINALS).matches[FINAL])
    assert pair(state.score) == (3, 3)
    assert breakdown(state) == {"1H": (2, 0), "2H": (0, 2), "ET1": (0, 0), "ET2": (1, 1)}
    assert state.shootout is not None
    assert state.shootout.to_json() == {"home": 4, "away": 2, "first": None, "kicks": []}
    assert (state.winner, state.decided_by) == ("home", "penalties")


@pytest.mark.parametrize(("year", "expected"), [(1966, {"REG": (2, 2), "ET": (2, 0)}), (1958, {"REG": (2, 5)})])
def test_a_final_without_goals_in_the_file_has_no_halves(year: int, expected: dict[str, tuple[int, int]]) -> None:
    assert breakdown(state_of(read(world_cup(year)).matches[FINAL])) == expected


def played(*goals: Goal, **scores: Pair) -> Match:
    return Match("Juist", "Borkum", KICK_OFF, Score(**scores), goals, outcome="played")


def of_type(recorded: Record, type: str) -> list[RecordedEntry]:
    return [entry for entry in recorded.entries if entry.type == type]


def test_own_goals_and_penalties_are_entries_of_their_own_types() -> None:
    recorded = record(
        played(
            Goal("home", "Meyer", 12, own_goal=True),
            Goal("away", "Cassens", 45, stoppage=2, penalty=True),
            full_time=Pair(1, 1),
        )
    )
    own_goal, penalty = of_type(recorded, "own_goal")[0], of_type(recorded, "penalty_goal")[0]
    assert (own_goal.side, own_goal.actor, own_goal.period_code, own_goal.minute) == ("home", "Meyer", "1H", 12)
    assert own_goal.message == "Goal! Meyer (own goal) — Juist 1–0 Borkum"
    assert (penalty.side, penalty.minute, penalty.stoppage, penalty.period_code) == ("away", 45, 2, "1H")


def test_goals_that_the_file_lacks_are_part_of_the_end_of_a_period() -> None:
    recorded = record(played(Goal("home", "Meyer", 60), half_time=Pair(1, 0), full_time=Pair(2, 1)))
    ends = of_type(recorded, "period_end")
    assert [(end.period_code, end.metadata["score"]) for end in ends] == [
        ("1H", {"home": 1, "away": 0}),
        ("2H", {"home": 1, "away": 1}),
    ]
    assert [end.message for end in ends] == ["Half-time: Juist 1–0 Borkum", "Full-time: Juist 2–1 Borkum"]


def test_a_goal_without_minute_moves_no_score_and_belongs_to_no_period() -> None:
    match = played(Goal("home", "Meyer", None), full_time=Pair(1, 0))
    goal = of_type(record(match), "goal")[0]
    assert goal.period_code is None
    assert goal.metadata == {"minuteUnknown": True, "scoreDelta": {"home": 0, "away": 0}}
    assert breakdown(state_of(match)) == {"REG": (1, 0)}


def test_goals_decide_where_they_contradict_the_score_at_half_time() -> None:
    match = played(Goal("away", "Meyer", 59), half_time=Pair(0, 1), full_time=Pair(0, 1))
    assert breakdown(state_of(match)) == {"1H": (0, 0), "2H": (0, 1)}
    assert record(match).warnings == (
        "the score at half-time is 0–1 by its own field, 0–0 by the goals; the goals were used",
    )


def test_a_goal_in_the_second_half_that_the_score_at_half_time_includes_is_corrected() -> None:
    match = played(Goal("home", "Meyer", 40), half_time=Pair(0, 0), full_time=Pair(2, 0))
    assert breakdown(state_of(match)) == {"1H": (0, 0), "2H": (2, 0)}


def test_goals_after_minute_90_without_extra_time_belong_to_the_second_half() -> None:
    match = played(Goal("home", "Meyer", 93), full_time=Pair(1, 0))
    assert breakdown(state_of(match)) == {"1H": (0, 0), "2H": (1, 0)}


@pytest.mark.parametrize(("year", "periods"), [(2000, ["1H", "2H", "ET"]), (2008, ["1H", "2H", "ET1", "ET2"])])
def test_a_golden_goal_may_have_ended_extra_time_before_its_second_half(year: int, periods: list[str]) -> None:
    score = Score(full_time=Pair(0, 0), extra_time=Pair(1, 0))
    goals = (Goal("home", "Meyer", 103),)
    match = Match("Juist", "Borkum", KICK_OFF.replace(year=year), score, goals, outcome="played")
    assert list(breakdown(state_of(match))) == periods


def test_a_shoot_out_may_follow_without_extra_time() -> None:
    state = state_of(played(full_time=Pair(2, 2), penalties=Pair(5, 4)))
    assert breakdown(state) == {"REG": (2, 2)}
    assert (state.winner, state.decided_by, state.status) == ("home", "penalties", "finished")


def test_an_abandoned_match_keeps_its_score_and_has_no_winner() -> None:
    goals = (Goal("home", "Meyer", 12),)
    score = Score(half_time=Pair(1, 0), full_time=Pair(1, 1))
    state = state_of(Match("Juist", "Borkum", KICK_OFF, score, goals, outcome="abandoned"))
    assert breakdown(state) == {"1H": (1, 0), "2H": (0, 1)}
    assert pair(state.score) == (1, 1)
    assert (state.status, state.winner, state.decided_by) == ("abandoned", None, None)


def test_an_awarded_match_has_the_awarded_score() -> None:
    state = state_of(Match("Juist", "Borkum", KICK_OFF, Score(full_time=Pair(0, 3)), outcome="awarded"))
    assert pair(state.score) == (0, 3)
    assert (state.status, state.winner, state.decided_by) == ("awarded", "away", "awarded")


@pytest.mark.parametrize("outcome", ["postponed", "cancelled", "unplayed"])
def test_a_match_that_was_not_played_has_no_entries(outcome: Outcome) -> None:
    recorded = record(Match("Juist", "Borkum", KICK_OFF, outcome=outcome))
    assert recorded.entries == ()
    assert recorded.status == (None if outcome == "unplayed" else outcome)
