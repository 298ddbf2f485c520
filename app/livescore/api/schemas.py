"""What clients send and receive: the bodies and queries validate, and all of them make OpenAPI."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, Strict, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from livescore.event_types import EventType
from livescore.http_errors import Issue
from livescore.scores.json_text import MAX_NESTING
from livescore.scores.rules import INT4_MAX, Status

INT4_MIN = -INT4_MAX - 1

# The indexes on these columns hold at most 2704 bytes; UTF-8 takes up to four for a character.
NAME_LENGTH = 500

# Levels within `metadata`: the body around it is the first one.
METADATA_DEPTH = MAX_NESTING - 1

# Goals, points or sets of one event; more is a slip of the keyboard.
SCORE_DELTA_MAX = 1000

# PostgreSQL's text cannot hold U+0000.
NO_NUL = r"^[^\u0000]*$"
NO_NUL_MESSAGE = "String must not contain U+0000"

# RFC 3339 with any offset, and what ISO 8601 has besides: no seconds, a comma, offsets without minutes or colon.
_INSTANT = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt](?P<minute>[0-9]{2}:[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?"
    r"(?P<offset>[Zz]|[+-][0-9]{2}(?::?[0-5][0-9])?)?",
    re.ASCII,
)

# Nine digits always fit int4.
_NUMERAL = re.compile("-?[0-9]{1,9}")


def _instant(value: Any) -> datetime:
    """Return a time in UTC, cut to the milliseconds that are stored."""
    written = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if written is None:
        raise PydanticCustomError("instant", "Input should be a time such as 2026-02-20T15:00:00.000Z")
    if written["offset"] is None:
        raise PydanticCustomError("instant", "Time should end with Z or an offset from UTC such as +02:00")
    is_leap_second = written["second"] == "60"
    second = "59" if is_leap_second else written["second"] or "00"
    fraction = (written["fraction"] or "0")[:3].ljust(3, "0")
    text = f"{written['date']}T{written['minute']}:{second}.{fraction}{written['offset'].upper()}"
    try:
        instant = datetime.fromisoformat(text).astimezone(UTC)
        return _after_leap_second(instant) if is_leap_second else instant
    except ValueError as error:
        raise PydanticCustomError("instant", "Time does not exist: {reason}", {"reason": str(error)}) from None
    except OverflowError:
        raise PydanticCustomError("instant", "Time should be in the years 0001 to 9999 of UTC") from None


def _after_leap_second(instant: datetime) -> datetime:
    """Return the next second, as PostgreSQL does: a leap second is the last one of a month."""
    following = instant + timedelta(seconds=1)
    if (following.day, following.hour, following.minute, following.second) != (1, 0, 0, 0):
        raise ValueError("second must be in 0..59")
    return following


def _query_instant(value: Any) -> Any:
    """Read the blank before an offset as the plus sign that it was before the query string was decoded."""
    return re.sub(r" (?=[0-9]{2}(:?[0-9]{2})?$)", "+", value) if isinstance(value, str) else value


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 5.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _numeral(value: Any) -> Any:
    return int(value) if isinstance(value, str) and _NUMERAL.fullmatch(value) else _whole(value)


def canonical(value: str) -> Any:
    """A query's integer, written in the one usual way; anything else as it is, for pydantic to refuse."""
    return int(value) if re.fullmatch("0|[1-9][0-9]{0,9}", value) else value


def _listed(values: list[str]) -> list[str]:
    return [value for text in values for value in text.split(",")]


def _integer(least: int, most: int = INT4_MAX) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most}


def _numeric(least: int) -> dict[str, Any]:
    numeral = "^[0-9]{1,9}$" if least == 0 else "^-?[0-9]{1,9}$"
    return {"anyOf": [_integer(least), {"type": "string", "pattern": numeral}]}


Text = Annotated[str, Strict(), Field(pattern=NO_NUL)]
Message = Annotated[Text, Field(min_length=1)]
Name = Annotated[Message, Field(max_length=NAME_LENGTH)]
_Int4 = Annotated[int, Strict(), Field(ge=INT4_MIN, le=INT4_MAX)]
_Count = Annotated[int, Strict(), Field(ge=0, le=INT4_MAX)]
Int4 = Annotated[_Int4, BeforeValidator(_whole), WithJsonSchema(_integer(INT4_MIN))]
Count = Annotated[_Count, BeforeValidator(_whole), WithJsonSchema(_integer(0))]
Points = Annotated[_Count, BeforeValidator(_numeral), WithJsonSchema(_numeric(0))]
Period = Annotated[_Int4, BeforeValidator(_numeral), WithJsonSchema(_numeric(INT4_MIN))]
Instant = Annotated[datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
QueryInstant = Annotated[Instant, BeforeValidator(_query_instant)]
Tags = Annotated[list[Text], Strict(), FailFast()]

_DELTA = _integer(0, SCORE_DELTA_MAX)
Metadata = Annotated[
    dict[str, Any],
    Strict(),
    WithJsonSchema(
        {
            "type": "object",
            "description": (
                f"Any object, at most {METADATA_DEPTH} levels deep and without U+0000. "
                "`scoreDelta` moves the score of a goal."
            ),
            "properties": {"scoreDelta": {"type": "object", "properties": {"home": _DELTA, "away": _DELTA}}},
            "additionalProperties": True,
        }
    ),
]

_KICK_OFF, _FULL_TIME = "2026-06-11T19:00:00.000Z", "2026-06-11T21:00:00.000Z"

# A member that may be omitted but not be null; None then means that it was.
OMITTED: Any = None


class Body(BaseModel):
    """A request body; unknown members are dropped."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def values(self) -> dict[str, Any]:
        """Every member by its name in the store."""
        return self.__dict__

    def given(self) -> dict[str, Any]:
        """Only the members that the client sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def issues(self) -> Iterator[Issue]:
        """What is wrong though every member by itself is right."""
        yield from ()


class Patch(Body):
    """A body of which at least one member must be there."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    def issues(self) -> Iterator[Issue]:
        """An empty change is a mistake."""
        if not self.model_fields_set:
            yield Issue((), "At least one known member is required")


class NewMatch(Body):
    """A match to create. ``endTime`` must be after ``startTime``; the status follows from both."""

    sport: Name
    home_team: Name = Field(alias="homeTeam")
    away_team: Name = Field(alias="awayTeam")
    start: Instant = Field(alias="startTime", examples=[_KICK_OFF])
    end: Instant = Field(alias="endTime", examples=[_FULL_TIME])
    home_score: Points = Field(0, alias="homeScore", description="0 if left out.")
    away_score: Points = Field(0, alias="awayScore", description="0 if left out.")

    def issues(self) -> Iterator[Issue]:
        """A match ends after it started."""
        if self.end <= self.start:
            yield Issue(("endTime",), "endTime must be after startTime")


class MatchPatch(Patch):
    """What changes of a match. A status given here stays, whatever the clock says."""

    sport: Name = OMITTED
    home_team: Name = Field(OMITTED, alias="homeTeam")
    away_team: Name = Field(OMITTED, alias="awayTeam")
    start_time: Instant = Field(OMITTED, alias="startTime", examples=[_KICK_OFF])
    end_time: Instant = Field(OMITTED, alias="endTime", examples=[_FULL_TIME])
    home_score: Points = Field(OMITTED, alias="homeScore")
    away_score: Points = Field(OMITTED, alias="awayScore")
    status: Literal["postponed", "cancelled", "finished"] = OMITTED


class ScoreBody(Body):
    """The score of a live match."""

    home_score: Points = Field(alias="homeScore")
    away_score: Points = Field(alias="awayScore")


class NewCommentary(Body):
    """Commentary to append. A ``goal`` with ``metadata.scoreDelta`` moves the score."""

    minute: Count
    message: Message
    sequence: Int4 = Field(0, description="0 if left out.")
    period: Period = Field(1, description="1 if left out.")
    event_type: Text = Field("commentary", alias="eventType", description="`commentary` if left out.")
    actor: Text = OMITTED
    team: Text = OMITTED
    metadata: Metadata = OMITTED
    tags: Tags = OMITTED

    def issues(self) -> Iterator[Issue]:
        """Metadata is free, within bounds."""
        yield from metadata_issues(self.metadata)


class CommentaryPatch(Patch):
    """What changes of a commentary; the score follows."""

    minute: Count = OMITTED
    message: Message = OMITTED
    sequence: Int4 = OMITTED
    period: Period = OMITTED
    event_type: Text = Field(OMITTED, alias="eventType")
    actor: Text = OMITTED
    team: Text = OMITTED
    metadata: Metadata = OMITTED
    tags: Tags = OMITTED

    def issues(self) -> Iterator[Issue]:
        """Metadata is free, within bounds."""
        yield from super().issues()
        yield from metadata_issues(self.metadata)


def metadata_issues(metadata: Mapping[str, Any] | None) -> Iterator[Issue]:
    """What of a commentary's metadata could not be stored, or not be added to a score."""
    if metadata is None:
        return
    yield from _json_issues(metadata, ("metadata",))
    if "scoreDelta" in metadata:
        yield from _delta_issues(metadata["scoreDelta"], ("metadata", "scoreDelta"))


def _json_issues(value: Any, path: tuple[str | int, ...]) -> Iterator[Issue]:
    if isinstance(value, str):
        if "\0" in value:
            yield Issue(path, NO_NUL_MESSAGE)
    elif isinstance(value, dict | list):
        yield from _nested_issues(value, path)


def _nested_issues(value: dict[str, Any] | list[Any], path: tuple[str | int, ...]) -> Iterator[Issue]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(key, str) and "\0" in key:
            yield Issue(path, NO_NUL_MESSAGE)
        yield from _json_issues(inner, (*path, key))


def _delta_issues(delta: Any, path: tuple[str, ...]) -> Iterator[Issue]:
    if not isinstance(delta, dict):
        yield Issue(path, "Input should be an object")
        return
    for side in ("home", "away"):
        points = _whole(delta.get(side, 0))
        if type(points) is not int or not 0 <= points <= SCORE_DELTA_MAX:
            yield Issue((*path, side), f"Input should be an integer from 0 to {SCORE_DELTA_MAX}")


# Queries

Limit = Annotated[int, Strict(), Field(ge=1, le=100), BeforeValidator(canonical), WithJsonSchema(_integer(1, 100))]

# Milliseconds since 1970 and a match id, in hexadecimal: a position in the list, not a secret.
_CURSOR = re.compile("([0-9a-f]{1,11})-([0-9a-f]{1,7}|[0-7][0-9a-f]{7})")


def _cursor(value: str) -> tuple[int, int]:
    found = _CURSOR.fullmatch(value)
    if not found:
        raise PydanticCustomError("cursor", "Input should be a nextCursor of this list")
    return int(found[1], 16), int(found[2], 16)


def cursor_text(milliseconds: int, match_id: int) -> str:
    """The opaque form of a position; :data:`Cursor` reads it."""
    return f"{milliseconds:x}-{match_id:x}"


Cursor = Annotated[
    tuple[int, int],
    BeforeValidator(_cursor),
    WithJsonSchema({"type": "string", "pattern": f"^(?:{_CURSOR.pattern})$"}),
]
Statuses = Annotated[list[Status], BeforeValidator(_listed), Field(min_length=1)]
Names = Annotated[list[Name], Field(min_length=1)]


class Query(BaseModel):
    """The parameters of a request; unknown ones are ignored. Those of a list type may be repeated."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    COMMA_SEPARATED: ClassVar[frozenset[str]] = frozenset()


class MatchesQuery(Query):
    """Which matches, and how many of them."""

    COMMA_SEPARATED = frozenset({"status"})

    limit: Limit = 50
    cursor: Cursor = Field(OMITTED, description="`nextCursor` of the page before.")
    status: Statuses = Field(OMITTED, description="Any of these; repeated, or separated by commas.")
    sport: Names = Field(OMITTED, description="Any of these; repeated.")
    team: Names = Field(OMITTED, description="Any of these, home or away; repeated.")
    from_: QueryInstant = Field(OMITTED, alias="from", description="Starting at or after this time.")
    to: QueryInstant = Field(OMITTED, description="Starting before this time.")
    updated_since: QueryInstant = Field(OMITTED, alias="updatedSince", description="Changed at or after this time.")

    def filters(self) -> dict[str, Any]:
        """The given ones by their names in the store."""
        names = {"from_": "from", "updated_since": "updatedSince"}
        given = self.model_fields_set - {"limit", "cursor"}
        return {names.get(name, name): getattr(self, name) for name in given}


class CommentaryQuery(Query):
    """How much commentary."""

    limit: Limit = 100


# Answers

Timestamp = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        json_schema_extra={"format": "date-time"},
    ),
]
Id = Annotated[int, Field(ge=1, le=INT4_MAX)]
Seq = Annotated[int, Field(ge=1, le=INT4_MAX, description="Number of the event that made it so.")]


class Answer(BaseModel):
    """What the server sends; later versions may add members."""

    model_config = ConfigDict(alias_generator=to_camel)


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


class Commentary(Answer):
    """One entry of a match's commentary."""

    id: Id
    match_id: Id
    minute: Count
    sequence: Int4
    period: Int4
    event_type: str
    actor: str | None
    team: str | None
    message: str
    metadata: dict[str, Any] | None
    tags: list[str] | None
    created_at: Timestamp
    updated_at: Timestamp
    seq: Seq


class Event(Answer):
    """A change of a match; ``data`` by its ``type``."""

    type: EventType
    seq: Seq
    match_id: Id
    data: dict[str, Any]


class Snapshot(Answer):
    """The state of a match where its history cannot be told."""

    match: "Match"
    commentary: list["Commentary"]


class EventsAnswer(Answer):
    """Events in order; ``recovered`` is false where some are missing, and ``snapshot`` stands for them."""

    data: list[Event]
    seq: Annotated[int, Field(ge=0, le=INT4_MAX, description="The feed's last event.")]
    epoch: Annotated[str, Field(description="Fingerprint of the feed; it changes when the database was restored.")]
    recovered: bool
    snapshot: Snapshot = OMITTED


class Deleted(Answer):
    """What was deleted."""

    id: Id
    match_id: Id


class MatchAnswer(Answer):
    """One match."""

    data: Match


class MatchesAnswer(Answer):
    """A page of matches, newest first."""

    data: list[Match]
    next_cursor: str | None


class CommentaryAnswer(Answer):
    """One commentary."""

    data: Commentary


class CommentariesAnswer(Answer):
    """Commentary, newest first."""

    data: list[Commentary]


class DeletedAnswer(Answer):
    """A deleted commentary."""

    data: Deleted


class Detail(Answer):
    """One fault of a request."""

    path: list[str | int]
    message: str


class Problem(Answer):
    """Every error. ``details`` for bad input, ``reason`` when a part of the service is away."""

    error: str
    details: list[Detail] = OMITTED
    reason: str = OMITTED
