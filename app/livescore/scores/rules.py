"""The rules of a match as pure functions: changes by hand, and the rules of its sport.

The statements of the service follow the same rules. Where SQL needs one, a migration has made it a function of the
database, and a property test compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from livescore.http_errors import INVALID_BODY, BadRequest, Conflict, Issue
from livescore.scores import sports
from livescore.scores.match_state import FIXTURE, MatchState, status_at
from livescore.scores.state import Override, Score

INT4_MAX = 2_147_483_647
"""The largest value of PostgreSQL's ``integer``: ids, seqs, scores and minutes are stored in such columns."""


class Invalid(BadRequest):
    """The change contradicts itself or the match."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__(INVALID_BODY, *issues)


@dataclass(frozen=True, slots=True)
class Revision:
    """A change by hand.

    Attributes:
        match: The match with its new details. Score and pinned status are as before, because the fold decides them.
        override: The new score and status, for the fold.
    """

    match: MatchState
    override: Override | None = None

    def refolds(self, before: MatchState) -> bool:
        """Return True if the entries mean something else now."""
        after = self.match
        return sports.of(before.sport) is not sports.of(after.sport) or before.rules != after.rules


def merged_rules(sport: str, given: Mapping[str, Any] | None, base: Mapping[str, Any] | None = None) -> Any:
    """Return the complete rules of a match: what the client sent, and defaults.

    Args:
        sport: The match's ``sport``.
        given: The ``rules`` that the client sent.
        base: Rules to complete them with before the defaults of the sport.

    Returns:
        The rules as JSON; None for a sport without any.

    Raises:
        Invalid: A member is unknown or not valid. The issue names it.
    """
    model = sports.of(sport).rules
    try:
        rules = model.model_validate({**(base or {}), **(given or {})}, by_alias=True, by_name=False)
    except ValidationError as error:
        raise Invalid(*(Issue(("rules", *fault["loc"]), fault["msg"]) for fault in error.errors())) from None
    return rules.model_dump(by_alias=True, mode="json") or None


def revise(before: MatchState, change: Mapping[str, Any], now: datetime) -> Revision:
    """Apply a PATCH to a match.

    Args:
        before: The match before the change.
        change: New values by column, with ``start_time``, ``end_time``, ``home_score`` and ``away_score``.
        now: The database's time.

    Raises:
        Invalid: The match would end before it starts, or its rules are not those of its sport.
    """
    fields = {name: change[name] for name in _FIELDS if name in change}
    fixture = {**before.fixture, **{name: change[name] for name in FIXTURE if name in change}}
    after = replace(before, **fields, fixture=fixture)
    if after.end_time <= after.start_time:
        raise Invalid(Issue(("endTime",), "endTime must be after startTime"))
    after = replace(after, rules=_rules(before, after, change))
    override = Override(0, now)
    if (before.start_time, before.end_time) != (after.start_time, after.end_time):
        # New times return a postponed match to the clock, and move a match that the clock controls.
        if not before.pinned:
            after = replace(after, status=status_at(after.start_time, after.end_time, now))
        elif before.status == "postponed":
            override = replace(override, sets_status=True)
    status = change.get("status")
    if status is not None:
        override = replace(override, sets_status=(before.status, before.pinned) != (status, True), status=status)
    score = Score(change.get("home_score", before.score.home), change.get("away_score", before.score.away))
    if score != before.score:
        override = replace(override, score=score)
    is_empty = override.score is None and not override.sets_status
    return Revision(after, None if is_empty else override)


def end(before: MatchState, now: datetime) -> Revision:
    """Finish a live match by hand. A finished match does not change.

    Raises:
        Conflict: The match is neither live nor finished.
    """
    if before.status == "finished":
        return Revision(before)
    if before.status != "live":
        raise Conflict(f"Match is {before.status}, only a live match can be ended")
    return Revision(before, Override(0, now, sets_status=True, status="finished"))


def set_score(before: MatchState, score: Score, now: datetime) -> Revision:
    """Set the score of a live match.

    Raises:
        Conflict: The match is not live.
    """
    if before.status != "live":
        raise Conflict(f"Match is {before.status}, the score can only be set while it is live")
    return Revision(before, None if score == before.score else Override(0, now, score=score))


# Fields of MatchState that a PATCH may set, besides its fixture, rules, score and status.
_FIELDS = ("sport", "home_team", "away_team", "start_time", "end_time")


def _rules(before: MatchState, after: MatchState, change: Mapping[str, Any]) -> Any:
    """Return the rules after a PATCH. Members that it does not name stay, unless the sport is another one."""
    is_same_sport = sports.of(before.sport) is sports.of(after.sport)
    if "rules" not in change:
        return before.rules if is_same_sport else merged_rules(after.sport, None)
    is_reset = change["rules"] is None
    return merged_rules(after.sport, change["rules"], None if is_reset or not is_same_sport else before.rules)
