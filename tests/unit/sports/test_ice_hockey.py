"""Ice hockey: goals, periods, overtime, and the shoot-out that adds one goal."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.scores import sports
from livescore.scores.fold import Folder, Step
from livescore.scores.sports.ice_hockey import SHOOTOUT, IceHockey, IceHockeyRules
from livescore.scores.state import Side
from tests.unit.sports import strategies
from tests.unit.sports.match import Match, assert_sum, replay

PLAYOFF = {"overtimeSeconds": 1200, "shootout": False}


def regulation(match: Match, *goals: tuple[int, int]) -> None:
    """Play three periods with the goals of each."""
    for home, away in goals:
        match.start()
        for _ in range(home):
            match.add("goal", "home")
        for _ in range(away):
            match.add("goal", "away")
        match.end()
        assert match.warnings == []


def attempts(match: Match, first: Side, line: str) -> None:
    """Take the attempts of a shoot-out, from the side that begins: "x" scores, "-" misses."""
    sides: tuple[Side, Side] = ("home", "away") if first == "home" else ("away", "home")
    for number, result in enumerate(line):
        match.add("shootout_goal" if result == "x" else "shootout_missed", sides[number % 2], actor=f"No. {number}")


def level_match(rules: Mapping[str, object] | None = None) -> Match:
    """Return a match that is level after three periods."""
    match = Match("ice hockey", rules)
    regulation(match, (1, 0), (0, 2), (1, 0))
    return match


def test_ice_hockey_decided_by_shoot_out_adds_one_goal_and_one_entry() -> None:
    match = level_match()
    assert match.state.period == "BOT"
    match.start()
    match.end(after=300)
    assert (match.state.period, match.result) == ("BSO", ("live", None, None))
    match.start()
    assert (match.state.period, match.kicks, match.warnings) == ("SO", (0, 0), [])
    attempts(match, "away", "x-xx-x")
    assert (match.score, match.kicks) == ((2, 2), (2, 2))
    attempts(match, "away", "-x")
    assert (match.score, match.kicks) == ((2, 2), (3, 2))
    match.end()
    assert match.score == (3, 2)
    assert match.breakdown == {"P1": (1, 0), "P2": (0, 2), "P3": (1, 0), "OT1": (0, 0), "SO": (1, 0)}
    assert (match.state.period, match.result) == ("FT", ("finished", "home", "penalties"))


def test_the_shoot_out_names_its_attempts_and_the_side_that_began() -> None:
    match = level_match({"overtimeSeconds": 0})
    match.start("SO")
    attempts(match, "away", "-x")
    assert match.state.shootout is not None
    assert match.state.shootout.to_json() == {
        "home": 1,
        "away": 0,
        "first": "away",
        "kicks": [
            {"side": "away", "actor": "No. 0", "scored": False},
            {"side": "home", "actor": "No. 1", "scored": True},
        ],
    }


def test_a_goal_in_overtime_leaves_the_time_that_was_left() -> None:
    match = level_match()
    match.start()
    assert match.seconds() == 300
    match.add("goal", "home", after=87.5)
    match.end(after=2)
    assert match.seconds() == 210.5
    assert (match.score, match.result) == ((3, 2), ("finished", "home", "extra_time"))


def test_overtimes_of_a_play_off_go_on_until_one_side_scores() -> None:
    match = level_match(PLAYOFF)
    for number in range(1, 5):
        match.start(after=900)
        assert (match.state.period, match.seconds(), match.warnings) == (f"OT{number}", 1200, [])
        match.end(after=1200)
        assert match.state.period == "BOT"
    match.start()
    match.add("goal", "away", after=1110)
    match.end()
    assert list(match.breakdown) == ["P1", "P2", "P3", "OT1", "OT2", "OT3", "OT4", "OT5"]
    assert (match.score, match.result) == ((2, 3), ("finished", "away", "extra_time"))


def test_a_match_with_a_winner_ends_after_three_periods() -> None:
    match = Match("ice hockey")
    regulation(match, (0, 1), (2, 0), (1, 0))
    assert match.breakdown == {"P1": (0, 1), "P2": (2, 0), "P3": (1, 0)}
    assert (match.state.period, match.seconds()) == ("FT", 0)
    assert match.result == ("finished", "home", "regular")


def test_a_draw_stands_where_the_rules_have_neither_overtime_nor_shoot_out() -> None:
    assert level_match({"overtimeSeconds": 0, "shootout": False}).result == ("finished", "draw", "regular")


def test_every_kind_of_goal_counts_once() -> None:
    match = Match("ice hockey")
    match.start()
    match.add("goal", "home", method="power play", emptyNet=True)
    match.add("own_goal", "away")
    match.add("penalty_goal", "home")
    match.add("goal", scoreDelta={"away": 2})
    assert (match.score, match.warnings) == ((2, 3), [])
    match.add("goal")
    assert match.score == (2, 3)


def test_a_disallowed_goal_does_not_count() -> None:
    match = Match("ice hockey")
    match.start()
    goal = match.add("goal", "home")
    match.add("goal_disallowed", commentaryId=goal)
    assert (match.score, match.breakdown) == ((0, 0), {"P1": (0, 0)})


def test_a_disallowed_attempt_turns_the_shoot_out() -> None:
    match = level_match({"overtimeSeconds": 0})
    match.start("SO")
    attempts(match, "home", "x-")
    match.add("goal_disallowed", commentaryId=match.add("shootout_goal", "away"))
    match.end()
    assert (match.score, match.breakdown["SO"], match.result) == ((3, 2), (1, 0), ("finished", "home", "penalties"))


def test_a_level_shoot_out_goes_on() -> None:
    match = level_match({"overtimeSeconds": 0})
    match.start("SO")
    attempts(match, "home", "xx")
    match.end()
    assert (match.state.period, match.result) == ("SO", ("live", None, None))


def test_an_attempt_starts_the_shoot_out_with_a_warning() -> None:
    match = level_match({"overtimeSeconds": 0})
    match.add("shootout_goal", "home")
    assert match.warnings == ["the shoot-out had not started: it starts with this attempt"]
    assert (match.state.period, match.kicks) == ("SO", (1, 0))


def test_attempts_of_no_side_do_not_count() -> None:
    match = level_match({"overtimeSeconds": 0})
    match.start("SO")
    match.add("shootout_goal")
    assert (match.kicks, match.warnings) == ((0, 0), ["no side: the attempt is not counted"])


def test_a_shoot_out_is_not_expected_while_one_side_leads() -> None:
    match = Match("ice hockey")
    regulation(match, (1, 0), (0, 0))
    match.start("P3")
    match.start("SO")
    assert match.warnings == ["period SO is not expected now: no further period follows"]


def test_an_attempt_that_is_entered_late_moves_the_deciding_goal() -> None:
    match = level_match({"overtimeSeconds": 0})
    match.start("SO")
    attempts(match, "home", "x-")
    match.end()
    assert match.score == (3, 2)
    attempts(match, "away", "x-x")
    assert match.warnings == ["the match is decided"]
    assert (match.score, match.breakdown["SO"], match.result) == ((2, 3), (0, 1), ("finished", "away", "penalties"))


def test_a_match_that_goes_on_has_no_deciding_goal() -> None:
    match = level_match({"overtimeSeconds": 0})
    match.start("SO")
    attempts(match, "home", "x-")
    match.end()
    match.start("SO")
    assert (match.score, match.result) == ((2, 2), ("live", None, None))
    match.end()
    assert match.score == (3, 2)
    match.set_status("live")
    assert (match.score, match.state.period, match.result) == ((2, 2), "SO", ("live", None, None))


def test_a_score_set_by_hand_includes_the_deciding_goal() -> None:
    match = level_match({"overtimeSeconds": 0})
    match.start("SO")
    attempts(match, "home", "x-")
    match.end()
    match.set_score(4, 3)
    assert match.breakdown == {"P1": (1, 0), "P2": (0, 2), "P3": (2, 1), "SO": (1, 0)}
    match.add("goal", "away")
    assert (match.score, match.breakdown["P3"], match.breakdown["SO"]) == ((4, 4), (2, 2), (1, 0))
    assert match.result == ("finished", "home", "penalties")


def test_ending_a_match_by_hand_counts_the_shoot_out() -> None:
    match = level_match({"overtimeSeconds": 0})
    match.start("SO")
    attempts(match, "home", "x-")
    match.set_status("finished")
    assert (match.score, match.result) == ((3, 2), ("finished", "home", "penalties"))


def test_a_shoot_out_of_which_only_the_score_is_known() -> None:
    match = level_match()
    match.start("OT1")
    match.end()
    match.add("period_end", period="SO", score={"home": 1, "away": 3})
    assert match.state.shootout is not None
    assert (match.kicks, match.state.shootout.kicks) == ((1, 3), ())
    assert (match.score, match.breakdown["SO"], match.result) == ((2, 3), (0, 1), ("finished", "away", "penalties"))


@pytest.mark.parametrize("type", ["penalty", "minor_penalty", "shot", "goalie_pulled", "yellow_card", "points"])
def test_unknown_types_are_free_commentary(type: str) -> None:
    match = Match("ice hockey")
    match.start()
    before = match.state
    match.add(type, "home", after=30, points=2)
    assert (match.state, match.warnings) == (before, [])


@pytest.mark.parametrize("name", ["ice hockey", "Ice-Hockey", "ICE_HOCKEY", "icehockey"])
def test_spellings(name: str) -> None:
    assert sports.of(name).name == "ice hockey"


@pytest.mark.parametrize("name", ["hockey", "field hockey", "nhl"])
def test_other_sports_and_leagues_are_not_ice_hockey(name: str) -> None:
    assert sports.of(name).name == "generic"


RULES = st.builds(IceHockeyRules, overtime_seconds=st.sampled_from([0, 300, 1200]), shootout=st.booleans())
CODES = ["P1", "I1", "P2", "P3", "BOT", "OT1", "OT2", "BSO", "SO", "FT", "REG"]


@given(RULES, strategies.steps(IceHockey.moving, CODES))
def test_the_state_is_the_fold_and_a_decided_shoot_out_is_one_goal(rules: IceHockeyRules, drawn: list[Step]) -> None:
    folder = Folder(IceHockey(), rules)
    for step, state in zip(drawn, replay(folder, drawn), strict=True):
        assert_sum(state)
        if state.clock is not None:
            assert 0 <= state.clock.seconds_at(step.at) <= 3000
        shootout = state.in_period(SHOOTOUT)
        if shootout is not None:
            assert sorted([shootout.score.home, shootout.score.away]) == [0, 1]
            assert state.shootout is not None
            assert state.shootout.score.leader == shootout.score.leader
