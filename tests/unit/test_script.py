"""The commentary of a replayed match follows from the match's record in the file."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from livescore.imports.openfootball import Goal, Match, Outcome, Pair, Score, read
from livescore_dev.script import GOALS, Step, plan, record_end, timeline

DATA = Path(__file__).parent.parent / "data"
KICK_OFF = datetime(2021, 6, 11, 19, tzinfo=UTC)


def match(*goals: Goal, **scores: Pair) -> Match:
    return Match("Juist", "Borkum", KICK_OFF, Score(**scores), goals, outcome="played")


def goals_of(steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.body["eventType"] in GOALS]


def scored(steps: list[Step]) -> tuple[int, int]:
    sides = [step.body["side"] for step in goals_of(steps)]
    return sides.count("home"), sides.count("away")


def test_match_without_goals_has_both_halves() -> None:
    steps = plan(match(half_time=Pair(0, 0), full_time=Pair(0, 0)))

    assert [step.id for step in steps] == ["start-1H", "end-1H", "start-2H", "end-2H", "end"]
    assert [step.at for step in steps] == [timedelta(minutes=minutes) for minutes in (0, 45, 60, 105, 110)]
    assert [step.body["period"] for step in steps] == [1, 1, 2, 2, 2]


def test_a_match_of_a_league_has_its_score_at_the_end_of_each_half() -> None:
    steps = plan(match(half_time=Pair(2, 2), full_time=Pair(4, 3)))

    scores = [step.body["metadata"].get("score") for step in steps if step.body["eventType"] == "period_end"]
    assert scores == [{"home": 2, "away": 2}, {"home": 2, "away": 1}]
    assert goals_of(steps) == []


def test_a_match_without_halves_is_played_as_a_whole() -> None:
    steps = plan(match(full_time=Pair(4, 3)))

    assert [step.id for step in steps] == ["start-REG", "end-REG", "end"]


def test_extra_time_and_shoot_out_follow_in_order() -> None:
    final = read(DATA / "tournament-today.json").matches[2]

    assert [step.id for step in plan(final)] == [
        "start-1H",
        "goal-home-1",
        "goal-home-2",
        "end-1H",
        "start-2H",
        "goal-away-1",
        "added-2H",
        "goal-away-2",
        "end-2H",
        "start-ET1",
        "end-ET1",
        "start-ET2",
        "goal-home-3",
        "goal-away-3",
        "end-ET2",
        "start-PEN",
        "end-PEN",
        "end",
    ]


def test_a_shoot_out_may_follow_without_extra_time() -> None:
    steps = plan(match(full_time=Pair(1, 1), penalties=Pair(5, 4)))

    assert [step.id for step in steps][-4:] == ["end-REG", "start-PEN", "end-PEN", "end"]
    assert steps[-1].body["message"] == "The match is over: Juist 1\u20131 Borkum (5\u20134 on penalties)"


def test_goal_names_scorer_side_and_score() -> None:
    goals = (Goal("home", "Ada Holm", 16, penalty=True), Goal("away", "Eve Lund", 45, 2, own_goal=True))
    first, second = goals_of(plan(match(*goals, full_time=Pair(1, 1))))

    assert first.body == {
        "minute": 16,
        "sequence": 2,
        "period": 1,
        "periodCode": "1H",
        "eventType": "penalty_goal",
        "side": "home",
        "actor": "Ada Holm",
        "team": "Juist",
        "message": "Goal! Ada Holm (penalty) \u2014 Juist 1\u20130 Borkum",
        "metadata": {"replay": "goal-home-1"},
        "tags": ["goal"],
    }
    assert (second.body["eventType"], second.body["side"], second.body["team"]) == ("own_goal", "away", "Borkum")
    assert second.body["stoppage"] == 2
    assert second.body["message"] == "Goal! Eve Lund (own goal) \u2014 Juist 1\u20131 Borkum"


def test_an_unknown_scorer_is_left_out() -> None:
    goal = goals_of(plan(match(Goal("home", None, 3), full_time=Pair(1, 0))))[0]

    assert "actor" not in goal.body
    assert goal.body["message"] == "Goal! \u2014 Juist 1\u20130 Borkum"


def test_stoppage_time_belongs_to_its_half() -> None:
    goals = (Goal("home", "Late", 45, 3), Goal("away", "Early", 46))
    steps = plan(match(*goals, full_time=Pair(1, 1)))

    assert [step.id for step in steps][1:6] == ["added-1H", "goal-home-1", "end-1H", "start-2H", "goal-away-1"]
    assert steps[1].body["metadata"] == {"minutes": 3, "replay": "added-1H"}
    assert [step.body["sequence"] for step in steps] == list(range(1, len(steps) + 1))


def test_a_minute_after_the_ninetieth_is_stoppage_time_unless_there_was_extra_time() -> None:
    late = Goal("home", "Late", 92)

    assert goals_of(plan(match(late, full_time=Pair(1, 0))))[0].body["period"] == 2
    assert goals_of(plan(match(late, full_time=Pair(0, 0), extra_time=Pair(1, 0))))[0].body["period"] == 3


def test_goals_of_one_minute_follow_the_running_score_of_the_file() -> None:
    goals = (Goal("home", "Second", 70, total=2), Goal("away", "First", 70, total=1))

    assert [goal.body["actor"] for goal in goals_of(plan(match(*goals, full_time=Pair(1, 1))))] == ["First", "Second"]


def test_goals_without_a_minute_come_before_the_end_of_the_last_period() -> None:
    semi = read(DATA / "tournament-rounds.json").matches[0]
    steps = plan(semi)

    assert [goal.body.get("actor") for goal in goals_of(steps)] == ["Jan Poll", "Ike Wulf", "Gus Roth", "Hal Voss"]
    assert [step.id for step in steps][-4:] == ["goal-home-1", "goal-home-2", "end-2H", "end"]


@pytest.mark.parametrize("name", ["tournament-today.json", "tournament-rounds.json"])
def test_steps_are_distinct_and_ordered(name: str) -> None:
    for each in read(DATA / name).matches:
        steps = plan(each)
        assert len({step.id for step in steps}) == len(steps)
        assert [step.at for step in steps] == sorted(step.at for step in steps)


def test_goals_add_up_if_the_file_lists_all() -> None:
    first, goalless, final, _ = read(DATA / "tournament-today.json").matches

    assert [scored(plan(each)) for each in (first, goalless, final)] == [(2, 1), (0, 0), (3, 3)]


@pytest.mark.parametrize("outcome", ["unplayed", "postponed", "cancelled"])
def test_a_match_that_was_not_played_has_no_steps(outcome: Outcome) -> None:
    assert plan(Match("Juist", "Borkum", KICK_OFF, Score(full_time=Pair(0, 0)), outcome=outcome)) == []


def test_an_abandoned_match_is_played_up_to_its_last_goal() -> None:
    goals = (Goal("home", "Ada Holm", 12), Goal("away", "Eve Lund", 61))
    steps = plan(Match("Juist", "Borkum", KICK_OFF, Score(full_time=Pair(1, 1)), goals, outcome="abandoned"))

    assert [step.id for step in steps] == ["start-1H", "goal-home-1", "start-2H", "goal-away-1", "abandoned"]
    assert steps[-1].body["message"] == "The match was abandoned: Juist 1\u20131 Borkum"


def test_awarded_match_has_one_entry_with_its_score() -> None:
    goals = (Goal("home", "Ada Holm", 12),)
    (step,) = plan(Match("Juist", "Borkum", KICK_OFF, Score(full_time=Pair(0, 3)), goals, outcome="awarded"))

    assert step.body["message"] == "The match was awarded: Juist 0\u20133 Borkum"
    assert step.body["metadata"]["scoreDelta"] == {"home": 0, "away": 3}


def test_the_record_ends_later_with_extra_time() -> None:
    assert record_end(match(full_time=Pair(0, 0))) == KICK_OFF + timedelta(hours=2)
    assert record_end(match(extra_time=Pair(0, 0))) == KICK_OFF + timedelta(hours=2, minutes=30)


def test_overlapping_matches_run_in_parallel_and_gaps_are_skipped() -> None:
    hours = (0, 1, 48, 48, 72)
    spans = [(KICK_OFF + timedelta(hours=hour), timedelta(hours=2)) for hour in hours]

    assert [start / timedelta(hours=1) for start in timeline(spans)] == [0, 1, 3, 3, 5]


def test_empty_tournament_takes_no_time() -> None:
    assert timeline([]) == []
