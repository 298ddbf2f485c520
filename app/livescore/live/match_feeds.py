"""The match feeds of this process: opened with the first subscriber, released some time after the last."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable

from livescore.live.channels import Channels
from livescore.live.feed import LINGER_SECONDS, FeedState
from livescore.live.match_feed import FeedSource, MatchFeed
from livescore.scores.database import DatabaseAway
from livescore.scores.feed import Event, channel

# A match that was read over REST is followed for this many seconds, so that the next reader's ETag needs no query.
WATCH_SECONDS = 60.0

# Most feeds that are open for readers alone. Bounds memory and Redis subscriptions; PostgreSQL answers further readers.
MAX_WATCHED = 10_000


class MatchFeeds:
    """Open match feeds by match id.

    Args:
        spawn: Runs a background task.
    """

    def __init__(
        self, source: FeedSource, channels: Channels, spawn: Callable[[Coroutine[None, None, None]], None]
    ) -> None:
        self._source = source
        self._channels = channels
        self._spawn = spawn
        self._feeds: dict[int, MatchFeed] = {}
        # Matches whose last event the next query will read, and whether a query is running.
        self._unread: dict[int, asyncio.Future[int]] = {}
        self._is_reading = False

    def get(self, match_id: int) -> MatchFeed | None:
        """Return a feed that is opening or open."""
        return self._feeds.get(match_id)

    def opened(self) -> list[MatchFeed]:
        """Return all feeds that are open."""
        return [feed for feed in self._feeds.values() if feed.is_open]

    def all(self) -> list[MatchFeed]:
        """Return all feeds that are opening or open."""
        return list(self._feeds.values())

    @property
    def subscriptions(self) -> int:
        """Number of single-match subscriptions of all sockets."""
        return sum(feed.socket_count for feed in self._feeds.values())

    async def open(self, match_id: int) -> MatchFeed:
        """Return the feed of a match, open.

        Redis is subscribed to first and PostgreSQL read second, so an event in between arrives or is found missing.

        Raises:
            DatabaseAway: If PostgreSQL cannot be read.
        """
        feed = self._feeds.get(match_id)
        if feed is None:
            feed = self._feeds[match_id] = MatchFeed(match_id, self._source)
            self._spawn(self._open(feed))
        feed.keep(LINGER_SECONDS)
        if not (feed.is_open and self._source.identity.epoch):
            with feed.pinned():
                await feed.opened()
                await self._source.identity.read_if_unknown(self._source.store)
        return feed

    async def open_all(self, match_ids: Iterable[int]) -> list[MatchFeed]:
        """Return the feeds of several matches, all of them open.

        Raises:
            DatabaseAway: If PostgreSQL cannot be read.
        """
        wanted = list(match_ids)
        feeds = await asyncio.gather(*map(self.open, wanted))
        if any(feed.state is FeedState.CLOSED for feed in feeds):  # released while the slowest one was being opened
            return await self.open_all(wanted)
        return feeds

    async def _open(self, feed: MatchFeed) -> None:
        await self._channels.subscribe(channel(feed.match_id))
        try:
            head = await self._read_head(feed.match_id)
        except DatabaseAway as error:
            feed.fail(error)
            await self._remove(feed)
        else:
            feed.open(head)

    async def _read_head(self, match_id: int) -> int:
        """Return the last seq of a match, 0 if there is none.

        Matches that are opened while a query runs share the next one, so opening many matches, existing or not, never
        takes more than one connection to PostgreSQL. A query that is already running does not do: it may have missed an
        event that was published before the subscription.

        Raises:
            DatabaseAway: If PostgreSQL cannot be read.
        """
        head = self._unread.setdefault(match_id, asyncio.get_running_loop().create_future())
        if not self._is_reading:
            self._is_reading = True
            self._spawn(self._read_heads())
        return await asyncio.shield(head)

    async def _read_heads(self) -> None:
        try:
            while self._unread:
                reading, self._unread = self._unread, {}
                try:
                    heads = await self._source.store.heads(reading)
                except BaseException as error:
                    waiting, self._unread = [*reading.values(), *self._unread.values()], {}
                    _fail(waiting, error)
                    if isinstance(error, DatabaseAway):
                        return
                    raise
                for match_id, head in reading.items():
                    head.set_result(heads.get(match_id, 0))
        finally:
            self._is_reading = False

    def watch(self, match_id: int) -> None:
        """Follow a match for a while although it has no subscribers, so that its head is known."""
        feed = self._feeds.get(match_id)
        if feed is not None:
            feed.keep(WATCH_SECONDS)
        elif len(self._feeds) < MAX_WATCHED:
            self._spawn(self._watch(match_id))

    async def _watch(self, match_id: int) -> None:
        try:
            feed = await self.open(match_id)
        except DatabaseAway:
            return
        feed.keep(WATCH_SECONDS)

    def note_written(self, event: Event) -> None:
        """Note an event that this process has committed, before Redis brings it."""
        feed = self._feeds.get(event.match_id)
        if feed is not None:
            feed.note_written(event.seq)

    async def release_idle(self) -> None:
        """Release the feeds whose time without subscribers is over."""
        for feed in self.all():
            if feed.close_if_idle():
                await self._remove(feed)

    async def _remove(self, feed: MatchFeed) -> None:
        if self._feeds.get(feed.match_id) is feed:
            del self._feeds[feed.match_id]
            await self._channels.unsubscribe(channel(feed.match_id))


def _fail(futures: Iterable[asyncio.Future[int]], error: BaseException) -> None:
    for future in futures:
        if isinstance(error, DatabaseAway):
            future.set_exception(error)
            future.exception()  # marks it as retrieved: its reader may be gone
        else:
            future.cancel()
