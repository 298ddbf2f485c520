"""Opening many matches needs few queries, whether the matches exist or not."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from livescore.live.match_feeds import MatchFeeds
from livescore.scores.database import DatabaseAway


class Store:
    """Knows match 7 and counts the queries, which block until they are released."""

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


def _channels(store: Store) -> tuple[MatchFeeds, Any]:
    async def subscribe(_: str) -> None:
        """Succeed, as if Redis were available."""

    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Any) -> None:
        tasks.add(asyncio.get_running_loop().create_task(work))

    hub: Any = SimpleNamespace(match_feeds={}, heads={})
    relay: Any = SimpleNamespace(subscribe=subscribe, epoch="e", gap=lambda match_id: None)
    given: Any = store
    return MatchFeeds(given, hub, relay, 0, spawn), hub


async def test_matches_opened_together_share_queries() -> None:
    store = Store()
    channels, hub = _channels(store)
    opening = [asyncio.ensure_future(channels.open(match_id)) for match_id in range(1, 1_001)]
    await asyncio.sleep(0.05)
    store.go.set()
    await asyncio.gather(*opening)
    assert len(store.asked) <= 2
    assert sorted(match_id for asked in store.asked for match_id in asked) == list(range(1, 1_001))
    assert {match_id: seq for match_id, seq in hub.heads.items() if seq} == {7: 42}


async def test_head_is_read_after_the_subscription() -> None:
    """A query that had already started may have missed an event before the subscription."""
    store = Store()
    channels, _ = _channels(store)
    first = asyncio.ensure_future(channels.open(1))
    await asyncio.sleep(0.01)
    second = asyncio.ensure_future(channels.open(7))
    await asyncio.sleep(0.01)
    store.go.set()
    await asyncio.gather(first, second)
    assert store.asked == [[1], [7]]


async def test_opening_fails_at_once_without_the_database_and_can_be_retried() -> None:
    store = Store(DatabaseAway("gone"))
    channels, hub = _channels(store)
    opening = [asyncio.ensure_future(channels.open(match_id)) for match_id in (1, 2)]
    await asyncio.sleep(0.01)
    opening.append(asyncio.ensure_future(channels.open(3)))
    await asyncio.sleep(0.01)
    store.go.set()
    found = await asyncio.gather(*opening, return_exceptions=True)
    assert [type(error) for error in found] == [DatabaseAway] * 3
    assert hub.match_feeds == {}
    store._error = None
    with pytest.raises(KeyError):
        _ = hub.heads[7]
    await channels.open(7)
    assert hub.heads[7] == 42
