"""Match feeds are opened with few queries, whether the matches exist or not, and released some time after use."""

import asyncio
from collections.abc import Iterable

from livescore.live.feed import LINGER_SECONDS, FeedState
from livescore.live.match_feeds import WATCH_SECONDS
from livescore.scores.database import DatabaseAway
from livescore.scores.feed import EVERYBODY
from tests.support.clock import settle
from tests.support.feeds import FeedScene


class Store:
    """Knows match 7 and keeps the queries, which are answered once ``go`` is set."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.asked: list[list[int]] = []
        self.go = asyncio.Event()
        self._error = error

    async def heads(self, matches: Iterable[int]) -> dict[int, int]:
        self.asked.append(list(matches))
        await self.go.wait()
        if self._error:
            raise self._error
        return {7: 42} if 7 in self.asked[-1] else {}


async def test_matches_that_are_opened_together_share_queries() -> None:
    store = Store()
    match_feeds = FeedScene(store).feeds.matches
    opening = [asyncio.ensure_future(match_feeds.open(match_id)) for match_id in range(1, 1_001)]
    await settle()
    store.go.set()
    feeds = await asyncio.gather(*opening)
    assert len(store.asked) <= 2
    assert sorted(match_id for asked in store.asked for match_id in asked) == list(range(1, 1_001))
    assert {feed.match_id: feed.head for feed in feeds if feed.head} == {7: 42}


async def test_a_head_is_read_after_the_match_was_opened() -> None:
    """A query that was already running may have missed an event before the subscription."""
    store = Store()
    match_feeds = FeedScene(store).feeds.matches
    first = asyncio.ensure_future(match_feeds.open(1))
    await settle()
    second = asyncio.ensure_future(match_feeds.open(7))
    await settle()
    store.go.set()
    await asyncio.gather(first, second)
    assert store.asked == [[1], [7]]


async def test_without_the_database_all_opens_fail_at_once_and_may_be_tried_again() -> None:
    store = Store(DatabaseAway("gone"))
    match_feeds = FeedScene(store).feeds.matches
    opening = [asyncio.ensure_future(match_feeds.open(match_id)) for match_id in (1, 2)]
    await settle()
    opening.append(asyncio.ensure_future(match_feeds.open(3)))
    await settle()
    store.go.set()
    results = await asyncio.gather(*opening, return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseAway] * 3
    await settle()
    assert match_feeds.all() == []
    store._error = None
    assert (await match_feeds.open(7)).head == 42


async def test_an_idle_feed_is_released_and_its_channel_with_it() -> None:
    scene = FeedScene(_open_store())
    match_feeds = scene.feeds.matches
    feed = await match_feeds.open(7)
    await scene.clock.advance(LINGER_SECONDS - 1)
    await match_feeds.release_idle()
    assert match_feeds.get(7) is feed
    await scene.clock.advance(2)
    await match_feeds.release_idle()
    assert (match_feeds.get(7), feed.state) == (None, FeedState.CLOSED)
    assert scene.feeds.channels._names() == [scene.identity.redis_name(EVERYBODY)]


async def test_a_match_that_was_read_is_followed_for_a_minute() -> None:
    scene = FeedScene(_open_store())
    match_feeds = scene.feeds.matches
    match_feeds.watch(7)
    await settle()
    await scene.clock.advance(WATCH_SECONDS - 1)
    await match_feeds.release_idle()
    feed = match_feeds.get(7)
    assert feed is not None
    assert feed.newest == 42
    feed.note_written(43)
    assert (feed.newest, feed.head) == (43, 42), "its publication is still under way"
    await scene.clock.advance(2)
    await match_feeds.release_idle()
    assert match_feeds.get(7) is None


async def test_feeds_that_are_opened_together_are_all_open_in_the_end() -> None:
    """One of them is released while the slowest one is being opened."""
    scene = FeedScene(_open_store())
    match_feeds = scene.feeds.matches
    first = await match_feeds.open(1)
    await scene.clock.advance(LINGER_SECONDS + 1)
    opening = asyncio.ensure_future(match_feeds.open_all([1, 7]))
    await asyncio.sleep(0)
    first._is_closed = True
    match_feeds._feeds.pop(1, None)
    feeds = await opening
    assert [feed.match_id for feed in feeds] == [1, 7]
    assert all(feed.state is FeedState.LINGERING for feed in feeds)


def _open_store() -> Store:
    store = Store()
    store.go.set()
    return store
