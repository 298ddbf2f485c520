"""The healer: gaps, audits, callers that wait for it, and its end."""

import asyncio
from typing import Any

import pytest

from livescore.live.healer import Healer
from livescore.scores.database import DatabaseAway
from livescore.scores.feed import Event
from livescore.scores.horizon import Horizon
from tests.support.clock import settle
from tests.support.feeds import FeedScene, Socket, event, wire

AUDIT_SECONDS = 10.0
RETRY_SECONDS = 2.0


class Store:
    """The feed of match 7 in PostgreSQL, which may be away."""

    def __init__(self) -> None:
        self.last = 0
        self.epoch = "e" * 12
        self.error: Exception | None = None
        self.audits = 0

    async def origin(self) -> tuple[str, str]:
        self.audits += 1
        self._check()
        return "4be0643f1d98", self.epoch

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    async def lacks(self, delivered: dict[int, int]) -> bool:
        return delivered.get(7, 0) > self.last

    async def renew_epoch(self, _: str) -> str:
        self.epoch = "f" * 12
        return self.epoch

    async def last_match(self) -> int:
        return 0

    async def created(self, _: int) -> list[Event]:
        return []

    async def horizon(self) -> Horizon:
        return Horizon(5, 5)

    async def heads(self, _: Any = None) -> dict[int, int]:
        return {7: self.last}

    async def changed(self, _: Horizon) -> dict[int, int]:
        return {7: self.last}

    async def snapshot(self, _: int) -> tuple[str, int]:
        return "{}", self.last

    async def missed(self, heads: dict[int, int]) -> list[Event]:
        self._check()
        return [event(7, seq) for seq in range(heads.get(7, self.last) + 1, self.last + 1)]


class Scene:
    """A healer with its feeds, and a socket that is subscribed to match 7."""

    def __init__(self) -> None:
        self.store = Store()
        self.feeds = FeedScene(self.store)
        self.clock = self.feeds.clock
        self.requests = self.feeds.requests
        self.socket = Socket()
        self.feeds.open(7).join(self.socket)
        store: Any = self.store
        self.healer = Healer(
            store,
            self.feeds.identity,
            self.feeds.feeds,
            self.requests,
            self.clock,
            audit_interval=lambda: AUDIT_SECONDS,
            retry_seconds=RETRY_SECONDS,
        )
        self.task = asyncio.get_running_loop().create_task(self.healer.run())


async def test_a_gap_is_filled_at_once_and_without_an_audit() -> None:
    scene = Scene()
    await settle()
    scene.store.last = 3
    scene.feeds.accept(event(7, 3))
    await settle()
    assert scene.socket.received == wire(1, 2, 3)
    assert scene.store.audits == 1


async def test_an_event_that_redis_lost_without_a_successor_is_found_by_the_next_audit() -> None:
    scene = Scene()
    await settle()
    scene.store.last = 1
    await scene.clock.advance(AUDIT_SECONDS - 1)
    assert scene.socket.received == b""
    await scene.clock.advance(1.1)
    assert scene.socket.received == wire(1)


async def test_gaps_without_end_do_not_delay_the_audit_of_other_matches() -> None:
    scene = Scene()
    await settle()
    for _ in range(25):
        await scene.clock.advance(1)
        scene.requests.report_gap(8)
        await settle()
    assert scene.store.audits >= 3


async def test_a_feed_that_ends_before_what_was_delivered_is_another_one() -> None:
    """Copied data files keep everything that the epoch consists of."""
    scene = Scene()
    await settle()
    scene.store.last = 2
    scene.requests.report_gap(7)
    await settle()
    scene.store.last = 1
    await scene.clock.advance(AUDIT_SECONDS + 0.1)
    assert scene.feeds.identity.epoch == "f" * 12
    assert scene.feeds.feeds.heads() == {7: 1}
    assert b'"recovered":false' in scene.socket.received


async def test_a_caller_waits_for_an_audit_that_began_after_its_request() -> None:
    scene = Scene()
    await settle()
    await scene.requests.audit()
    assert scene.store.audits == 2
    await asyncio.gather(*(scene.requests.audit() for _ in range(10)))
    assert scene.store.audits == 3, "callers that come together share one"


async def test_failed_attempt_is_reported_at_once_and_a_new_caller_retries() -> None:
    scene = Scene()
    await settle()
    scene.store.error = DatabaseAway("gone")
    for attempt in (2, 3):
        with pytest.raises(DatabaseAway):
            await scene.requests.audit()
        assert scene.store.audits == attempt
    scene.store.error = None
    scene.store.last = 1
    await scene.clock.advance(RETRY_SECONDS + 0.1)
    assert scene.socket.received == wire(1)


async def test_an_unforeseen_error_ends_the_loop_and_reaches_the_caller() -> None:
    scene = Scene()
    await settle()
    scene.store.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await scene.requests.audit()
    with pytest.raises(ZeroDivisionError):
        await scene.task
    assert scene.requests.take().is_audit, "the next run makes up for it"


async def test_a_cancellation_that_arrives_together_with_a_request_ends_the_healer() -> None:
    scene = Scene()
    await settle()
    scene.requests.request_audit()
    scene.task.cancel()
    await asyncio.wait({scene.task}, timeout=2)
    assert scene.task.cancelled()


async def test_a_stream_of_all_matches_waits_for_the_first_horizon() -> None:
    scene = Scene()
    await settle()
    all_matches = scene.feeds.feeds.all_matches
    await all_matches.acquire()
    assert all_matches.position is not None
    assert all_matches.position.horizon == Horizon(5, 5)
    all_matches.release()


async def test_without_the_database_all_matches_cannot_be_followed_and_may_be_tried_again() -> None:
    scene = Scene()
    await settle()
    all_matches = scene.feeds.feeds.all_matches
    scene.store.error = DatabaseAway("gone")
    with pytest.raises(DatabaseAway):
        await all_matches.acquire()
    scene.store.error = None
    await all_matches.acquire()
    assert all_matches.position is not None
