"""Commentary: bodies, query and responses."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, Strict, WithJsonSchema

from livescore.api.schemas.base import OMITTED, Answer, Body, Patch, Query
from livescore.api.schemas.fields import (
    NO_NUL_MESSAGE,
    Count,
    Id,
    Int4,
    Limit,
    Message,
    Period,
    PeriodCode,
    Seq,
    Tags,
    Text,
    Timestamp,
    integer_schema,
    parse_whole_float,
)
from livescore.http_errors import Issue
from livescore.scores.json_text import MAX_NESTING
from livescore.scores.state import Side

# Levels within `metadata`; the body around it is the first level.
MAX_METADATA_DEPTH = MAX_NESTING - 1

# Goals, points or sets of one event. A larger number is a typing error.
MAX_SCORE_DELTA = 1000

_DELTA_SCHEMA = integer_schema(0, MAX_SCORE_DELTA)
Metadata = Annotated[
    dict[str, Any],
    Strict(),
    WithJsonSchema(
        {
            "type": "object",
            "description": (
                f"Any object, at most {MAX_METADATA_DEPTH} levels deep and without U+0000. "
                "`scoreDelta` says how an entry that scores moves the score."
            ),
            "properties": {
                "scoreDelta": {"type": "object", "properties": {"home": _DELTA_SCHEMA, "away": _DELTA_SCHEMA}}
            },
            "additionalProperties": True,
        }
    ),
]


_SIDE_DESCRIPTION = (
    "The side whose score rises, or that the entry concerns; for an `own_goal` the side that benefits. "
    "If it is missing, `team` decides."
)
_PERIOD_CODE_DESCRIPTION = "Code of a period of the sport, such as `1H`, `Q3` or `S2`."
_STOPPAGE_DESCRIPTION = "Minutes of added time: 4 together with `minute` 90 is 90+4."


class NewCommentary(Body):
    """Commentary to append. The `eventType`s that have a meaning in the match's sport change its state."""

    minute: Count
    message: Message
    sequence: Int4 = Field(0, description="0 by default.")
    period: Period = Field(1, description="1 by default.")
    event_type: Text = Field("commentary", alias="eventType", description="`commentary` by default.")
    actor: Text = OMITTED
    team: Text = OMITTED
    metadata: Metadata = OMITTED
    tags: Tags = OMITTED
    side: Side = Field(OMITTED, description=_SIDE_DESCRIPTION)
    period_code: PeriodCode = Field(OMITTED, alias="periodCode", description=_PERIOD_CODE_DESCRIPTION)
    stoppage: Count = Field(OMITTED, description=_STOPPAGE_DESCRIPTION)

    def issues(self) -> Iterator[Issue]:
        """Yield the faults of the metadata."""
        yield from metadata_issues(self.metadata)


class CommentaryPatch(Patch):
    """Changes of a commentary; the state of the match follows."""

    minute: Count = OMITTED
    message: Message = OMITTED
    sequence: Int4 = OMITTED
    period: Period = OMITTED
    event_type: Text = Field(OMITTED, alias="eventType")
    actor: Text = OMITTED
    team: Text = OMITTED
    metadata: Metadata = OMITTED
    tags: Tags = OMITTED
    side: Side = Field(OMITTED, description=_SIDE_DESCRIPTION)
    period_code: PeriodCode = Field(OMITTED, alias="periodCode", description=_PERIOD_CODE_DESCRIPTION)
    stoppage: Count = Field(OMITTED, description=_STOPPAGE_DESCRIPTION)

    def issues(self) -> Iterator[Issue]:
        """Yield an issue for an empty body, and the faults of the metadata."""
        yield from super().issues()
        yield from metadata_issues(self.metadata)


def metadata_issues(metadata: Mapping[str, Any] | None) -> Iterator[Issue]:
    """Yield the faults of metadata: text that cannot be stored, or a ``scoreDelta`` that cannot be added to a score."""
    if metadata is None:
        return
    yield from text_issues(metadata, ("metadata",))
    if "scoreDelta" in metadata:
        yield from _delta_issues(metadata["scoreDelta"], ("metadata", "scoreDelta"))


def text_issues(value: Any, path: tuple[str | int, ...]) -> Iterator[Issue]:
    """Yield an issue for every string and key with U+0000 within a JSON value."""
    if isinstance(value, str):
        if "\0" in value:
            yield Issue(path, NO_NUL_MESSAGE)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from text_issues(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            if "\0" in key:
                yield Issue(path, NO_NUL_MESSAGE)
            yield from text_issues(item, (*path, key))


def _delta_issues(delta: Any, path: tuple[str, ...]) -> Iterator[Issue]:
    if not isinstance(delta, dict):
        yield Issue(path, "Input should be an object")
        return
    for side in ("home", "away"):
        points = parse_whole_float(delta.get(side, 0))
        if type(points) is not int or not 0 <= points <= MAX_SCORE_DELTA:
            yield Issue((*path, side), f"Input should be an integer from 0 to {MAX_SCORE_DELTA}")


class CommentaryQuery(Query):
    """The number of entries."""

    limit: Limit = 100


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
    side: Side | None
    period_code: str | None
    stoppage: Count | None
    warnings: list[str] = Field(description="Contradictions between the entry and the rules of the sport.")


class Deleted(Answer):
    """The ids of a deleted commentary."""

    id: Id
    match_id: Id


class CommentaryAnswer(Answer):
    """One commentary."""

    data: Commentary


class CommentariesAnswer(Answer):
    """Commentary, newest first."""

    data: list[Commentary]


class DeletedAnswer(Answer):
    """A deleted commentary."""

    data: Deleted
