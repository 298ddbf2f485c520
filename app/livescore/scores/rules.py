"""The rules of a match, pure: its status at a time, the score that events make, what a revision changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

Status = Literal["scheduled", "live", "finished", "postponed", "cancelled"]

# The largest int4: what the columns hold.
INT4_MAX = 2_147_483_647


def status_at(start: datetime, end: datetime, now: datetime) -> Status:
    """The status that the clock gives: scheduled before the start, finished from the end on, live between."""
    if now < start:
        return "scheduled"
    return "finished" if now >= end else "live"


@dataclass(frozen=True, slots=True)
class Score:
    """Goals, points or sets of both sides; also the difference that one event makes."""

    home: int = 0
    away: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(self.home + other.home, self.away + other.away)

    def __sub__(self, other: "Score") -> "Score":
        return Score(self.home - other.home, self.away - other.away)

    def floored(self) -> "Score":
        """No side falls below zero, even when a goal is taken back after the score was set by hand."""
        return Score(max(self.home, 0), max(self.away, 0))


NO_SCORE = Score()


def score_delta(event_type: str, metadata: Mapping[str, Any] | None) -> Score:
    """What a commentary adds to the score: its ``metadata.scoreDelta``, if it is a goal."""
    delta = (metadata or {}).get("scoreDelta") if event_type == "goal" else None
    return Score(int(delta.get("home", 0)), int(delta.get("away", 0))) if isinstance(delta, dict) else NO_SCORE


class Conflict(Exception):
    """The match is in a state that does not allow the change (409)."""


class Invalid(Exception):
    """The change does not fit the match whatever its state (400); ``field`` names the member at fault."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class MatchState:
    """What a revision may change of a match."""

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
    """The state after a change and the types of the events that tell it, in order."""

    state: MatchState
    events: list[str] = field(default_factory=list)


def revise(before: MatchState, change: Mapping[str, Any], now: datetime) -> Revision:
    """Apply a PATCH. ``change`` has keys of :class:`MatchState` (``home_score`` and ``away_score`` for the score).

    Raises:
        Invalid: when the match would end before it starts.
    """
    after = replace(before, **{key: change[key] for key in _PLAIN if key in change}, score=_score(before, change))
    if after.end_time <= after.start_time:
        raise Invalid("endTime", "endTime must be after startTime")
    after = _with_status(before, after, change.get("status"), now)
    return Revision(after, _events(before, after))


def end(before: MatchState) -> Revision:
    """Finish a live match by hand; one that is finished stays so.

    Raises:
        Conflict: when it is neither.
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
        Conflict: when it is not live.
    """
    if before.status != "live":
        raise Conflict(f"Match is {before.status}, the score can only be set while it is live")
    after = replace(before, score=score)
    return Revision(after, _events(before, after))


_PLAIN = ("sport", "home_team", "away_team", "start_time", "end_time")


def _score(before: MatchState, change: Mapping[str, Any]) -> Score:
    return Score(change.get("home_score", before.score.home), change.get("away_score", before.score.away))


def _with_status(before: MatchState, after: MatchState, wanted: Status | None, now: datetime) -> MatchState:
    """A status given by hand pins it; new times of a postponed match give it back to the clock."""
    if wanted is not None:
        return replace(after, status=wanted, pinned=True)
    moved = (before.start_time, before.end_time) != (after.start_time, after.end_time)
    pinned = before.pinned and not (moved and before.status == "postponed")
    if not moved or pinned:
        return after
    return replace(after, status=status_at(after.start_time, after.end_time, now), pinned=False)


def _events(before: MatchState, after: MatchState) -> list[str]:
    """`match_updated` comes last: its data then carries its own number as the match's."""
    told = {"score_update": "score", "match_status_changed": "status"}
    events = [kind for kind, name in told.items() if getattr(before, name) != getattr(after, name)]
    if any(getattr(before, name) != getattr(after, name) for name in _PLAIN):
        events.append("match_updated")
    return events
