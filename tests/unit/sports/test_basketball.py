"""Basketball: points, quarters and halves, the clock, and overtimes."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.scores.fold import Folder, Step
from livescore.scores.sports.basketball import Basketball, BasketballRules
from livescore.scores.state import Score
from tests.unit.sports import strategies
from tests.unit.sports.match import Match, assert_sum, replay

QUARTERS = ("Q1", "Q2", "Q3", "Q4")


def play(match: Match, code: str, home: int, away: int) -> None:
    """Play a period in which the sides score some points."""
    match.start(code)
    assert match.warnings == []
    match.add("points", "home", scoreDelta={"home": home})
    match.add("points", "away", scoreDelta={"away": away})
    match.end()
    assert match.warnings == []


def test_baskets_count_one_two_and_three_points() -> None:
    match = Match("basketball")
    match.start()
    match.add("points", "home", points=3)
    match.add("points", "away", points=2)
    match.add("points", "home", points=1)
    assert match.warnings == []
    assert (match.score, match.breakdown) == ((4, 2), {"Q1": (4, 2)})


@pytest.mark.parametrize("points", [None, 4, 0, True, "2", 2.5])
def test_points_other_than_one_two_and_three_do_not_count(points: object) -> None:
    match = Match("basketball")
    match.add("points", "home", points=points)
    assert (match.score, match.warnings) == ((0, 0), ["metadata.points is not 1, 2 or 3: the score stays"])


def test_points_of_no_side_do_not_count() -> None:
    match = Match("basketball")
    match.add("points", points=2)
    assert (match.score, match.warnings) == ((0, 0), ["no side: the score stays"])


def test_a_delta_wins_over_points_and_a_goal_counts_only_by_its_delta() -> None:
    match = Match("basketball")
    match.add("points", "home", points=3, scoreDelta={"away": 2})
    match.add("goal", "home", points=2)
    match.add("goal", scoreDelta={"home": 4})
    assert (match.score, match.warnings) == ((4, 2), [])


def test_quarters_and_breaks_follow_each_other_without_codes() -> None:
    match = Match("basketball")
    periods = []
    for _ in QUARTERS:
        match.start()
        periods.append(match.state.period)
        match.add("points", "home", points=2)
        match.end()
        periods.append(match.state.period)
    assert periods == ["Q1", "B1", "Q2", "HT", "Q3", "B3", "Q4", "FT"]
    assert match.result == ("finished", "home", "regular")


def test_a_quarter_ends_when_the_next_one_starts() -> None:
    match = Match("basketball")
    for code in QUARTERS:
        match.start(code)
        assert match.warnings == []
    assert (match.state.period, list(match.breakdown)) == ("Q4", list(QUARTERS))


def test_halves_by_the_rules_of_colleges() -> None:
    match = Match("basketball", {"periods": 2, "periodSeconds": 1200})
    play(match, "H1", 34, 43)
    assert match.state.period == "HT"
    match.start()
    assert (match.state.period, match.seconds()) == ("H2", 1200)
    match.end()
    assert match.result == ("finished", "away", "regular")


def test_basketball_with_two_overtimes() -> None:
    match = Match("basketball", {"periodSeconds": 720})
    for code in QUARTERS:
        play(match, code, 25, 25)
    assert (match.state.period, match.result) == ("BOT", ("live", None, None))
    match.start()
    assert (match.state.period, match.seconds()) == ("OT1", 300)
    match.add("points", "home", points=3)
    match.add("points", "away", points=3)
    match.end()
    assert (match.state.period, match.result) == ("BOT", ("live", None, None))
    match.start(after=60)
    assert match.warnings == []
    match.add("points", "away", points=2, after=299.3)
    assert match.seconds() == 0.7
    match.end(after=0.7)
    assert match.score == (103, 105)
    assert list(match.breakdown.items())[4:] == [("OT1", (3, 3)), ("OT2", (0, 2))]
    assert (match.state.period, match.result) == ("FT", ("finished", "away", "extra_time"))


def test_a_draw_stands_where_the_rules_have_no_overtime() -> None:
    match = Match("basketball", {"overtimeSeconds": 0})
    for code in QUARTERS:
        play(match, code, 20, 20)
    assert match.result == ("finished", "draw", "regular")


def test_a_third_quarter_before_the_second_is_accepted_with_a_warning() -> None:
    match = Match("basketball")
    play(match, "Q1", 20, 18)
    match.start("Q3")
    assert match.warnings == ["period Q3 is not expected now: Q2 follows"]
    match.add("points", "home", points=2)
    assert (match.state.period, match.breakdown) == ("Q3", {"Q1": (20, 18), "Q3": (2, 0)})
    match.start("Q2")
    assert list(match.breakdown) == ["Q1", "Q2", "Q3"]


def test_periods_of_other_sports_are_accepted_with_a_warning() -> None:
    match = Match("basketball")
    match.start("1H")
    assert match.warnings == ["basketball has no period 1H"]
    match.end()
    assert (match.state.period, match.state.status) == ("1H", "live")


def test_an_overtime_is_not_expected_while_one_side_leads() -> None:
    match = Match("basketball")
    for code in QUARTERS[:3]:
        play(match, code, 20, 18)
    match.start("Q4")
    match.start("OT1")
    assert match.warnings == ["period OT1 is not expected now: no further period follows"]


def test_points_between_periods_count_in_the_last_one_with_a_warning() -> None:
    match = Match("basketball")
    play(match, "Q1", 20, 18)
    match.add("points", "home", points=2)
    assert match.warnings == ["nothing is scored in B1: the score counts in Q1"]
    match.add("points", "home", points=2, period="Q1")
    assert (match.warnings, match.breakdown) == ([], {"Q1": (24, 18)})


@pytest.mark.parametrize("type", ["foul", "timeout", "technical_foul", "steal", "substitution", "yellow_card"])
def test_unknown_types_are_free_commentary(type: str) -> None:
    match = Match("basketball")
    match.start("Q1")
    before = match.state
    match.add(type, "home", after=10, points=2)
    assert (match.state, match.warnings) == (before, [])


def test_the_clock_counts_down_and_stands_still_at_whistles() -> None:
    match = Match("basketball")
    match.start("Q1")
    assert match.seconds() == 600
    match.add("clock_stop", after=12.25)
    match.wait(40)
    assert match.seconds() == 587.75
    match.add("clock_start", seconds=587.4)
    match.wait(587)
    assert match.seconds() == 0.4
    match.wait(3)
    assert match.seconds() == 0


def test_the_clock_shows_zero_after_a_quarter_and_does_not_start_in_the_break() -> None:
    match = Match("basketball")
    match.start("Q1")
    match.end(after=500)
    assert match.seconds() == 0
    match.add("clock_start")
    assert match.warnings == ["no period is open: the clock stays stopped"]
    assert match.state.clock is not None
    assert not match.state.clock.running


def test_a_quarter_that_is_started_twice_keeps_its_clock() -> None:
    match = Match("basketball")
    match.start("Q1")
    match.start("Q1", after=10)
    assert match.warnings == ["period Q1 is not expected now: Q2 or B1 follows"]
    assert match.seconds() == 590


def test_a_clock_beyond_the_length_of_the_quarter_is_accepted_with_a_warning() -> None:
    match = Match("basketball")
    match.start("Q1")
    match.add("clock_set", seconds=720)
    assert match.warnings == ["period Q1 has 600 seconds, the clock shows 720"]
    assert match.seconds() == 720


def test_late_points_change_the_winner() -> None:
    match = Match("basketball")
    for code in QUARTERS:
        play(match, code, 20, 20 if code != "Q4" else 19)
    assert match.result == ("finished", "home", "regular")
    match.add("points", "away", points=2, period="Q4")
    assert match.warnings == ["the match is decided"]
    assert (match.score, match.result) == ((80, 81), ("finished", "away", "regular"))


def test_deleting_a_basket_in_the_middle_folds_the_rest_again() -> None:
    match = Match("basketball")
    match.start("Q1")
    three = match.add("points", "home", points=3, after=20)
    match.end(after=580)
    match.start("Q2")
    match.add("points", "away", points=2, after=30)
    match.delete(three)
    assert (match.score, match.breakdown) == ((0, 2), {"Q1": (0, 0), "Q2": (0, 2)})
    assert (match.state.period, match.seconds()) == ("Q2", 570)


def test_deleting_the_basket_that_forced_an_overtime_leaves_the_winner_of_the_rest() -> None:
    match = Match("basketball")
    match.start("Q4")
    match.add("points", "home", points=2)
    equaliser = match.add("points", "away", points=2)
    match.end()
    match.start("OT1")
    match.add("points", "away", points=3)
    match.end()
    assert match.result == ("finished", "away", "extra_time")
    match.delete(equaliser)
    assert (match.score, match.result) == ((2, 3), ("finished", "away", "extra_time"))


@pytest.mark.parametrize(
    "rules", [{"periods": 3}, {"periodSeconds": 0}, {"overtimeSeconds": -1}, {"quarters": 4}, {"periods": None}]
)
def test_rules_that_make_no_sense_are_refused(rules: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        BasketballRules.model_validate(rules)


RULES = st.builds(
    BasketballRules,
    periods=st.sampled_from([2, 4]),
    period_seconds=st.sampled_from([600, 720, 1200]),
    overtime_seconds=st.sampled_from([0, 300]),
)
CODES = ["Q1", "Q2", "Q3", "Q4", "HT", "H2", "BOT", "OT1", "OT2", "FT", "REG"]


@given(RULES, strategies.steps(Basketball.moving, CODES))
def test_the_state_is_the_fold_the_periods_add_up_and_the_clock_has_bounds(
    rules: BasketballRules, drawn: list[Step]
) -> None:
    folder = Folder(Basketball(), rules, Score(1, 0))
    for step, state in zip(drawn, replay(folder, drawn), strict=True):
        assert_sum(state)
        if state.clock is not None:
            assert 0 <= state.clock.seconds_at(step.at) <= 3000
