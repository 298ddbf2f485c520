"""The stream of all matches from a client's cursor on: what it missed, in pieces, and then what is delivered here."""

from collections.abc import AsyncIterator, Callable, Iterable
from time import time

from livescore.live import messages
from livescore.live.cursor import UNKNOWN_EPOCH, AllMatchesCursor
from livescore.live.queued_subscriber import PIECE_EVENTS, QueuedSubscriber
from livescore.live.relay import Relay
from livescore.scores.feed import Event
from livescore.scores.horizon import Horizon
from livescore.scores.store import Store

# Matches whose states are read at once: each may carry a hundred commentaries.
SNAPSHOTS_AT_ONCE = 10

# Matches with pruned events that a client missed, up to which it gets their states among the events. Beyond that it
# gets the states of all matches.
MAX_PRUNED = 100

Sent = tuple[bytes, str]
"""A message and the id of the stream after it."""


class AllMatchesStream:
    """One stream of all matches; read it once.

    Args:
        join: lets the hub put live events into the queue.

    Attributes:
        recovered: whether everything after the client's id follows; None for a client without one.
        subscriber: the queue of live events.
    """

    def __init__(self, relay: Relay, store: Store, subscriber: QueuedSubscriber, join: Callable[[], None]) -> None:
        self.recovered: bool | None = None
        self.subscriber = subscriber
        self._relay = relay
        self._store = store
        self._join = join
        self._cursor = AllMatchesCursor.from_nothing(UNKNOWN_EPOCH)

    @property
    def id(self) -> str:
        """The id of the stream after the last message."""
        return str(self._cursor)

    async def begin(self) -> None:
        """Begin with the next event.

        Raises:
            DatabaseAway: if the feed cannot be read.
        """
        while (position := self._relay.position) is None:
            await self._relay.follow_everything()  # the feed was restored a moment ago
        self._cursor = AllMatchesCursor.at(position)
        self._join()

    async def resume(self, cursor: AllMatchesCursor) -> None:
        """Begin a stream with what the client missed; if that cannot be sent, with the states of all matches.

        Raises:
            DatabaseAway: if the feed cannot be read.
        """
        self.recovered = await self._can_resume(cursor)
        self._cursor = cursor if self.recovered else AllMatchesCursor.from_nothing(self._relay.epoch)

    async def _can_resume(self, cursor: AllMatchesCursor) -> bool:
        if cursor.epoch != self._relay.epoch:
            return False
        if not await self._store.resumable(cursor.newest, cursor.last):
            return False
        return len(await self._pruned(cursor)) <= MAX_PRUNED

    async def read(self, idle_seconds: float) -> AsyncIterator[list[Sent]]:
        """Yield what was missed and then the live events, in pieces; an empty piece after ``idle_seconds`` without one.

        Raises:
            DatabaseAway: if the feed cannot be read.
        """
        if self.recovered is not None:
            async for piece in self._missed():
                yield piece
            if self._ended:
                return
            await self._relay.catch_up()
            self._join()
            cursor = self._cursor
            self.subscriber.put_first(await self._store.since_horizon(cursor.horizon), dict(cursor.last))
        async for items in self.subscriber.read(idle_seconds):
            yield self._send(items)

    @property
    def _ended(self) -> bool:
        """Whether the client must come back: the feed was restored, or this process stops."""
        return self._cursor.epoch != self._relay.epoch or self.subscriber.closed

    async def _missed(self) -> AsyncIterator[list[Sent]]:
        """Yield a long history, as fast as the client reads, until little enough is left to join meanwhile."""
        cursor, count = self._cursor, PIECE_EVENTS
        while count >= PIECE_EVENTS and not self._ended:
            count = 0
            target = cursor.target = cursor.target or await self._store.horizon()
            for match_id in await self._pruned(cursor):
                yield await self._state(match_id)
            async for piece in self._states(cursor, target) if cursor.wants_snapshots else self._events(cursor, target):
                count += len(piece)
                yield piece
            if not self._ended:
                cursor.reach_target()

    async def _pruned(self, cursor: AllMatchesCursor) -> list[int]:
        """Return the matches with events that the client missed and that cannot be read any more."""
        if cursor.wants_snapshots:
            return []
        pruned = await self._store.pruned_since(cursor.horizon, MAX_PRUNED + len(cursor.last) + 1)
        return [match_id for match_id, seq in pruned.items() if not cursor.has(match_id, seq)]

    async def _state(self, match_id: int) -> list[Sent]:
        taken = await self._store.snapshot(match_id)
        if taken is None:
            return []
        data, seq = taken
        self._cursor.last[match_id] = seq
        return [(messages.snapshot(match_id, seq, data), self.id)]

    async def _states(self, cursor: AllMatchesCursor, target: Horizon) -> AsyncIterator[list[Sent]]:
        while not self._ended:
            states = await self._store.snapshots(target, cursor.place[0], SNAPSHOTS_AT_ONCE)
            if not states:
                return
            piece: list[Sent] = []
            for state in states:
                cursor.place = (state.match_id, 0)
                if state.late:
                    cursor.last[state.match_id] = state.seq
                piece.append((messages.snapshot(state.match_id, state.seq, state.data), self.id))
            yield piece

    async def _events(self, cursor: AllMatchesCursor, target: Horizon) -> AsyncIterator[list[Sent]]:
        while not self._ended:
            page = await self._store.between_horizons(cursor.horizon, target, cursor.place, PIECE_EVENTS)
            if not page:
                return
            piece: list[Sent] = []
            for event in page:
                cursor.place = (event.match_id, event.seq)
                if not cursor.has(event.match_id, event.seq):
                    piece.append((event.message, self.id))
            yield piece

    def _send(self, items: Iterable[Event]) -> list[Sent]:
        cursor, sent = self._cursor, list[Sent]()
        for item in items:
            cursor.last[item.match_id] = max(item.seq, cursor.last.get(item.match_id, 0))
            sent.append((item.message, self.id))
        if self.subscriber.empty:
            cursor.advance(self._relay.position, self._relay.heads)
        return sent


def state_item(match_id: int, seq: int, message: bytes) -> Event:
    """Return a snapshot as an item of a queue."""
    return Event(match_id, seq, "snapshot", time(), "", message)
