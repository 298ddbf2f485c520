"""Feeds without Redis and PostgreSQL, and subscribers that keep what they receive."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

from livescore.live.connection import ConnectionState
from livescore.live.fan_out import frame
from livescore.live.feed import Feed
from livescore.live.feeds import Feeds
from livescore.live.heal_requests import HealRequests
from livescore.live.identity import Identity
from livescore.live.match_feed import MatchFeed
from livescore.scores.feed import Event
from livescore.scores.store import Store
from tests.support.clock import ManualClock


def event(match_id: int, seq: int, kind: str = "commentary") -> Event:
    """Return an event without data."""
    return Event.from_row(match_id, seq, kind, "{}", 0.0, "")


def wire(*seqs: int, match_id: int = 7) -> bytes:
    """Return the events with these seqs as frames."""
    return b"".join(frame(event(match_id, seq).message) for seq in seqs)


class Socket:
    """A WebSocket that keeps what was written; with ``leaves``, it leaves that feed in the middle of a write."""

    def __init__(self, leaves: Feed | None = None) -> None:
        self.state = ConnectionState("192.0.2.1", 1)
        self.open = True
        self.written: list[bytes] = []
        self.closed: list[int] = []
        self._leaves = leaves

    def write(self, data: bytes) -> None:
        """Keep ready frames."""
        self.written.append(data)
        if self._leaves is not None:
            self._leaves.leave(self)

    def send(self, message: bytes) -> None:
        """Keep a message as a frame."""
        self.write(frame(message))

    def close(self, code: int) -> None:
        """Keep the close code."""
        self.open = False
        self.closed.append(code)

    async def drained(self) -> None:
        """Return at once."""

    def beat(self) -> None:
        """Ignore the heartbeat."""

    @property
    def received(self) -> bytes:
        """Everything that was written."""
        return b"".join(self.written)


class Stream:
    """A queue that keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event_: Event) -> None:
        """Keep an event."""
        self.events.append(event_)


class FeedScene:
    """All feeds of a process.

    Attributes:
        requests: Mailbox of the healer; see :meth:`gaps` and :meth:`audits`.
        store: Stands in for PostgreSQL; tests replace its methods.
    """

    def __init__(self, store: Any = None, recent_events: int = 8) -> None:
        self.clock = ManualClock()
        self.requests = HealRequests(self.clock)
        self.store = store
        self.identity = Identity("livescore")
        self.identity.update("4be0643f1d98", "e" * 12)
        self._tasks: set[asyncio.Task[None]] = set()
        self.feeds = Feeds(
            cast(Store, store), self.identity, self.requests, self.clock, recent_events, spawn=self.spawn
        )

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run a background task."""
        self._tasks.add(asyncio.get_running_loop().create_task(work))

    def open(self, match_id: int, head: int = 0) -> MatchFeed:
        """Return the feed of a match, open at ``head``."""
        feed = MatchFeed(match_id, self.feeds.matches._source)
        self.feeds.matches._feeds[match_id] = feed
        feed.open(head)
        return feed

    def follow_all(self, heads: dict[int, int] | None = None) -> None:
        """Open the feed of all matches."""
        self.feeds.all_matches._heads = heads or {}

    def accept(self, *events: Event) -> list[bool]:
        """Hand events to the feeds; return which of them were delivered."""
        return [self.feeds.accept(one) for one in events]

    def gaps(self) -> set[int]:
        """Return the matches whose gaps were reported since the last call."""
        return self.requests.take().gaps
