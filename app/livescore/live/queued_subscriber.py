"""A subscriber that reads events from a queue: server-sent events and long polls."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable

from livescore.scores.feed import Event

# Events and bytes that are written at once; then the reader's pace decides when the next piece follows.
PIECE_EVENTS = 500
PIECE_BYTES = 65_536


class QueuedSubscriber:
    """Events in order, bounded in bytes: a reader that falls too far behind is cut off and can resume.

    Args:
        bound: bytes that may wait for the reader. The history, which it asked for, is not counted.
        items: the events before the live ones.
    """

    def __init__(self, bound: int, items: Iterable[Event]) -> None:
        self.closed = False
        # More was waiting than the bound allows.
        self.overflowed = False
        self.on_overflow: Callable[[], None] | None = None
        self._bound = bound
        # Live bytes that wait, and those of the piece that is being written.
        self._bytes = 0
        self._writing = 0
        # Match id → last seq of the history: the hub may be a little behind it and deliver these events again.
        self._told: dict[int, int] = {}
        # Events, each with the bytes that it counts for.
        self._items: deque[tuple[Event, int]] = deque((item, 0) for item in items)
        self._ready = asyncio.Event()
        if self._items:
            self._ready.set()

    def put(self, item: Event) -> None:
        """Take one event from the hub."""
        if self.overflowed or item.seq <= self._told.get(item.match_id, 0):
            return
        size = len(item.message)
        if self._bytes + size > self._bound:
            self._overflow()
            return
        self._bytes += size
        self._items.append((item, size))
        self._ready.set()

    def put_first(self, items: Iterable[Event], seen: dict[int, int]) -> None:
        """Put older events before those that came in meanwhile, each event once.

        Args:
            items: from the feed, by match and seq.
            seen: match id → seq of the last event that the reader has.
        """
        newer = list(self._items)
        older = [item for item in items if item.seq > seen.get(item.match_id, 0)]
        self._told = seen | {item.match_id: item.seq for item in older}
        live = [(item, size) for item, size in newer if item.seq > self._told.get(item.match_id, 0)]
        self._bytes = sum(size for _, size in live)
        self._items = deque([*((item, 0) for item in older), *live])
        if self._items:
            self._ready.set()

    def _overflow(self) -> None:
        self.overflowed = True
        self.close()
        if self.on_overflow is not None:
            self.on_overflow()

    def close(self) -> None:
        """End the subscription; the reader gets the events that wait, and then no more."""
        self.closed = True
        self._ready.set()

    @property
    def empty(self) -> bool:
        """Whether the reader has every event that was delivered so far."""
        return not self._items and not self.overflowed

    async def wait(self, seconds: float) -> bool:
        """Wait until an event is there, at most for ``seconds``. Returns whether there is one."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            return False
        return bool(self._items)

    async def read(self, idle_seconds: float) -> AsyncIterator[list[Event]]:
        """Yield the events in pieces, and an empty piece after every ``idle_seconds`` without an event.

        A piece counts as waiting until the next one is asked for.
        """
        while True:
            self._bytes -= self._writing
            self._writing = 0
            if self._items:
                yield self._take()
                continue
            if self.closed:
                return
            self._ready.clear()
            if not await self.wait(idle_seconds) and not self.closed:
                yield []

    def _take(self) -> list[Event]:
        items, length = list[Event](), 0
        while self._items and len(items) < PIECE_EVENTS and length < PIECE_BYTES:
            item, counted = self._items.popleft()
            items.append(item)
            self._writing += counted
            length += len(item.message)
        return items
