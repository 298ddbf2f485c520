"""Bounds on what a client may send: the head's size and both times in uvicorn's protocol, the body's size in ASGI.

uvicorn bounds neither: a head may trickle in for ever or grow without end. :func:`bounded` makes the protocol class
for ``uvicorn.Config(http=…)``; :class:`BodyLimit` wraps the application. Every refusal is the JSON envelope.
"""

import asyncio
from asyncio.events import TimerHandle
from enum import Enum, auto
from typing import ClassVar

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from livescore.security.origins import OriginPolicy
from livescore.settings import Settings

# Seconds a refused client may take to read its answer. Closing at once, with its bytes unread, resets the connection,
# and the reset can overtake the answer.
LINGER_SECONDS = 1.0
# Chunk sizes, chunk extensions and trailers of one body: nothing else counts them. 1 MiB is what a body of
# 100 kB takes in chunks of one byte.
MAX_FRAMING_BYTES = 1_048_576


class _Phase(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    REFUSED = auto()
    UPGRADED = auto()


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines for head and body (408), a largest head (431) and a JSON 400.

    Idle keep-alive connections stay uvicorn's matter; one that never sent a byte is not idle but late.
    """

    request_timeout_seconds: ClassVar[float]
    max_header_bytes: ClassVar[int]
    origins: ClassVar[OriginPolicy | None] = None

    _phase = _Phase.IDLE
    _head_bytes = 0
    _framing_bytes = 0
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        if self._phase is _Phase.REFUSED:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.REFUSED:
            return
        self._unset_keepalive_if_required()
        if self._phase is _Phase.BODY:
            self._framing_bytes += len(data)
        else:
            self._head_bytes += len(data)
        self._feed(data)
        self._bound()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._phase is not _Phase.REFUSED and self._should_upgrade():
                self._disarm()
                self._phase = _Phase.UPGRADED
                self.handle_websocket_upgrade()
        except httptools.HttpParserError:
            self._refuse(400, "Malformed HTTP request")

    def _bound(self) -> None:
        """Judge what the parser has not finished; a request that came whole costs no timer."""
        if self._phase is _Phase.HEAD and self._head_bytes > self.max_header_bytes:
            self._refuse(431, "Request header fields too large")
        elif self._phase is _Phase.BODY and self._framing_bytes > MAX_FRAMING_BYTES:
            self._refuse(400, "Malformed HTTP request")
        elif self._phase in (_Phase.HEAD, _Phase.BODY) or (self._phase is _Phase.IDLE and not self._is_answering()):
            self._arm()

    # Parser callbacks
    def on_message_begin(self) -> None:
        self._phase = _Phase.HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._disarm()
        # Only what the parser kept tells head from body when both came in one piece.
        if self._head_bytes > self.max_header_bytes and self._parsed_head_bytes() > self.max_header_bytes:
            self._refuse(431, "Request header fields too large")
            return
        self._head_bytes = self._framing_bytes = 0
        self._phase = _Phase.BODY
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= len(body)
        if self._phase is not _Phase.REFUSED:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._phase is not _Phase.REFUSED:
            self._disarm()
            self._phase = _Phase.IDLE
            super().on_message_complete()

    def _parsed_head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)

    # Deadlines
    def _arm(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.request_timeout_seconds, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self._phase is _Phase.BODY and self.flow.read_paused:
            self._arm()  # the application is the slow one
        else:
            self._refuse(408, "Request timeout")

    # Refusals
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever the base says
        return cycle is not None and not cycle.response_complete

    def _refuse(self, status: int, message: str) -> None:
        in_body = self._phase is _Phase.BODY
        self._phase = _Phase.REFUSED
        self._disarm()
        if self.pipeline:  # the answers to earlier requests are still to come, and this one would overtake them
            self.transport.close()
        elif not self._is_answering():
            self._answer(status, message, wanted=not in_body)
        elif in_body and not self.cycle.response_started:
            self._abandon_cycle()
            self._answer(status, message, wanted=True)
        else:
            self.cycle.keep_alive = False  # an earlier answer is under way: it ends first, then the connection

    def _abandon_cycle(self) -> None:
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def _answer(self, status: int, message: str, *, wanted: bool) -> None:
        if not wanted:  # the request was answered before its body ended: a second answer would be nobody's
            self.transport.close()
            return
        self.transport.write(_response(status, message, [*self.server_state.default_headers, *self._cors()]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    def _cors(self) -> list[tuple[bytes, bytes]]:
        """Return the CORS headers, as far as the head was read: None before the first one began."""
        return self.origins.response_headers(self.headers or ()) if self.origins else []


def bounded(settings: Settings, origins: OriginPolicy | None = None) -> type[BoundedHttpProtocol]:
    """Return the protocol class with the bounds of ``settings``, for ``uvicorn.Config(http=…)``.

    With ``origins``, its own answers carry CORS headers as those of the application do.
    """
    bounds = {
        "request_timeout_seconds": settings.request_timeout_seconds,
        "max_header_bytes": settings.max_header_bytes,
        "origins": origins,
    }
    return type("BoundedHttpProtocol", (BoundedHttpProtocol,), bounds)


def _response(status: int, message: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    body = b'{"error":"%s"}' % message.encode()
    headers = [
        *headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    return b"".join([STATUS_LINE[status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n", body])


# Longer numbers are above any bound, and Python refuses to read very long ones.
_LENGTH_DIGITS = 18
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


class BodyLimit:
    """ASGI middleware: 413 for bodies above ``max_body_bytes``, by their declared length or as soon as they pass it."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self._most = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared, chunked = _announced(scope)
        if declared is not None and declared > self._most:
            await _refuse_body(receive, send)
        elif chunked or (declared is None and scope["method"] not in _WITHOUT_BODY):
            await self._read_first(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _read_first(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A body of unknown length is read up to the bound before the application sees any of it."""
        read: list[Message] = []
        size = 0
        while not read or read[-1].get("more_body"):
            read.append(await receive())
            size += len(read[-1].get("body", b""))
            if size > self._most:
                await _refuse_body(receive, send)
                return
        await self.app(scope, _replay(read, receive), send)


def _announced(scope: Scope) -> tuple[int | None, bool]:
    declared, chunked = None, False
    for name, value in scope["headers"]:
        if name == b"content-length":
            # Not a number: left to the server, whose parser has refused it already.
            declared = int(value.lstrip(b"0")[:_LENGTH_DIGITS] or b"0") if value.isdigit() else None
        elif name == b"transfer-encoding":
            chunked = True
    return declared, chunked


def _replay(read: list[Message], receive: Receive) -> Receive:
    messages = iter(read)

    async def replayed() -> Message:
        message = next(messages, None)
        return await receive() if message is None else message

    return replayed


async def _refuse_body(receive: Receive, send: Send) -> None:
    body = b'{"error":"Payload too large"}'
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    # The whole answer, but not yet its end: the server would close and thereby reset a client that still sends.
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await _discard(receive)
    await send({"type": "http.response.body", "body": b""})


async def _discard(receive: Receive) -> None:
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body"):
                pass
    except TimeoutError:
        pass
