"""A stream of all matches, from a client's cursor: what it missed, in pieces, and then the live events."""

from collections.abc import AsyncIterator, Iterable

from livescore.live import messages
from livescore.live.cursor import UNKNOWN_EPOCH, AllMatchesCursor
from livescore.live.feeds import Feeds
from livescore.live.heal_requests import HealRequests
from livescore.live.identity import Identity
from livescore.live.queued_subscriber import PIECE_EVENTS, QueuedSubscriber
from livescore.scores.feed import Event
from livescore.scores.horizon import Horizon
from livescore.scores.store import Store

# Matches whose states are read at once; each may carry a hundred commentaries.
SNAPSHOTS_AT_ONCE = 10

# Most matches with pruned events, among those that a client missed, whose states it receives between the events. A
# client that missed more of them receives the states of all matches.
MAX_PRUNED = 100

SentMessage = tuple[bytes, str]
"""A message, and the id of the stream after it."""


class AllMatchesStream:
    """One stream of all matches. It can be read once.

    Attributes:
        recovered: True if everything after the client's id follows, False if states of all matches replace it, None
            for a client without an id.
        subscriber: Queue of live events.
    """

    def __init__(
        self,
        feeds: Feeds,
        identity: Identity,
        requests: HealRequests,
        store: Store,
        subscriber: QueuedSubscriber,
    ) -> None:
        self.recovered: bool | None = None
        self.subscriber = subscriber
        self._feeds = feeds
        self._identity = identity
        self._requests = requests
        self._store = store
        self._cursor = AllMatchesCursor.from_nothing(UNKNOWN_EPOCH)

    @property
    def id(self) -> str:
        """Id of the stream after the last message."""
        return str(self._cursor)

    async def start(self) -> None:
        """Start with the next live event.

        Raises:
            DatabaseAway: If the feeds cannot be read.
        """
        position = await self._feeds.all_matches.wait_for_position()
        self._cursor = AllMatchesCursor.at(position)
        self._join()

    async def resume(self, cursor: AllMatchesCursor) -> None:
        """Start with what the client missed or, if that is gone, with the states of all matches.

        Raises:
            DatabaseAway: If the feeds cannot be read.
        """
        self.recovered = await self._can_resume(cursor)
        self._cursor = cursor if self.recovered else AllMatchesCursor.from_nothing(self._identity.epoch)

    async def _can_resume(self, cursor: AllMatchesCursor) -> bool:
        if cursor.epoch != self._identity.epoch:
            return False
        if not await self._store.resumable(cursor.newest, cursor.last):
            return False
        return len(await self._pruned_matches(cursor)) <= MAX_PRUNED

    def _join(self) -> None:
        for feed in (self._feeds.all_matches, self._feeds.announcements):
            feed.add_queue(self.subscriber)

    def leave(self) -> None:
        """End the subscription."""
        for feed in (self._feeds.all_matches, self._feeds.announcements):
            feed.remove_queue(self.subscriber)

    async def read(self, idle_seconds: float) -> AsyncIterator[list[SentMessage]]:
        """Yield what was missed and then the live events, in pieces; an empty piece after ``idle_seconds`` without one.

        Raises:
            DatabaseAway: If the feeds cannot be read.
        """
        if self.recovered is not None:
            async for piece in self._missed():
                yield piece
            # The client may have received events from another instance that this one has not delivered yet.
            await self._requests.catch_up()
            if self._is_ended:
                return
            # Here the stream becomes live: events are queued from now on, and what is read afterwards goes before them.
            self._join()
            cursor = self._cursor
            self.subscriber.put_first(await self._store.since_horizon(cursor.horizon), dict(cursor.last))
        async for events in self.subscriber.read(idle_seconds):
            yield self._with_ids(events)

    @property
    def _is_ended(self) -> bool:
        """Return True if the client must reconnect: the database was restored, or this process stops."""
        return self._cursor.epoch != self._identity.epoch or self.subscriber.closed

    async def _missed(self) -> AsyncIterator[list[SentMessage]]:
        """Yield the history at the pace of the client, until so little is left that it can be read after the join."""
        cursor, count = self._cursor, PIECE_EVENTS
        while count >= PIECE_EVENTS and not self._is_ended:
            count = 0
            target = cursor.target = cursor.target or await self._store.horizon()
            for match_id in await self._pruned_matches(cursor):
                yield await self._state(match_id)
            pieces = self._states(cursor, target) if cursor.wants_snapshots else self._events(cursor, target)
            async for piece in pieces:
                count += len(piece)
                yield piece
            if not self._is_ended:
                cursor.reach_target()

    async def _pruned_matches(self, cursor: AllMatchesCursor) -> list[int]:
        """Return the matches with events that the client missed and that were pruned."""
        if cursor.wants_snapshots:
            return []
        pruned = await self._store.pruned_since(cursor.horizon, MAX_PRUNED + len(cursor.last) + 1)
        return [match_id for match_id, seq in pruned.items() if not cursor.has(match_id, seq)]

    async def _state(self, match_id: int) -> list[SentMessage]:
        state = await self._store.snapshot(match_id)
        if state is None:
            return []
        data, seq = state
        self._cursor.last[match_id] = seq
        return [(messages.snapshot(match_id, seq, data), self.id)]

    async def _states(self, cursor: AllMatchesCursor, target: Horizon) -> AsyncIterator[list[SentMessage]]:
        while not self._is_ended:
            states = await self._store.snapshots(target, cursor.place[0], SNAPSHOTS_AT_ONCE)
            if not states:
                return
            piece: list[SentMessage] = []
            for state in states:
                cursor.place = (state.match_id, 0)
                if state.late:
                    cursor.last[state.match_id] = state.seq
                piece.append((messages.snapshot(state.match_id, state.seq, state.data), self.id))
            yield piece

    async def _events(self, cursor: AllMatchesCursor, target: Horizon) -> AsyncIterator[list[SentMessage]]:
        while not self._is_ended:
            page = await self._store.between_horizons(cursor.horizon, target, cursor.place, PIECE_EVENTS)
            if not page:
                return
            piece: list[SentMessage] = []
            for event in page:
                cursor.place = (event.match_id, event.seq)
                if not cursor.has(event.match_id, event.seq):
                    piece.append((event.message, self.id))
            yield piece

    def _with_ids(self, events: Iterable[Event]) -> list[SentMessage]:
        cursor, all_matches = self._cursor, self._feeds.all_matches
        piece: list[SentMessage] = []
        for event in events:
            cursor.last[event.match_id] = max(event.seq, cursor.last.get(event.match_id, 0))
            piece.append((event.message, self.id))
        if self.subscriber.empty:
            cursor.advance(all_matches.position, all_matches.heads)
        return piece
