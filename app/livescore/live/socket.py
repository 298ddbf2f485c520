"""An open WebSocket without ASGI: one small object on the bare transport."""

import asyncio
import enum
import socket
from typing import cast

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

from livescore.live import session
from livescore.live.connection import (
    ABNORMAL_CLOSURE,
    INVALID_DATA,
    POLICY_VIOLATION,
    TRY_AGAIN_LATER,
    ConnectionState,
)
from livescore.live.fan_out import frame
from livescore.live.inbound import BYTES_PER_FRAME, PIECE_BYTES, READ_COST, Budget, FrameEnds
from livescore.live.realtime_server import RealtimeServer
from livescore.telemetry import metrics

# Seconds that a peer may take to answer a close frame. A peer that reads nothing never answers.
CLOSE_SECONDS = 5.0

# Most bytes of a closed socket that are read and dropped, so that its client reads the reason instead of a reset.
MAX_DROPPED_BYTES = 8_388_608

# Milliseconds without an acknowledgement after which the kernel gives up a dead peer.
TCP_USER_TIMEOUT_MS = 60_000

# Unsent bytes below which a client that catches up is sent its next piece, and seconds between two looks.
DRAINED_BYTES = 65_536
DRAINED_POLL_SECONDS = 0.01

PING = Frame(Opcode.PING, b"").serialize(mask=False)


class Phase(enum.Enum):
    """Life of a socket after its handshake; it only moves forward."""

    OPEN = enum.auto()
    CLOSING = enum.auto()
    """A close frame was sent; the peer has not answered it yet."""
    CLOSED = enum.auto()


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
        self.state = ConnectionState(address, server.settings.inbound_burst)
        self._server = server
        self._transport = transport
        self._phase = Phase.OPEN
        # While a frame or message is incomplete: its parser, the ends of its frames, and the time limit for the rest.
        self._parser: Protocol | None = None
        self._ends: FrameEnds | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._fragments: bytearray | None = None
        self._is_text = True
        # False between a ping and the next bytes from the peer.
        self._answered = True
        self._budget = Budget(server.settings)
        # Received bytes that wait for a turn; reading is paused meanwhile.
        self._unread: memoryview | None = None
        self._dropped = 0
        transport.set_write_buffer_limits(high=server.settings.slow_consumer_bytes)
        _limit_time_of_dead_peer(transport)

    # Called by the application

    @property
    def open(self) -> bool:
        """Return True while messages reach the client."""
        return self._phase is Phase.OPEN

    def write(self, data: bytes) -> None:
        """Write ready frames; do nothing once the socket is closed."""
        if self._phase is Phase.OPEN and not self._transport.is_closing():
            self._transport.write(data)

    def send(self, message: bytes) -> None:
        """Send one JSON message; do nothing once the socket is closed."""
        self.write(frame(message))

    async def drained(self) -> None:
        """Wait until most of what was sent has left the process. A client that reads nothing is closed elsewhere."""
        # The transport's own limits are those of slow consumers, so it cannot signal this one.
        while self.open and self._transport.get_write_buffer_size() > DRAINED_BYTES:  # noqa: ASYNC110 - no event
            await asyncio.sleep(DRAINED_POLL_SECONDS)

    def close(self, code: int) -> None:
        """Send a close frame and give the peer some seconds to answer. Idempotent."""
        if self._phase is not Phase.OPEN:
            return
        self._transport.write(_close_frame(code))
        self._leave(Phase.CLOSING, code)
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def beat(self) -> None:
        """Send a ping, or drop the peer if it has not answered the last one."""
        if not self._answered:
            self._leave(Phase.CLOSED, ABNORMAL_CLOSURE)
            self._transport.abort()
        elif self.open:
            self._answered = False
            self.write(PING)

    def _leave(self, phase: Phase, code: int) -> None:
        if self._phase is Phase.OPEN:
            metrics.socket_closed(code)
        self._phase = phase
        self._stop_deadline()
        self._server.detach(self)

    # Called by the transport

    def data_received(self, data: bytes) -> None:
        """Queue received bytes for parsing, in turn with the other sockets."""
        if self._phase is Phase.CLOSED:
            self._drop(data)
        elif not self._answered and self._parser is None and _is_pong(data):
            self._answered = True  # the answer to our ping costs nothing
        else:
            self._answered = True
            waiting, self._unread = self._unread, memoryview(data)
            if waiting is None:
                self._server.turns.read(self)
            else:
                self._unread = memoryview(bytes(waiting) + data)

    def pause_writing(self) -> None:
        """Close a slow consumer: more bytes are unsent than it may leave waiting."""
        if self.open:
            metrics.SLOW_CONSUMERS_CLOSED.inc()
            self.close(TRY_AGAIN_LATER)

    def connection_lost(self, _: Exception | None) -> None:
        """Unregister a socket whose connection is gone."""
        self._leave(Phase.CLOSED, ABNORMAL_CLOSURE)

    # Parsing

    def read_piece(self) -> tuple[float, bool]:
        """Parse one piece of the received bytes. Returns its cost in frames, and True if more is waiting."""
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
            self._take_frame(cast(Frame, frame_))
        self._respond(parser)
        self._keep_incomplete(parser, data)
        return cost

    def _take_frame(self, event: Frame) -> None:
        if event.fin and (self._fragments is None or event.opcode is Opcode.CONT):
            self._stop_deadline()  # a message, or a control frame between messages, is complete
        if event.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            return
        if event.opcode is not Opcode.CONT:
            self._is_text = event.opcode is Opcode.TEXT
            if event.fin:
                self._take_message(bytes(event.data))
                return
            self._fragments = bytearray()
        if self._fragments is None:
            return
        self._fragments += event.data
        if event.fin:
            data, self._fragments = bytes(self._fragments), None
            self._take_message(data)

    def _take_message(self, data: bytes) -> None:
        if self._is_text and not _is_utf8(data):
            self.close(INVALID_DATA)
        elif self.open:
            self.receive(data)

    def receive(self, data: bytes) -> None:
        """Handle one complete message."""
        session.receive(self._server, self, data)

    def _respond(self, parser: Protocol) -> None:
        """Send what the parser answers to control frames, and close if the peer does or has broken the protocol."""
        answer = b"".join(parser.data_to_send())
        if answer:
            self.write(answer)
        if parser.close_rcvd is not None:
            self._leave(Phase.CLOSED, parser.close_rcvd.code)
            self._transport.close()
        elif parser.close_sent is not None:
            self._fail(parser.close_sent.code)

    # Incomplete messages

    def _keep_incomplete(self, parser: Protocol, data: bytes) -> None:
        """Keep the parser while a frame or a message is incomplete, for a limited time."""
        ends = self._ends or FrameEnds()
        if (ends.feed(data) and self._fragments is None) or self._phase is Phase.CLOSED:
            self._forget_incomplete()
        else:
            self._parser, self._ends = parser, ends
            self._start_deadline()

    def _forget_incomplete(self) -> None:
        self._stop_deadline()
        self._parser = self._ends = self._fragments = None

    def _start_deadline(self) -> None:
        if self._deadline is None and self._phase is Phase.OPEN:
            seconds = self._server.settings.request_timeout_seconds
            self._deadline = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self._unread is not None:
            self._start_deadline()  # the rest may have arrived and wait for its turn
        else:
            self._close_offender()

    # Peers that break the rules

    def _close_flooder(self) -> None:
        """Close a client that sends more frames than it may, without reading any of them."""
        if self._phase is Phase.OPEN:
            metrics.FLOODERS_CLOSED.inc()
            self._close_offender()
        else:
            self._transport.abort()
            self._forget_incomplete()

    def _close_offender(self) -> None:
        self._transport.write(_close_frame(POLICY_VIOLATION))
        self._fail(POLICY_VIOLATION)
        self._forget_incomplete()

    def _fail(self, code: int) -> None:
        """Close towards a peer that broke the protocol.

        What the peer is still sending is read and dropped: otherwise a reset would overtake our close frame.
        """
        self._leave(Phase.CLOSED, code)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > MAX_DROPPED_BYTES:
            self._transport.pause_reading()


def _close_frame(code: int) -> bytes:
    return Frame(Opcode.CLOSE, Close(code, "").serialize()).serialize(mask=False)


def _limit_time_of_dead_peer(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)


def _is_pong(data: bytes) -> bool:
    """Return True for the answer to our empty ping, by far the most frequent frame: FIN, PONG, masked, no payload."""
    return len(data) == 6 and data[0] == 0x8A and data[1] == 0x80


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
