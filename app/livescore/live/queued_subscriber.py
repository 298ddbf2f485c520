"""A subscriber that takes events from a queue: a server-sent event stream or a long poll."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable

from livescore.scores.feed import Event

# Most events and bytes that are written at once; the pace of the reader decides when the next piece follows.
PIECE_EVENTS = 500
PIECE_BYTES = 65_536


class QueuedSubscriber:
    """Queue of events, bounded in bytes. A reader that falls too far behind is cut off and can resume.

    Args:
        bound: Most live bytes that may wait for the reader. The history, which it asked for, is not counted.
        events: Events before the live ones.

    Attributes:
        closed: True once no more events are accepted.
        overflowed: True if more was waiting than the bound allows.
        on_overflow: Called when that happens.
    """

    def __init__(self, bound: int, events: Iterable[Event]) -> None:
        self.closed = False
        self.overflowed = False
        self.on_overflow: Callable[[], None] | None = None
        self._bound = bound
        # Live bytes that wait, including those of the piece that is being written; then those of that piece alone.
        self._bytes = 0
        self._writing = 0
        # Match id → last seq of the history. The feed may be a little behind it and deliver these events again.
        self._known: dict[int, int] = {}
        # Each event with the number of bytes that it counts for.
        self._events: deque[tuple[Event, int]] = deque((event, 0) for event in events)
        self._ready = asyncio.Event()
        if self._events:
            self._ready.set()

    def put(self, event: Event) -> None:
        """Append an event delivered by a feed. Never blocks."""
        if self.overflowed or event.seq <= self._known.get(event.match_id, 0):
            return
        size = len(event.message)
        if self._bytes + size > self._bound:
            self._overflow()
            return
        self._bytes += size
        self._events.append((event, size))
        self._ready.set()

    def put_first(self, events: Iterable[Event], known: dict[int, int]) -> None:
        """Insert a history before the events that have arrived meanwhile, each event once.

        Args:
            events: History, by match and seq.
            known: Match id → seq of the last event that the reader has.
        """
        live, self._events = self._events, deque()
        self._known = dict(known)
        self._bytes = 0
        for event in events:
            if event.seq > known.get(event.match_id, 0):
                self._events.append((event, 0))
                self._known[event.match_id] = event.seq
        for event, size in live:
            if event.seq > self._known.get(event.match_id, 0):
                self._events.append((event, size))
                self._bytes += size
        if self._events:
            self._ready.set()

    def _overflow(self) -> None:
        self.overflowed = True
        self.close()
        if self.on_overflow is not None:
            self.on_overflow()

    def close(self) -> None:
        """Accept no more events; the reader receives those that wait, and then the end."""
        self.closed = True
        self._ready.set()

    @property
    def empty(self) -> bool:
        """Return True if the reader has taken every event that was delivered so far."""
        return not self._events and not self.overflowed

    async def wait(self, seconds: float) -> bool:
        """Wait for an event for at most ``seconds``. Returns True if there is one."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            return False
        return bool(self._events)

    async def read(self, idle_seconds: float) -> AsyncIterator[list[Event]]:
        """Yield the events in pieces, and an empty piece after every ``idle_seconds`` without an event.

        A piece counts as waiting until the next one is requested.
        """
        while True:
            self._bytes -= self._writing
            self._writing = 0
            if self._events:
                yield self._take_piece()
                continue
            if self.closed:
                return
            self._ready.clear()
            if not await self.wait(idle_seconds) and not self.closed:
                yield []

    def _take_piece(self) -> list[Event]:
        piece: list[Event] = []
        length = 0
        while self._events and len(piece) < PIECE_EVENTS and length < PIECE_BYTES:
            event, counted = self._events.popleft()
            piece.append(event)
            self._writing += counted
            length += len(event.message)
        return piece
