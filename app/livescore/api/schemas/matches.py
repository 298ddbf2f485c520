"""Matches: bodies, query and responses."""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

from livescore.api.schemas.base import OMITTED, Answer, Body, Patch, Query
from livescore.api.schemas.commentary import MAX_METADATA_DEPTH, text_issues
from livescore.api.schemas.fields import (
    Count,
    Id,
    Instant,
    Label,
    Labels,
    Limit,
    Name,
    Names,
    Points,
    QueryInstant,
    Seq,
    Timestamp,
)
from livescore.http_errors import Issue
from livescore.scores.sports import SPORTS
from livescore.scores.sports.sport import Sport
from livescore.scores.state import DecidedBy, Json, Side, Status, Winner

_KICK_OFF = "2026-06-11T19:00:00.000Z"
_FULL_TIME = "2026-06-11T21:00:00.000Z"


_RULES_DESCRIPTION = "Members of the sport's rules; the others have their defaults."
_METADATA_DESCRIPTION = f"Any object, at most {MAX_METADATA_DEPTH} levels deep and without U+0000."
_EXTERNAL_ID_DESCRIPTION = "Id of the match in another system; no two matches have the same."


def _of_sports(schemas: Iterable[Json]) -> WithJsonSchema:
    """Return the JSON schema of a member whose form depends on the sport, and that other sports do not have."""
    return WithJsonSchema({"anyOf": [*schemas, {"type": "null"}]})


def _rules_schema(sport: Sport) -> Json:
    """Return the JSON schema of complete rules, with the name of the sport as its title."""
    schema = sport.rules.model_json_schema(by_alias=True, mode="serialization")
    members = {
        name: {key: value for key, value in member.items() if key not in ("title", "default")}
        for name, member in schema["properties"].items()
    }
    return {"title": f"Rules of {sport.name}", "type": "object", "properties": members, "required": list(members)}


Rules = Annotated[dict[str, Any] | None, _of_sports(_rules_schema(sport) for sport in SPORTS)]
Detail = Annotated[
    dict[str, Any] | None,
    _of_sports(
        {"title": f"State of {sport.name}", **sport.detail_schema}
        for sport in SPORTS
        if sport.detail_schema is not None
    ),
]

AnyObject = Annotated[dict[str, Any], Strict(), WithJsonSchema({"type": "object", "additionalProperties": True})]


class Fixture(Body):
    """What a match is part of, and its rules. ``null`` is no value."""

    competition: Label | None = OMITTED
    season: Label | None = OMITTED
    stage: Label | None = OMITTED
    group: Label | None = OMITTED
    round: Label | None = OMITTED
    leg: Count | None = OMITTED
    match_number: Count | None = Field(OMITTED, alias="matchNumber")
    venue: Name | None = OMITTED
    referee: Name | None = OMITTED
    external_id: Name | None = Field(OMITTED, alias="externalId", description=_EXTERNAL_ID_DESCRIPTION)
    attendance: Count | None = OMITTED
    start_time_confirmed: Annotated[bool, Strict()] = Field(
        OMITTED, alias="startTimeConfirmed", description="True by default."
    )
    rules: AnyObject | None = Field(OMITTED, description=_RULES_DESCRIPTION)
    metadata: AnyObject | None = Field(OMITTED, description=_METADATA_DESCRIPTION)

    def issues(self) -> Iterator[Issue]:
        """Yield the faults of the metadata."""
        yield from super().issues()
        if self.metadata is not None:
            yield from text_issues(self.metadata, ("metadata",))


class NewMatch(Fixture):
    """A match to create. ``endTime`` must be after ``startTime``; the status follows from both."""

    sport: Name
    home_team: Name = Field(alias="homeTeam")
    away_team: Name = Field(alias="awayTeam")
    start: Instant = Field(alias="startTime", examples=[_KICK_OFF])
    end: Instant = Field(alias="endTime", examples=[_FULL_TIME])
    home_score: Points = Field(0, alias="homeScore", description="0 by default.")
    away_score: Points = Field(0, alias="awayScore", description="0 by default.")

    def issues(self) -> Iterator[Issue]:
        """Yield an issue for a match that does not end after its start, and the faults of the metadata."""
        yield from super().issues()
        if self.end <= self.start:
            yield Issue(("endTime",), "endTime must be after startTime")


class MatchPatch(Fixture, Patch):
    """Changes of a match; `null` removes a value. A status that is set here is not changed by the clock."""

    sport: Name = OMITTED
    home_team: Name = Field(OMITTED, alias="homeTeam")
    away_team: Name = Field(OMITTED, alias="awayTeam")
    start_time: Instant = Field(OMITTED, alias="startTime", examples=[_KICK_OFF])
    end_time: Instant = Field(OMITTED, alias="endTime", examples=[_FULL_TIME])
    home_score: Points = Field(OMITTED, alias="homeScore")
    away_score: Points = Field(OMITTED, alias="awayScore")
    status: Literal["delayed", "live", "interrupted", "finished", "postponed", "cancelled", "abandoned", "awarded"] = (
        OMITTED
    )


class ScoreBody(Body):
    """The score of a live match."""

    home_score: Points = Field(alias="homeScore")
    away_score: Points = Field(alias="awayScore")


# A position in the list, which is not secret: milliseconds since 1970 and a match id, in hexadecimal.
_CURSOR = re.compile("([0-9a-f]{1,11})-([0-9a-f]{1,7}|[0-7][0-9a-f]{7})")


def _parse_cursor(value: str) -> tuple[int, int]:
    match = _CURSOR.fullmatch(value)
    if not match:
        raise PydanticCustomError("cursor", "Input should be a nextCursor of this list")
    return int(match[1], 16), int(match[2], 16)


def cursor_text(milliseconds: int, match_id: int) -> str:
    """Return the opaque text of a position, which :data:`Cursor` parses."""
    return f"{milliseconds:x}-{match_id:x}"


def _split_commas(values: list[str]) -> list[str]:
    return [value for text in values for value in text.split(",")]


Cursor = Annotated[
    tuple[int, int],
    BeforeValidator(_parse_cursor),
    WithJsonSchema({"type": "string", "pattern": f"^(?:{_CURSOR.pattern})$"}),
]
Statuses = Annotated[list[Status], BeforeValidator(_split_commas), Field(min_length=1)]


class CompetitionMatchesQuery(Query):
    """Filters and page of the list of a competition's matches."""

    COMMA_SEPARATED = frozenset({"status"})

    limit: Limit = 50
    cursor: Cursor = Field(OMITTED, description="`nextCursor` of the previous page.")
    season: Labels = Field(OMITTED, description="Any of these; may be repeated.")
    stage: Labels = Field(OMITTED, description="Any of these; may be repeated.")
    round: Labels = Field(OMITTED, description="Any of these; may be repeated.")
    group: Labels = Field(OMITTED, description="Any of these; may be repeated.")
    status: Statuses = Field(OMITTED, description="Any of these; may be repeated or separated by commas.")
    sport: Names = Field(OMITTED, description="Any of these; may be repeated.")
    team: Names = Field(OMITTED, description="Any of these, home or away; may be repeated.")
    from_: QueryInstant = Field(OMITTED, alias="from", description="Starting at or after this time.")
    to: QueryInstant = Field(OMITTED, description="Starting before this time.")
    updated_since: QueryInstant = Field(OMITTED, alias="updatedSince", description="Changed at or after this time.")

    def filters(self) -> dict[str, Any]:
        """Return the filters that the client sent, by their names in the store."""
        names = {"from_": "from", "updated_since": "updatedSince"}
        given = self.model_fields_set - {"limit", "cursor"}
        return {names.get(name, name): getattr(self, name) for name in given}


class SidePoints(Answer):
    """Points of both sides."""

    home: Count
    away: Count


class PeriodPoints(SidePoints):
    """The points of one period alone; in tennis the games of a set, with the points of its tie-break."""

    period: str
    tie_break: SidePoints = OMITTED


class MatchClock(Answer):
    """The match time at a moment, from which clients count on while it is running."""

    period: str
    seconds: float = Field(ge=0, description="Match time at `at`: elapsed (`up`), or left in the period (`down`).")
    announced: Count | None = Field(description="Added time that the board shows, in seconds.")
    running: bool
    direction: Literal["up", "down"]
    at: Timestamp


class ShootoutKick(Answer):
    """One kick of a shoot-out."""

    side: Side
    actor: str | None
    scored: bool


class MatchShootout(SidePoints):
    """A shoot-out; `kicks` is empty if only the totals are known."""

    first: Side | None = Field(description="The side that began, if known.")
    kicks: list[ShootoutKick]


class SideCards(Answer):
    """The cards of one side."""

    yellow: Count
    red: Count
    second_yellow: Count = Field(description="Dismissals after two yellow cards, which `yellow` and `red` include.")


class MatchCards(Answer):
    """The cards of both sides."""

    home: SideCards
    away: SideCards


class MatchAggregate(SidePoints):
    """The score over both legs of a tie."""

    winner: Winner | None


class MatchesQuery(CompetitionMatchesQuery):
    """Filters and page of the list of matches."""

    competition: Labels = Field(OMITTED, description="Any of these ids; may be repeated.")


class Match(Answer):
    """A match."""

    id: Id
    sport: str
    home_team: str
    away_team: str
    status: Status
    start_time: Timestamp
    end_time: Timestamp
    home_score: Count
    away_score: Count
    created_at: Timestamp
    updated_at: Timestamp
    seq: Seq
    competition: str | None
    season: str | None
    stage: str | None
    group: str | None
    round: str | None
    leg: Count | None
    match_number: Count | None
    venue: str | None
    referee: str | None
    external_id: str | None
    attendance: Count | None
    start_time_confirmed: bool
    rules: Rules
    period: str | None
    clock: MatchClock | None
    scores: list[PeriodPoints]
    shootout: MatchShootout | None
    winner: Winner | None
    decided_by: DecidedBy | None
    aggregate: MatchAggregate | None
    cards: MatchCards | None
    state: Detail
    metadata: dict[str, Any] | None


class MatchAnswer(Answer):
    """One match."""

    data: Match


class MatchesAnswer(Answer):
    """A page of matches, newest first."""

    data: list[Match]
    next_cursor: str | None
