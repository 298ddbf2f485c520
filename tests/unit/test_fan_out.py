"""Fan-out: order, joining and leaving in the middle, one write per turn, and sockets that fail."""

import asyncio
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.live import fan_out
from livescore.live.fan_out import frame
from livescore.live.queued_subscriber import QueuedSubscriber
from tests.support.clock import settle
from tests.support.feeds import FeedScene, Socket, Stream, event, wire


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_frame_is_unmasked_text_of_any_length(size: int) -> None:
    data = frame(b"x" * size)
    assert data[0] == 0x81
    assert data.endswith(b"x" * size)
    assert len(data) == size + (2 if size < 126 else 4 if size < 65_536 else 10)


async def test_events_of_one_loop_iteration_are_one_write() -> None:
    scene, socket = FeedScene(), Socket()
    scene.open(7).join(socket)
    for seq in (1, 2, 3):
        assert scene.feeds.accept(event(7, seq))
    assert socket.written == []
    await settle()
    assert socket.written == [wire(1, 2, 3)]
    scene.feeds.accept(event(7, 4))
    await settle()
    assert socket.written == [wire(1, 2, 3), wire(4)]


async def test_a_known_event_is_dropped_and_a_later_one_is_a_gap() -> None:
    scene, socket = FeedScene(), Socket()
    scene.open(7, head=5).join(socket)
    assert not scene.feeds.accept(event(7, 5))
    assert not scene.feeds.accept(event(7, 7))
    assert not scene.feeds.accept(event(8, 1))
    assert scene.gaps() == {7}
    await settle()
    assert socket.written == []


@given(st.lists(st.integers(1, 12), max_size=60))
def test_events_in_any_order_are_delivered_once_and_in_order(arrivals: list[int]) -> None:
    """The healer fills a gap with everything after the last delivered event."""

    async def run() -> None:
        scene, socket, stream = FeedScene(), Socket(), Stream()
        feed = scene.open(7)
        feed.join(socket)
        feed.add_queue(cast(QueuedSubscriber, stream))
        for seq in arrivals:
            if not scene.feeds.accept(event(7, seq)) and scene.gaps():
                for missing in range(feed.head + 1, seq + 1):
                    scene.feeds.accept(event(7, missing))
        await settle()
        highest = max(arrivals, default=0)
        assert b"".join(socket.written) == wire(*range(1, highest + 1))
        assert [one.seq for one in stream.events] == list(range(1, highest + 1))

    asyncio.run(run())


# Joining and leaving while events wait


async def test_a_socket_that_joins_while_events_wait_receives_only_later_ones() -> None:
    scene, early, late = FeedScene(), Socket(), Socket()
    feed = scene.open(7)
    feed.join(early)
    scene.feeds.accept(event(7, 1))
    feed.join(late)
    scene.feeds.accept(event(7, 2))
    await settle()
    scene.feeds.accept(event(7, 3))
    await settle()
    assert early.written == [wire(1, 2), wire(3)]
    assert late.written == [wire(2), wire(3)]


async def test_a_socket_that_leaves_while_events_wait_receives_none_of_them() -> None:
    scene, stays, leaves = FeedScene(), Socket(), Socket()
    feed = scene.open(7)
    for socket in (stays, leaves):
        feed.join(socket)
    scene.feeds.accept(event(7, 1))
    feed.leave(leaves)
    await settle()
    assert (stays.written, leaves.written) == ([wire(1)], [])


async def test_a_socket_that_leaves_and_rejoins_while_events_wait_receives_only_later_ones() -> None:
    scene, socket = FeedScene(), Socket()
    feed = scene.open(7)
    feed.join(socket)
    scene.feeds.accept(event(7, 1))
    feed.leave(socket)
    feed.join(socket)
    scene.feeds.accept(event(7, 2))
    await settle()
    assert socket.written == [wire(2)]
    assert feed.socket_count == 1


async def test_flush_writes_pending_frames_once() -> None:
    scene, socket, other = FeedScene(), Socket(), Socket()
    feed = scene.open(7)
    for member in (socket, other):
        feed.join(member)
    scene.feeds.accept(event(7, 1))
    feed.flush(socket)
    assert socket.written == [wire(1)]
    feed.flush(socket)
    scene.feeds.accept(event(7, 2))
    await settle()
    assert socket.written == [wire(1), wire(2)]
    assert other.written == [wire(1, 2)]


async def test_flush_of_a_late_joiner_writes_only_later_frames() -> None:
    scene, first, socket = FeedScene(), Socket(), Socket()
    feed = scene.open(7)
    feed.join(first)
    scene.feeds.accept(event(7, 1))
    feed.join(socket)
    scene.feeds.accept(event(7, 2))
    feed.flush(socket)
    await settle()
    assert socket.written == [wire(2)]


class Member:
    """A socket that a test controls, next to four passive ones; ``due`` is what it should have received."""

    def __init__(self) -> None:
        self.scene, self.socket, self.others = FeedScene(), Socket(), [Socket() for _ in range(4)]
        self.feed = self.scene.open(7)
        for other in self.others:
            self.feed.join(other)
        self.joined, self.seq, self.due = False, 0, list[int]()

    async def do(self, action: str) -> None:
        if action == "event":
            self.seq += 1
            self.scene.feeds.accept(event(7, self.seq))
            self.due += [self.seq] if self.joined else []
        elif action == "turn":
            await asyncio.sleep(0)
        elif self.joined != (action == "join"):
            self._change(action)

    def _change(self, action: str) -> None:
        if action == "join":
            self.feed.join(self.socket)
        else:
            self.feed.flush(self.socket)
            assert b"".join(self.socket.written) == wire(*self.due)
        if action == "leave":
            self.feed.leave(self.socket)
        self.joined = action != "leave"


@given(st.lists(st.sampled_from(["join", "leave", "flush", "event", "turn"]), max_size=40), st.integers(1, 3))
def test_a_member_receives_each_event_of_its_membership_once(actions: list[str], share: int) -> None:
    """With shares of one to three writes, so that everything also happens during a write."""

    async def run() -> None:
        member = Member()
        for action in actions:
            await member.do(action)
        await settle()
        assert b"".join(member.socket.written) == wire(*member.due)
        assert all(b"".join(other.written) == wire(*range(1, member.seq + 1)) for other in member.others)
        assert member.feed.socket_count == len(member.others) + member.joined

    writes, fan_out.WRITES_PER_TURN = fan_out.WRITES_PER_TURN, share
    try:
        asyncio.run(run())
    finally:
        fan_out.WRITES_PER_TURN = writes


# Large audiences, slow consumers


async def test_large_audience_is_written_in_batches_that_yield_to_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "WRITES_PER_TURN", 10)
    scene, sockets = FeedScene(), [Socket() for _ in range(35)]
    feed = scene.open(7)
    for socket in sockets:
        feed.join(socket)
    scene.feeds.accept(event(7, 1))
    served = []
    for _ in range(6):
        await asyncio.sleep(0)
        served.append(sum(bool(socket.written) for socket in sockets))
    assert served[-1] == 35
    assert all(later - earlier <= 10 for earlier, later in pairwise([0, *served]))
    assert all(socket.written == [wire(1)] for socket in sockets)


async def test_an_event_that_arrives_during_a_write_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "WRITES_PER_TURN", 2)
    scene, sockets, late = FeedScene(), [Socket() for _ in range(7)], Socket()
    feed = scene.open(7)
    for socket in sockets:
        feed.join(socket)
    scene.feeds.accept(event(7, 1))
    await asyncio.sleep(0)
    scene.feeds.accept(event(7, 2))
    feed.join(late)
    scene.feeds.accept(event(7, 3))
    await settle()
    assert all(b"".join(socket.written) == wire(1, 2, 3) for socket in sockets)
    assert late.written == [wire(3)]


@pytest.mark.parametrize("joining", [True, False])
async def test_slow_consumer_closed_during_a_write_does_not_affect_others(joining: bool) -> None:
    """Closing it removes it from its feeds while they are being written to."""
    scene = FeedScene()
    feed = scene.open(7)
    first = Socket()
    feed.join(first)
    if joining:
        scene.feeds.accept(event(7, 1))
    sockets = [Socket(leaves=feed if number % 2 else None) for number in range(10)]
    for socket in sockets:
        feed.join(socket)
    scene.feeds.accept(event(7, 2 if joining else 1))
    await settle()
    last = 2 if joining else 1
    assert all(socket.written == [wire(last)] for socket in sockets)
    scene.feeds.accept(event(7, last + 1))
    await settle()
    assert [len(socket.written) for socket in sockets] == [1 if number % 2 else 2 for number in range(10)]
    assert b"".join(first.written) == wire(*range(1, last + 2))
