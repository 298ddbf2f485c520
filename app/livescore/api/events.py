"""The feed over HTTP: catch-up, long poll, and server-sent events for one match or all."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import TypeVar

import orjson
from starlette.responses import Response

from livescore.api import streams
from livescore.api.context import Services
from livescore.api.routing import Call, endpoint
from livescore.api.schemas.events import AllStreamQuery, EventsAnswer, EventsQuery, StreamQuery
from livescore.api.streams import RETRY_MS, EventStream, block
from livescore.http_errors import BadRequest, Issue, NotFound
from livescore.live.all_matches_stream import AllMatchesStream
from livescore.live.cursor import AllMatchesCursor, MatchCursor
from livescore.live.match_feed import History
from livescore.live.messages import Subscribed, SubscribedAll
from livescore.live.queued_subscriber import PIECE_BYTES, QueuedSubscriber
from livescore.scores.database import DatabaseAway
from livescore.scores.feed import Event
from livescore.scores.store import Head

# Seconds between the blocks that keep proxies from closing an idle stream; most of them do so after 30 or 60 s.
HEARTBEAT_SECONDS = 15.0
# A comment, which clients ignore. They keep the id that follows it in the same block.
HEARTBEAT = b":\n"

PATH = "/matches/{id}/events"

T = TypeVar("T")


@endpoint("GET", PATH, query=EventsQuery, answer=EventsAnswer, access="read", not_found=True, tag="events")
async def list_events(call: Call, query: EventsQuery) -> Response:
    """Return the events after `since`. With `wait`, an empty response is delayed by as many seconds."""
    if call.request.method == "HEAD":
        query = query.model_copy(update={"wait": 0})
    page = await _page(call.services, call.match_id, query)
    if page is None:
        page = await _wait(call, query)
    return Response(page, headers={"Cache-Control": "no-store"}, media_type="application/json")


async def _page(services: Services, match_id: int, query: EventsQuery) -> bytes | None:
    """Return the current response; None if there is no event yet and the client wants to wait."""
    head, epoch = await _head(services, match_id), services.live.epoch
    if _lost(query, head, epoch):
        return await _snapshot(services, match_id, epoch)
    events = await services.store.events(match_id, query.since, query.limit)
    if not events and query.wait and services.drain.accepts_connections:
        return None
    if head.seq > query.since and (not events or events[0].seq != query.since + 1):
        return await _snapshot(services, match_id, epoch)  # pruned since the head was read
    messages = _bounded(events, services.settings.slow_consumer_bytes)
    return _events_body(messages, max(head.seq, query.since), epoch)


def _lost(query: EventsQuery, head: Head, epoch: str) -> bool:
    """Return True if the feed cannot be resumed: events are pruned, the client is ahead, or it knows another feed."""
    return not head.pruned <= query.since <= head.seq or query.epoch not in (None, epoch)


def _bounded(events: Iterable[Event], max_bytes: int) -> list[bytes]:
    """Return the first message, and the next ones up to ``max_bytes``."""
    messages: list[bytes] = []
    size = 0
    for event in events:
        size += len(event.message)
        if messages and size > max_bytes:
            break
        messages.append(event.message)
    return messages


async def _head(services: Services, match_id: int) -> Head:
    head = await services.store.head(match_id)
    if head is None:
        raise NotFound("Match not found")
    return head


async def _snapshot(services: Services, match_id: int, epoch: str) -> bytes:
    taken = await services.store.snapshot(match_id)
    if taken is None:
        raise NotFound("Match not found")
    return b'{"data":[],"seq":%d,"epoch":%b,"recovered":false,"snapshot":%b}' % (
        taken[1],
        orjson.dumps(epoch),
        taken[0].encode(),
    )


def _events_body(events: list[bytes], seq: int, epoch: str) -> bytes:
    return b'{"data":[%b],"seq":%d,"epoch":%b,"recovered":true}' % (b",".join(events), seq, orjson.dumps(epoch))


async def _wait(call: Call, query: EventsQuery) -> bytes:
    services = call.services
    with streams.place(call.request, services, "long_polls"):
        async with services.live.follow(call.match_id, query.since, query.epoch) as (_, subscriber):
            await streams.wait(call.request, subscriber, query.wait)
    page = await _page(services, call.match_id, query.model_copy(update={"wait": 0}))
    return page or b""


@endpoint("GET", f"{PATH}/stream", query=StreamQuery, stream=True, access="read", not_found=True, tag="events")
async def stream_match(call: Call, query: StreamQuery) -> Response:
    """Stream the events of one match: `id` is the event's `seq`, and `Last-Event-ID` resumes."""
    services, match_id = call.services, call.match_id
    with _refusing_ids():
        cursor = MatchCursor.parse(streams.last_event_id(call.request), query.since, query.epoch)
    await _head(services, match_id)

    def blocks(opened: tuple[History, QueuedSubscriber]) -> tuple[AsyncIterator[bytes], QueuedSubscriber]:
        history, subscriber = opened
        return _match_blocks(services, match_id, cursor, history, subscriber), subscriber

    return await _stream(call, services.live.follow(match_id, cursor.seq, cursor.epoch), blocks)


@contextmanager
def _refusing_ids() -> Iterator[None]:
    """Turn the ValueError of a malformed id into a BadRequest."""
    try:
        yield
    except ValueError:
        issue = Issue(("Last-Event-ID",), "Input should be the id of a block of this stream")
        raise BadRequest("Invalid Last-Event-ID", issue) from None


async def _match_blocks(
    services: Services, match_id: int, cursor: MatchCursor, history: History, subscriber: QueuedSubscriber
) -> AsyncIterator[bytes]:
    for piece in _opening(match_id, cursor, history, services.live.epoch):
        yield piece
    async for items in subscriber.read(HEARTBEAT_SECONDS):
        blocks = [_match_block(cursor, item, services.live.epoch) for item in items]
        yield b"".join(blocks) or HEARTBEAT + block(str(cursor))
    if not subscriber.overflowed:
        yield _last_block(services, str(cursor))


def _opening(match_id: int, cursor: MatchCursor, history: History, epoch: str) -> Iterator[bytes]:
    """Yield the acknowledgement, as over WebSocket, and the snapshot that replaces an unavailable history."""
    if history.recovered is None:
        cursor.reach(history.seq, epoch)
    elif history.recovered:
        cursor.reach(cursor.seq or 0, epoch)
    acknowledgement = Subscribed(match_id=match_id, seq=history.seq, recovered=history.recovered, epoch=epoch)
    # Without recovery the id does not change before the snapshot: a client that is cut off before it gets it next time.
    yield block(str(cursor), acknowledgement.encode(), RETRY_MS)
    if history.snapshot is not None:
        cursor.reach(history.snapshot_seq, epoch)
        yield block(str(cursor), history.snapshot)


def _match_block(cursor: MatchCursor, item: Event, epoch: str) -> bytes:
    if item.type == "snapshot":
        cursor.reach(item.seq, epoch)
    elif item.type != "subscribed":  # that one only announces the snapshot
        cursor.reach(item.seq)
    return block(str(cursor), item.message)


@endpoint("GET", "/events/stream", query=AllStreamQuery, stream=True, access="read", tag="events")
async def stream_all(call: Call, _: AllStreamQuery) -> Response:
    """Stream the events of all matches: `id` is opaque, and `Last-Event-ID` resumes."""
    services = call.services
    text = streams.last_event_id(call.request)
    with _refusing_ids():
        cursor = None if text is None else AllMatchesCursor.parse(text)

    def blocks(stream: AllMatchesStream) -> tuple[AsyncIterator[bytes], QueuedSubscriber]:
        return _all_blocks(services, stream), stream.subscriber

    return await _stream(call, services.live.follow_all(cursor), blocks)


async def _all_blocks(services: Services, stream: AllMatchesStream) -> AsyncIterator[bytes]:
    yield block(stream.id, SubscribedAll(recovered=stream.recovered).encode(), RETRY_MS)
    try:
        async for sent in stream.read(HEARTBEAT_SECONDS):
            for piece in _pieces(block(identifier, message) for message, identifier in sent):
                yield piece
            if not sent:
                yield HEARTBEAT + block(stream.id)
    except DatabaseAway:
        pass  # the client reconnects and resumes from its last id
    if not stream.subscriber.overflowed:
        yield _last_block(services, stream.id)


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Join blocks into pieces of at least ``PIECE_BYTES``, so that each write sends many."""
    piece = b""
    for addition in blocks:
        piece += addition
        if len(piece) >= PIECE_BYTES:
            yield piece
            piece = b""
    if piece:
        yield piece


def _last_block(services: Services, identifier: str) -> bytes:
    """Return the block before the end of a stream, which spreads the reconnects like a reconnect hint."""
    spread = services.settings.reconnect_spread_seconds
    return block(identifier, retry_ms=max(RETRY_MS, int(random.uniform(0, spread) * 1000)))


async def _stream(
    call: Call,
    opening: AbstractAsyncContextManager[T],
    blocks: Callable[[T], tuple[AsyncIterator[bytes], QueuedSubscriber]],
) -> Response:
    """Open a stream, which holds a place until its end. The response to HEAD is the same and holds no place."""
    request, services = call.request, call.services
    if request.method == "HEAD":
        with streams.place(request, services, "streams"):
            return Response(headers=streams.HEADERS, media_type=streams.MEDIA_TYPE)
    async with AsyncExitStack() as stack:
        stack.enter_context(streams.place(request, services, "streams"))
        try:
            async with asyncio.timeout(services.settings.database_timeout_seconds):
                opened = await stack.enter_async_context(opening)
        except TimeoutError:
            raise DatabaseAway("PostgreSQL did not answer in time") from None
        pieces, subscriber = blocks(opened)
        return EventStream(pieces, subscriber, services.settings.ping_interval_seconds, stack.pop_all())
    raise AssertionError("unreachable")


routes = [list_events, stream_match, stream_all]
