"""Sports without rules of their own, and what all sports share."""

import pytest
from hypothesis import given

from livescore.scores import sports
from livescore.scores.fold import Folder, Step
from livescore.scores.sports import GENERIC
from livescore.scores.sports.sport import Rules
from livescore.scores.state import Score
from tests.unit.sports import strategies
from tests.unit.sports.match import Match, assert_sum, replay


def test_a_goal_moves_the_score_only_by_its_delta() -> None:
    match = Match("rugby")
    match.add("goal", "home")
    match.add("points", "home", points=2)
    match.add("goal", "home", scoreDelta=None)
    assert match.score == (0, 0)
    match.add("goal", "home", scoreDelta={"away": 5})
    assert match.score == (0, 5)


def test_a_match_without_periods_has_neither_period_nor_clock_nor_status() -> None:
    match = Match("rugby", initial=(3, 0))
    match.add("goal", scoreDelta={"home": 5})
    match.add("commentary")
    state = match.state
    assert (match.score, state.period, state.clock, state.status, state.winner) == ((8, 0), None, None, None, None)
    assert match.warnings == []


def test_periods_are_free_text_in_any_order() -> None:
    match = Match("volleyball")
    for period in ("Set 2", "Set 1", "Golden set"):
        match.start(period)
        assert match.warnings == []
        match.add("goal", scoreDelta={"home": 1})
        match.end()
    assert match.breakdown == {"Set 2": (1, 0), "Set 1": (1, 0), "Golden set": (1, 0)}


def test_an_open_period_keeps_the_match_live_and_its_end_returns_it_to_the_clock() -> None:
    match = Match("volleyball")
    steps = [("period_start", "Set 1"), ("period_end", None), ("period_start", "FT"), ("period_end", None)]
    statuses = []
    for type_, period in steps:
        match.add(type_, period=period)
        statuses.append(match.state.status)
    assert statuses == ["live", None, "finished", "finished"]
    assert match.warnings == ["no period is open"]


def test_a_period_without_a_name_is_accepted_with_a_warning() -> None:
    match = Match("volleyball")
    match.start()
    assert match.warnings == ["no periodCode: name the period"]
    assert match.state.period == "REG"


def test_points_to_subtract_come_from_earlier_periods_if_the_current_one_has_too_few() -> None:
    match = Match("volleyball")
    match.start("Set 1")
    match.add("goal", scoreDelta={"home": 3, "away": 2})
    match.start("Set 2")
    match.add("goal", scoreDelta={"home": 1})
    match.set_score(2, 1)
    assert match.breakdown == {"Set 1": (2, 1), "Set 2": (0, 0)}


def test_a_score_set_by_hand_stays_when_an_earlier_goal_is_deleted() -> None:
    match = Match("rugby")
    goal = match.add("goal", scoreDelta={"home": 5})
    match.set_score(7, 0)
    match.add("goal", scoreDelta={"home": 3})
    match.delete(goal)
    assert match.score == (10, 0)


def test_an_adjustment_of_the_score_stays_when_an_earlier_goal_is_corrected() -> None:
    match = Match("rugby")
    goal = match.add("goal", scoreDelta={"home": 5})
    match.adjust(-2, 3)
    assert match.score == (3, 3)
    match.change(goal, metadata={"scoreDelta": {"home": 7}})
    assert match.score == (5, 3)


def test_a_disallowed_goal_does_not_count_until_the_decision_is_taken_back_itself() -> None:
    match = Match("rugby")
    goal = match.add("goal", scoreDelta={"home": 5})
    decision = match.add("goal_disallowed", commentaryId=goal)
    assert match.score == (0, 0)
    match.add("var_decision", commentaryId=decision, outcome="overturned")
    assert match.score == (5, 0)


def test_a_late_correction_of_the_score_changes_the_winner() -> None:
    match = Match("rugby")
    match.add("goal", scoreDelta={"home": 5})
    match.set_status("finished")
    assert match.result == ("finished", "home", "regular")
    match.add("goal", scoreDelta={"away": 7})
    assert match.warnings == ["the match is decided"]
    assert match.result == ("finished", "away", "regular")


def test_a_walkover_names_the_side_that_loses() -> None:
    match = Match("rugby")
    match.add("walkover", "home")
    assert match.result == ("finished", "away", "walkover")
    match.end()
    assert match.result == ("finished", "away", "walkover")


@pytest.mark.parametrize("name", ["Rugby", "", "generic", "basket"])
def test_names_of_other_sports_are_generic(name: str) -> None:
    assert sports.of(name) is GENERIC


@given(strategies.steps(GENERIC.moving, ["Set 1", "Set 2", "FT"]))
def test_the_state_is_the_fold_and_the_periods_add_up(drawn: list[Step]) -> None:
    for state in replay(Folder(GENERIC, Rules(), Score(2, 0)), drawn):
        assert_sum(state)
