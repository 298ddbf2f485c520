"""Events: queries and responses of the feed over HTTP."""

from typing import Annotated, Any

from pydantic import Field

from livescore.api.schemas.base import OMITTED, Answer, Query
from livescore.api.schemas.commentary import Commentary
from livescore.api.schemas.fields import Id, Seq
from livescore.api.schemas.matches import Match
from livescore.event_types import EventType
from livescore.scores.rules import INT4_MAX


class EventsQuery(Query):
    """The part of a feed to return, and how long to wait for the next event."""

    since: int = Field(0, ge=0, le=INT4_MAX, description="`seq` of the last event seen; 0 for all.")
    limit: int = Field(100, ge=1, le=1_000, description="Maximum number of events in the response.")
    wait: float = Field(0, ge=0, le=25, description="Seconds to wait for an event if there is none yet (long poll).")
    epoch: str | None = Field(None, max_length=64, description="`epoch` of the previous response.")


class AllStreamQuery(Query):
    """The position from which a stream of all matches resumes."""

    last_event_id: str | None = Field(
        None, alias="lastEventId", description="Replaces the header `Last-Event-ID`, which a web page cannot set."
    )


class StreamQuery(AllStreamQuery):
    """The position from which a stream of one match resumes."""

    since: int | None = Field(None, ge=0, le=INT4_MAX, description="`seq` of the last event seen.")
    epoch: str | None = Field(
        None,
        max_length=64,
        description="`epoch` of the previous stream; ids of this stream then contain the epoch.",
    )


class Event(Answer):
    """A change of a match; ``data`` by its ``type``."""

    type: EventType
    seq: Seq
    match_id: Id
    data: dict[str, Any]


class Snapshot(Answer):
    """The state of a match, in place of a history that is not available."""

    match: Match
    commentary: list[Commentary]


class EventsAnswer(Answer):
    """Events in order. If ``recovered`` is false, some are missing and ``snapshot`` replaces them."""

    data: list[Event]
    seq: Annotated[int, Field(ge=0, le=INT4_MAX, description="`seq` of the feed's last event.")]
    epoch: Annotated[str, Field(description="Fingerprint of the feed; changes if the database is restored.")]
    recovered: bool
    snapshot: Snapshot = OMITTED
