"""Bounds on the work that clients cause by sending: a budget per socket, and one per turn of the event loop.

A frame of six bytes costs as much as one with a message. Therefore frames are counted rather than bytes, including
control frames and fragments.
"""

import asyncio
from collections import deque
from time import monotonic
from typing import Protocol

from livescore.settings import Settings

# Frames for each message that INBOUND_BURST and INBOUND_PER_SECOND allow: a message may arrive in fragments, between
# pings and pongs.
FRAMES_PER_MESSAGE = 50
FRAMES_PER_SECOND_PER_MESSAGE = 20

# Cost of a read in addition to its frames, in frames: a client may send every byte in a segment of its own.
READ_COST = 0.25

# Bytes that cost as much as one frame: a message of 1 MiB costs 128.
BYTES_PER_FRAME = 8_192

# Bytes of one socket that are parsed at once: at most 170 frames, or half a millisecond.
PIECE_BYTES = 1_024

# Frames of all sockets that are parsed in one turn of the event loop: a few milliseconds, with the work they request.
FRAMES_PER_TURN = 256


class Budget:
    """A token bucket of frames, sized by the settings for messages."""

    __slots__ = ("_left", "_stamp")

    def __init__(self, settings: Settings) -> None:
        self._left = float(settings.inbound_burst * FRAMES_PER_MESSAGE)
        self._stamp = monotonic()

    def spend(self, settings: Settings, cost: float) -> bool:
        """Take ``cost`` frames. Returns False if not enough are left."""
        now = monotonic()
        refill = (now - self._stamp) * settings.inbound_per_second * FRAMES_PER_SECOND_PER_MESSAGE
        self._left = min(settings.inbound_burst * FRAMES_PER_MESSAGE, self._left + refill) - cost
        self._stamp = now
        return self._left >= 0


class FrameEnds:
    """Tracks the ends of a client's frames (RFC 6455, section 5.2)."""

    __slots__ = ("_head", "_missing")

    def __init__(self) -> None:
        # Bytes of an incomplete frame head, or else the number of bytes that the frame still lacks.
        self._head = b""
        self._missing = 0

    def feed(self, data: bytes) -> bool:
        """Return True if the data ends at the end of a frame."""
        data = self._head + data
        self._head = b""
        at, self._missing = self._missing, 0
        while at < len(data):
            size = _frame_size(data, at)
            if size is None:
                self._head = data[at:]
                return False
            at += size
        self._missing = at - len(data)
        return self._missing == 0


def _frame_size(data: bytes, at: int) -> int | None:
    """Return the size in bytes of the frame at this position; None if its length has not arrived yet."""
    if at + 2 > len(data):
        return None
    length, head = data[at + 1] & 0x7F, 6
    if length < 126:
        return head + length
    width = 2 if length == 126 else 8
    if at + 2 + width > len(data):
        return None
    return head + width + int.from_bytes(data[at + 2 : at + 2 + width])


class Reader(Protocol):
    """A socket with received bytes that wait to be parsed."""

    def read_piece(self) -> tuple[float, bool]:
        """Parse one piece. Returns its cost in frames, and True if more is waiting."""


class Turns:
    """Parses one piece of each socket in turn, until the budget for this turn of the event loop is spent."""

    def __init__(self) -> None:
        self._left = float(FRAMES_PER_TURN)
        self._waiting: deque[Reader] = deque()
        self._scheduled = False

    def read(self, reader: Reader) -> None:
        """Parse the received bytes of a socket, now or in one of the next turns."""
        self._waiting.append(reader)
        self._serve()

    def _serve(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next)
        while self._waiting and self._left > 0:
            reader = self._waiting.popleft()
            cost, more = reader.read_piece()
            self._left -= cost
            if more:
                self._waiting.append(reader)

    def _next(self) -> None:
        self._left = float(FRAMES_PER_TURN)
        self._scheduled = False
        if self._waiting:
            self._serve()
