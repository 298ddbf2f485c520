"""The uvicorn WebSocket protocol: plain ASGI until the application detaches, then one small object per socket.

uvicorn's protocol, Starlette's WebSocket, a queue and a task cost 31 KB per connection. They do the handshake, where
authentication and limits are at home; after ``accept`` the endpoint takes the transport over and returns.
"""

import asyncio
import enum
import logging
import socket
from collections.abc import Callable
from typing import Any, cast

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

from livescore.live import session
from livescore.live.connection import INVALID_DATA, POLICY_VIOLATION, TRY_AGAIN_LATER, State
from livescore.live.hub import Group, frame
from livescore.live.inbound import BYTES_PER_FRAME, PIECE_BYTES, READ_COST, Budget, FrameEnds
from livescore.live.realtime_server import RealtimeServer
from livescore.telemetry import metrics
from livescore.uvicorn_adapter import ASGISendEvent, WebSocketsSansIOProtocol

# The ASGI extension that hands a socket over.
EXTENSION = "livescore.detach"

# Seconds that a peer may take to answer a close frame; one that does not read never answers.
CLOSE_SECONDS = 5.0

# Bytes of a closed socket that are read and dropped, so that its client reads the reason instead of a reset.
MAX_DROPPED_BYTES = 8_388_608

# What may wait for the handshake's answer; nothing should.
MAX_EARLY_BYTES = 65_536

# Milliseconds without an acknowledgement after which the kernel gives a dead peer up.
TCP_USER_TIMEOUT_MS = 60_000

# Bytes waiting for the kernel below which a catching-up client gets its next piece.
DRAINED_BYTES = 65_536

PING = Frame(Opcode.PING, b"").serialize(mask=False)

Detach = Callable[[RealtimeServer, str], "LiveSocket"]


class Phase(enum.Enum):
    """The life of a socket after its handshake; it only goes forward."""

    OPEN = enum.auto()
    CLOSING = enum.auto()
    CLOSED = enum.auto()


# uvicorn logs the URL of every handshake, which may hold a key; thousands may come in a second.
_quiet = logging.getLogger("livescore.handshake")
_quiet.setLevel(logging.WARNING)


class HandshakeProtocol(WebSocketsSansIOProtocol):
    """uvicorn's own protocol, which can be left after ``accept``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = self.conn.logger = _quiet
        self._early = bytearray()

    def data_received(self, data: bytes) -> None:
        """Keep what a hasty client says before it is accepted; RFC 6455 bids it wait."""
        if not self.handshake_initiated:
            super().data_received(data)
        elif len(self._early) + len(data) <= MAX_EARLY_BYTES:
            self._early += data
        else:
            self.transport.abort()

    def handle_parser_exception(self) -> None:
        """End a connection whose handshake the library cannot read; what it cannot read is refused before."""
        self.transport.abort()

    async def run_asgi(self) -> None:
        """Offer the way out to the application."""
        cast(dict[str, Any], self.scope)["extensions"][EXTENSION] = self.detach
        await super().run_asgi()

    async def send(self, message: ASGISendEvent) -> None:
        """Count a refusal, and treat the handshake as complete: uvicorn would log it as an error of the application."""
        if message["type"] == "websocket.http.response.start":
            metrics.refused("GET", message["status"])
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    def detach(self, server: RealtimeServer, address: str) -> "LiveSocket":
        """Hand the connection over; this object and everything around it can be forgotten."""
        live = LiveSocket(server, self.transport, address)
        self.handshake_complete = True
        self.connections.discard(self)
        self.stop_keepalive()
        self.transport.set_protocol(live)
        self.transport = cast(asyncio.Transport, _NoTransport())
        if self._early:
            asyncio.get_running_loop().call_soon(live.data_received, bytes(self._early))
        return live


class _NoTransport:
    """What stays with a protocol that was left: nothing to close, nothing to write to."""

    def close(self) -> None:
        """Nothing to close."""

    def is_closing(self) -> bool:
        """It is closed."""
        return True

    def write(self, _: bytes) -> None:
        """Nobody listens."""


class LiveSocket(asyncio.Protocol):
    """One open WebSocket: transport, conversation, and a parser only while a message is incomplete."""

    __slots__ = (
        "_answered",
        "_budget",
        "_deadline",
        "_dropped",
        "_ends",
        "_fragments",
        "_is_text",
        "_parser",
        "_phase",
        "_server",
        "_transport",
        "_unread",
        "state",
    )

    def __init__(self, server: RealtimeServer, transport: asyncio.Transport, address: str) -> None:
        self.state = State(address, server.settings.inbound_burst)
        self._server = server
        self._transport = transport
        self._phase = Phase.OPEN
        # While a frame or message is incomplete: its parser, where frames end, and until when it must be complete.
        self._parser: Protocol | None = None
        self._ends: FrameEnds | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._fragments: bytearray | None = None
        self._is_text = True
        self._answered = True
        self._budget = Budget(server.settings)
        # Received and waiting for a turn; reading is paused meanwhile.
        self._unread: memoryview | None = None
        self._dropped = 0
        transport.set_write_buffer_limits(high=server.settings.slow_consumer_bytes)
        _watch_for_dead_peer(transport)

    # What the application does

    @property
    def open(self) -> bool:
        """Whether messages still reach the client."""
        return self._phase is Phase.OPEN

    def write(self, data: bytes) -> None:
        """Put ready frames on the wire."""
        if self._phase is Phase.OPEN and not self._transport.is_closing():
            self._transport.write(data)

    def send(self, message: bytes) -> None:
        """Send one JSON message."""
        self.write(frame(message))

    def join(self, group: Group) -> None:
        """Hear the events of a group from now on."""
        group.join(self)

    def leave(self, group: Group) -> None:
        """Hear them no more."""
        group.leave(self)

    def flush(self, group: Group) -> None:
        """Send now what waits for the group's next write."""
        group.flush(self)

    async def drained(self) -> None:
        """Wait until the client has taken most of what was sent; a client that reads nothing is cut off elsewhere."""
        # The transport's own limits are the slow consumer's: nothing says when it falls below this one.
        while self.open and self._transport.get_write_buffer_size() > DRAINED_BYTES:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)

    def close(self, code: int) -> None:
        """Send a close frame and wait a little for its answer."""
        if self._phase is not Phase.OPEN:
            return
        self._transport.write(_close_frame(code))
        self._leave(Phase.CLOSING, code)
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def beat(self) -> None:
        """Ping, or drop a peer that has not answered the last one."""
        if not self._answered:
            self._leave(Phase.CLOSED, 1006)
            self._transport.abort()
        elif self.open:
            self._answered = False
            self.write(PING)

    def _leave(self, phase: Phase, code: int) -> None:
        if self._phase is Phase.OPEN:
            metrics.socket_closed(code)
        self._phase = phase
        self._disarm()
        self._server.detach(self)

    # What the transport says

    def data_received(self, data: bytes) -> None:
        """Answer control frames and hand complete messages on, in turn with the other sockets."""
        if self._phase is Phase.CLOSED:
            self._drop(data)
        elif not self._answered and self._parser is None and _is_pong(data):
            self._answered = True  # to our ping: free of charge
        else:
            self._answered = True
            waiting, self._unread = self._unread, memoryview(data)
            if waiting is None:
                self._server.turns.read(self)
            else:
                self._unread = memoryview(bytes(waiting) + data)

    def read_piece(self) -> tuple[float, bool]:
        """Parse one piece of what was received; return its cost in frames, and whether there is more."""
        unread = self._unread or memoryview(b"")
        piece, rest = unread[:PIECE_BYTES], unread[PIECE_BYTES:]
        self._unread = rest or None
        cost = self._parse(bytes(piece))
        if self._phase is Phase.CLOSED:
            self._unread = None
        if self._unread is not None:
            self._transport.pause_reading()
        elif not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()
        return cost, self._unread is not None

    def _parse(self, data: bytes) -> float:
        if self._phase is Phase.CLOSED:
            return 0
        parser = self._parser or Protocol(Side.SERVER, max_size=self._server.settings.max_frame_bytes)
        parser.receive_data(data)
        frames = parser.events_received()
        cost = len(frames) + READ_COST + len(data) / BYTES_PER_FRAME
        if not self._budget.spend(self._server.settings, cost):
            self._close_flooder()
            return cost
        for frame_ in frames:
            self._frame(cast(Frame, frame_))
        self._respond(parser)
        self._keep_incomplete(parser, data)
        return cost

    def _keep_incomplete(self, parser: Protocol, data: bytes) -> None:
        """Keep the parser while a frame or a message is incomplete, which must not last."""
        ends = self._ends or FrameEnds()
        if (ends.feed(data) and self._fragments is None) or self._phase is Phase.CLOSED:
            self._forget()
        else:
            self._parser, self._ends = parser, ends
            self._arm()

    def _forget(self) -> None:
        self._disarm()
        self._parser = self._ends = self._fragments = None

    def _arm(self) -> None:
        if self._deadline is None and self._phase is Phase.OPEN:
            seconds = self._server.settings.request_timeout_seconds
            self._deadline = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self._unread is not None:
            self._arm()  # the rest may have come and waits for its turn
        else:
            self._close_offender()

    def _close_flooder(self) -> None:
        """Close a client that sends more frames than it may, without reading any of those."""
        if self._phase is Phase.OPEN:
            metrics.FLOODERS_CLOSED.inc()
            self._close_offender()
        else:
            self._transport.abort()
            self._forget()

    def _close_offender(self) -> None:
        self._transport.write(_close_frame(POLICY_VIOLATION))
        self._fail(POLICY_VIOLATION)
        self._forget()

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > MAX_DROPPED_BYTES:
            self._transport.pause_reading()

    def _respond(self, parser: Protocol) -> None:
        answer = b"".join(parser.data_to_send())
        if answer:
            self.write(answer)
        if parser.close_rcvd is not None:
            self._leave(Phase.CLOSED, parser.close_rcvd.code)
            self._transport.close()
        elif parser.close_sent is not None:
            self._fail(parser.close_sent.code)

    def _fail(self, code: int) -> None:
        """Hang up on who broke the protocol; what it is still sending is read, or a reset outruns our reason."""
        self._leave(Phase.CLOSED, code)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def _frame(self, event: Frame) -> None:
        if event.fin and (self._fragments is None or event.opcode is Opcode.CONT):
            self._disarm()  # a message, or a control frame between messages, is complete
        if event.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            return
        if event.opcode is not Opcode.CONT:
            self._is_text = event.opcode is Opcode.TEXT
            if event.fin:
                self._message(bytes(event.data))
                return
            self._fragments = bytearray()
        if self._fragments is None:
            return
        self._fragments += event.data
        if event.fin:
            data, self._fragments = bytes(self._fragments), None
            self._message(data)

    def _message(self, data: bytes) -> None:
        if self._is_text and not _is_utf8(data):
            self.close(INVALID_DATA)
        elif self.open:
            self.receive(data)

    def receive(self, data: bytes) -> None:
        """One complete message."""
        session.receive(self._server, self, data)

    def pause_writing(self) -> None:
        """More is unsent than a slow consumer may keep: out of the fan-out, and good-bye."""
        if self.open:
            metrics.SLOW_CONSUMERS_CLOSED.inc()
            self.close(TRY_AGAIN_LATER)

    def connection_lost(self, _: Exception | None) -> None:
        """The peer is gone."""
        self._leave(Phase.CLOSED, 1006)


def _close_frame(code: int) -> bytes:
    return Frame(Opcode.CLOSE, Close(code, "").serialize()).serialize(mask=False)


def _watch_for_dead_peer(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)


def _is_pong(data: bytes) -> bool:
    """The answer to our empty ping: FIN and PONG, masked, no payload; by far the most frequent frame."""
    return len(data) == 6 and data[0] == 0x8A and data[1] == 0x80


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class Heartbeat:
    """One timer for all sockets: each second the next share of them is pinged."""

    def __init__(self, server: RealtimeServer, interval_seconds: float) -> None:
        self._server = server
        self._interval = interval_seconds

    async def run(self) -> None:
        """Ping every socket once per interval, spread over it."""
        slots = max(1, round(self._interval))
        turn = 0
        while True:
            await asyncio.sleep(self._interval / slots)
            turn += 1
            for connection in list(self._server.sockets):
                if isinstance(connection, LiveSocket) and id(connection) // 64 % slots == turn % slots:
                    connection.beat()
