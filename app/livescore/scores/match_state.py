"""A match as a write sees it: its details, its status and score, and the fold of its entries. Pure, without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from livescore.event_types import EventType
from livescore.scores import sports
from livescore.scores.fold import Folder
from livescore.scores.state import NO_SCORE, DecidedBy, Override, Score, Side, State, Status, Winner

FIXTURE = (
    "competition",
    "season",
    "stage",
    "group",
    "round",
    "leg",
    "match_number",
    "venue",
    "referee",
    "external_id",
    "attendance",
    "start_time_confirmed",
    "metadata",
)
"""The columns that describe a match and have no influence on its state."""


@dataclass(frozen=True, slots=True)
class MatchState:
    """The part of a match that writes change.

    Attributes:
        pinned: True if entries or a change by hand have set the status, so that the clock does not change it.
        rules: The rules of the match; None for the defaults of its sport.
        initial: The score with which the match was created.
        state: The fold of the entries and overrides; None until the first fold of a match of an older version.
        fixture: Values of the columns :data:`FIXTURE`; empty if they are not read.
    """

    sport: str
    home_team: str
    away_team: str
    status: Status
    start_time: datetime
    end_time: datetime
    score: Score
    pinned: bool
    rules: Mapping[str, Any] | None = None
    initial: Score = NO_SCORE
    state: State | None = None
    fixture: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Self:
        """Return the state of a row of :data:`livescore.scores.statements.MATCH_STATE`, with or without the fixture."""
        sport, home_team, away_team, status, start, end, home, away, pinned, *more = row
        rules, first_home, first_away, fold, *fixture = more
        return cls(
            sport,
            home_team,
            away_team,
            status,
            start,
            end,
            Score(home, away),
            pinned,
            rules,
            Score(first_home, first_away),
            None if fold is None else State.from_json(fold),
            dict(zip(FIXTURE, fixture, strict=False)),
        )

    @property
    def folder(self) -> Folder:
        """The fold of this match."""
        sport = sports.of(self.sport)
        return Folder(sport, sport.rules.model_validate(self.rules or {}), self.initial)

    @property
    def published(self) -> State:
        """The state as clients know it. That of a match of an older version is only its score and status."""
        if self.state is not None:
            return self.state
        state = replace(self.folder.start(), cards=None, detail=None)
        override = self.drift(state, self.start_time)
        return state if override is None else self.folder.apply(state, override)

    @property
    def has_drifted(self) -> bool:
        """True if an older version of the service has changed score or status, which leaves the fold as it was."""
        return self.state is not None and (self.state.score, self.state.status) != (self.score, self._set_status)

    @property
    def _set_status(self) -> Status | None:
        """The status that entries or a change by hand have set; None if the clock decides."""
        return self.status if self.pinned else None

    def drift(self, state: State, now: datetime) -> Override | None:
        """Return the override that leads from a state to the stored score and status; None if they agree.

        The clock may have changed a status that the state leaves to it.
        """
        adjustment = self.score - state.score
        sets_status = state.status != self._set_status
        if adjustment == NO_SCORE and not sets_status:
            return None
        return Override(
            0,
            now,
            adjustment=None if adjustment == NO_SCORE else adjustment,
            sets_status=sets_status,
            status=self._set_status if sets_status else None,
        )

    def with_state(self, state: State, now: datetime) -> "MatchState":
        """Return the match after a fold. A status that the state no longer sets becomes that of the clock."""
        status, pinned = self.status, self.pinned
        if state.status is not None:
            status, pinned = state.status, True
        elif pinned:
            status, pinned = status_at(self.start_time, self.end_time, now), False
        return replace(self, state=state, score=state.score, status=status, pinned=pinned)

    def side_of(self, team: str | None) -> Side | None:
        """Return the side of a team; None if it is not one of the two."""
        if team == self.home_team:
            return "home"
        return "away" if team == self.away_team else None

    @property
    def result(self) -> tuple[Winner | None, DecidedBy | None]:
        """Winner and reason, as clients receive them."""
        winner, decided_by = self.implied_result
        if self.state is None:
            return winner, decided_by
        return self.state.winner or winner, self.state.decided_by or decided_by

    @property
    def implied_result(self) -> tuple[Winner | None, DecidedBy | None]:
        """Winner and reason as far as they follow from status and score alone."""
        if self.status == "finished":
            return self.score.leader, "regular"
        return (self.score.leader, "awarded") if self.status == "awarded" else (None, None)


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


def changes(before: MatchState, after: MatchState) -> list[EventType]:
    """Return the types of the events of a change, in order.

    ``match_updated`` is the last one, because its data contains the match's seq, which must be its own.
    """
    old, new = before.published, after.published
    events: list[EventType] = []
    if before.score != after.score or _points(old) != _points(new):
        events.append("score_update")
    if (old.period, old.clock) != (new.period, new.clock):
        events.append("period_changed")
    if before.status != after.status:
        events.append("match_status_changed")
    if _details(before) != _details(after) or old.cards != new.cards or _has_new_result(before, after, new):
        events.append("match_updated")
    return events


def _points(state: State) -> tuple[object, ...]:
    """Return what a ``score_update`` announces. A period without points comes with its ``period_changed``."""
    scores = [entry for entry in state.scores if entry.score != NO_SCORE or entry.tie_break is not None]
    return scores, state.shootout, state.detail


def _details(match: MatchState) -> tuple[object, ...]:
    teams = match.sport, match.home_team, match.away_team
    return *teams, match.start_time, match.end_time, match.rules, match.fixture


def _has_new_result(before: MatchState, after: MatchState, state: State) -> bool:
    """Return True if a change of the result needs an event of its own.

    The result of a match without periods follows from status and score, as long as no entry says otherwise.
    """
    if before.result == after.result:
        return False
    return state.period is not None or after.result != after.implied_result
