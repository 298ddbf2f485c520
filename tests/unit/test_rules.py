"""The rules of a match, tested by examples and properties."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.event_types import EventType
from livescore.http_errors import Conflict
from livescore.scores import rules
from livescore.scores.match_state import FIXTURE, MatchState, changes, status_at
from livescore.scores.rules import Invalid, Revision
from livescore.scores.state import NO_SCORE, STATUSES, Override, Score, Status

KICK_OFF = datetime(2026, 6, 11, 19, tzinfo=UTC)
FULL_TIME = KICK_OFF + timedelta(hours=2)
SECOND = timedelta(seconds=1)

scores = st.builds(Score, st.integers(0, 1000), st.integers(0, 1000))
statuses: st.SearchStrategy[Status] = st.sampled_from(STATUSES)


def match(status: Status = "live", *, pinned: bool = False, score: Score = NO_SCORE) -> MatchState:
    fixture = dict.fromkeys(FIXTURE)
    return MatchState("curling", "Home", "Away", status, KICK_OFF, FULL_TIME, score, pinned, fixture=fixture)


def revised(before: MatchState, revision: Revision) -> tuple[MatchState, list[EventType]]:
    """Return the match after a change by hand, and the types of its events, as the store makes them."""
    after = revision.match
    if revision.override is not None:
        after = after.with_state(after.folder.apply(before.published, revision.override), KICK_OFF)
    return after, changes(before, after)


def test_a_match_is_scheduled_before_its_start() -> None:
    assert status_at(KICK_OFF, FULL_TIME, KICK_OFF - SECOND) == "scheduled"


def test_a_match_is_live_from_its_start_on() -> None:
    assert status_at(KICK_OFF, FULL_TIME, KICK_OFF) == "live"
    assert status_at(KICK_OFF, FULL_TIME, FULL_TIME - SECOND) == "live"


def test_a_match_is_finished_from_its_end_on() -> None:
    assert status_at(KICK_OFF, FULL_TIME, FULL_TIME) == "finished"


@given(st.integers(-10_000, 10_000), st.integers(0, 10_000))
def test_status_never_regresses_as_time_passes(second: int, later: int) -> None:
    order = ["scheduled", "live", "finished"]
    now = KICK_OFF + second * SECOND
    first, then = (status_at(KICK_OFF, FULL_TIME, moment) for moment in (now, now + later * SECOND))
    assert order.index(first) <= order.index(then)


@given(scores, scores)
def test_reverting_a_goal_restores_the_score(before: Score, delta: Score) -> None:
    assert before + delta + (NO_SCORE - delta) == before


def test_changed_teams_create_match_updated() -> None:
    after, events = revised(match(), rules.revise(match(), {"home_team": "Z", "sport": "futsal"}, KICK_OFF))
    assert (after.home_team, after.sport) == ("Z", "futsal")
    assert events == ["match_updated"]


@pytest.mark.parametrize("change", [{"venue": "Lusail"}, {"competition": "c", "leg": 2}, {"metadata": {"a": 1}}])
def test_a_changed_fixture_creates_match_updated(change: dict[str, Any]) -> None:
    after, events = revised(match(), rules.revise(match(), change, KICK_OFF))
    assert {name: after.fixture[name] for name in change} == change
    assert events == ["match_updated"]


def test_each_kind_of_change_creates_one_event_and_match_updated_is_last() -> None:
    change = {"home_score": 2, "status": "finished", "away_team": "Z"}
    _, events = revised(match(), rules.revise(match(), change, KICK_OFF))
    assert events == ["score_update", "match_status_changed", "match_updated"]


@pytest.mark.parametrize("status", STATUSES)
def test_score_can_be_corrected_in_every_status(status: Status) -> None:
    before = match(status, pinned=status != "scheduled")
    after, events = revised(before, rules.revise(before, {"away_score": 3}, KICK_OFF))
    assert (after.score, after.status) == (Score(0, 3), status)
    assert events == ["score_update"]


def test_unchanged_fields_create_no_event() -> None:
    before = match(score=Score(1, 0))
    revision = rules.revise(before, {"home_team": "Home", "home_score": 1, "venue": None}, KICK_OFF)
    assert revision.override is None
    assert revised(before, revision)[1] == []


def test_a_match_cannot_end_before_it_starts() -> None:
    with pytest.raises(Invalid) as error:
        rules.revise(match(), {"end_time": KICK_OFF}, KICK_OFF)
    assert [issue.path for issue in error.value.details] == [("endTime",)]


def test_changed_times_update_the_status() -> None:
    later = {"start_time": FULL_TIME, "end_time": FULL_TIME + timedelta(hours=2)}
    after, events = revised(match("live"), rules.revise(match("live"), later, KICK_OFF))
    assert after.status == "scheduled"
    assert events == ["match_status_changed", "match_updated"]


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "scheduled"])
def test_manual_status_overrides_the_clock(status: Status) -> None:
    after, _ = revised(match("live"), rules.revise(match("live"), {"status": status}, KICK_OFF))
    assert (after.status, after.pinned) == (status, True)
    if status != "postponed":
        moved, _ = revised(after, rules.revise(after, {"end_time": FULL_TIME + SECOND}, KICK_OFF))
        assert moved.status == status


def test_new_times_return_a_postponed_match_to_the_clock() -> None:
    postponed = match("postponed", pinned=True)
    tomorrow = {"start_time": KICK_OFF + timedelta(days=1), "end_time": FULL_TIME + timedelta(days=1)}
    after, _ = revised(postponed, rules.revise(postponed, tomorrow, KICK_OFF))
    assert (after.status, after.pinned) == ("scheduled", False)


def test_setting_the_current_status_again_adds_no_override() -> None:
    interrupted = match("interrupted", pinned=True)
    assert rules.revise(interrupted, {"status": "interrupted"}, KICK_OFF).override is None


def test_a_live_match_can_be_ended() -> None:
    after, events = revised(match("live"), rules.end(match("live"), KICK_OFF))
    assert (after.status, after.pinned) == ("finished", True)
    assert after.result == ("draw", "regular")
    assert events == ["match_status_changed"]


def test_an_award_decides_by_the_score() -> None:
    before = match("abandoned", pinned=True, score=Score(0, 3))
    after, events = revised(before, rules.revise(before, {"status": "awarded"}, KICK_OFF))
    assert after.result == ("away", "awarded")
    assert events == ["match_status_changed"]


def test_ending_a_finished_match_again_is_a_no_op() -> None:
    finished = match("finished", pinned=True)
    assert rules.end(finished, KICK_OFF) == Revision(finished)


@given(statuses.filter(lambda status: status not in ("live", "finished")))
def test_unplayed_match_cannot_be_ended(status: Status) -> None:
    with pytest.raises(Conflict, match=status):
        rules.end(match(status), KICK_OFF)


def test_the_score_of_a_live_match_can_be_set() -> None:
    revision = rules.set_score(match("live"), Score(2, 1), KICK_OFF)
    assert revision == Revision(match("live"), Override(0, KICK_OFF, score=Score(2, 1)))


def test_setting_the_same_score_creates_no_event() -> None:
    before = match("live", score=Score(1, 1))
    assert rules.set_score(before, Score(1, 1), KICK_OFF) == Revision(before)


@given(statuses.filter(lambda status: status != "live"))
def test_the_score_can_only_be_set_while_live(status: Status) -> None:
    with pytest.raises(Conflict, match=status):
        rules.set_score(match(status), Score(1, 0), KICK_OFF)


@given(scores, scores)
def test_a_score_that_an_older_version_has_set_stays_in_force(stored: Score, folded: Score) -> None:
    before = match(score=stored)
    state = before.folder.sport.with_score(before.folder.start(), folded, None)
    override = before.drift(state, KICK_OFF)
    assert (override is None) == (stored == folded)
    if override is not None:
        assert before.folder.apply(state, override).score == stored


def test_a_status_that_an_older_version_has_set_stays_in_force() -> None:
    before = match("cancelled", pinned=True)
    override = before.drift(before.folder.start(), KICK_OFF)
    assert override == Override(0, KICK_OFF, sets_status=True, status="cancelled")
    assert before.folder.apply(before.folder.start(), override).status == "cancelled"


def test_rules_of_another_sport_are_refused() -> None:
    with pytest.raises(Invalid) as error:
        rules.revise(match(), {"sport": "bowls", "rules": {"ends": 10}}, KICK_OFF)
    assert [issue.path for issue in error.value.details] == [("rules", "ends")]
