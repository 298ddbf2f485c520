"""Fan-out: the same frames to many sockets, in as few writes as possible.

A frame waits in the pending list of its audience. Once per iteration of the event loop, everything that is pending is
joined and written once to every socket. The kernel's ``write`` is most of the cost of a delivery, so fewer writes make
fan-out fast.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

import structlog
from websockets.frames import Frame, Opcode

from livescore.telemetry import metrics

log = structlog.get_logger(__name__)

# Writes between two turns of the rest of the loop. They take 3 to 6 ms, so pings and requests are served meanwhile, and
# more events of a burst arrive to be joined into the next write: with 1 000, a burst took half as many writes again.
# With fewer, requests that arrive faster than they are served would slow the fan-out down.
WRITES_PER_TURN = 250


def frame(message: bytes) -> bytes:
    """Return a text message as a WebSocket frame. Frames of a server are unmasked, so one serves all sockets."""
    return Frame(Opcode.TEXT, message).serialize(mask=False)


class Socket(Protocol):
    """A connection that accepts ready frames."""

    def write(self, data: bytes) -> None:
        """Write bytes to the connection; do nothing once it is closed."""


S = TypeVar("S", bound=Socket)


class Audience(Generic[S]):
    """Sockets that receive the same frames, and the frames that wait for the next write."""

    __slots__ = ("joining", "pending", "sockets", "unwritten", "writing")

    def __init__(self) -> None:
        self.sockets: set[S] = set()
        self.pending: list[bytes] = []
        # Late joiners → number of pending frames that they do not need: their history contains those events.
        self.joining: dict[S, int] = {}
        # The bytes of the write in progress, and the sockets that have not received them yet.
        self.writing = b""
        self.unwritten: set[S] = set()

    def __len__(self) -> int:
        return len(self.sockets) + len(self.joining)

    def __iter__(self) -> Iterator[S]:
        return iter([*self.sockets, *self.joining])

    def join(self, socket: S) -> None:
        """Add a socket; it receives the frames that are sent from now on."""
        if self.pending or self.writing:
            self.joining[socket] = len(self.pending)
        else:
            self.sockets.add(socket)

    def leave(self, socket: S) -> None:
        """Remove a socket; it receives nothing more, not even pending frames (see :meth:`flush`)."""
        self.sockets.discard(socket)
        self.unwritten.discard(socket)
        self.joining.pop(socket, None)

    def flush(self, socket: S) -> None:
        """Write everything that is pending for a member now, so that the caller can send something after it."""
        first = b""
        if socket in self.unwritten:
            self.unwritten.discard(socket)
            first = self.writing
        frames = self.pending[self.joining.get(socket, 0) :]
        if self.pending:
            self.sockets.discard(socket)
            self.joining[socket] = len(self.pending)
        if first or frames:
            socket.write(b"".join((first, *frames)))


class FanOut:
    """Writes pending frames, one share of sockets per iteration of the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Audience[Any]] = deque()
        self._writer: Iterator[None] | None = None

    def send(self, audience: Audience[Any], message: bytes) -> None:
        """Send a message to every socket of an audience with the next write."""
        if not (audience.sockets or audience.joining):
            return
        if not audience.pending:
            self._waiting.append(audience)
        audience.pending.append(frame(message))
        if self._writer is None:
            self._writer = self._write()
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        if not self._write_share():
            self._writer = self._write() if self._waiting else None
        if self._writer is not None:
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _write_share(self) -> bool:
        """Write the next share. Returns True if more is left."""
        try:
            return self._writer is not None and next(self._writer, self) is not self
        except Exception:  # one audience that fails must not end the deliveries to all others
            log.exception("fan-out share failed")
            return False

    def _write(self) -> Iterator[None]:
        while self._waiting:
            audience = self._waiting.popleft()
            yield from _write_audience(audience)
            if not audience.pending:
                audience.sockets.update(audience.joining)
                audience.joining.clear()


def _write_audience(audience: Audience[Any]) -> Iterator[None]:
    started = perf_counter()
    frames, audience.pending = audience.pending, []
    audience.unwritten, audience.writing = set(audience.sockets), b"".join(frames)
    deliveries = len(audience.unwritten) * len(frames) + _write_late_joiners(audience, frames)
    try:
        yield from _write_shares(audience)
    finally:
        metrics.DELIVERIES.inc(deliveries)
        metrics.DELIVERED_BYTES.inc(deliveries * len(audience.writing) / len(frames))
        metrics.FANOUT_SECONDS.observe(perf_counter() - started)
        audience.writing = b""


def _write_shares(audience: Audience[Any]) -> Iterator[None]:
    """Write to every socket, one share per turn. A write may close a slow consumer, which then leaves the audience."""
    written = 0
    while audience.unwritten:
        try:
            audience.unwritten.pop().write(audience.writing)
        except Exception:
            log.exception("socket write failed")
        written += 1
        if written % WRITES_PER_TURN == 0:
            yield


def _write_late_joiners(audience: Audience[Any], frames: list[bytes]) -> int:
    """Send late joiners the frames that they need. Returns the number of deliveries."""
    joining, audience.joining = audience.joining, {}
    audience.sockets.update(joining)
    deliveries = 0
    for socket, known in joining.items():
        if frames[known:]:
            deliveries += len(frames) - known
            socket.write(b"".join(frames[known:]))
    return deliveries
