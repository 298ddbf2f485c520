"""The feed over HTTP: catch-up, long poll, and server-sent events for one match or all."""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import orjson
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from livescore.api import access, openapi, parse
from livescore.api.context import Services, services
from livescore.api.errors import BadRequest, Issue, Refused
from livescore.api.routing import both
from livescore.api.schemas import EventsAnswer, Query
from livescore.live.channels import PIECE, History
from livescore.live.hub import Item
from livescore.live.messages import Subscribed, SubscribedAll
from livescore.live.relay import Position
from livescore.scores.rules import INT4_MAX
from livescore.scores.store import Head, NotFound
from livescore.security.limits import TooManyConnections

# Comments that keep proxies from closing a silent stream; most give up after 30 or 60 s.
HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b":\n\n"

# What a browser waits before it comes back; it resumes by Last-Event-ID.
RETRY_MS = 1_000

PATH = "/matches/{id}/events"


class EventsQuery(Query):
    """Which events of a match, and how long to wait for the next."""

    since: int = Field(0, ge=0, le=INT4_MAX, description="`seq` of the last event seen; 0 for all.")
    limit: int = Field(100, ge=1, le=1_000, description="Most events in one answer.")
    wait: float = Field(0, ge=0, le=25, description="Seconds to wait when there is nothing new yet (long poll).")
    epoch: str | None = Field(None, max_length=64, description="`epoch` of the answer before.")


class StreamQuery(Query):
    """Where a stream begins."""

    since: int | None = Field(None, ge=0, le=INT4_MAX, description="`seq` of the last event seen.")
    epoch: str | None = Field(None, max_length=64, description="`epoch` of the stream before.")


async def list_events(request: Request) -> Response:
    """The events after `since`. With `wait`, an empty answer only after that many seconds."""
    access.reader(request)
    parts, match_id, query = services(request), parse.path_id(request), parse.query(request, EventsQuery)
    page = await _page(parts, match_id, query)
    if page is None:
        page = await _wait(parts, match_id, query)
    return Response(page, headers={"Cache-Control": "no-store"}, media_type="application/json")


async def _page(parts: Services, match_id: int, query: EventsQuery) -> bytes | None:
    """What there is now; None when that is nothing and the client would rather wait."""
    head, epoch = await _head(parts, match_id), parts.live.epoch
    if _lost(query, head, epoch):
        return await _snapshot(parts, match_id, epoch)
    events = await parts.store.events(match_id, query.since, query.limit)
    if not events and query.wait and not parts.drain.refusing:
        return None
    if head.seq > query.since and (not events or events[0].seq != query.since + 1):
        return await _snapshot(parts, match_id, epoch)  # pruned since the head was read
    return _answer([event.message for event in events], max(head.seq, query.since), epoch)


def _lost(query: EventsQuery, head: Head, epoch: str) -> bool:
    """Whether the feed cannot tell what happened since: pruned, ahead of it, or another feed."""
    return not head.pruned <= query.since <= head.seq or query.epoch not in (None, epoch)


async def _head(parts: Services, match_id: int) -> Head:
    head = await parts.store.head(match_id)
    if head is None:
        raise NotFound("Match not found")
    return head


async def _snapshot(parts: Services, match_id: int, epoch: str) -> bytes:
    taken = await parts.store.snapshot(match_id)
    if taken is None:
        raise NotFound("Match not found")
    return b'{"data":[],"seq":%d,"epoch":%b,"recovered":false,"snapshot":%b}' % (
        taken[1],
        orjson.dumps(epoch),
        taken[0].encode(),
    )


def _answer(events: list[bytes], seq: int, epoch: str) -> bytes:
    return b'{"data":[%b],"seq":%d,"epoch":%b,"recovered":true}' % (b",".join(events), seq, orjson.dumps(epoch))


async def _wait(parts: Services, match_id: int, query: EventsQuery) -> bytes:
    async with parts.live.follow(match_id, query.since, query.epoch) as (_, follower):
        await follower.wait(query.wait)
    page = await _page(parts, match_id, query.model_copy(update={"wait": 0}))
    return page or b""


async def stream_match(request: Request) -> Response:
    """Server-sent events of one match: `id` is the event's `seq`, `Last-Event-ID` resumes."""
    access.reader(request)
    parts, match_id, query = services(request), parse.path_id(request), parse.query(request, StreamQuery)
    await _head(parts, match_id)
    since = _last_event_id(request, query)
    return _stream(request, lambda: _match_messages(parts, match_id, since, query.epoch))


def _last_event_id(request: Request, query: StreamQuery) -> int | None:
    text = request.headers.get("last-event-id")
    if text is None:
        return query.since
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > INT4_MAX:
        raise BadRequest("Invalid Last-Event-ID", Issue(("Last-Event-ID",), "Input should be the seq of an event"))
    return int(text)


async def _match_messages(parts: Services, match_id: int, since: int | None, epoch: str | None) -> AsyncIterator[bytes]:
    async with parts.live.follow(match_id, since, epoch) as (history, follower):
        yield _opening(parts, match_id, since, history)
        async for items in follower.read(HEARTBEAT_SECONDS):
            for piece in _pieces(items):
                yield b"".join(_event(str(item.seq), item.message) for item in piece) or HEARTBEAT


def _opening(parts: Services, match_id: int, since: int | None, history: History) -> bytes:
    """The acknowledgement of a subscription, as over WebSocket; its id is where the client stands."""
    said = Subscribed(match_id=match_id, seq=history.seq, recovered=history.recovered, epoch=parts.live.epoch).encode()
    if history.snapshot is not None:
        return _event(None, said) + _event(str(history.snapshot_seq), history.snapshot)
    return _event(str(history.seq if since is None or not history.recovered else since), said)


async def stream_all(request: Request) -> Response:
    """Server-sent events of all matches. `id` is opaque, `Last-Event-ID` resumes."""
    access.reader(request)
    parts, cursor = services(request), _cursor(request.headers.get("last-event-id"))
    return _stream(request, lambda: _all_messages(parts, cursor))


async def _all_messages(parts: Services, cursor: Position | None) -> AsyncIterator[bytes]:
    horizon, seen = (cursor.horizon, cursor.delivered) if cursor else (None, {})
    async with parts.live.follow_all(horizon, dict(seen)) as follower:
        told = Told(horizon, seen)
        if cursor is None:
            told.advance(parts.live.position)
        yield _event(told.id, SubscribedAll().encode())
        async for items in follower.read(HEARTBEAT_SECONDS):
            # All before this position is among these items or was told earlier.
            position = parts.live.position
            for piece in _pieces(items):
                yield b"".join(map(told.event, piece)) or HEARTBEAT
            told.advance(position)


class Told:
    """What one stream of everything has been told: its ``id`` says it all, whichever instance reads it next.

    An id is a horizon (every event of an earlier transaction was told) and the last event of each match with later
    ones: ``812~7.42~9.3``.
    """

    def __init__(self, horizon: str | None, last: Mapping[int, int]) -> None:
        self._horizon = horizon
        self._last = dict(last)

    def event(self, item: Item) -> bytes:
        """One event with the id that stands for it and all before."""
        self._last[item.match_id] = item.seq
        return _event(self.id, item.message)

    def advance(self, position: Position | None) -> None:
        """All before ``position`` is told; one that another instance has passed already says nothing new."""
        if position is None or int(position.horizon) < int(self._horizon or 0):
            return
        self._horizon = position.horizon
        self._last = {match_id: seq for match_id, seq in self._last.items() if match_id in position.delivered}

    @property
    def id(self) -> str | None:
        """Where the stream stands; None until this process knows a horizon."""
        if self._horizon is None:
            return None
        return "~".join([self._horizon, *(f"{match_id}.{seq}" for match_id, seq in self._last.items())])


def _cursor(text: str | None) -> Position | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,19}(~[0-9]{1,10}\.[0-9]{1,10})*", text):
        raise BadRequest("Invalid Last-Event-ID", Issue(("Last-Event-ID",), "Input should be the id of an event"))
    horizon, *heads = text.split("~")
    return Position(horizon, {int(match_id): int(seq) for match_id, seq in (head.split(".") for head in heads)})


def _pieces(items: list[Item]) -> Iterator[list[Item]]:
    """A long history waits for its reader after each piece; nothing at all is one empty piece."""
    return (items[start : start + PIECE] for start in range(0, len(items) or 1, PIECE))


def _event(identifier: str | None, message: bytes) -> bytes:
    head = b"id: %b\n" % identifier.encode() if identifier is not None else b""
    return b"%bdata: %b\n\n" % (head, message)


def _stream(request: Request, messages: Callable[[], AsyncIterator[bytes]]) -> Response:
    """An open stream counts as a connection."""
    parts = services(request)
    address = parts.address(request.scope)
    try:
        if parts.drain.refusing:
            raise TooManyConnections(503, "This instance is stopping: connect again to reach another one")
        parts.caps.acquire(address)
    except TooManyConnections as error:
        raise Refused(error.status, error.message) from None

    async def body() -> AsyncIterator[bytes]:
        yield b"retry: %d\n\n" % RETRY_MS
        async for message in messages():
            yield message

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return _CountedStream(body(), headers, lambda: parts.caps.release(address))


class _CountedStream(StreamingResponse):
    """A stream that is counted until its client is gone, however it goes."""

    def __init__(self, body: AsyncIterator[bytes], headers: Mapping[str, str], ended: Callable[[], None]) -> None:
        super().__init__(body, headers=headers, media_type="text/event-stream")
        self._ended = ended

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:
            self._ended()


_MATCH_ID = openapi.path_parameter("id")
_STREAM: dict[int | str, Any] = {
    200: {
        "description": "Events, each as `data:` a message as over WebSocket",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

routes = [
    *both(
        "GET",
        PATH,
        list_events,
        tags=["events"],
        response_model=EventsAnswer,
        responses=openapi.problems(404, *openapi.EVERY_READ),
        openapi_extra={"parameters": [_MATCH_ID, *openapi.query_parameters(EventsQuery)]},
    ),
    *both(
        "GET",
        f"{PATH}/stream",
        stream_match,
        tags=["events"],
        response_class=Response,
        responses={**_STREAM, **openapi.problems(404, *openapi.EVERY_READ)},
        openapi_extra={"parameters": [_MATCH_ID, *openapi.query_parameters(StreamQuery), openapi.LAST_EVENT_ID]},
    ),
    *both(
        "GET",
        "/events/stream",
        stream_all,
        tags=["events"],
        response_class=Response,
        responses={**_STREAM, **openapi.problems(*openapi.EVERY_READ)},
        openapi_extra={"parameters": [openapi.LAST_EVENT_ID]},
    ),
]
