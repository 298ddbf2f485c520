"""The matches that this process follows, from the first listener to the last, and what a client missed of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from livescore.live import messages
from livescore.live.hub import Hub, MatchFeed
from livescore.live.queued_subscriber import PIECE_EVENTS
from livescore.live.relay import Relay
from livescore.scores.database import DatabaseAway
from livescore.scores.feed import Event, channel
from livescore.scores.store import Store
from livescore.telemetry import metrics

# A match without listeners is followed this much longer: those who reconnect find its last events in memory.
LINGER_SECONDS = 5.0

# A match that was read by REST is followed this long, so that the next reader's ETag needs no query.
WATCH_SECONDS = 60.0

# Matches followed only for readers; bounds memory and subscriptions, newcomers beyond it ask PostgreSQL.
MAX_WATCHED = 10_000


@dataclass(frozen=True, slots=True)
class History:
    """What a client gets before live events: ``items`` end at ``seq``; ``snapshot`` replaces what cannot be told."""

    seq: int
    items: list[Event]
    recovered: bool | None = None
    snapshot: bytes | None = None
    snapshot_seq: int = 0


class MatchFeeds:
    """The open channels of one process.

    Args:
        recent: events that each channel remembers.
        spawn: runs something in the background.
    """

    def __init__(
        self, store: Store, hub: Hub, relay: Relay, recent: int, spawn: Callable[[Coroutine[None, None, None]], None]
    ) -> None:
        self._store = store
        self._hub = hub
        self._relay = relay
        self._recent = recent
        self._spawn = spawn
        self._written: dict[int, int] = {}
        self._asked: dict[int, asyncio.Future[int]] = {}
        self._asking = False

    @property
    def subscriptions(self) -> int:
        """Single-match subscriptions of all sockets."""
        return sum(len(group.sockets) + len(group.joining) for group in self._hub.match_feeds.values())

    def note_written(self, event: Event) -> None:
        """This process has committed an event: it knows the match's head before Redis tells it."""
        if event.match_id in self._hub.heads:
            self._written[event.match_id] = event.seq

    def head(self, match_id: int) -> int | None:
        """The match's last seq, if this server knows it for certain within Redis' delay."""
        seq = self._hub.heads.get(match_id)
        if not seq or not self._relay.current:
            return None
        written = self._written.get(match_id, 0)
        if written <= seq:
            self._written.pop(match_id, None)
        return max(seq, written)

    def watch(self, match_id: int) -> None:
        """Follow a match for a while although nobody listens, so that :meth:`head` knows it."""
        channel_ = self._hub.match_feeds.get(match_id)
        if channel_ is not None:
            channel_.watched_until = monotonic() + WATCH_SECONDS
        elif len(self._hub.match_feeds) < MAX_WATCHED:
            self._spawn(self._watch(match_id))

    async def _watch(self, match_id: int) -> None:
        try:
            (await self.open(match_id)).watched_until = monotonic() + WATCH_SECONDS
        except DatabaseAway:
            return

    async def open(self, match_id: int) -> MatchFeed:
        """Follow a match: hear its channel first, then learn where its feed stands.

        Raises:
            DatabaseAway: when the feed cannot be read.
        """
        opened = self._hub.match_feeds.get(match_id)
        if opened is None:
            opened = MatchFeed(asyncio.get_running_loop().create_future(), self._recent)
            self._hub.match_feeds[match_id] = opened
            self._spawn(self._open(match_id, opened))
        opened.watched_until = max(opened.watched_until, monotonic() + LINGER_SECONDS)
        await asyncio.shield(opened.opened)
        return opened

    async def _open(self, match_id: int, opened: MatchFeed) -> None:
        try:
            await self._relay.subscribe(channel(match_id))
            seq = await self._read_head(match_id)
        except DatabaseAway as error:
            self._hub.match_feeds.pop(match_id, None)
            opened.opened.set_exception(error)
            opened.opened.exception()  # nobody may be waiting any more
            return
        seq = self._hub.heads.setdefault(match_id, seq)
        opened.opened.set_result(None)
        if opened.seen > seq:
            self._relay.gap(match_id)

    async def _read_head(self, match_id: int) -> int:
        """Return the last seq of a match, 0 if there is none. Matches that are opened meanwhile share the next query.

        So subscribing to many matches, existing or not, never takes more than one connection to PostgreSQL.

        Raises:
            DatabaseAway: when the feed cannot be read.
        """
        asked = self._asked.setdefault(match_id, asyncio.get_running_loop().create_future())
        if not self._asking:
            self._asking = True
            self._spawn(self._read_heads())
        return await asyncio.shield(asked)

    async def _read_heads(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                try:
                    heads = await self._store.heads(asked)
                except BaseException as error:
                    waiting, self._asked = [*asked.values(), *self._asked.values()], {}
                    _fail(waiting, error)
                    if isinstance(error, DatabaseAway):
                        return
                    raise
                for match_id, future in asked.items():
                    future.set_result(heads.get(match_id, 0))
        finally:
            self._asking = False

    async def release_idle(self) -> None:
        """Release what nobody follows any more, for ever."""
        while True:
            await asyncio.sleep(LINGER_SECONDS / 2)
            now = monotonic()
            for match_id, opened in list(self._hub.match_feeds.items()):
                if not (len(opened) or opened.pinned) and opened.watched_until < now and opened.opened.done():
                    await self._release(match_id)
            metrics.SUBSCRIPTIONS.set(self.subscriptions)

    async def _release(self, match_id: int) -> None:
        self._hub.match_feeds.pop(match_id, None)
        self._written.pop(match_id, None)
        if not self._hub.follows_everything:
            self._hub.heads.pop(match_id, None)
        await self._relay.unsubscribe(channel(match_id))
        if match_id in self._hub.match_feeds:  # somebody came meanwhile
            await self._relay.subscribe(channel(match_id))

    async def history(self, match_id: int, since: int | None, epoch: str | None = None) -> History:
        """What follows ``since``, up to a seq at which the caller may join without waiting in between.

        Raises:
            DatabaseAway: when the feed cannot be read.
        """
        opened = await self.open(match_id)
        with pinned(opened):
            return await self._history(match_id, opened, since, epoch)

    async def _history(self, match_id: int, opened: MatchFeed, since: int | None, epoch: str | None) -> History:
        if not self._relay.epoch:  # PostgreSQL was away when this process began
            await self._relay.check_epoch()
        if since is None:
            return History(self._hub.heads[match_id], [])
        if epoch in (None, self._relay.epoch):
            items = await self._after(match_id, opened, since)
            if items is not None:
                return History(self._hub.heads[match_id], items, recovered=True)
        return await self._snapshot(match_id, opened)

    async def _after(self, match_id: int, opened: MatchFeed, since: int) -> list[Event] | None:
        """The events after ``since`` up to the hub's head; None when the feed does not have them."""
        heads, items = self._hub.heads, list[Event]()
        if since > heads[match_id] and not await self._catch_up(match_id, since):
            return None
        while since < heads[match_id]:
            known = opened.since(since, heads[match_id])
            if known is not None:
                return items + known
            events = await self._store.events(match_id, since)
            if not events or events[0].seq != since + 1:
                return None
            for event in events:
                self._hub.accept(event)
            items += events
            since = events[-1].seq
        return [item for item in items if item.seq <= heads[match_id]]

    async def _catch_up(self, match_id: int, seq: int) -> bool:
        """The client has seen more than this server: whether the feed has, too."""
        for event in await self._store.events(match_id, self._hub.heads[match_id]):
            self._hub.accept(event)
        return self._hub.heads[match_id] >= seq

    async def _snapshot(self, match_id: int, opened: MatchFeed) -> History:
        taken = await self._store.snapshot(match_id)
        if taken is None:
            return History(self._hub.heads[match_id], [], recovered=False)
        data, seq = taken
        items = await self._after(match_id, opened, seq)
        snapshot = messages.snapshot(match_id, seq, data)
        return History(self._hub.heads[match_id], items or [], recovered=False, snapshot=snapshot, snapshot_seq=seq)

    async def backlog(self, match_id: int, since: int, epoch: str | None) -> AsyncIterator[list[Event]]:
        """A long history in pieces, as long as more than one piece is left; :meth:`history` has the rest."""
        while epoch in (None, self._relay.epoch) and self._hub.heads[match_id] - since > PIECE_EVENTS:
            piece = await self._store.events(match_id, since, PIECE_EVENTS)
            if not piece or piece[0].seq != since + 1:
                return
            yield piece
            since = piece[-1].seq


def _fail(futures: Iterable[asyncio.Future[int]], error: BaseException) -> None:
    for future in futures:
        if isinstance(error, DatabaseAway):
            future.set_exception(error)
            future.exception()  # its reader may be gone
        else:
            future.cancel()


@contextmanager
def pinned(opened: MatchFeed) -> Iterator[None]:
    """The channel stays open although nobody listens yet."""
    opened.pinned += 1
    try:
        yield
    finally:
        opened.pinned -= 1
