"""A listener that reads events from a queue: server-sent events and long polls."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable

from livescore.live.hub import Item


class Follower:
    """Events in order, bounded in bytes: who does not read is cut off and can resume.

    Args:
        bound: bytes that may wait.
        items: the events before the live ones.
    """

    def __init__(self, bound: int, items: Iterable[Item]) -> None:
        self.closed = False
        self._bound = bound
        self._bytes = 0
        # Match id → the last event told from the feed: the hub may be a little behind it and tell it again.
        self._told: dict[int, int] = {}
        self._items: deque[Item] = deque(items)
        self._ready = asyncio.Event()
        if self._items:
            self._ready.set()

    def put(self, item: Item) -> None:
        """Take one event from the hub."""
        if item.seq <= self._told.get(item.match_id, 0):
            return
        self._bytes += len(item.message)
        if self._bytes > self._bound:
            self.close()
            return
        self._items.append(item)
        self._ready.set()

    def put_first(self, items: Iterable[Item], seen: dict[int, int]) -> None:
        """Put older events before those that came in meanwhile, each event once.

        Args:
            items: from the feed, by match and seq.
            seen: match id → the last event that the reader has.
        """
        newer = list(self._items)
        older = [item for item in items if item.seq > seen.get(item.match_id, 0)]
        self._told = seen | {item.match_id: item.seq for item in older}
        live = (item for item in newer if item.seq > self._told.get(item.match_id, 0))
        self._items = deque([*older, *live])
        if self._items:
            self._ready.set()

    def close(self) -> None:
        """No more events; the reader ends after those that wait."""
        self.closed = True
        self._ready.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until an event is there, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            return False
        return bool(self._items)

    async def read(self, idle_seconds: float) -> AsyncIterator[list[Item]]:
        """Whatever has come, in pieces; an empty one after every ``idle_seconds`` without an event."""
        while True:
            await self.wait(idle_seconds)
            items, self._items, self._bytes = list(self._items), deque(), 0
            self._ready.clear()
            if items or not self.closed:
                yield items
            if self.closed:
                return
