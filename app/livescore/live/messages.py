"""Messages of the server, except events: one definition for WebSocket, SSE and AsyncAPI."""

from functools import cache
from time import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from livescore.scores.feed import Event
from livescore.scores.rules import INT4_MAX

MatchId = Annotated[int, Field(ge=1, le=INT4_MAX, description="Id of a match.")]
Seq = Annotated[int, Field(ge=0, description="Number of an event in its match's feed: 1, 2, 3… without a gap.")]
Epoch = Annotated[str, Field(description="Fingerprint of the feed; it changes when the database was restored.")]


class Message(BaseModel):
    """A JSON object with a ``type``. Its members are named in camelCase, and later versions may add some."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)

    def encode(self) -> bytes:
        """Return the message as JSON in UTF-8, without the members that are None."""
        message: bytes = _serializer(type(self)).to_json(self, exclude_none=True)
        return message


@cache
def _serializer(model: type[Message]) -> Any:
    """Return the serializer of a model; :meth:`model_dump_json` would make text of its bytes, to be encoded again."""
    return TypeAdapter(model).serializer


class Welcome(Message):
    """The first message of every connection."""

    type: Literal["welcome"] = "welcome"
    message: str = "Connected to Live Score API"
    instance: str


class Subscribed(Message):
    """Acknowledges ``subscribe``.

    ``recovered`` answers ``since``: true if everything after it follows, false if a snapshot replaces it.
    """

    type: Literal["subscribed"] = "subscribed"
    match_id: MatchId
    seq: Seq
    recovered: bool | None = None
    epoch: Epoch


class Unsubscribed(Message):
    """Acknowledges ``unsubscribe``."""

    type: Literal["unsubscribed"] = "unsubscribed"
    match_id: MatchId


class Subscriptions(Message):
    """Acknowledges ``setSubscriptions``; ``seq`` has the last event of each match."""

    type: Literal["subscriptions"] = "subscriptions"
    match_ids: list[MatchId]
    seq: dict[str, Seq]
    epoch: Epoch


class SubscribedAll(Message):
    """Acknowledges ``subscribeAll``, or begins a stream of all matches.

    Only a stream that resumes has ``recovered``: true if everything after its ``Last-Event-ID`` follows, false if a
    snapshot of every match replaces it.
    """

    type: Literal["subscribedAll"] = "subscribedAll"
    recovered: bool | None = None


class UnsubscribedAll(Message):
    """Acknowledges ``unsubscribeAll``."""

    type: Literal["unsubscribedAll"] = "unsubscribedAll"


class Pong(Message):
    """Answers ``ping``."""

    type: Literal["pong"] = "pong"


ErrorCode = Literal["invalid_json", "invalid_message", "rate_limited", "too_many_subscriptions", "unavailable"]


class ErrorMessage(Message):
    """Says what is wrong with a message, and what to do."""

    type: Literal["error"] = "error"
    code: Annotated[ErrorCode, Field(description="`invalid_message`: `message` names the member at fault.")]
    message: str


class Reconnect(Message):
    """Announces that this instance will close the socket (1012): reconnect after ``retryAfterMs`` and resume."""

    type: Literal["reconnect"] = "reconnect"
    retry_after_ms: Annotated[int, Field(ge=0, description="Milliseconds, drawn at random for each client.")]


SERVER_MESSAGES: tuple[type[Message], ...] = (
    Welcome,
    Subscribed,
    Unsubscribed,
    Subscriptions,
    SubscribedAll,
    UnsubscribedAll,
    Pong,
    ErrorMessage,
    Reconnect,
)


def snapshot(match_id: int, seq: int, data: str) -> bytes:
    """Return the state of a match, in place of a history that is gone. ``data`` is JSON of match and commentary."""
    return f'{{"type":"snapshot","seq":{seq},"matchId":{match_id},"data":{data}}}'.encode()


def snapshot_event(match_id: int, seq: int, data: str) -> Event:
    """Return a snapshot in the form in which streams queue it."""
    return Event(match_id, seq, "snapshot", time(), "", snapshot(match_id, seq, data))


def subscribed(match_id: int, seq: int, epoch: str, recovered: bool | None = None) -> bytes:
    """Return the acknowledgement of ``subscribe``."""
    return Subscribed(match_id=match_id, seq=seq, recovered=recovered, epoch=epoch).encode()


def invalid(message: str) -> bytes:
    """Return the error for a member, named in ``message``, of a message or of the query of a handshake."""
    return ErrorMessage(code="invalid_message", message=message).encode()


INVALID_JSON = ErrorMessage(code="invalid_json", message="Invalid JSON").encode()
RATE_LIMITED = ErrorMessage(code="rate_limited", message="Too many messages: send fewer than the limit allows").encode()
UNAVAILABLE = ErrorMessage(code="unavailable", message="The feed cannot be read now: try again in a moment").encode()
PONG = Pong().encode()
SUBSCRIBED_ALL = SubscribedAll().encode()
UNSUBSCRIBED_ALL = UnsubscribedAll().encode()
