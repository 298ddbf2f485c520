"""The feed of one match: delivers its events in order, and knows or reads what a client missed."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from time import time

from livescore.clock import Clock
from livescore.live import messages
from livescore.live.fan_out import FanOut
from livescore.live.feed import LINGER_SECONDS, Feed, FeedSocket, FeedState
from livescore.live.heal_requests import HealRequests
from livescore.live.identity import Identity
from livescore.live.queued_subscriber import PIECE_EVENTS, QueuedSubscriber
from livescore.scores.database import DatabaseAway
from livescore.scores.feed import Event
from livescore.scores.store import Store


@dataclass(frozen=True, slots=True)
class History:
    """Everything that a client receives of a match before live events.

    Attributes:
        seq: Number of the last event before the live ones.
        events: Missed events, up to ``seq``.
        recovered: True if ``events`` are everything after the client's ``since``; False if a snapshot replaces older
            events; None if the client did not resume.
        snapshot: State of the match at ``snapshot_seq``, as a message.
    """

    seq: int
    events: list[Event]
    recovered: bool | None = None
    snapshot: bytes | None = None
    snapshot_seq: int = 0

    def acknowledgement(self, match_id: int, epoch: str) -> list[bytes]:
        """Return ``subscribed`` and the snapshot, if there is one, as messages."""
        subscribed = messages.subscribed(match_id, self.seq, epoch, self.recovered)
        return [subscribed] if self.snapshot is None else [subscribed, self.snapshot]


@dataclass(frozen=True, slots=True)
class FeedSource:
    """Everything that a match feed needs from the rest of the process.

    Attributes:
        deliver: Hands an event read from PostgreSQL to all feeds of the process.
        delivered_seq: Returns the last seq of a match that the feed of all matches delivered; None while it is closed.
        recent_events: Number of events that a feed keeps in memory.
    """

    store: Store
    identity: Identity
    requests: HealRequests
    fan_out: FanOut
    clock: Clock
    deliver: Callable[[Event], bool]
    delivered_seq: Callable[[int], int | None]
    recent_events: int


class MatchFeed(Feed):
    """Events of one match, numbered by ``seq``."""

    __slots__ = (
        "_head",
        "_is_closed",
        "_kept_until",
        "_opened",
        "_pins",
        "_recent",
        "_seen",
        "_source",
        "_written",
        "match_id",
    )

    def __init__(self, match_id: int, source: FeedSource) -> None:
        super().__init__(source.fan_out)
        self.match_id = match_id
        self._source = source
        # Seq of the last event that was delivered, and the highest seq that arrived while the feed was opening.
        self._head = 0
        self._seen = 0
        # Seq of the last event that this process committed; its publication may still be under way.
        self._written = 0
        self._recent: deque[Event] = deque(maxlen=source.recent_events)
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Resumes that are reading the history and will join.
        self._pins = 0
        self._kept_until = 0.0
        self._is_closed = False

    # State

    @property
    def state(self) -> FeedState:
        """Place in the life of the feed."""
        if self._is_closed:
            return FeedState.CLOSED
        if not self._opened.done():
            return FeedState.OPENING
        return FeedState.LIVE if self._pins or self._has_subscribers else FeedState.LINGERING

    @property
    def is_open(self) -> bool:
        """Return True once the head is known; live and lingering feeds are open."""
        return self._opened.done() and not self._is_closed

    @property
    def head(self) -> int:
        """Seq of the last event that was delivered; 0 without one."""
        return self._head

    @property
    def newest(self) -> int:
        """Seq of the last event that this process knows of, delivered or just committed; 0 without one."""
        return max(self._head, self._written) if self._head else 0

    def open(self, last_seq: int) -> None:
        """Start delivering events, given the last seq in PostgreSQL.

        If all matches are followed, the feed continues where their subscribers are: a socket that changes from one kind
        of subscription to the other then neither misses an event nor receives one twice.
        """
        if self.state is not FeedState.OPENING:
            return
        delivered = self._source.delivered_seq(self.match_id)
        self._head = last_seq if delivered is None else delivered
        self._opened.set_result(None)
        if max(self._seen, last_seq) > self._head:
            self._source.requests.report_gap(self.match_id)

    def fail(self, error: DatabaseAway) -> None:
        """Close a feed that could not be opened; :meth:`opened` raises ``error``."""
        self._is_closed = True
        self._opened.set_exception(error)
        self._opened.exception()  # marks it as retrieved: there may be no caller left

    async def opened(self) -> None:
        """Wait until the feed is open.

        Raises:
            DatabaseAway: If its last event cannot be read.
        """
        await asyncio.shield(self._opened)

    def keep(self, seconds: float) -> None:
        """Do not release the feed within the next ``seconds``, even without subscribers."""
        self._kept_until = max(self._kept_until, self._source.clock.now() + seconds)

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Keep the feed open within a block, although the subscriber has not joined yet."""
        self._pins += 1
        try:
            yield
        finally:
            self._pins -= 1
            self.keep(LINGER_SECONDS)

    def close_if_idle(self) -> bool:
        """Close the feed if its time without subscribers is over. Returns True if it was closed."""
        if self.state is FeedState.LINGERING and self._kept_until < self._source.clock.now():
            self._is_closed = True
        return self._is_closed

    # Subscribers

    def leave(self, socket: FeedSocket) -> None:
        """Remove a socket; it receives nothing more, not even frames that wait for the next write."""
        super().leave(socket)
        self.keep(LINGER_SECONDS)

    def remove_queue(self, queue: QueuedSubscriber) -> None:
        """Remove a stream or long poll. Idempotent."""
        super().remove_queue(queue)
        self.keep(LINGER_SECONDS)

    # Events

    def accept(self, event: Event) -> bool:
        """Deliver an event if its seq is the next one; report a gap if it is a later one."""
        if not self._opened.done():
            self._seen = max(self._seen, event.seq)
            return False
        next_seq = self._head + 1
        if event.seq > next_seq:
            self._source.requests.report_gap(self.match_id)
        if event.seq != next_seq:
            return False
        self._head = event.seq
        self._recent.append(event)
        if event.type != "match_created":  # the announcements deliver it to every socket
            self._deliver(event)
        return True

    def note_written(self, seq: int) -> None:
        """Note an event that this process has committed, before Redis brings it."""
        self._written = max(self._written, seq)

    def restart(self, state: tuple[str, int] | None) -> None:
        """Continue from a snapshot, because the history before it is gone; subscribers receive the snapshot.

        ``state`` is the snapshot as JSON and its seq, or None if the match does not exist any more.
        """
        data, seq = state or ("", 0)
        if self.state is FeedState.OPENING:
            self._opened.set_result(None)
        self._head, self._written = seq, 0
        self._recent.clear()
        snapshot = messages.snapshot(self.match_id, seq, data) if state else None
        history = History(seq, [], recovered=False, snapshot=snapshot, snapshot_seq=seq)
        acknowledgement = history.acknowledgement(self.match_id, self._source.identity.epoch)
        for socket in self._members():
            self.flush(socket)
            for message in acknowledgement:
                socket.send(message)
        for queue in self._queues:
            for kind, message in zip(("subscribed", "snapshot"), acknowledgement, strict=False):
                queue.put(Event(self.match_id, seq, kind, time(), "", message))

    # Resume

    async def resume(self, since: int | None, epoch: str | None = None) -> History:
        """Return what a client missed. A caller that joins before it awaits anything else misses nothing.

        The history ends at the head of the feed. An event can only be delivered while this task is suspended, so
        between the return of this method and the join there is none.

        Args:
            since: Seq of the last event that the client has; None to receive live events only.
            epoch: Epoch of the database that ``since`` refers to; None if the client does not know it.

        Raises:
            DatabaseAway: If the history cannot be read.
        """
        if since is None:
            return History(self._head, [])
        with self.pinned():
            if epoch in (None, self._source.identity.epoch):
                events = await self._events_after(since)
                if events is not None:
                    return History(self._head, events, recovered=True)
            return await self._from_snapshot()

    async def backlog(self, since: int, epoch: str | None) -> AsyncIterator[list[Event]]:
        """Yield a long history in pieces, while more than one piece is left; :meth:`resume` returns the rest.

        Raises:
            DatabaseAway: If the history cannot be read.
        """
        while epoch in (None, self._source.identity.epoch) and self._head - since > PIECE_EVENTS:
            piece = await self._source.store.events(self.match_id, since, PIECE_EVENTS)
            if not piece or piece[0].seq != since + 1:
                return
            yield piece
            since = piece[-1].seq

    async def _events_after(self, since: int) -> list[Event] | None:
        """Return the events after ``since`` up to the head; None if PostgreSQL does not have all of them."""
        if since > self._head and not await self._catch_up(since):
            return None
        events: list[Event] = []
        while since < self._head:
            recent = self._recent_after(since)
            if recent is not None:
                return events + recent
            page = await self._read(since)
            if not page or page[0].seq != since + 1:
                return None
            events += page
            since = page[-1].seq
        # The last page may contain events that were not delivered, because they follow a gap.
        return [event for event in events if event.seq <= self._head]

    async def _catch_up(self, seq: int) -> bool:
        """Deliver what PostgreSQL has, for a client that is ahead of this instance. Returns True if it has ``seq``."""
        await self._read(self._head)
        return self._head >= seq

    async def _read(self, since: int) -> list[Event]:
        """Return a page of the events after ``since`` from PostgreSQL, and deliver those that are new here."""
        page = await self._source.store.events(self.match_id, since)
        for event in page:
            self._source.deliver(event)
        return page

    async def _from_snapshot(self) -> History:
        state = await self._source.store.snapshot(self.match_id)
        if state is None:
            return History(self._head, [], recovered=False)
        data, seq = state
        events = await self._events_after(seq)
        snapshot = messages.snapshot(self.match_id, seq, data)
        return History(self._head, events or [], recovered=False, snapshot=snapshot, snapshot_seq=seq)

    def _recent_after(self, since: int) -> list[Event] | None:
        """Return the events after ``since`` from memory; None if some of them are not kept any more."""
        missing = self._head - since
        if missing > len(self._recent) or self._recent[-missing].seq != since + 1:
            return None
        return list(islice(self._recent, len(self._recent) - missing, None))
