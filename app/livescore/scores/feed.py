"""One event of a match's feed, its bytes for clients and its envelope on Redis."""

from dataclasses import dataclass
from functools import cached_property
from struct import Struct
from struct import error as StructError

from livescore.deployment import ID_LENGTH, Origin

EVERYBODY = "everybody"  # match_created; its numbers are the match ids, which have no gap either
EVERYTHING = "feed"  # every event, for nodes with listeners to all matches

# deployment id and epoch, match id, seq, seconds since 1970 of the commit, length of type, length of the request id
_HEADER = Struct(f"!{2 * ID_LENGTH}sIIdBB")


def channel(match_id: int) -> str:
    """Return the channel of one match's events. Its name on Redis begins with the deployment's namespace."""
    return f"match:{match_id}"


@dataclass(eq=False)
class Event:
    """A committed change. ``data`` is JSON text as PostgreSQL stored it; ``created`` seconds since 1970."""

    __slots__ = ("__dict__", "created", "data", "match_id", "request_id", "seq", "type")

    match_id: int
    seq: int
    type: str
    data: str
    created: float
    request_id: str

    @cached_property
    def message(self) -> bytes:
        """What a client receives: encoded once, shared by every connection."""
        return f'{{"type":"{self.type}","seq":{self.seq},"matchId":{self.match_id},"data":{self.data}}}'.encode()


def pack(event: Event, origin: Origin) -> bytes:
    """Put the small header before the ready client bytes."""
    kind, request = event.type.encode(), event.request_id.encode()
    header = _HEADER.pack(origin.stamp, event.match_id, event.seq, event.created, len(kind), len(request))
    return b"".join((header, kind, request, event.message))


@dataclass(frozen=True, slots=True)
class Published:
    """An event as it came out of Redis: the message stays the bytes that the origin encoded.

    Attributes:
        stamp: deployment id and epoch of the database it comes from; empty if it was made by this process.
    """

    match_id: int
    seq: int
    type: str
    created: float
    request_id: str
    message: bytes
    stamp: bytes = b""


def unpack(payload: bytes) -> Published:
    """Read what :func:`pack` wrote.

    Raises:
        ValueError: when the payload is no event, for example another program's message on this channel.
    """
    try:
        stamp, match_id, seq, created, kind, request = _HEADER.unpack_from(payload)
        types, requests = _HEADER.size + kind, _HEADER.size + kind + request
        return Published(
            match_id,
            seq,
            payload[_HEADER.size : types].decode(),
            created,
            payload[types:requests].decode(),
            payload[requests:],
            stamp,
        )
    except (StructError, UnicodeDecodeError) as error:
        raise ValueError("not an event") from error


def channels(event: Event) -> tuple[str, ...]:
    """Where an event is published: to its match, to those who follow everything and, a new match, to everybody."""
    return (EVERYBODY, EVERYTHING) if event.type == "match_created" else (channel(event.match_id), EVERYTHING)
