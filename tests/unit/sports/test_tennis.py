"""Tennis: real scorelines from points and from results, the order of play, and properties."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from livescore.scores import sports
from livescore.scores.fold import Folder, Step
from livescore.scores.sports.tennis import Tennis
from livescore.scores.sports.tennis_board import SETS, TennisRules, is_final
from livescore.scores.state import NO_SCORE, Entry, Override, PeriodScore, Score, Side, State
from tests.unit.sports import strategies
from tests.unit.sports.match import replay
from tests.unit.sports.scorelines import Scoreline

NOW = datetime(2026, 6, 29, 12, tzinfo=UTC)

MATCHES: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "data" / "tennis.json").read_text())

SCHEMA = jsonschema_rs.validator_for(Tennis.detail_schema)

both_sides: st.SearchStrategy[Side] = st.sampled_from(["home", "away"])


def folder(initial: Score = NO_SCORE, **rules: Any) -> Folder:
    return Folder(Tennis(), TennisRules.model_validate(rules), initial)


def entry(type_: str, side: Side | None = None, period: str | None = None, **metadata: Any) -> Entry:
    """Return an entry; :func:`numbered` gives it an id."""
    return Entry(0, type_, NOW, side, period, metadata=metadata)


def point(side: Side) -> Entry:
    return entry("point", side)


def points(*sides: Side) -> list[Entry]:
    return [point(side) for side in sides]


def row(side: Side, number: int) -> list[Entry]:
    """Return points that one side wins in a row."""
    return [point(side)] * number


def games(side: Side, number: int) -> list[Entry]:
    return row(side, 4 * number)


def result(code: str, home: int, away: int, tie_break: tuple[int, int] | None = None) -> Entry:
    metadata: dict[str, Any] = {"score": {"home": home, "away": away}}
    if tie_break is not None:
        metadata["tieBreak"] = {"home": tie_break[0], "away": tie_break[1]}
    return entry("period_end", None, code, **metadata)


def numbered(steps: Iterable[Step]) -> list[Step]:
    """Return the steps with ids and times that follow each other."""
    changed: list[Step] = []
    for id_, step in enumerate(steps, start=1):
        at = NOW + timedelta(seconds=30 * id_)
        if isinstance(step, Entry):
            changed.append(Entry(id_, step.type, at, step.side, step.period, metadata=step.metadata))
        else:
            changed.append(Override(id_, at, step.score, step.adjustment, step.sets_status, step.status))
    return changed


def play(*steps: Step, match: Folder | None = None) -> State:
    return (match or folder()).fold(numbered(steps))


def warnings(*steps: Step, match: Folder | None = None) -> list[str]:
    """Return the warnings of the last step."""
    match = match or folder()
    *before, last = numbered(steps)
    assert isinstance(last, Entry)
    return match.warnings(match.fold(before), last)


def shown(state: State) -> tuple[Any, Any]:
    """Return the points of the current game, or of the tie-break."""
    assert state.detail is not None
    return state.detail["points"]["home"], state.detail["points"]["away"]


def server(state: State) -> Side | None:
    assert state.detail is not None
    side: Side | None = state.detail["server"]
    return side


def assert_legal(state: State, rules: TennisRules) -> None:
    """Assert that a state could come about by the rules."""
    assert state.detail is not None
    SCHEMA.validate(state.detail)
    won = [entry.score.leader for entry in state.scores if is_final(rules, SETS.index(entry.period) + 1, entry.score)]
    assert state.score == Score(won.count("home"), won.count("away"))
    assert [entry.period for entry in state.scores] == list(SETS[: len(state.scores)])
    assert max(state.score.home, state.score.away) <= rules.sets_to_win
    is_decided = max(state.score.home, state.score.away) == rules.sets_to_win
    assert (state.status == "finished") == (state.period == "FT") == (state.winner is not None) == is_decided
    assert len(won) == len(state.scores) - (0 if is_decided or state.period is None else 1)
    home, away = shown(state)
    if not state.detail["tieBreak"]:
        assert "AD" not in (home, away) or {home, away} == {"AD", "40"}


# Real matches


@pytest.mark.parametrize("match", MATCHES, ids=lambda match: match["match"])
@pytest.mark.parametrize("seed", range(3))
def test_points_lead_to_the_scoreline(match: dict[str, Any], seed: int) -> None:
    line = Scoreline.of(match)
    end = [] if line.end is None else [entry(line.end["eventType"], line.end["side"])]
    assert_result(play(*points(*line.points(seed)), *end, match=Folder(Tennis(), line.rules)), line)


@pytest.mark.parametrize("match", MATCHES, ids=lambda match: match["match"])
def test_results_of_sets_lead_to_the_scoreline(match: dict[str, Any]) -> None:
    line = Scoreline.of(match)
    results = [entry("period_end", None, played.period, **_members(played)) for played in line.scores]
    if line.end is not None:
        last = results.pop() if results else None
        members = {} if last is None else dict(last.metadata)
        results.append(entry(line.end["eventType"], line.end["side"], **members))
    of_results = Folder(Tennis(), line.rules)
    state = play(*results, match=of_results)
    assert_result(state, line)
    assert all(warnings(*results[: count + 1], match=of_results) == [] for count in range(len(results)))


def _members(played: PeriodScore) -> dict[str, Any]:
    members: dict[str, Any] = {"score": {"home": played.score.home, "away": played.score.away}}
    if played.tie_break is not None:
        members["tieBreak"] = {"home": played.tie_break.home, "away": played.tie_break.away}
    return members


def assert_result(state: State, line: Scoreline) -> None:
    assert state.scores == line.scores
    assert state.score == line.headline
    assert (state.winner, state.decided_by, state.status) == (line.winner, line.decided_by, "finished")
    assert state.period == ("FT" if line.sets else None)


def test_twenty_differently_shaped_matches_are_checked() -> None:
    assert len({tuple(match["sets"]) for match in MATCHES}) >= 20
    assert all(match["source"] for match in MATCHES)


# Games


def test_the_sport_is_registered() -> None:
    assert isinstance(sports.of("Tennis"), Tennis)
    assert {"point", "points"} <= sports.moving()


def test_the_first_point_opens_the_first_set_and_makes_the_match_live() -> None:
    before, state = play(), play(point("home"))
    assert (before.period, before.status) == (None, None)
    assert (state.period, state.status, state.scores) == ("S1", "live", (PeriodScore("S1", NO_SCORE),))


def test_a_game_counts_15_30_40() -> None:
    sides: list[Side] = ["home", "away", "away", "home", "home"]
    expected = [("15", "0"), ("15", "15"), ("15", "30"), ("30", "30"), ("40", "30")]
    assert [shown(play(*points(*sides[: n + 1]))) for n in range(5)] == expected
    state = play(*points(*sides, "home"))
    assert (shown(state), state.scores[0].score) == (("0", "0"), Score(1, 0))


def test_a_game_needs_a_lead_of_two_points_after_deuce() -> None:
    deuce = points("home", "away") * 3
    assert shown(play(*deuce)) == ("40", "40")
    assert shown(play(*deuce, point("away"))) == ("40", "AD")
    assert shown(play(*deuce, point("away"), point("home"))) == ("40", "40")
    assert play(*deuce, *points("away", "home", "home", "home")).scores[0].score == Score(1, 0)


def test_the_next_point_wins_the_game_at_deuce_without_advantage() -> None:
    deuce = points("home", "away") * 3
    assert play(*deuce, point("away"), match=folder(noAd=True)).scores[0].score == Score(0, 1)


def test_the_next_set_starts_at_once() -> None:
    state = play(*games("home", 6))
    assert (state.period, state.score) == ("S2", Score(1, 0))
    assert state.scores == (PeriodScore("S1", Score(6, 0)), PeriodScore("S2", NO_SCORE))


def test_a_tie_break_counts_in_numbers() -> None:
    level = [*games("home", 5), *games("away", 6), *games("home", 1)]
    assert shown(play(*level)) == (0, 0)
    state = play(*level, *points("home", "away", "away"))
    assert shown(state) == (1, 2)
    assert state.scores == (PeriodScore("S1", Score(6, 6), Score(1, 2)),)


def test_a_match_tie_break_replaces_the_final_set() -> None:
    match = folder(finalSet="match_tie_break")
    level = [*games("home", 6), *games("away", 6)]
    assert shown(play(*level, match=match)) == (0, 0)
    state = play(*level, *points("away", "home") * 7, *row("home", 3), match=match)
    assert state.scores[-1] == PeriodScore("S3", Score(1, 0), Score(10, 7))
    assert (state.score, state.winner, state.period) == (Score(2, 1), "home", "FT")


# Servers


def test_the_server_changes_with_each_game() -> None:
    first = entry("point", "home", server="home")
    assert server(play(first)) == "home"
    assert server(play(first, *row("home", 3))) == "away"
    assert server(play(first, *row("home", 3), *games("home", 1))) == "home"


def test_a_period_start_names_the_server() -> None:
    state = play(entry("period_start", None, "S1", server="away"))
    assert (server(state), state.period, state.status) == ("away", "S1", "live")


def test_the_server_changes_after_the_first_point_of_a_tie_break_and_then_after_every_other() -> None:
    level = [entry("period_start", server="home"), *games("home", 5), *games("away", 6), *games("home", 1)]
    tie_break = points("home", "away") * 3
    servers = [server(play(*level, *tie_break[:n])) for n in range(7)]
    assert servers == ["home", "away", "away", "home", "home", "away", "away"]


@pytest.mark.parametrize("lost", range(6))
def test_the_first_receiver_of_a_tie_break_serves_first_in_the_next_set(lost: int) -> None:
    level = [entry("period_start", server="home"), *games("home", 5), *games("away", 6), *games("home", 1)]
    state = play(*level, *row("away", lost), *row("home", 7))
    assert (state.period, server(state)) == ("S2", "away")


def test_an_unknown_server_stays_unknown() -> None:
    assert server(play(*games("home", 3))) is None


def test_the_reporter_knows_the_server_better() -> None:
    steps = [entry("point", "home", server="home"), entry("point", "home", server="away")]
    assert server(play(*steps)) == "away"
    assert warnings(*steps) == ["home was to serve, the entry says away"]


# Coarser reports


def test_points_count_as_several() -> None:
    assert play(entry("points", "home", points=30)) == play(*row("home", 30))
    assert play(entry("points", "home", points=10**6)).winner == "home"


@pytest.mark.parametrize("metadata", [{}, {"points": 0}, {"points": -1}, {"points": "4"}])
def test_points_without_a_number_have_no_effect(metadata: dict[str, Any]) -> None:
    assert play(entry("points", "home", **metadata)) == play()
    assert warnings(entry("points", "home", **metadata)) == [
        "metadata.points has no effect: it needs an integer of at least 1"
    ]


def test_a_point_may_win_the_game_whatever_the_points_are() -> None:
    state = play(point("away"), entry("point", "home", wins="game"))
    assert (shown(state), state.scores[0].score) == (("0", "0"), Score(1, 0))


def test_a_tie_break_won_by_an_unknown_score_has_no_points() -> None:
    level = [*games("home", 5), *games("away", 6), *games("home", 1), point("away")]
    assert play(*level, entry("point", "home", wins="game")).scores[0] == PeriodScore("S1", Score(7, 6))


def test_a_score_delta_counts_sets() -> None:
    state = play(*games("home", 3), entry("goal", scoreDelta={"home": 1}))
    assert (state.score, state.period) == (Score(1, 0), "S2")
    assert play(entry("goal", scoreDelta={"home": 1})).score == Score(1, 0)


def test_the_side_of_a_period_end_wins_the_set() -> None:
    state = play(entry("period_end", "away", "S1"))
    assert (state.score, state.scores, state.period) == (Score(0, 1), (PeriodScore("S2", NO_SCORE),), "S2")


def test_two_numbers_alone_are_the_points_of_a_match_tie_break() -> None:
    match = folder(finalSet="match_tie_break")
    state = play(result("S1", 4, 6), result("S2", 6, 2), result("S3", 10, 7), match=match)
    assert (state.scores[-1], state.winner) == (PeriodScore("S3", Score(1, 0), Score(10, 7)), "home")


def test_a_reporter_may_join_in_the_middle_of_a_set() -> None:
    joined = entry("period_start", None, "S2", score={"home": 5, "away": 3}, server="home")
    state = play(result("S1", 6, 4), joined, *games("home", 1))
    assert (state.scores[1].score, state.score, state.winner) == (Score(6, 3), Score(2, 0), "home")


def test_a_later_result_corrects_an_earlier_set() -> None:
    steps = [result("S1", 6, 4), result("S2", 6, 4)]
    assert play(*steps).winner == "home"
    state = play(*steps, result("S2", 4, 6))
    assert (state.score, state.winner, state.period, state.status) == (Score(1, 1), None, "S3", "live")


def test_a_result_before_the_next_set_replaces_the_points_counted() -> None:
    state = play(*games("home", 4), result("S1", 7, 5), point("home"))
    assert [entry.score for entry in state.scores] == [Score(7, 5), NO_SCORE]


def test_a_set_without_result_counts_once_it_has_one() -> None:
    steps: list[Step] = [*games("home", 5), entry("period_start", None, "S2"), *games("away", 2)]
    assert play(*steps).score == NO_SCORE
    assert warnings(*steps[:21])[0].startswith("S1 is not over")
    state = play(*steps, result("S1", 6, 1))
    assert (state.score, state.period) == (Score(1, 0), "S2")


# Ends


def test_a_finished_match_ignores_further_points_with_a_warning() -> None:
    won = games("home", 12)
    assert play(*won, point("away")) == play(*won)
    assert warnings(*won, point("away")) == ["the match is decided: the entry has no effect"]
    assert play(*won, entry("retirement", "home")) == play(*won)


@pytest.mark.parametrize(
    ("type_", "decided_by"), [("retirement", "retired"), ("default", "defaulted"), ("walkover", "walkover")]
)
def test_the_named_side_loses_a_match_that_ends_early(type_: str, decided_by: str) -> None:
    state = play(*games("home", 2), point("away"), entry(type_, "home"))
    assert (state.winner, state.decided_by, state.status, state.period) == ("away", decided_by, "finished", "FT")
    assert state.scores == (PeriodScore("S1", Score(2, 0)),)
    assert shown(state) == ("0", "15")


def test_a_set_of_which_nothing_was_played_has_no_entry_after_a_retirement() -> None:
    state = play(*games("home", 6), entry("retirement", "away"))
    assert state.scores == (PeriodScore("S1", Score(6, 0)),)
    assert state.score == Score(1, 0)


def test_a_match_that_goes_on_after_a_retirement_continues_where_it_was() -> None:
    live = Override(0, NOW, sets_status=True, status="live")
    state = play(*games("home", 2), point("away"), entry("retirement", "home"), live, point("away"))
    assert (state.winner, state.status, state.period) == (None, "live", "S1")
    assert (shown(state), state.scores[0].score) == (("0", "30"), Score(2, 0))


def test_an_interrupted_match_resumes_with_its_next_point_or_set() -> None:
    rain = Override(0, NOW, sets_status=True, status="interrupted")
    before: list[Step] = [*games("home", 2), point("home"), rain]
    assert play(*before).status == "interrupted"
    assert play(*before, entry("period_start", None, "S1")).status == "live"
    state = play(*before, point("home"))
    assert (state.status, shown(state)) == ("live", ("30", "0"))
    assert warnings(*before, entry("period_start", None, "S1")) == []


def test_a_match_ended_by_hand_is_won_by_the_side_that_leads() -> None:
    end = Override(0, NOW, sets_status=True, status="finished")
    state = play(*games("home", 7), end)
    assert (state.winner, state.decided_by, state.period) == ("home", "regular", "FT")


# Changes by hand


def test_sets_set_by_hand_move_to_the_set_that_follows() -> None:
    state = play(*games("home", 4), Override(0, NOW, Score(0, 1)), point("home"))
    assert (state.score, state.period) == (Score(0, 1), "S2")
    assert state.scores == (PeriodScore("S1", Score(4, 0)), PeriodScore("S2", NO_SCORE))


def test_sets_set_by_hand_may_decide_the_match() -> None:
    state = play(*games("home", 6), Override(0, NOW, Score(2, 0)))
    assert (state.winner, state.period, state.status) == ("home", "FT", "finished")


def test_sets_set_back_by_hand_reopen_the_set() -> None:
    state = play(*games("home", 7), Override(0, NOW, NO_SCORE), point("away"))
    assert (state.score, state.period, state.scores) == (NO_SCORE, "S1", (PeriodScore("S1", Score(6, 0)),))


def test_the_initial_score_selects_the_first_set() -> None:
    assert play(point("home"), match=folder(Score(1, 1))).period == "S3"


# Warnings


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([entry("point")], "no side: the entry has no effect"),
        ([entry("point", "home", "S3")], "the point counts in the current set S1, not in S3"),
        ([entry("period_start", None, "Q1")], "tennis has no period Q1: the entry counts for S1"),
        ([entry("period_start", None, "S2")], "S2 is not expected now: S1 follows"),
        ([*games("home", 6), entry("period_start", None, "S1")], "S1 is over: the entry has no effect"),
        ([result("S2", 6, 4)], "S2 is not expected now: S1 is the current set"),
        ([result("S1", 6, 5)], "6-5 is not the result of a set by the rules of this match"),
        (
            [*games("home", 3), entry("period_end", None, "S1")],
            "3-0 is not the result of a set by the rules of this match",
        ),
        (
            [entry("period_end", None, "S1", score={"home": 6})],
            "metadata.score has no effect: it needs home and away, integers of at least 0",
        ),
        ([entry("period_end", None, "HT")], "tennis has no period HT: the entry counts for S1"),
        ([entry("period_end", None, "FT")], "no side has the sets that win the match: the side that leads wins"),
        ([entry("clock_start")], "tennis has no clock: the entry has no effect"),
        ([entry("retirement")], "no side: the entry has no effect"),
    ],
)
def test_a_contradiction_is_named(steps: list[Step], expected: str) -> None:
    assert warnings(*steps) == [expected]


@pytest.mark.parametrize(
    "steps",
    [
        [entry("period_start", None, "S1", server="home")],
        [*games("home", 6), entry("period_end", None, "S1")],
        [*games("home", 6), entry("period_end")],
        [*games("home", 6), entry("period_start", None, "S2")],
        [*games("home", 12), entry("period_end", None, "FT")],
        [*games("home", 6), result("S1", 6, 1)],
        [entry("point", "home", scoreDelta={"home": 1})],
    ],
)
def test_a_plausible_entry_has_no_warning(steps: list[Step]) -> None:
    assert warnings(*steps) == []


def test_a_set_announced_after_its_last_point_changes_nothing() -> None:
    before = play(*games("home", 6))
    assert play(*games("home", 6), entry("period_end", None, "S1"), entry("period_start", None, "S2")) == before


# Rules


@pytest.mark.parametrize(
    "rules",
    [
        {"bestOf": 4},
        {"gamesPerSet": 8, "tieBreakAt": 6},
        {"finalSetTieBreakAt": 4},
        {"tieBreakTo": 0},
        {"finalSet": "none"},
        {"sets": 3},
    ],
)
def test_contradictory_rules_are_rejected(rules: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TennisRules.model_validate(rules)


def test_tie_breaks_follow_at_the_number_of_games_that_wins_a_set() -> None:
    assert TennisRules.model_validate({"gamesPerSet": 4}).tie_break_at == 4
    assert TennisRules.model_validate({"gamesPerSet": 4, "tieBreakAt": None}).tie_break_at is None


# Properties

rule_sets = st.fixed_dictionaries(
    {
        "bestOf": st.sampled_from([1, 3, 5]),
        "noAd": st.booleans(),
        "gamesPerSet": st.sampled_from([1, 2, 4, 6]),
        "tieBreakTo": st.sampled_from([1, 5, 7]),
        "finalSet": st.sampled_from(["tie_break", "match_tie_break", "advantage"]),
        "finalSetTieBreakTo": st.sampled_from([None, 10]),
    }
).map(TennisRules.model_validate)

# Members of metadata that only tennis knows.
members = st.fixed_dictionaries(
    {},
    optional={
        "points": st.integers(0, 40),
        "score": st.fixed_dictionaries({"home": st.integers(0, 8), "away": st.integers(0, 8)}),
        "tieBreak": st.fixed_dictionaries({"home": st.integers(0, 9), "away": st.integers(0, 9)}),
        "server": st.sampled_from(["home", "away", "?"]),
        "wins": st.just("game"),
    },
)


@given(rule_sets, st.lists(both_sides, max_size=300))
@settings(deadline=None, max_examples=50)
def test_any_sequence_of_points_gives_a_legal_score(rules: TennisRules, sides: Sequence[Side]) -> None:
    match = Folder(Tennis(), rules)
    state = match.start()
    for step in numbered(points(*sides)):
        before, state = state, match.apply(state, step)
        assert_legal(state, rules)
        if before.winner is not None:
            assert state == before


@given(
    rule_sets, strategies.steps(["point"] * 6 + sorted(Tennis.moving), [*SETS, "FT"]), st.lists(members, min_size=40)
)
@settings(deadline=None)
def test_incremental_application_equals_the_fold(
    rules: TennisRules, drawn: list[Step], more: list[dict[str, Any]]
) -> None:
    match = Folder(Tennis(), rules)
    steps = [
        replace(step, metadata={**step.metadata, **more[n]}) if isinstance(step, Entry) else step
        for n, step in enumerate(drawn)
    ]
    before = match.start()
    for step, state in zip(steps, replay(match, steps), strict=True):
        if isinstance(step, Entry):
            match.warnings(before, step)
        SCHEMA.validate(state.detail)
        before = state


@given(st.lists(both_sides, min_size=1, max_size=200), st.data())
@settings(deadline=None, max_examples=25)
def test_a_deleted_point_never_happened(sides: list[Side], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(sides) - 1))
    steps = numbered(points(*sides))
    without = [step for step in steps if step.id != index + 1]
    assert folder().fold(without) == play(*points(*sides[:index], *sides[index + 1 :]))
