"""One event of a match's feed, its bytes for clients and its envelope on Redis."""

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Self

from livescore.deployment import ID_LENGTH, Origin

EVERYBODY = "everybody"  # match_created events, numbered by match ids, which have no gaps either
EVERYTHING = "feed"  # all events, for instances with subscribers to all matches

# Deployment id and epoch, match id, seq, time of the commit in seconds since 1970, lengths of type and request id.
_HEADER = Struct(f"!{2 * ID_LENGTH}sIIdBB")


def channel(match_id: int) -> str:
    """Return the channel of a match. Its name on Redis starts with the namespace of the deployment."""
    return f"match:{match_id}"


@dataclass(eq=False, slots=True)
class Event:
    """One committed change of a match, with the message that every subscriber receives.

    Streams and long polls also queue their ``subscribed`` and ``snapshot`` messages in this form.

    Attributes:
        seq: number within the match.
        type: one of :data:`EVENT_TYPES`.
        created: time of the commit, in seconds since 1970.
        request_id: ``X-Request-ID`` of the request that caused the change; empty if unknown.
        message: JSON of the client message in UTF-8, encoded once and shared by all subscribers.
    """

    match_id: int
    seq: int
    type: str
    created: float
    request_id: str
    message: bytes

    @classmethod
    def from_row(cls, match_id: int, seq: int, type_: str, data: str, created: float, request_id: str) -> Self:
        """Return the event of a database row; ``data`` is JSON text as PostgreSQL stores it."""
        message = f"{_prefix(match_id, seq, type_)}{data}}}".encode()
        return cls(match_id, seq, type_, created, request_id, message)

    @property
    def data(self) -> str:
        """Return the JSON text of the message's ``data`` member."""
        return self.message[len(_prefix(self.match_id, self.seq, self.type)) : -1].decode()


def _prefix(match_id: int, seq: int, type_: str) -> str:
    return f'{{"type":"{type_}","seq":{seq},"matchId":{match_id},"data":'


def pack(event: Event, origin: Origin) -> bytes:
    """Return the envelope of an event for Redis: a binary header, then the message as clients receive it."""
    kind, request = event.type.encode(), event.request_id.encode()
    header = _HEADER.pack(origin.stamp, event.match_id, event.seq, event.created, len(kind), len(request))
    return b"".join((header, kind, request, event.message))


def unpack(payload: bytes) -> tuple[bytes, Event]:
    """Return the origin's stamp (see :attr:`Origin.stamp`) and the event of an envelope.

    Raises:
        ValueError: If the payload is not an envelope, for example another program's message on this channel.
    """
    try:
        stamp, match_id, seq, created, kind_length, request_length = _HEADER.unpack_from(payload)
        request_start = _HEADER.size + kind_length
        message_start = request_start + request_length
        kind = payload[_HEADER.size : request_start].decode()
        request_id = payload[request_start:message_start].decode()
    except (StructError, UnicodeDecodeError) as error:
        raise ValueError("not an event") from error
    return stamp, Event(match_id, seq, kind, created, request_id, payload[message_start:])


def publications(events: Iterable[Event], origin: Origin) -> list[tuple[str, bytes]]:
    """Return the messages that publish events: pairs of Redis channel and envelope."""
    messages: list[tuple[str, bytes]] = []
    for event in events:
        payload = pack(event, origin)
        messages += [(origin.deployment.name(name), payload) for name in channels(event)]
    return messages


def channels(event: Event) -> tuple[str, ...]:
    """Return the channels on which an event is published.

    A ``match_created`` event is for all sockets, so it goes to a common channel instead of that of its match.
    """
    if event.type == "match_created":
        return EVERYBODY, EVERYTHING
    return channel(event.match_id), EVERYTHING
