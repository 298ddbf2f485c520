"""Football: goals, periods, the clock through stoppage time, extra time, shoot-outs and video reviews."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from livescore.scores import sports
from livescore.scores.fold import Folder, Step
from livescore.scores.sports.football import Football, FootballRules, displayed_minute, is_shootout_decided
from livescore.scores.state import Entry, Kick, Override, Shootout, Side, Status
from tests.unit.sports.match import Match, assert_sum, replay
from tests.unit.sports.strategies import steps

CUP = {"extraTime": True, "penalties": True}
CODES = ["1H", "HT", "2H", "BET", "ET1", "ETHT", "ET2", "BPEN", "PEN", "FT", "REG", "ET"]


def football(**rules: Any) -> Match:
    return Match("football", rules)


def after_regular_time(home: int, away: int, **rules: Any) -> Match:
    """Return a match after the end of the second half."""
    match = football(**rules)
    match.start("1H")
    match.end(after=2700)
    match.start("2H", after=900)
    for _ in range(home):
        match.add("goal", "home")
    for _ in range(away):
        match.add("goal", "away")
    match.end(after=2700)
    return match


def minute(match: Match) -> tuple[int, int]:
    clock, seconds = match.state.clock, match.seconds()
    assert clock is not None
    assert seconds is not None
    return displayed_minute(clock.period, seconds)


def cards(match: Match) -> dict[str, tuple[int, int, int]]:
    """Return the yellow and red cards of each side, and how many of both were second yellow ones."""
    assert match.state.cards is not None
    members = match.state.cards.to_json()
    return {side: (shown["yellow"], shown["red"], shown["secondYellow"]) for side, shown in members.items()}


def kick(match: Match, *kicks: str) -> None:
    """Append kicks such as ``home+`` (scored) and ``away-`` (missed)."""
    for text in kicks:
        side: Side = "home" if text.startswith("home") else "away"
        match.add("shootout_goal" if text.endswith("+") else "shootout_missed", side)


@pytest.mark.parametrize("name", ["football", "Soccer", " FOOTBALL ", "association football", "Fußball"])
def test_football_has_other_names(name: str) -> None:
    assert isinstance(sports.of(name), Football)


@pytest.mark.parametrize("name", ["american football", "australian football", "futsal"])
def test_other_football_is_not_this_one(name: str) -> None:
    assert sports.of(name) is sports.GENERIC


# Goals


def test_a_league_match_from_kick_off_to_full_time() -> None:
    match = football()
    match.start("1H")
    match.add("goal", "home", minute=12, actor="Müller")
    match.add("yellow_card", "away", minute=30)
    match.end(after=2820)
    assert (match.state.period, match.breakdown, match.result) == ("HT", {"1H": (1, 0)}, ("live", None, None))
    match.start("2H", after=900)
    match.add("penalty_goal", "away", minute=60)
    match.add("own_goal", "away", minute=80)
    match.end(after=2880)
    assert match.score == (1, 2)
    assert match.breakdown == {"1H": (1, 0), "2H": (0, 2)}
    assert (match.state.period, match.result) == ("FT", ("finished", "away", "regular"))
    assert cards(match) == {"home": (0, 0, 0), "away": (1, 0, 0)}


def test_an_own_goal_counts_for_the_side_that_benefits() -> None:
    match = football()
    match.add("own_goal", "away", actor="Maguire")
    assert match.score == (0, 1)


def test_a_goal_that_was_an_own_goal_is_corrected_with_its_side() -> None:
    match = football()
    match.start("1H")
    goal = match.add("goal", "home", actor="Maguire")
    match.add("goal", "away")
    match.change(goal, type="own_goal")
    assert match.score == (1, 1)
    match.change(goal, side="away")
    assert match.score == (0, 2)
    assert match.breakdown == {"1H": (0, 2)}


def test_a_score_delta_wins_over_the_side() -> None:
    match = football()
    match.add("goal", "home", scoreDelta={"away": 1})
    assert match.score == (0, 1)


@pytest.mark.parametrize("type", ["goal", "own_goal", "penalty_goal"])
def test_a_goal_of_an_unknown_side_is_free_commentary(type: str) -> None:
    match = football()
    match.add(type)
    assert match.warnings == ["neither side nor metadata.scoreDelta: the score stays"]
    assert match.score == (0, 0)
    assert match.breakdown == {}


@pytest.mark.parametrize("type", ["penalty_missed", "substitution", "injury", "lineup", "var_review"])
def test_entries_that_cannot_move_the_state_are_not_folded(type: str) -> None:
    assert type not in sports.moving()


def test_a_match_without_periods_counts_its_goals_as_regular_time() -> None:
    match = football()
    match.add("goal", "home")
    assert match.breakdown == {"REG": (1, 0)}
    assert (match.state.period, match.state.status) == (None, None)


def test_a_goal_entered_in_the_break_belongs_to_the_half_before() -> None:
    match = football()
    match.start("1H")
    match.end(after=2700)
    match.add("goal", "home", minute=45, stoppage=2)
    assert match.breakdown == {"1H": (1, 0)}
    assert match.state.period == "HT"


def test_a_goal_entered_late_belongs_to_the_half_that_it_names() -> None:
    match = football()
    match.start("2H")
    assert match.warnings == ["period 2H is not expected now: 1H follows"]
    match.add("goal", "home", period="1H", minute=44)
    match.add("goal", "away", minute=47)
    assert match.warnings == []
    assert list(match.breakdown.items()) == [("1H", (1, 0)), ("2H", (0, 1))]


def test_a_minute_of_the_half_before_is_accepted_with_a_warning() -> None:
    match = football()
    match.start("1H")
    match.start("2H", after=3600)
    match.add("goal", "home", minute=44)
    assert match.warnings == ["minute 44 is before period 2H, in which the goal counts: name its periodCode"]
    assert match.breakdown == {"1H": (0, 0), "2H": (1, 0)}


def test_a_goal_in_a_period_without_goals_counts_in_the_one_before() -> None:
    match = after_regular_time(1, 1)
    match.add("goal", "home", period="HT")
    assert match.warnings == ["the match is decided", "no goals are scored in period HT: the goal counts in 2H"]
    assert match.breakdown == {"1H": (0, 0), "2H": (2, 1)}
    assert match.result == ("finished", "home", "regular")


def test_deleting_a_goal_in_the_middle_folds_the_rest_again() -> None:
    match = football()
    match.start("1H")
    match.add("goal", "home")
    middle = match.add("goal", "away")
    match.end(after=2700)
    match.start("2H")
    match.add("goal", "away")
    match.end(after=2700)
    assert match.result == ("finished", "away", "regular")
    match.delete(middle)
    assert match.breakdown == {"1H": (1, 0), "2H": (0, 1)}
    assert match.result == ("finished", "draw", "regular")


def test_a_goal_after_a_score_set_by_hand_counts_from_there() -> None:
    match = football()
    match.start("1H")
    early = match.add("goal", "home")
    match.set_score(2, 1)
    match.add("goal", "away")
    assert match.score == (2, 2)
    match.delete(early)
    assert match.score == (2, 2)
    assert match.breakdown == {"1H": (2, 2)}


def test_a_second_yellow_card_is_a_yellow_and_a_red_one() -> None:
    match = football()
    match.add("yellow_card", "home")
    match.add("second_yellow", "home")
    match.add("red_card", "away")
    assert cards(match) == {"home": (2, 1, 1), "away": (0, 1, 0)}
    match.add("red_card")
    assert match.warnings == ["no side: the card is not counted"]


# Video review


def test_a_disallowed_goal_does_not_count() -> None:
    match = football()
    match.start("1H")
    goal = match.add("goal", "home")
    match.add("goal_disallowed", "home", commentaryId=goal, reason="offside")
    assert match.warnings == []
    assert match.score == (0, 0)
    assert match.breakdown == {"1H": (0, 0)}


def test_deleting_the_decision_of_a_video_review_lets_the_goal_stand() -> None:
    match = football()
    goal = match.add("goal", "home")
    decision = match.add("var_decision", subject="goal", outcome="overturned", commentaryId=goal)
    assert match.score == (0, 0)
    match.delete(decision)
    assert match.score == (1, 0)


def test_a_confirmed_goal_stands() -> None:
    match = football()
    goal = match.add("goal", "home")
    match.add("var_decision", subject="goal", outcome="confirmed", commentaryId=goal)
    assert match.score == (1, 0)


def test_a_rescinded_card_is_not_counted() -> None:
    match = football()
    card = match.add("red_card", "home")
    match.add("var_decision", subject="red_card", outcome="rescinded", commentaryId=card)
    assert cards(match)["home"] == (0, 0, 0)


def test_a_disallowed_goal_without_its_id_leaves_the_score() -> None:
    match = football()
    match.add("goal", "home")
    match.add("goal_disallowed", "home")
    assert match.warnings == ["metadata.commentaryId does not name an earlier goal: the score stays"]
    assert match.score == (1, 0)


def test_a_decision_that_names_no_earlier_entry_takes_nothing_back() -> None:
    match = football()
    match.add("var_decision", outcome="overturned", commentaryId=2)
    assert match.warnings == ["metadata.commentaryId does not name an earlier entry: the decision takes nothing back"]
    match.add("goal", "home")
    assert match.score == (1, 0)
    match.add("var_decision", outcome=["overturned"], commentaryId=2)
    assert (match.score, match.warnings) == ((1, 0), [])
    match.add("var_decision", outcome="Overturned", commentaryId=2)
    assert (match.score, match.warnings) == ((0, 0), [])


# Clock


@pytest.mark.parametrize(
    ("period", "seconds", "shown"),
    [
        ("1H", 0, (1, 0)),
        ("1H", 59.999, (1, 0)),
        ("1H", 60, (2, 0)),
        ("1H", 2699, (45, 0)),  # 44:59
        ("1H", 2700, (45, 1)),  # 45:00
        ("1H", 2830, (45, 3)),  # 47:10
        ("2H", 2700, (46, 0)),
        ("2H", 5399, (90, 0)),
        ("2H", 5400, (90, 1)),
        ("ET1", 5400, (91, 0)),
        ("ET1", 6300, (105, 1)),
        ("ET2", 6300, (106, 0)),
        ("ET2", 7260, (120, 2)),  # 121:00
        ("other", 2830, (48, 0)),
    ],
)
def test_the_displayed_minute(period: str, seconds: float, shown: tuple[int, int]) -> None:
    assert displayed_minute(period, seconds) == shown


def test_the_displayed_minute_of_shorter_halves() -> None:
    youth = FootballRules(half_seconds=2400)
    assert displayed_minute("1H", 2400, youth) == (40, 1)
    assert displayed_minute("2H", 2400, youth) == (41, 0)
    assert displayed_minute("ET2", 6420, youth) == (107, 1)


def test_the_clock_runs_on_through_stoppage_and_each_period_has_its_start() -> None:
    match = football(**CUP)
    match.start("1H")
    assert (match.seconds(), minute(match)) == (0, (1, 0))
    match.wait(2699)
    assert (match.seconds(), minute(match)) == (2699, (45, 0))
    match.wait(1)
    assert minute(match) == (45, 1)
    match.add("added_time", minutes=3)
    assert match.state.clock is not None
    assert match.state.clock.announced == 180
    match.wait(130)
    assert (match.seconds(), minute(match)) == (2830, (45, 3))
    match.end()
    match.wait(900)
    assert match.seconds() == 2830
    match.start("2H")
    assert (match.seconds(), minute(match)) == (2700, (46, 0))
    match.end(after=2800)
    match.start("ET1", after=300)
    assert (match.seconds(), minute(match)) == (5400, (91, 0))
    match.end(after=900)
    match.start("ET2", after=60)
    assert (match.seconds(), minute(match)) == (6300, (106, 0))
    match.wait(960)
    assert minute(match) == (120, 2)


def test_a_new_period_has_no_announced_time() -> None:
    match = football()
    match.start("1H")
    match.add("added_time", seconds=180)
    match.start("2H", after=3600)
    assert match.state.clock is not None
    assert match.state.clock.announced is None


def test_the_clock_scales_with_the_duration_of_a_half() -> None:
    match = football(halfSeconds=2400, **CUP)
    for period, start in (("1H", 0), ("2H", 2400), ("ET1", 4800), ("ET2", 5600)):
        match.start(period, after=2500)
        assert match.seconds() == start


def test_the_clock_does_not_jump_back_when_a_period_is_started_again() -> None:
    match = football()
    match.start("1H")
    match.start("1H", after=5)
    assert match.warnings == ["period 1H is not expected now: 2H or HT follows"]
    assert match.seconds() == 5
    match.end(after=2700)
    match.start("2H", after=900)
    match.start("1H", after=60)
    assert match.warnings == ["period 1H is over: the entry has no effect; correct the clock with clock_set"]
    assert (match.state.period, match.seconds()) == ("2H", 2760)
    match.end("1H")
    assert (match.state.period, match.seconds()) == ("2H", 2760)


def test_the_clock_is_set_by_an_explicit_correction_only() -> None:
    match = football()
    match.start("1H")
    match.add("clock_set", after=70, seconds=60)
    assert (match.seconds(), minute(match)) == (60, (2, 0))
    match.wait(1)
    assert match.seconds() == 61


def test_the_clock_does_not_start_in_a_break() -> None:
    match = football()
    match.start("1H")
    match.end(after=2700)
    match.add("clock_start", after=10)
    assert match.warnings == ["no period is open: the clock stays stopped"]
    match.wait(10)
    assert match.seconds() == 2700


# Extra time


def test_a_league_match_that_is_level_is_a_draw() -> None:
    match = after_regular_time(1, 1)
    assert (match.state.period, match.result) == ("FT", ("finished", "draw", "regular"))


def test_a_cup_match_that_is_not_level_ends_after_two_halves() -> None:
    match = after_regular_time(2, 1, **CUP)
    assert (match.state.period, match.result) == ("FT", ("finished", "home", "regular"))


def test_a_cup_match_that_is_level_goes_to_extra_time() -> None:
    match = after_regular_time(1, 1, **CUP)
    assert (match.state.period, match.result) == ("BET", ("live", None, None))
    match.start()
    assert (match.state.period, match.warnings) == ("ET1", [])
    match.end(after=900)
    assert match.state.period == "ETHT"
    match.start()
    match.add("goal", "away")
    match.end(after=900)
    assert match.breakdown == {"1H": (0, 0), "2H": (1, 1), "ET1": (0, 0), "ET2": (0, 1)}
    assert (match.state.period, match.result) == ("FT", ("finished", "away", "extra_time"))


def test_a_golden_goal_ends_the_match_in_extra_time() -> None:
    match = after_regular_time(1, 1, **CUP)
    match.start("ET1")
    match.add("goal", "home")
    match.start("FT")
    assert (match.state.period, match.result) == ("FT", ("finished", "home", "extra_time"))


def test_extra_time_that_the_rules_do_not_foresee_reopens_the_match() -> None:
    match = after_regular_time(1, 1)
    match.start("ET1")
    assert match.warnings == ["period ET1 is not expected now: no further period follows"]
    assert (match.state.period, match.result) == ("ET1", ("live", None, None))
    assert match.seconds() == 5400
    match.add("goal", "home")
    match.end()
    match.start("ET2")
    assert match.warnings == []
    match.end()
    assert match.result == ("finished", "home", "extra_time")


def test_extra_time_in_the_second_leg_of_a_tie_needs_no_level_score() -> None:
    match = after_regular_time(2, 1, **CUP)
    match.start("ET1")
    assert match.warnings == []
    assert match.result == ("live", None, None)


def test_a_half_that_ended_too_early_continues() -> None:
    match = football()
    match.start("1H")
    match.end(after=2600)
    match.start("1H", after=10)
    assert (match.state.period, match.seconds()) == ("1H", 2600)


# Shoot-outs


def test_a_shoot_out_never_moves_the_score() -> None:
    match = after_regular_time(1, 1, penalties=True)
    assert match.state.period == "BPEN"
    match.start()
    assert (match.state.period, match.kicks, match.warnings) == ("PEN", (0, 0), [])
    kick(match, "away+", "home+", "away-", "home+", "away+", "home+", "away+", "home+")
    assert match.warnings == []
    kick(match, "away-")
    assert match.warnings == []
    surplus = match.add("shootout_goal", "home")
    assert match.warnings == ["the shoot-out is decided"]
    match.delete(surplus)
    match.end()
    assert (match.score, match.kicks) == ((1, 1), (4, 3))
    assert match.breakdown == {"1H": (0, 0), "2H": (1, 1)}
    assert match.result == ("finished", "home", "penalties")
    assert match.state.shootout is not None
    assert match.state.shootout.first == "away"
    assert [kick.scored for kick in match.state.shootout.kicks] == [
        True,
        True,
        False,
        True,
        True,
        True,
        True,
        True,
        False,
    ]


def test_a_kick_that_was_entered_wrongly_is_corrected_after_the_end() -> None:
    match = after_regular_time(0, 0, penalties=True)
    match.start()
    kick(match, "home+", "away+")
    wrong = match.add("shootout_goal", "home")
    match.end()
    assert match.result == ("finished", "home", "penalties")
    match.change(wrong, type="shootout_missed")
    match.add("shootout_goal", "away")
    assert match.kicks == (1, 2)
    assert match.result == ("finished", "away", "penalties")


def test_a_shoot_out_that_no_entry_started_starts_with_its_first_kick() -> None:
    match = after_regular_time(1, 1)
    match.add("shootout_goal", "home", actor="Kane")
    assert match.warnings == ["the shoot-out had not started: it starts with this kick"]
    assert (match.state.period, match.result) == ("PEN", ("live", None, None))
    assert match.state.shootout == Shootout(
        replace(match.state.score, home=1, away=0), "home", (Kick("home", "Kane", True),)
    )


def test_the_totals_of_a_shoot_out_may_be_known_without_its_kicks() -> None:
    match = after_regular_time(1, 1, penalties=True)
    match.add("period_end", period="PEN", score={"home": 3, "away": 4}, first="home")
    assert match.kicks == (3, 4)
    assert match.state.shootout is not None
    assert (match.state.shootout.first, match.state.shootout.kicks) == ("home", ())
    assert match.result == ("finished", "away", "penalties")


def test_a_score_that_the_end_of_a_period_gives_late_changes_the_result() -> None:
    match = after_regular_time(1, 1)
    match.add("period_end", period="1H", score={"home": 0, "away": 1})
    assert match.breakdown == {"1H": (0, 1), "2H": (1, 1)}
    assert (match.state.period, match.result) == ("FT", ("finished", "away", "regular"))


def test_extra_time_of_which_only_the_end_is_entered_counts() -> None:
    match = after_regular_time(1, 1)
    match.add("period_end", period="ET", score={"home": 1, "away": 0})
    assert match.breakdown == {"1H": (0, 0), "2H": (1, 1), "ET": (1, 0)}
    assert match.result == ("finished", "home", "extra_time")


def test_a_goal_during_the_shoot_out_is_one_of_the_period_before() -> None:
    match = after_regular_time(1, 1, penalties=True)
    match.start("PEN")
    match.add("penalty_goal", "home")
    assert match.warnings == ["the goal counts in 2H: use shootout_goal for kicks of the shoot-out"]
    assert match.breakdown["2H"] == (2, 1)
    kick_without_side = match.add("shootout_goal")
    assert match.warnings == ["no side: the kick is not counted"]
    match.delete(kick_without_side)
    assert match.kicks == (0, 0)


@pytest.mark.parametrize(
    ("kicks", "decided"),
    [
        ("h+ a+ h+ a+ h+ a+ h+ a+ h+", False),
        ("h+ a+ h+ a+ h+ a+ h+ a+ h+ a-", True),
        ("h+ a- h+ a- h+ a-", True),
        ("h+ a- h+ a- h+", False),
        ("h+ a+ h+ a+ h+ a+ h+ a+ h+ a+ h+", False),
        ("h+ a+ h+ a+ h+ a+ h+ a+ h+ a+ h+ a-", True),
        ("", False),
    ],
)
def test_a_shoot_out_is_decided_when_no_kick_can_change_the_winner(kicks: str, decided: bool) -> None:
    taken = tuple(Kick("home" if text[0] == "h" else "away", None, text[1] == "+") for text in kicks.split())
    assert is_shootout_decided(taken) == decided


# Status


def test_an_interrupted_match_resumes_with_its_clock() -> None:
    match = football()
    match.start("1H")
    match.wait(600)
    match.set_status("interrupted")
    match.wait(1800)
    assert (match.seconds(), match.state.status) == (600, "interrupted")
    match.set_status("live")
    match.wait(60)
    assert (match.seconds(), match.state.status, match.state.period) == (660, "live", "1H")


def test_an_interrupted_match_resumes_with_the_start_of_its_period() -> None:
    match = football()
    match.start("1H")
    match.wait(600)
    match.set_status("interrupted")
    match.start("1H", after=1800)
    assert match.warnings == []
    assert (match.seconds(), match.state.status) == (600, "live")


@pytest.mark.parametrize("status", ["abandoned", "postponed", "cancelled"])
def test_a_match_without_a_result_stops_its_clock_and_has_no_winner(status: Status) -> None:
    match = football()
    match.start("1H")
    match.add("goal", "home")
    match.wait(600)
    match.set_status(status)
    match.wait(600)
    assert (match.score, match.seconds(), match.result) == ((1, 0), 600, (status, None, None))


def test_an_awarded_match_has_the_awarded_score_and_winner() -> None:
    match = after_regular_time(2, 1)
    match.append(Override(1000, match.now, replace(match.state.score, home=0, away=3), None, True, "awarded"))
    assert (match.score, match.result) == ((0, 3), ("awarded", "away", "awarded"))


def test_the_winner_of_an_awarded_match_follows_its_score() -> None:
    match = football()
    match.add("award", "away", scoreDelta={"away": 3})
    match.set_score(0, 0)
    assert match.result == ("awarded", "away", "awarded")
    match.set_score(3, 0)
    assert match.result == ("awarded", "home", "awarded")
    match.set_status("finished")
    assert match.result == ("finished", "home", "regular")


def test_a_walkover_that_is_finished_by_hand_stays_a_walkover() -> None:
    match = football()
    match.add("walkover", "home")
    match.set_status("finished")
    assert match.result == ("finished", "away", "walkover")


def test_an_award_during_the_match_stops_it() -> None:
    match = football()
    match.start("1H")
    match.add("award", "away", after=60, scoreDelta={"away": 3})
    match.wait(60)
    assert (match.score, match.seconds(), match.state.period) == ((0, 3), 60, "FT")
    assert match.result == ("awarded", "away", "awarded")
    match.end()
    assert match.result == ("awarded", "away", "awarded")


def test_a_match_that_was_ended_by_mistake_continues() -> None:
    match = football()
    match.start("1H")
    match.start("2H", after=3600)
    match.wait(600)
    match.set_status("finished")
    match.set_status("live")
    match.wait(30)
    assert (match.state.period, match.result, match.seconds()) == ("2H", ("live", None, None), 3330)


# Rules


def test_the_rules_of_a_match_have_defaults() -> None:
    assert FootballRules().model_dump(by_alias=True) == {"halfSeconds": 2700, "extraTime": False, "penalties": False}


@pytest.mark.parametrize("rules", [{"halfSeconds": 0}, {"halfSeconds": 5400}, {"extraTime": 3}, {"golden": True}])
def test_impossible_rules_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FootballRules.model_validate(rules)


# Properties


@given(steps(Football.moving, CODES))
def test_the_state_is_the_fold_and_the_periods_add_up(drawn: list[Step]) -> None:
    for state in replay(Folder(sports.of("football"), FootballRules(extra_time=True)), drawn):
        assert_sum(state)


@given(steps(["period_start", "period_end", "clock_stop", "added_time", "shootout_goal"], CODES[:10]))
def test_the_clock_never_jumps_back_without_a_correction(drawn: list[Step]) -> None:
    folder = Folder(sports.of("football"), FootballRules(penalties=True))
    state, last = folder.start(), None
    for step in drawn:
        if isinstance(step, Entry):
            step = replace(step, metadata={})
        state = folder.apply(state, step)
        if state.clock is not None and state.clock.period in CODES:
            at = step.at.replace(microsecond=step.at.microsecond // 1000 * 1000)
            now = (CODES.index(state.clock.period), state.clock.seconds_at(at))
            assert last is None or now >= last
            last = now


@settings(max_examples=50)
@given(steps(Football.moving, CODES))
def test_warnings_do_not_depend_on_what_a_client_sends(drawn: list[Step]) -> None:
    folder = Folder(sports.of("football"), FootballRules())
    state = folder.start()
    for step in drawn:
        if isinstance(step, Entry):
            assert all(isinstance(warning, str) for warning in folder.warnings(state, step))
        state = folder.apply(state, step)


# Documentation


def example() -> list[tuple[dict[str, Any], str]]:
    """Return the entries of the example in the documentation, and the score and period that it gives for each."""
    page = Path(__file__).parents[3] / "docs" / "sports" / "football.md"
    lines = re.findall(r"^enter '(.*)' +# (.*)$", page.read_text(), re.MULTILINE)
    return [(json.loads(body), comment) for body, comment in lines]


def test_the_example_of_the_documentation_has_its_state_at_every_step() -> None:
    match = football(**CUP)
    for body, comment in example():
        match.add(body["eventType"], body.get("side"), period=body.get("periodCode"), minute=body["minute"], after=60)
        assert match.warnings == []
        assert f"{match.score[0]}–{match.score[1]} {match.state.period}" == comment
    assert len(example()) == 24
    assert match.breakdown == {"1H": (2, 0), "2H": (0, 2), "ET1": (0, 0), "ET2": (1, 1)}
    assert (match.kicks, match.result) == ((4, 2), ("finished", "home", "penalties"))
