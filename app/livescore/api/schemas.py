"""What clients send and receive: the bodies and queries validate, and all of them make OpenAPI."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, Strict, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from livescore.api.errors import Issue
from livescore.scores.feed import EventType
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

# A calendar that knows leap years: clients that read OpenAPI know as much as this server does. There is no year 0.
_DATE = (
    r"(?!0000)(?:(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
    r"|[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8])))"
)
INSTANT_PATTERN = rf"^{_DATE}T(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]+)?)?Z$"
_INSTANT = re.compile(INSTANT_PATTERN)

# Nine digits always fit int4.
_NUMERAL = re.compile("-?[0-9]{1,9}")


def _instant(value: Any) -> datetime:
    """UTC, cut to the milliseconds that are stored."""
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise PydanticCustomError("instant", "Input should be a UTC time such as 2026-02-20T15:00:00.000Z")
    instant = datetime.fromisoformat(value)
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 5.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _numeral(value: Any) -> Any:
    return int(value) if isinstance(value, str) and _NUMERAL.fullmatch(value) else _whole(value)


def canonical(value: str) -> Any:
    """A query's integer, written in the one usual way; anything else as it is, for pydantic to refuse."""
    return int(value) if re.fullmatch("0|[1-9][0-9]{0,9}", value) else value


def _listed(value: str) -> list[str]:
    return value.split(",")


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
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    # Not the format date-time: that wants seconds, and knows offsets.
    WithJsonSchema({"type": "string", "pattern": INSTANT_PATTERN}),
]
Tags = Annotated[list[Text], Strict(), FailFast()]

_DELTA = {"type": "integer", "minimum": 0, "maximum": SCORE_DELTA_MAX}
Metadata = Annotated[
    dict[str, Any],
    Strict(),
    WithJsonSchema(
        {
            "type": "object",
            "description": f"Any object, at most {METADATA_DEPTH} levels deep. `scoreDelta` moves the score of a goal.",
            "properties": {"scoreDelta": {"type": "object", "properties": {"home": _DELTA, "away": _DELTA}}},
            "additionalProperties": True,  # livescore.api.openapi says which
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

    @staticmethod
    def require_one(schema: dict[str, Any]) -> None:
        """Say so in OpenAPI."""
        schema["anyOf"] = [{"required": [name]} for name in schema["properties"]]

    model_config = ConfigDict(json_schema_extra=require_one)

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
    home_score: Points = Field(0, alias="homeScore")
    away_score: Points = Field(0, alias="awayScore")

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
    sequence: Int4 = 0
    period: Period = 1
    event_type: Text = Field("commentary", alias="eventType")
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


class Query(BaseModel):
    """The parameters of a request; unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class MatchesQuery(Query):
    """Which matches, and how many of them."""

    FILTERS: ClassVar[tuple[str, ...]] = ("status", "sport", "team", "from", "to", "updatedSince")

    limit: Limit = 50
    cursor: Cursor = Field(OMITTED, description="`nextCursor` of the page before.")
    status: Statuses = Field(OMITTED, description="One or more, separated by commas.")
    sport: Name = OMITTED
    team: Name = Field(OMITTED, description="Home or away.")
    from_: Instant = Field(OMITTED, alias="from", description="Starting at or after this time.")
    to: Instant = Field(OMITTED, description="Starting before this time.")
    updated_since: Instant = Field(OMITTED, alias="updatedSince", description="Changed at or after this time.")

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
    """What the server sends: exactly these members."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


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
