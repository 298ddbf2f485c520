"""The hub alone: order, joining and leaving in the middle, one write per turn, and sockets that fail."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.live import hub as module
from livescore.live.hub import Group, Hub, MatchFeed, frame
from livescore.scores.feed import Event


class Socket:
    """Keeps what was written; one that is told so leaves its group in the middle of a write."""

    def __init__(self, leaves: Group | None = None) -> None:
        self.written: list[bytes] = []
        self._leaves = leaves

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if self._leaves is not None:
            self._leaves.leave(self)


class EarlyBird(Socket):
    open = True

    def join(self, group: Group) -> None:
        group.join(self)

    def leave(self, group: Group) -> None:
        group.leave(self)

    def flush(self, group: Group) -> None:
        group.flush(self)


class Stream:
    def __init__(self) -> None:
        self.items: list[Any] = []

    def put(self, item: Any) -> None:
        self.items.append(item)


class Calls:
    """A hub, and what it complained of."""

    def __init__(self) -> None:
        self.gaps: list[int] = []
        self.new_match_gaps = 0
        self.hub = Hub(self.gaps.append, self._new_match_gap)

    def _new_match_gap(self) -> None:
        self.new_match_gaps += 1

    def serve(self, match_id: int, head: int = 0, recent: int = 8) -> MatchFeed:
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        opened.set_result(None)
        self.hub.match_feeds[match_id] = MatchFeed(opened, recent)
        self.hub.heads[match_id] = head
        return self.hub.match_feeds[match_id]


def event(match_id: int, seq: int, kind: str = "commentary") -> Event:
    return Event.from_row(match_id, seq, kind, "{}", 0.0, "")


def wire(*seqs: int, match_id: int = 7) -> bytes:
    return b"".join(frame(event(match_id, seq).message) for seq in seqs)


async def turn() -> None:
    """Let the hub write; every turn of a large group is an iteration of the loop."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_frame_is_unmasked_text_of_any_length(size: int) -> None:
    data = frame(b"x" * size)
    assert data[0] == 0x81
    assert data.endswith(b"x" * size)
    assert len(data) == size + (2 if size < 126 else 4 if size < 65_536 else 10)


async def test_events_of_one_loop_iteration_are_one_write() -> None:
    calls, socket = Calls(), Socket()
    calls.serve(7).join(socket)
    for seq in (1, 2, 3):
        assert calls.hub.accept(event(7, seq))
    assert socket.written == []
    await turn()
    assert socket.written == [wire(1, 2, 3)]
    calls.hub.accept(event(7, 4))
    await turn()
    assert socket.written == [wire(1, 2, 3), wire(4)]


async def test_known_events_are_dropped_and_events_ahead_are_a_gap() -> None:
    calls, socket = Calls(), Socket()
    calls.serve(7, head=5).join(socket)
    assert not calls.hub.accept(event(7, 5))
    assert not calls.hub.accept(event(7, 7))
    assert not calls.hub.accept(event(8, 1))
    assert calls.gaps == [7]
    await turn()
    assert socket.written == []


@given(st.lists(st.integers(1, 12), max_size=60))
def test_events_arriving_in_any_order_are_delivered_once_in_order(arrivals: list[int]) -> None:
    """Gaps are healed later by the relay, which sends everything again from the last one delivered."""

    async def run() -> None:
        calls, socket, stream = Calls(), Socket(), Stream()
        channel = calls.serve(7)
        channel.join(socket)
        channel.streams.add(stream)
        for seq in arrivals:
            if not calls.hub.accept(event(7, seq)) and calls.gaps:
                calls.gaps.clear()
                for missing in range(calls.hub.heads[7] + 1, seq + 1):
                    calls.hub.accept(event(7, missing))
        await turn()
        highest = max(arrivals, default=0)
        assert b"".join(socket.written) == wire(*range(1, highest + 1))
        assert [item.seq for item in stream.items] == list(range(1, highest + 1))

    asyncio.run(run())


# Joining and leaving while events wait


async def test_subscriber_joining_while_events_are_pending_gets_only_later_ones() -> None:
    calls, early, late = Calls(), Socket(), Socket()
    channel = calls.serve(7)
    channel.join(early)
    calls.hub.accept(event(7, 1))
    channel.join(late)
    calls.hub.accept(event(7, 2))
    await turn()
    calls.hub.accept(event(7, 3))
    await turn()
    assert early.written == [wire(1, 2), wire(3)]
    assert late.written == [wire(2), wire(3)]


async def test_subscriber_leaving_while_events_are_pending_gets_none_of_them() -> None:
    calls, stays, leaves = Calls(), Socket(), Socket()
    channel = calls.serve(7)
    for socket in (stays, leaves):
        channel.join(socket)
    calls.hub.accept(event(7, 1))
    channel.leave(leaves)
    await turn()
    assert (stays.written, leaves.written) == ([wire(1)], [])


async def test_subscriber_leaving_and_rejoining_while_events_are_pending_is_new() -> None:
    calls, socket = Calls(), Socket()
    channel = calls.serve(7)
    channel.join(socket)
    calls.hub.accept(event(7, 1))
    channel.leave(socket)
    channel.join(socket)
    calls.hub.accept(event(7, 2))
    await turn()
    assert socket.written == [wire(2)]
    assert len(channel) == 1


async def test_flush_writes_pending_events_once() -> None:
    calls, socket, other = Calls(), Socket(), Socket()
    channel = calls.serve(7)
    for member in (socket, other):
        channel.join(member)
    calls.hub.accept(event(7, 1))
    channel.flush(socket)
    assert socket.written == [wire(1)]
    channel.flush(socket)
    calls.hub.accept(event(7, 2))
    await turn()
    assert socket.written == [wire(1), wire(2)]
    assert other.written == [wire(1, 2)]


async def test_flush_of_a_new_subscriber_writes_only_later_events() -> None:
    calls, first, socket = Calls(), Socket(), Socket()
    channel = calls.serve(7)
    channel.join(first)
    calls.hub.accept(event(7, 1))
    channel.join(socket)
    calls.hub.accept(event(7, 2))
    channel.flush(socket)
    await turn()
    assert socket.written == [wire(2)]


class Member:
    """A socket that does what a test says, beside four that only listen; ``due`` is what it should have heard."""

    def __init__(self) -> None:
        self.calls, self.socket, self.others = Calls(), Socket(), [Socket() for _ in range(4)]
        self.channel = self.calls.serve(7)
        for other in self.others:
            self.channel.join(other)
        self.joined, self.seq, self.due = False, 0, list[int]()

    async def do(self, action: str) -> None:
        if action == "event":
            self.seq += 1
            self.calls.hub.accept(event(7, self.seq))
            self.due += [self.seq] if self.joined else []
        elif action == "turn":
            await asyncio.sleep(0)
        elif self.joined != (action == "join"):
            self._change(action)

    def _change(self, action: str) -> None:
        if action == "join":
            self.channel.join(self.socket)
        else:
            self.channel.flush(self.socket)
            assert b"".join(self.socket.written) == wire(*self.due)
        if action == "leave":
            self.channel.leave(self.socket)
        self.joined = action != "leave"


@given(st.lists(st.sampled_from(["join", "leave", "flush", "event", "turn"]), max_size=40), st.integers(1, 3))
def test_subscriber_receives_each_event_of_its_subscription_once(actions: list[str], share: int) -> None:
    """With shares of one to three writes a turn, so that everything also happens in the middle of a batch."""

    async def run() -> None:
        member = Member()
        for action in actions:
            await member.do(action)
        await turn()
        assert b"".join(member.socket.written) == wire(*member.due)
        assert all(b"".join(other.written) == wire(*range(1, member.seq + 1)) for other in member.others)
        assert len(member.channel) == len(member.others) + member.joined

    writes, module.WRITES_PER_TURN = module.WRITES_PER_TURN, share
    try:
        asyncio.run(run())
    finally:
        module.WRITES_PER_TURN = writes


# Large groups, slow consumers


async def test_large_group_is_written_in_batches_that_yield_to_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITES_PER_TURN", 10)
    calls, sockets = Calls(), [Socket() for _ in range(35)]
    channel = calls.serve(7)
    for socket in sockets:
        channel.join(socket)
    calls.hub.accept(event(7, 1))
    served = []
    for _ in range(6):
        await asyncio.sleep(0)
        served.append(sum(bool(socket.written) for socket in sockets))
    assert served[-1] == 35
    assert all(later - earlier <= 10 for earlier, later in pairwise([0, *served]))
    assert all(socket.written == [wire(1)] for socket in sockets)


async def test_event_during_a_batch_is_written_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITES_PER_TURN", 2)
    calls, sockets, late = Calls(), [Socket() for _ in range(7)], Socket()
    channel = calls.serve(7)
    for socket in sockets:
        channel.join(socket)
    calls.hub.accept(event(7, 1))
    await asyncio.sleep(0)
    calls.hub.accept(event(7, 2))
    channel.join(late)
    calls.hub.accept(event(7, 3))
    await turn()
    assert all(b"".join(socket.written) == wire(1, 2, 3) for socket in sockets)
    assert late.written == [wire(3)]


@pytest.mark.parametrize("joining", [True, False])
async def test_slow_consumer_closed_during_a_write_does_not_affect_others(joining: bool) -> None:
    """Its close makes it leave its groups while they are being written to."""
    calls = Calls()
    channel = calls.serve(7)
    first = Socket()
    channel.join(first)
    if joining:
        calls.hub.accept(event(7, 1))
    sockets = [Socket(leaves=channel if number % 2 else None) for number in range(10)]
    for socket in sockets:
        channel.join(socket)
    calls.hub.accept(event(7, 2 if joining else 1))
    await turn()
    last = 2 if joining else 1
    assert all(socket.written == [wire(last)] for socket in sockets)
    calls.hub.accept(event(7, last + 1))
    await turn()
    assert [len(socket.written) for socket in sockets] == [1 if number % 2 else 2 for number in range(10)]
    assert b"".join(first.written) == wire(*range(1, last + 2))


# Who follows everything, and new matches


async def test_subscribers_to_all_receive_every_match_in_order() -> None:
    calls, socket, stream = Calls(), Socket(), Stream()
    calls.hub.follows_everything = True
    calls.hub.everything.join(socket)
    calls.hub.everything.streams.add(stream)
    calls.serve(8, head=3)
    for match_id, seq in ((7, 1), (8, 4), (7, 2)):
        assert calls.hub.accept(event(match_id, seq))
    await turn()
    assert socket.written == [wire(1) + wire(4, match_id=8) + wire(2)]
    assert [(item.match_id, item.seq) for item in stream.items] == [(7, 1), (8, 4), (7, 2)]


async def test_unknown_match_starts_with_its_first_event_or_a_gap() -> None:
    calls = Calls()
    calls.hub.follows_everything = True
    assert not calls.hub.accept(event(7, 3))
    assert calls.gaps == [7]
    assert calls.hub.accept(event(7, 1))


async def test_events_received_while_a_feed_opens_are_kept() -> None:
    calls = Calls()
    channel = calls.serve(7)
    del calls.hub.heads[7]
    assert not calls.hub.accept(event(7, 4))
    assert channel.seen == 4


async def test_match_created_is_broadcast_in_order_of_ids() -> None:
    calls, socket = Calls(), Socket()
    calls.hub.everybody.join(socket)
    calls.hub.accept(event(1, 1, "match_created"))
    assert calls.hub.last_match is None, "nothing is known before the feed was asked"
    calls.hub.last_match = 4
    for match_id in (4, 5, 7, 5, 6):
        calls.hub.accept(event(match_id, 1, "match_created"))
    assert calls.new_match_gaps == 1
    await turn()
    expected = [frame(event(match_id, 1, "match_created").message) for match_id in (5, 6)]
    assert b"".join(socket.written) == b"".join(expected)


async def test_match_created_is_broadcast_only_on_the_announcement_channel() -> None:
    calls, socket = Calls(), Socket()
    calls.hub.last_match = 6
    calls.serve(7).join(socket)
    calls.hub.everything.join(socket)
    calls.hub.everybody.join(socket)
    calls.hub.accept(event(7, 1, "match_created"))
    await turn()
    assert len(socket.written) == 1
    assert calls.hub.heads[7] == 1


async def test_early_match_created_is_not_repeated_to_its_recipient() -> None:
    calls, early, other = Calls(), EarlyBird(), Socket()
    calls.hub.last_match = 6
    for socket in (early, other):
        calls.hub.everybody.join(socket)
    calls.hub.told_early[8] = [early]
    for match_id in (7, 8, 9):
        calls.hub.accept(event(match_id, 1, "match_created"))
    await turn()
    messages = {number: frame(event(number, 1, "match_created").message) for number in (7, 8, 9)}
    assert b"".join(early.written) == messages[7] + messages[9]
    assert b"".join(other.written) == messages[7] + messages[8] + messages[9]
    assert calls.hub.told_early == {}


async def test_recipient_of_an_early_match_created_is_forgotten_when_it_leaves() -> None:
    calls, early = Calls(), EarlyBird()
    calls.hub.last_match = 6
    early.open = False
    calls.hub.told_early[7] = [early]
    calls.hub.accept(event(7, 1, "match_created"))
    await turn()
    assert (early.written, len(calls.hub.everybody)) == ([], 0)


# What is remembered


async def test_recent_events_serve_quick_resumes() -> None:
    calls = Calls()
    channel = calls.serve(7, recent=4)
    for seq in range(1, 11):
        calls.hub.accept(event(7, seq))

    def since(seq: int) -> list[int] | None:
        items = channel.since(seq, 10)
        return None if items is None else [item.seq for item in items]

    assert since(6) == [7, 8, 9, 10]
    assert since(9) == [10]
    assert since(10) == since(11) == []
    assert since(5) is None


async def test_deliveries_are_recorded_for_open_horizons() -> None:
    calls = Calls()
    calls.serve(7)
    calls.hub.accept(event(7, 1))
    noted: dict[int, int] = {}
    calls.hub.delivered_since = [noted]
    calls.hub.accept(event(7, 2))
    assert noted == {7: 2}
