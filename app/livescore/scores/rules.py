"""The rules of a match as pure functions: status by the clock, score by commentary, changes by hand.

The statements of the service follow the same rules. Where SQL needs one, a migration has made it a function of the
database, and a property test compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from livescore.event_types import EventType
from livescore.http_errors import INVALID_BODY, BadRequest, Conflict, Issue
from livescore.scores.state import NO_SCORE, Score, Status

INT4_MAX = 2_147_483_647
"""The largest value of PostgreSQL's ``integer``: ids, seqs, scores and minutes are stored in such columns."""


def status_at(start: datetime, end: datetime, now: datetime) -> Status:
    """Return the status of a match by the clock.

    A match is scheduled before its start, finished from its end on, and live in between. The function
    ``livescore_status`` of the database is the same rule.
    """
    if now < start:
        return "scheduled"
    if now < end:
        return "live"
    return "finished"


def score_delta(event_type: str, metadata: Mapping[str, Any] | None) -> Score:
    """Return the difference that a commentary makes to the score: the ``metadata.scoreDelta`` of a goal."""
    if event_type != "goal" or metadata is None:
        return NO_SCORE
    delta = metadata.get("scoreDelta")
    if not isinstance(delta, dict):
        return NO_SCORE
    return Score(int(delta.get("home", 0)), int(delta.get("away", 0)))


class Invalid(BadRequest):
    """The change contradicts itself or the match.

    Attributes:
        field: The member of the request body at fault.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(INVALID_BODY, Issue((field,), message))
        self.field = field


@dataclass(frozen=True, slots=True)
class MatchState:
    """The part of a match that can be changed by hand.

    Attributes:
        pinned: True if the status was set by hand, so that the clock does not change it.
    """

    sport: str
    home_team: str
    away_team: str
    status: Status
    start_time: datetime
    end_time: datetime
    score: Score
    pinned: bool


@dataclass(frozen=True, slots=True)
class Revision:
    """The state after a change, and the types of the events that describe the change, in order."""

    state: MatchState
    events: list[EventType] = field(default_factory=list)


def revise(before: MatchState, change: Mapping[str, Any], now: datetime) -> Revision:
    """Apply a PATCH to a match.

    Args:
        before: The state before the change.
        change: New values by field of :class:`MatchState`, with ``home_score`` and ``away_score`` instead of ``score``.
        now: The database's time.

    Raises:
        Invalid: The match would end before it starts.
    """
    details = {name: change[name] for name in _DETAILS if name in change}
    home_score = change.get("home_score", before.score.home)
    away_score = change.get("away_score", before.score.away)
    after = replace(before, **details, score=Score(home_score, away_score))
    if after.end_time <= after.start_time:
        raise Invalid("endTime", "endTime must be after startTime")
    after = _with_status(before, after, change.get("status"), now)
    return Revision(after, _events(before, after))


def end(before: MatchState) -> Revision:
    """Finish a live match by hand. A finished match does not change.

    Raises:
        Conflict: The match is neither live nor finished.
    """
    if before.status == "finished":
        return Revision(before)
    if before.status != "live":
        raise Conflict(f"Match is {before.status}, only a live match can be ended")
    after = replace(before, status="finished", pinned=True)
    return Revision(after, _events(before, after))


def set_score(before: MatchState, score: Score) -> Revision:
    """Set the score of a live match.

    Raises:
        Conflict: The match is not live.
    """
    if before.status != "live":
        raise Conflict(f"Match is {before.status}, the score can only be set while it is live")
    after = replace(before, score=score)
    return Revision(after, _events(before, after))


# Fields whose change is a `match_updated` event.
_DETAILS = ("sport", "home_team", "away_team", "start_time", "end_time")


def _with_status(before: MatchState, after: MatchState, requested: Status | None, now: datetime) -> MatchState:
    """Set the status after a change.

    A requested status is pinned. New times return a postponed match to the clock, and move a match that the clock
    controls.
    """
    if requested is not None:
        return replace(after, status=requested, pinned=True)
    has_new_times = (before.start_time, before.end_time) != (after.start_time, after.end_time)
    if not has_new_times:
        return after
    if before.pinned and before.status != "postponed":
        return after
    return replace(after, status=status_at(after.start_time, after.end_time, now), pinned=False)


def _events(before: MatchState, after: MatchState) -> list[EventType]:
    """Return the types of the events of a change, in order.

    ``match_updated`` is the last one, because its data contains the match's seq, which must be its own.
    """
    events: list[EventType] = []
    if before.score != after.score:
        events.append("score_update")
    if before.status != after.status:
        events.append("match_status_changed")
    if any(getattr(before, name) != getattr(after, name) for name in _DETAILS):
        events.append("match_updated")
    return events
