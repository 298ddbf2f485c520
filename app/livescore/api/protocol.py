"""Bounds on what a client may send, in uvicorn's protocol: the size of the head, and the time of head and body.

uvicorn bounds neither: a head may arrive slowly for ever or grow without end. :func:`bounded` returns the protocol
class for ``uvicorn.Config(http=…)``. Every refusal has the JSON envelope. ``api/middleware/body_limit.py`` bounds the
size of bodies.
"""

import asyncio
from asyncio.events import TimerHandle
from collections.abc import Callable, Sized
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, ClassVar, NoReturn, cast

import httptools

from livescore.api import request_head
from livescore.api.delivery import Delivery
from livescore.api.request_head import EarlyAnswer, Header
from livescore.api.streams import TRANSPORT
from livescore.http_errors import body_headers, envelope
from livescore.security.client_address import ClientAddress
from livescore.security.connection_caps import ConnectionCaps, TooManyConnections
from livescore.security.origins import OriginPolicy
from livescore.settings import Settings
from livescore.telemetry import metrics
from livescore.uvicorn_adapter import (
    STATUS_LINE,
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    FlowControl,
    HttpProtocol,
    HTTPScope,
    RequestResponseCycle,
    Scope,
)

# Seconds in which a refused client can read its response. Closing at once, with bytes of the client unread, resets the
# connection, and the reset can overtake the response.
LINGER_SECONDS = 1.0

# Seconds in which a request must be complete if all places are taken: enough for a client that sends it at once.
CROWDED_SECONDS = 1.0

# Bytes of chunk sizes, chunk extensions and trailers of one body, which no other limit counts. Every chunk costs some
# 2 µs; a body of 100 kB fits in chunks of 16 bytes.
MAX_FRAMING_BYTES = 65_536

# Header fields of one request, as in Apache's LimitRequestFields: a field costs far more than its bytes.
MAX_HEADER_FIELDS = 100

# Bytes that are parsed in one piece: at most 75 pipelined requests; the rest waits until they are answered.
PIECE_BYTES = 2_048

# Pieces of one connection that are parsed per iteration of the event loop: some 5 ms for the worst input.
PIECES_PER_TURN = 8

MALFORMED = EarlyAnswer(400, "Malformed HTTP request")
HEAD_TOO_LARGE = EarlyAnswer(431, "Request header fields too large")
LATE = EarlyAnswer(408, "Request timeout")

_WHITESPACE = b" \t"


class _Phase(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    REFUSED = auto()
    UPGRADE = auto()


# Globals are faster than members of the class, and each request needs some twenty lookups.
_IDLE, _HEAD, _BODY, _REFUSED, _UPGRADE = _Phase


class _Stop(Exception):
    """Raised in a callback of the parser to stop parsing a refused request."""


class _Reading(FlowControl):
    """uvicorn's flow control, extended by received bytes that are not parsed yet and by pipelined requests.

    Args:
        pipeline: The requests that wait for the response to an earlier one.
        parse: Continues with the unparsed bytes.
    """

    def __init__(self, transport: asyncio.Transport, pipeline: Sized, parse: Callable[[], None]) -> None:
        super().__init__(transport)
        self.unparsed = b""
        self._pipeline = pipeline
        self._parse = parse

    def resume_reading(self) -> None:
        if not self.read_paused or self._pipeline:  # uvicorn resumes although requests are waiting
            return
        if self.unparsed:
            self.read_paused = False
            asyncio.get_running_loop().call_soon(self._parse)
        else:
            super().resume_reading()

    def end(self) -> None:
        """Drop the reference to the protocol: the cycle would stay in memory until the garbage collector runs."""
        self.unparsed = b""
        self._parse = _nothing


def _nothing() -> None:
    """Replace the method of a closed protocol."""


class BoundedHttpProtocol(HttpProtocol):
    """uvicorn's protocol with deadlines for head and body (408), bounds on the head (431) and a JSON 400.

    A connection holds one of the places of ``MAX_CONNECTIONS`` while a deadline runs: from the moment it is accepted
    until its request is complete. uvicorn handles idle keep-alive connections; a connection that never sent a byte is
    late. The connection of a client that does not read its responses is reset.
    """

    request_timeout_seconds: ClassVar[float]
    delivery_seconds: ClassVar[float]
    max_header_bytes: ClassVar[int]
    origins: ClassVar[OriginPolicy | None] = None
    caps: ClassVar[ConnectionCaps]
    address: ClassVar[ClientAddress]

    flow: _Reading
    _delivery: Delivery

    _phase = _IDLE
    _is_handshake = False
    _head_bytes = 0
    _framing_bytes = 0
    # Received bytes of a request that has no complete header field yet.
    _request_line = b""
    _deadline: TimerHandle | None = None
    _has_place = False
    _crowded: EarlyAnswer | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._renew_parser()

    def _renew_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        # Data after the last request of a connection is ignored; other versions of HTTP get 505.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True, lenient_version=True)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        self.flow = _Reading(transport, self.pipeline, self._parse_unparsed)
        self._delivery = Delivery(transport, self.delivery_seconds)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._delivery.finish()
        super().connection_lost(exc)
        self.flow.end()

    def eof_received(self) -> None:
        if self._phase is _REFUSED:
            self._close()

    # Parsing

    def data_received(self, data: bytes) -> None:
        if self._phase is _REFUSED:
            return
        self.cancel_keep_alive_timer()
        if len(data) <= PIECE_BYTES and not self.flow.unparsed:
            self._parse(data)
        else:
            self.flow.unparsed += data
            self._parse_unparsed()

    def _parse_unparsed(self) -> None:
        """Parse some pieces; the rest waits for earlier requests, or for the next iteration of the event loop."""
        flow = self.flow
        pieces = 0
        while flow.unparsed and not flow.read_paused and pieces < PIECES_PER_TURN:
            piece, flow.unparsed = flow.unparsed[:PIECE_BYTES], flow.unparsed[PIECE_BYTES:]
            self._parse(piece)
            pieces += 1
        if self._phase is _UPGRADE or flow.read_paused or self.transport.is_closing():
            return
        if flow.unparsed:
            self.transport.pause_reading()
            self.loop.call_soon(self._parse_unparsed)
        else:
            self.transport.resume_reading()

    def _parse(self, data: bytes) -> None:
        if self._phase is _BODY:
            self._framing_bytes += len(data)
        else:
            self._head_bytes += len(data)
        if self._request_line or request_head.may_name_another_protocol(data):
            self._feed_by_line(data)
        else:
            self._feed_all(data)
        if self._phase is _HEAD and not self.headers:
            self._request_line += data
        elif self._request_line:
            self._request_line = b""
        self._bound()

    def _feed_by_line(self, data: bytes) -> None:
        """Feed data that may contain a request line of RTSP or ICE, and check the protocol at the end of that line."""
        parsed, fed = len(self._request_line), 0
        for end in request_head.lines_of_other_protocols(self._request_line + data):
            if end <= parsed:
                continue
            self._feed_all(data[fed : end - parsed])
            fed = end - parsed
            if self._phase is _HEAD and not self.headers:
                self._refuse(request_head.WRONG_VERSION)
            if self._phase in (_REFUSED, _UPGRADE):
                break
        if self._phase is _UPGRADE:
            cast(asyncio.Protocol, self.transport.get_protocol()).data_received(data[fed:])
        elif self._phase is not _REFUSED:
            self._feed_all(data[fed:])

    def _feed_all(self, data: bytes) -> None:
        rest = self._feed(data)
        while rest is not None:
            rest = self._feed(rest)

    def _feed(self, data: bytes) -> bytes | None:
        """Feed the parser. Returns the data that remains after a request with an ignored upgrade."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._is_handshake:
                self._hand_over(rest)
                return None
            # llhttp always treats the rest as another protocol. A new parser that never sees the Upgrade field parses
            # the body as a body, and the data after it as the next request.
            self._phase = _IDLE
            self._renew_parser()
            return request_head.without_upgrade(self.scope, self.url) + rest
        except httptools.HttpParserError as error:
            if self._phase is not _REFUSED:
                # llhttp stops at the preface of HTTP/2, a valid request except for its version, and at requests of
                # other protocols with methods that those do not have.
                is_version = any(text in str(error) for text in ("PRI", "for RTSP/", "for ICE/"))
                self._refuse(request_head.WRONG_VERSION if is_version else MALFORMED)
        return None

    def _hand_over(self, rest: bytes) -> None:
        rest += self.flow.unparsed
        self.flow.end()
        self._delivery.finish()
        self.handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]  # as in the base class, against a reference cycle
        if rest:
            cast(asyncio.Protocol, self.transport.get_protocol()).data_received(rest)

    def _bound(self) -> None:
        """Bound a request that is not complete; a request that arrives in one piece needs no timer."""
        phase = self._phase
        if phase is _IDLE:
            if not self._is_answering():
                self._arm()
        elif phase is _HEAD and self._head_bytes > self.max_header_bytes:
            self._refuse(HEAD_TOO_LARGE)
        elif phase is _BODY and self._framing_bytes > MAX_FRAMING_BYTES:
            self._refuse(MALFORMED)
        elif phase in (_HEAD, _BODY):
            self._arm()

    # Parser callbacks

    def on_message_begin(self) -> None:
        self._phase = _HEAD
        self._request_line = b""
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[TRANSPORT] = self.transport

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self.headers
        if self._phase is not _HEAD:
            return  # a trailer: it must not become a header of the request (RFC 9110 section 6.5.1)
        if len(headers) == MAX_HEADER_FIELDS:
            self._stop(HEAD_TOO_LARGE)
        # llhttp leaves the whitespace after a value, which is not part of it (RFC 9112 section 5).
        headers.append((name.lower(), value.rstrip(_WHITESPACE)))

    def on_headers_complete(self) -> None:
        self._disarm()
        # If head and body arrive in one piece, only the parsed fields show the size of the head.
        if self._head_bytes > self.max_header_bytes and self._parsed_head_bytes() > self.max_header_bytes:
            self._stop(HEAD_TOO_LARGE)
        self._head_bytes = self._framing_bytes = 0
        self.scope["method"] = self.parser.get_method().decode()
        self.scope["http_version"] = self.parser.get_http_version()
        if answer := request_head.early_answer(self.scope, self.url):
            self._stop(answer)
        if self.url[:1] != b"/":
            self._use_absolute_target()
        if self.parser.should_upgrade():
            self._check_upgrade()
        else:
            self._phase = _BODY
            self.expect_100_continue = request_head.expects_continue(self.scope)
            super().on_headers_complete()

    def _use_absolute_target(self) -> None:
        try:
            self.url = request_head.origin_form(self.url, self.headers)
        except ValueError:
            self._stop(request_head.WRONG_TARGET)

    def _check_upgrade(self) -> None:
        self._phase = _UPGRADE
        self._is_handshake = self.ws_protocol_class is not None and request_head.is_handshake(self.scope)
        if self._is_handshake and (answer := request_head.handshake_answer(self.url, self.headers)):
            self._stop(answer)

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= len(body)
        if self._phase is _BODY:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._phase is _BODY:
            self._disarm()
            self._phase = _IDLE
            super().on_message_complete()
            if not self.parser.should_keep_alive():
                self._close_after_answer()

    def _close_after_answer(self) -> None:
        """Close the connection as requested, even if only a trailer requests it, after the parser has stopped."""
        self.cycle.keep_alive = False
        if self.cycle.response_complete:
            self.transport.close()

    def _parsed_head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)

    def start_request(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if cycle.scope["http_version"] == "1.0":
            app = _close_delimited(cycle, app)
        super().start_request(cycle, app)

    # Deadlines and places

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection. It is not idle once its next request has begun, which has its own deadline."""
        if self._phase is _IDLE:
            self._close()

    def _arm(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._take_place()
            seconds = self.request_timeout_seconds
            if self._crowded:
                seconds = min(seconds, CROWDED_SECONDS)
            self._deadline = self.loop.call_later(seconds, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self._leave_place()

    def _take_place(self) -> None:
        try:
            self.caps.acquire(self._peer())
        except TooManyConnections as error:
            self._crowded = EarlyAnswer(error.status, error.message, tuple(error.raw_headers()))
        else:
            self._crowded = None
            self._has_place = True

    def _leave_place(self) -> None:
        if self._has_place:
            self._has_place = False
            self.caps.release(self._peer())

    def _peer(self) -> str | None:
        return self.address.of_peer(self.client[0] if self.client else "")

    def _expire(self) -> None:
        self._deadline = None
        self._leave_place()
        if self.flow.read_paused or self.flow.unparsed:
            self._arm()  # the application is slow, not the client
        else:
            self._refuse(self._crowded or LATE)

    # Delivery

    def pause_writing(self) -> None:
        super().pause_writing()
        self._delivery.watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._delivery.end()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._delivery.watch()  # the connection closes once the client has read the response

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
        self._delivery.watch()

    # Refusals

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, unlike in the base class
        return cycle is not None and not cycle.response_complete

    def _stop(self, answer: EarlyAnswer) -> NoReturn:
        self._refuse(answer)
        raise _Stop

    def _refuse(self, answer: EarlyAnswer) -> None:
        """Answer the last request, after the responses to earlier requests, and close the connection."""
        in_body = self._phase is _BODY
        self._phase = _REFUSED
        self._disarm()
        self.flow.unparsed = b""
        if not self._is_answering():
            self._answer(answer, wanted=not in_body)
        elif not in_body or self.cycle.response_started:
            self.cycle.keep_alive = False  # the pending responses come first, then the end of the connection
        elif self.pipeline:
            self._close()  # a response would overtake those to earlier requests
        else:
            self._abandon_cycle()
            self._answer(answer, wanted=True)

    def _abandon_cycle(self) -> None:
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def _answer(self, answer: EarlyAnswer, *, wanted: bool) -> None:
        if not wanted:  # the request was answered before its body ended, and no second response belongs to it
            self._close()
            return
        scope: HTTPScope | None = self.scope  # None before the first request, unlike in the base class
        method = scope.get("method", "") if scope else ""
        metrics.refused(method, answer.status)
        self.transport.write(_response(answer, method, [*self.server_state.default_headers, *self._cors()]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self._close)
        else:
            self._close()

    def _cors(self) -> list[tuple[bytes, bytes]]:
        """Return the CORS headers for the part of the head that was parsed."""
        return self.origins.response_headers(self.headers or ()) if self.origins else []


def bounded(
    settings: Settings, origins: OriginPolicy | None = None, caps: ConnectionCaps | None = None
) -> type[BoundedHttpProtocol]:
    """Return the protocol class with the bounds of ``settings``, for ``uvicorn.Config(http=…)``.

    Args:
        settings: The bounds.
        origins: The policy for the CORS headers of the protocol's own responses.
        caps: The places that connections share with sockets and streams; their own ones by default.
    """
    bounds = {
        "request_timeout_seconds": settings.request_timeout_seconds,
        "delivery_seconds": settings.ping_interval_seconds,
        "max_header_bytes": settings.max_header_bytes,
        "origins": origins,
        "caps": caps or ConnectionCaps(settings),
        "address": ClientAddress(settings.trusted_proxies),
    }
    return type("BoundedHttpProtocol", (BoundedHttpProtocol,), bounds)


def _response(answer: EarlyAnswer, method: str, default_headers: list[Header]) -> bytes:
    body = envelope(answer.message) if answer.message else b""
    upgrade = b", upgrade" if answer.status == HTTPStatus.UPGRADE_REQUIRED else b""
    headers = [
        *default_headers,
        *(body_headers(body) if body else []),
        *answer.headers,
        (b"connection", b"close" + upgrade),
    ]
    head = [STATUS_LINE[answer.status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n"]
    return b"".join(head) + (b"" if method == "HEAD" else body)


def _close_delimited(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """Wrap the application for an HTTP/1.0 client: the connection ends a body of unknown length, as chunks cannot."""

    async def answer(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        until_close = False

        async def send_unchunked(message: ASGISendEvent) -> None:
            nonlocal until_close
            if message["type"] == "http.response.start":
                until_close = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
                if until_close:
                    cycle.chunked_encoding = False
            elif message["type"] == "http.response.body" and until_close:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_unchunked)

    return answer
