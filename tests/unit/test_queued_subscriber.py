"""The event queue of streams and long polls: order, bound, each event once."""

import asyncio
from collections.abc import Iterable
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.live.queued_subscriber import QueuedSubscriber
from livescore.scores.feed import Event

BOUND = 10_000


def event(seq: int, match_id: int = 7, size: int = 0) -> Event:
    return Event.from_row(match_id, seq, "commentary", '"' + "x" * size + '"', 0.0, "")


def _seqs(items: Iterable[object]) -> list[int]:
    return [item.seq for item in items if isinstance(item, Event)]


async def _next(subscriber: QueuedSubscriber, idle: float = 1.0) -> list[int]:
    async for items in subscriber.read(idle):
        return _seqs(items)
    raise StopAsyncIteration


async def test_missed_events_precede_new_ones() -> None:
    subscriber = QueuedSubscriber(BOUND, [event(1), event(2)])
    subscriber.put(event(3))
    assert await _next(subscriber) == [1, 2, 3]


async def test_a_reader_waits_for_the_next_event() -> None:
    subscriber = QueuedSubscriber(BOUND, [])
    reading = asyncio.create_task(_next(subscriber, idle=5))
    await asyncio.sleep(0)
    assert not reading.done()
    subscriber.put(event(1))
    assert await reading == [1]


async def test_idle_timeout_returns_an_empty_batch() -> None:
    started = monotonic()
    assert await _next(QueuedSubscriber(BOUND, []), idle=0.05) == []
    assert monotonic() - started >= 0.05


async def test_wait_reports_if_an_event_arrived() -> None:
    subscriber = QueuedSubscriber(BOUND, [])
    assert not await subscriber.wait(0.01)
    subscriber.put(event(1))
    assert await subscriber.wait(5)
    assert await QueuedSubscriber(BOUND, [event(1)]).wait(5)


async def test_closed_subscriber_ends_after_queued_events() -> None:
    subscriber = QueuedSubscriber(BOUND, [event(1)])
    subscriber.put(event(2))
    subscriber.close()
    assert [_seqs(items) async for items in subscriber.read(5)] == [[1, 2]]


async def test_closing_wakes_a_waiting_reader() -> None:
    subscriber = QueuedSubscriber(BOUND, [])
    waiting, reading = asyncio.create_task(subscriber.wait(5)), asyncio.create_task(_all(subscriber))
    await asyncio.sleep(0)
    subscriber.close()
    async with asyncio.timeout(4):
        assert await waiting is False
        assert await reading == []


async def _all(subscriber: QueuedSubscriber) -> list[list[int]]:
    return [_seqs(items) async for items in subscriber.read(5)]


async def test_subscriber_that_does_not_read_is_cut_off_without_a_gap() -> None:
    """Fault 17: what is delivered is a prefix, so the reader can resume from its last event."""
    subscriber = QueuedSubscriber(BOUND, [])
    for seq in range(1, 100):
        subscriber.put(event(seq, size=1_000))
    assert subscriber.closed
    received = [seq for piece in await _all(subscriber) for seq in piece]
    assert received == list(range(1, len(received) + 1))
    assert 0 < len(received) < 11


async def test_small_event_is_dropped_after_a_larger_one_was_dropped() -> None:
    subscriber = QueuedSubscriber(BOUND, [])
    subscriber.put(event(1))
    subscriber.put(event(2, size=2 * BOUND))
    subscriber.put(event(3))
    assert await _all(subscriber) == [[1]]


async def test_reading_frees_space() -> None:
    subscriber = QueuedSubscriber(BOUND, [])
    for seq in range(1, 50):
        subscriber.put(event(seq, size=1_000))
        assert await _next(subscriber) == [seq]
    assert not subscriber.closed


@pytest.mark.parametrize("seen", [{}, {7: 2}, {7: 9}, {8: 1}])
def test_history_precedes_live_events_and_excludes_seen_ones(seen: dict[int, int]) -> None:
    async def run() -> None:
        subscriber = QueuedSubscriber(BOUND, [])
        subscriber.put(event(4))
        subscriber.put(event(1, match_id=8))
        subscriber.put_first([event(seq) for seq in (1, 2, 3, 4)], seen)
        subscriber.put(event(3))
        subscriber.put(event(5))
        subscriber.close()
        items = [(item.match_id, item.seq) async for piece in subscriber.read(1) for item in piece]
        expected = [(7, seq) for seq in (1, 2, 3, 4) if seq > seen.get(7, 0)]
        expected += [(8, 1)] if seen.get(8, 0) < 1 else []
        expected += [(7, 5)] if seen.get(7, 0) < 5 else []
        assert items == expected

    asyncio.run(run())


@given(
    seen=st.integers(0, 10),
    joined=st.integers(0, 10),
    stored=st.integers(0, 10),
    last=st.integers(0, 14),
    before=st.integers(0, 4),
)
def test_history_and_live_events_form_one_sequence(seen: int, joined: int, stored: int, last: int, before: int) -> None:
    """The feed was at ``joined`` when the reader subscribed; PostgreSQL was read up to ``stored`` a little later."""

    async def run() -> None:
        stored_, last_ = max(joined, stored, seen), max(joined, stored, seen, last)
        subscriber = QueuedSubscriber(1_000_000, [])
        live = list(range(joined + 1, last_ + 1))
        for seq in live[:before]:
            subscriber.put(event(seq))
        subscriber.put_first([event(seq) for seq in range(1, stored_ + 1)], {7: seen})
        for seq in live[before:]:
            subscriber.put(event(seq))
        subscriber.close()
        received = [seq for piece in await _all(subscriber) for seq in piece]
        assert received == list(range(seen + 1, last_ + 1))

    asyncio.run(run())
