"""The feed of all matches: every event of every match, numbered by the seqs of the matches."""

import asyncio
from collections.abc import Callable, Mapping

from livescore.clock import Clock
from livescore.live import messages
from livescore.live.channels import Channels
from livescore.live.connection import SERVICE_RESTART
from livescore.live.cursor import Position
from livescore.live.fan_out import FanOut
from livescore.live.feed import LINGER_SECONDS, Feed, FeedState
from livescore.live.heal_requests import HealRequests
from livescore.live.identity import Identity
from livescore.scores.feed import EVERYTHING, Event
from livescore.scores.horizon import Horizon
from livescore.scores.store import Store

# Matches with events after the last horizon that make the next one due. The ids of streams of all matches name each of
# them, and proxies refuse header lines of more than 8 kB.
MAX_LATE_MATCHES = 200


class AllMatches(Feed):
    """Every event of every match, in the order of each match.

    There is no total order over matches, so this feed keeps the last seq of each. In addition it has a position: a
    horizon up to which everything was delivered, and the deliveries since. Streams resume from such positions.

    Args:
        match_heads: Returns match id → seq of the last event that the feeds of single matches delivered.
    """

    __slots__ = (
        "_channels",
        "_clock",
        "_drawing",
        "_heads",
        "_identity",
        "_kept_until",
        "_match_heads",
        "_opening",
        "_position",
        "_requests",
        "_store",
        "_users",
    )

    def __init__(
        self,
        store: Store,
        identity: Identity,
        channels: Channels,
        requests: HealRequests,
        fan_out: FanOut,
        clock: Clock,
        match_heads: Callable[[], Mapping[int, int]],
    ) -> None:
        super().__init__(fan_out)
        self._match_heads = match_heads
        self._store = store
        self._identity = identity
        self._channels = channels
        self._requests = requests
        self._clock = clock
        # Match id → seq of the last event that was delivered; None while the feed is closed.
        self._heads: dict[int, int] | None = None
        self._position: Position | None = None
        # Deliveries since just before the horizon that the healer is drawing.
        self._drawing: dict[int, int] | None = None
        self._opening: asyncio.Future[None] | None = None
        # Subscribers, those included that have not joined yet.
        self._users = 0
        self._kept_until = 0.0

    # State

    @property
    def state(self) -> FeedState:
        """Place in the life of the feed."""
        if self._opening is not None and not self._opening.done():
            return FeedState.OPENING
        if self._heads is None:
            return FeedState.CLOSED
        return FeedState.LIVE if self._users else FeedState.LINGERING

    @property
    def is_delivering(self) -> bool:
        """Return True if events are delivered, also while the first horizon is being drawn."""
        return self._heads is not None

    @property
    def heads(self) -> Mapping[int, int]:
        """Match id → seq of the last event that was delivered."""
        return self._heads or {}

    def delivered_seq(self, match_id: int) -> int | None:
        """Return the seq of the last event of a match that was delivered; None while the feed is closed."""
        return None if self._heads is None else self._heads.get(match_id, 0)

    @property
    def position(self) -> Position | None:
        """Horizon from which streams may resume, and the deliveries since; None before the first one."""
        return self._position

    @property
    def is_position_old(self) -> bool:
        """Return True if so many matches changed since the horizon that a new one is due."""
        return self._position is not None and len(self._position.delivered) > MAX_LATE_MATCHES

    async def acquire(self) -> None:
        """Count a subscriber and open the feed for it. Every call needs a :meth:`release`, unless it raises.

        Raises:
            DatabaseAway: If PostgreSQL cannot be read.
        """
        self._users += 1
        try:
            await self.wait_for_position()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Count one subscriber less; without subscribers the feed lingers."""
        self._users -= 1
        self._kept_until = self._clock.now() + LINGER_SECONDS

    async def wait_for_position(self) -> Position:
        """Return the present position; open the feed if it is closed.

        Raises:
            DatabaseAway: If PostgreSQL cannot be read.
        """
        while self._position is None:
            if self._opening is None or self._opening.done():
                self._opening = asyncio.ensure_future(self._open())
                self._opening.add_done_callback(_mark_as_retrieved)
            await asyncio.shield(self._opening)
        return self._position

    async def _open(self) -> None:
        """Subscribe to all events, take the heads of all matches and wait for the first horizon.

        Matches with a feed of their own continue where that feed is, see :meth:`MatchFeed.open`.
        """
        if self._heads is None:
            await self._channels.subscribe(EVERYTHING)
            heads = await self._store.heads()
            self._heads = {**heads, **self._match_heads()}
        await self._requests.audit()

    async def release_if_idle(self) -> None:
        """Close the feed if its time without subscribers is over."""
        if self.state is FeedState.LINGERING and self._kept_until < self._clock.now():
            self._heads = self._position = self._drawing = None
            await self._channels.unsubscribe(EVERYTHING)

    # Events

    def accept(self, event: Event) -> bool:
        """Deliver an event if it is the next one of its match; report a gap if it is a later one."""
        if self._heads is None:
            return False
        next_seq = self._heads.get(event.match_id, 0) + 1
        if event.seq > next_seq:
            self._requests.report_gap(event.match_id)
        if event.seq != next_seq:
            return False
        self._heads[event.match_id] = event.seq
        self.note_delivery(event)
        if event.type != "match_created":  # the announcements deliver it
            self._deliver(event)
        return True

    def note_delivery(self, event: Event) -> None:
        """Record that subscribers received an event, by this feed or by the announcements."""
        if self._position is not None:
            self._position.delivered[event.match_id] = event.seq
        if self._drawing is not None:
            self._drawing[event.match_id] = event.seq

    # Healing

    def behind(self, heads: Mapping[int, int]) -> set[int]:
        """Return the matches whose feeds in PostgreSQL (match id → last seq) have events that were not delivered."""
        delivered = self.heads
        return {match_id for match_id, seq in heads.items() if delivered.get(match_id, 0) < seq}

    def start_position(self) -> dict[int, int] | None:
        """Record deliveries from now on, because a horizon is about to be drawn; None while the feed is closed."""
        self._drawing = None if self._heads is None else {}
        return self._drawing

    def take_position(self, epoch: str, horizon: Horizon, delivered: dict[int, int]) -> None:
        """Let streams resume from a horizon, now that every event it shows was delivered.

        Args:
            epoch: Epoch of the database when the horizon was drawn.
            horizon: The new horizon.
            delivered: Result of :meth:`start_position`; nothing happens if the feed was closed or restarted since.
        """
        if delivered is self._drawing and epoch == self._identity.epoch:
            self._position = Position(epoch, horizon, delivered)
        self._drawing = None

    def restart(self, heads: dict[int, int]) -> None:
        """Continue in a restored database. Subscribers must come back: all states at once are for REST."""
        if self._heads is None:
            return
        self._heads = heads
        self._position = self._drawing = None
        for socket in self._members():
            socket.close(SERVICE_RESTART)
        for queue in self._queues:
            queue.close()

    def restart_match(self, match_id: int, state: tuple[str, int] | None) -> None:
        """Continue one match from a snapshot, because the events before it are gone.

        ``state`` is the snapshot as JSON and its seq, or None if the match does not exist any more.
        """
        if self._heads is None:
            return
        data, seq = state or ("", 0)
        self._heads[match_id] = seq
        if state is None:
            return
        snapshot = messages.snapshot_event(match_id, seq, data)
        for socket in self._members():
            self.flush(socket)
            socket.send(snapshot.message)
        for queue in self._queues:
            queue.put(snapshot)


def _mark_as_retrieved(opening: asyncio.Future[None]) -> None:
    """Keep asyncio from logging an error that no caller waits for any more."""
    if not opening.cancelled():
        opening.exception()
