"""The rules of a match, tested by examples and properties."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.http_errors import Conflict
from livescore.scores import rules
from livescore.scores.rules import Invalid, MatchState
from livescore.scores.state import NO_SCORE, Score, Status

KICK_OFF = datetime(2026, 6, 11, 19, tzinfo=UTC)
FULL_TIME = KICK_OFF + timedelta(hours=2)
SECOND = timedelta(seconds=1)

scores = st.builds(Score, st.integers(0, 1000), st.integers(0, 1000))
statuses: st.SearchStrategy[Status] = st.sampled_from(["scheduled", "live", "finished", "postponed", "cancelled"])


def match(status: Status = "live", *, pinned: bool = False, score: Score = NO_SCORE) -> MatchState:
    return MatchState("football", "Home", "Away", status, KICK_OFF, FULL_TIME, score, pinned)


def test_a_match_is_scheduled_before_its_start() -> None:
    assert rules.status_at(KICK_OFF, FULL_TIME, KICK_OFF - SECOND) == "scheduled"


def test_a_match_is_live_from_its_start_on() -> None:
    assert rules.status_at(KICK_OFF, FULL_TIME, KICK_OFF) == "live"
    assert rules.status_at(KICK_OFF, FULL_TIME, FULL_TIME - SECOND) == "live"


def test_a_match_is_finished_from_its_end_on() -> None:
    assert rules.status_at(KICK_OFF, FULL_TIME, FULL_TIME) == "finished"


@given(st.integers(-10_000, 10_000), st.integers(0, 10_000))
def test_status_never_regresses_as_time_passes(second: int, later: int) -> None:
    order = ["scheduled", "live", "finished"]
    now = KICK_OFF + second * SECOND
    first, then = (rules.status_at(KICK_OFF, FULL_TIME, moment) for moment in (now, now + later * SECOND))
    assert order.index(first) <= order.index(then)


def test_only_goals_change_the_score() -> None:
    metadata = {"scoreDelta": {"home": 1}}
    assert rules.score_delta("goal", metadata) == Score(1, 0)
    assert rules.score_delta("commentary", metadata) == NO_SCORE


@pytest.mark.parametrize("metadata", [None, {}, {"scoreDelta": None}, {"scoreDelta": 3}, {"scoreDelta": {}}])
def test_a_goal_without_a_delta_moves_nothing(metadata: dict[str, Any] | None) -> None:
    assert rules.score_delta("goal", metadata) == NO_SCORE


@given(scores, scores)
def test_reverting_a_goal_restores_the_score(before: Score, delta: Score) -> None:
    assert before + delta + (NO_SCORE - delta) == before


def test_changed_teams_create_match_updated() -> None:
    revision = rules.revise(match(), {"home_team": "Z", "sport": "futsal"}, KICK_OFF)
    assert (revision.state.home_team, revision.state.sport) == ("Z", "futsal")
    assert revision.events == ["match_updated"]


def test_each_kind_of_change_creates_one_event_and_match_updated_is_last() -> None:
    change = {"home_score": 2, "status": "finished", "away_team": "Z"}
    revision = rules.revise(match(), change, KICK_OFF)
    assert revision.events == ["score_update", "match_status_changed", "match_updated"]


def test_score_can_be_corrected_in_every_status() -> None:
    for status in ("scheduled", "live", "finished", "postponed", "cancelled"):
        revision = rules.revise(match(status, pinned=True), {"away_score": 3}, KICK_OFF)
        assert revision.state.score == Score(0, 3)
        assert revision.events == ["score_update"]


def test_unchanged_fields_create_no_event() -> None:
    before = match(score=Score(1, 0))
    revision = rules.revise(before, {"home_team": "Home", "home_score": 1}, KICK_OFF)
    assert revision.events == []
    assert revision.state == before


def test_a_match_cannot_end_before_it_starts() -> None:
    with pytest.raises(Invalid) as error:
        rules.revise(match(), {"end_time": KICK_OFF}, KICK_OFF)
    assert error.value.field == "endTime"


def test_changed_times_update_the_status() -> None:
    later = {"start_time": FULL_TIME, "end_time": FULL_TIME + timedelta(hours=2)}
    revision = rules.revise(match("live"), later, KICK_OFF)
    assert revision.state.status == "scheduled"
    assert revision.events == ["match_status_changed", "match_updated"]


def test_manual_status_overrides_the_clock() -> None:
    revision = rules.revise(match("live"), {"status": "cancelled"}, KICK_OFF)
    assert (revision.state.status, revision.state.pinned) == ("cancelled", True)
    moved = rules.revise(revision.state, {"end_time": FULL_TIME + SECOND}, KICK_OFF)
    assert moved.state.status == "cancelled"


def test_new_times_return_a_postponed_match_to_the_clock() -> None:
    postponed = match("postponed", pinned=True)
    tomorrow = {"start_time": KICK_OFF + timedelta(days=1), "end_time": FULL_TIME + timedelta(days=1)}
    revision = rules.revise(postponed, tomorrow, KICK_OFF)
    assert (revision.state.status, revision.state.pinned) == ("scheduled", False)


def test_a_live_match_can_be_ended() -> None:
    revision = rules.end(match("live"))
    assert (revision.state.status, revision.state.pinned) == ("finished", True)
    assert revision.events == ["match_status_changed"]


def test_ending_a_finished_match_again_is_a_no_op() -> None:
    finished = match("finished", pinned=True)
    assert rules.end(finished) == rules.Revision(finished)


@given(statuses.filter(lambda status: status not in ("live", "finished")))
def test_unplayed_match_cannot_be_ended(status: Status) -> None:
    with pytest.raises(Conflict, match=status):
        rules.end(match(status))


def test_the_score_of_a_live_match_can_be_set() -> None:
    revision = rules.set_score(match("live"), Score(2, 1))
    assert revision == rules.Revision(replace(match("live"), score=Score(2, 1)), ["score_update"])


def test_setting_the_same_score_creates_no_event() -> None:
    assert rules.set_score(match("live", score=Score(1, 1)), Score(1, 1)).events == []


@given(statuses.filter(lambda status: status != "live"))
def test_the_score_can_only_be_set_while_live(status: Status) -> None:
    with pytest.raises(Conflict, match=status):
        rules.set_score(match(status), Score(1, 0))
