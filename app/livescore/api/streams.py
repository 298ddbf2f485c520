"""Event streams and long polls: the places that they hold, and their ends."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Literal

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from livescore.api import access
from livescore.api.context import Services
from livescore.api.delivery import reset
from livescore.live.queued_subscriber import QueuedSubscriber
from livescore.telemetry import metrics

# Entry of the ASGI scope: the transport of the connection, if the server offers it.
TRANSPORT = "livescore.transport"

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

# Milliseconds after which a browser reconnects; it resumes by Last-Event-ID.
RETRY_MS = 1_000

# Seconds in which a client that is too far behind must read the next piece of the rest, like a WebSocket that receives
# a close frame.
BEHIND_SECONDS = 5.0


class _TooSlow(Exception):
    """The client did not read a piece in time."""


@contextmanager
def place(request: Request, services: Services, kind: Literal["streams", "long_polls"]) -> Iterator[None]:
    """Hold a place among the connections of this process and of the client's address.

    Raises:
        ServiceUnavailable: This instance is stopping.
        TooManyConnections: 503 if this process is full, 429 if the address has too many connections.
    """
    address = services.address(request.scope)
    access.require_accepting(services)
    services.caps.acquire(address)
    counts = services.live.http_subscribers
    gauge = metrics.STREAMS if kind == "streams" else metrics.LONG_POLLS
    counts[kind] += 1
    gauge.set(counts[kind])
    try:
        yield
    finally:
        counts[kind] -= 1
        gauge.set(counts[kind])
        services.caps.release(address)


def block(identifier: str, message: bytes | None = None, retry_ms: int | None = None) -> bytes:
    """Return one block of a stream.

    Every block has an id, even without data: a client that follows the standard forgets its last id if the first block
    of a new connection has none.
    """
    retry = b"" if retry_ms is None else b"retry: %d\n" % retry_ms
    data = b"" if message is None else b"data: %b\n" % message
    return b"%bid: %b\n%b\n" % (retry, identifier.encode(), data)


class EventStream(Response):
    """An open stream of server-sent events.

    It ends with its blocks, when the client closes the connection, or when the client has not read a piece in time.

    Args:
        blocks: The blocks of the stream.
        subscriber: The queue from which the blocks come.
        patience: Seconds in which the client must read a piece.
        resources: Closed at the end of the stream.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self, blocks: AsyncIterator[bytes], subscriber: QueuedSubscriber, patience: float, resources: AsyncExitStack
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._blocks = blocks
        self._subscriber = subscriber
        self._patience = patience
        self._resources = resources
        self._deadline: asyncio.Timeout | None = None
        # The client did not read a piece in time.
        self._late = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream to its end."""
        self._subscriber.on_overflow = self._hurry
        async with self._resources:
            writing = asyncio.ensure_future(self._write(send))
            leaving = asyncio.ensure_future(disconnected(receive))
            try:
                await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                await self._resources.aclose()  # first, so that a waiting client can use the place
                await _cancel(writing, leaving)
        is_complete = not self._late and not writing.cancelled()
        # The protocol may have reset the connection already, and has counted it then.
        if (self._subscriber.overflowed or self._late) and (is_complete or not _is_closing(scope)):
            metrics.SLOW_CONSUMERS_CLOSED.inc()
        transport: asyncio.Transport | None = scope.get(TRANSPORT)
        if self._late and transport is not None:
            reset(transport)
            await disconnected(receive)
        elif not writing.cancelled():
            writing.result()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for piece in self._blocks:
                await self._send(send, {"type": "http.response.body", "body": piece, "more_body": True})
            await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})
        except _TooSlow:
            self._late = True

    async def _send(self, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(self._seconds) as self._deadline:
                await send(message)
        except TimeoutError:
            raise _TooSlow from None
        finally:
            self._deadline = None

    @property
    def _seconds(self) -> float:
        return min(self._patience, BEHIND_SECONDS) if self._subscriber.overflowed else self._patience

    def _hurry(self) -> None:
        """Shorten the deadline of the current piece, since the client is too far behind."""
        deadline = self._deadline
        if deadline is None:
            return
        latest = asyncio.get_running_loop().time() + self._seconds
        if not deadline.expired() and (deadline.when() or latest) > latest:
            deadline.reschedule(latest)


def _is_closing(scope: Scope) -> bool:
    transport: asyncio.Transport | None = scope.get(TRANSPORT)
    return transport is not None and transport.is_closing()


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    """Wait until the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def wait(request: Request, subscriber: QueuedSubscriber, seconds: float) -> None:
    """Wait for an event, for at most as many seconds.

    Raises:
        ClientDisconnect: The client closed the connection meanwhile.
    """
    waiting = asyncio.ensure_future(subscriber.wait(seconds))
    leaving = asyncio.ensure_future(disconnected(request.receive))
    try:
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel(waiting, leaving)
    if waiting.cancelled():
        raise ClientDisconnect


def last_event_id(request: Request) -> str | None:
    """Return the id of the last block that the client received, or None.

    Web pages send it as ``?lastEventId=``: they cannot set the header, and a new ``EventSource`` does not know an id.
    """
    text = request.headers.get("last-event-id", "").strip() or request.query_params.get("lastEventId", "")
    return text or None
