"""Every message of a WebSocket beside the events themselves: one definition for the wire, SSE and AsyncAPI."""

from time import time
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from livescore.scores.feed import Event
from livescore.scores.rules import INT4_MAX

MatchId = Annotated[int, Field(ge=1, le=INT4_MAX, description="Id of a match.")]
Seq = Annotated[int, Field(ge=0, description="Number of an event in its match's feed: 1, 2, 3… without a gap.")]
Epoch = Annotated[str, Field(description="Fingerprint of the feed; it changes when the database was restored.")]


class Message(BaseModel):
    """A JSON object with a ``type``; its members are named in camelCase, and later versions may add some."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)

    def encode(self) -> bytes:
        """The bytes on the wire; members that were not set are left out."""
        return orjson.dumps(self.model_dump(exclude_none=True))


# What a client may say


class Subscribe(Message):
    """Follow one match; with ``since``, everything after that event first."""

    type: Literal["subscribe"] = "subscribe"
    match_id: MatchId
    since: Seq | None = None
    epoch: Epoch | None = None


class Unsubscribe(Message):
    """Stop following one match."""

    type: Literal["unsubscribe"] = "unsubscribe"
    match_id: MatchId


class SetSubscriptions(Message):
    """Follow exactly these matches."""

    type: Literal["setSubscriptions"] = "setSubscriptions"
    match_ids: list[MatchId]


class SubscribeAll(Message):
    """Follow every match; single subscriptions end."""

    type: Literal["subscribeAll"] = "subscribeAll"


class UnsubscribeAll(Message):
    """Follow nothing any more."""

    type: Literal["unsubscribeAll"] = "unsubscribeAll"


class Ping(Message):
    """Ask for a ``pong``."""

    type: Literal["ping"] = "ping"


# What the server says


class Welcome(Message):
    """The first message of every connection."""

    type: Literal["welcome"] = "welcome"
    message: str = "Connected to Live Score API"
    instance: str


class Subscribed(Message):
    """Acknowledges ``subscribe``; ``recovered`` tells whether everything since ``since`` follows."""

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

    Only a stream that resumes has ``recovered``: whether everything after its ``Last-Event-ID`` follows, or a snapshot
    of every match in place of it.
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
    """What was wrong with a message, and what to do."""

    type: Literal["error"] = "error"
    code: Annotated[ErrorCode, Field(description="`invalid_message`: `message` names the member at fault.")]
    message: str


class Reconnect(Message):
    """This instance is about to close the socket (1012): come back after ``retryAfterMs`` and resume."""

    type: Literal["reconnect"] = "reconnect"
    retry_after_ms: Annotated[int, Field(ge=0, description="Milliseconds, drawn at random for each client.")]


CLIENT_MESSAGES: tuple[type[Message], ...] = (
    Subscribe,
    Unsubscribe,
    SetSubscriptions,
    SubscribeAll,
    UnsubscribeAll,
    Ping,
)
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
    """The state of a match in place of a history that cannot be told: ``data`` is JSON of match and commentary."""
    return f'{{"type":"snapshot","seq":{seq},"matchId":{match_id},"data":{data}}}'.encode()


def snapshot_event(match_id: int, seq: int, data: str) -> Event:
    """Return a snapshot in the form in which streams queue it."""
    return Event(match_id, seq, "snapshot", time(), "", snapshot(match_id, seq, data))


def subscribed(match_id: int, seq: int, epoch: str, recovered: bool | None = None) -> bytes:
    """Return the acknowledgement of ``subscribe``."""
    return Subscribed(match_id=match_id, seq=seq, recovered=recovered, epoch=epoch).encode()


def invalid(message: str) -> bytes:
    """The answer to a message, or to the query of a handshake, whose member named in ``message`` is not usable."""
    return ErrorMessage(code="invalid_message", message=message).encode()


INVALID_JSON = ErrorMessage(code="invalid_json", message="Invalid JSON").encode()
RATE_LIMITED = ErrorMessage(code="rate_limited", message="Too many messages: send fewer than the limit allows").encode()
UNAVAILABLE = ErrorMessage(code="unavailable", message="The feed cannot be read now: try again in a moment").encode()
PONG = Pong().encode()
SUBSCRIBED_ALL = SubscribedAll().encode()
UNSUBSCRIBED_ALL = UnsubscribedAll().encode()
