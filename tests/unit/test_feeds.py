"""Feeds: numbers, announcements, the feed of all matches, histories, and what survives a restore."""

import ast
import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

import livescore.live
from livescore.live.connection import SERVICE_RESTART
from livescore.live.fan_out import frame
from livescore.live.feed import LINGER_SECONDS, FeedState
from livescore.live.match_feed import History, MatchFeed
from livescore.live.queued_subscriber import QueuedSubscriber
from livescore.scores.feed import Event
from livescore.scores.horizon import Horizon
from tests.support.clock import settle
from tests.support.feeds import FeedScene, Socket, Stream, event, wire


def created(match_id: int) -> Event:
    return event(match_id, 1, "match_created")


def queue_of(stream: Stream) -> QueuedSubscriber:
    return cast(QueuedSubscriber, stream)


class Store:
    """As much of PostgreSQL as feeds ask for: the events and snapshot of match 7."""

    def __init__(self, last: int = 0, pruned: int = 0) -> None:
        self.last = last
        self.pruned = pruned
        self.reads = 0

    async def events(self, match_id: int, since: int, limit: int = 5_000) -> list[Event]:
        self.reads += 1
        await asyncio.sleep(0)
        first = max(since, self.pruned) + 1
        return [event(match_id, seq) for seq in range(first, min(self.last, since + limit) + 1)]

    async def snapshot(self, _: int) -> tuple[str, int] | None:
        await asyncio.sleep(0)
        return ('{"match":{}}', self.last) if self.last else None

    async def last_match(self) -> int:
        return 3

    async def heads(self, _: Any = None) -> dict[int, int]:
        return {7: self.last}


# All matches


async def test_subscribers_of_all_matches_receive_the_events_of_each_match_in_order() -> None:
    scene, socket, stream = FeedScene(), Socket(), Stream()
    scene.follow_all({8: 3})
    scene.feeds.all_matches.join(socket)
    scene.feeds.all_matches.add_queue(queue_of(stream))
    assert scene.accept(event(7, 1), event(8, 4), event(7, 2)) == [True] * 3
    await settle()
    assert socket.written == [wire(1) + wire(4, match_id=8) + wire(2)]
    assert [(one.match_id, one.seq) for one in stream.events] == [(7, 1), (8, 4), (7, 2)]


async def test_a_match_with_a_feed_of_its_own_reaches_both_kinds_of_subscribers_once() -> None:
    scene, single, everything = FeedScene(), Socket(), Socket()
    scene.follow_all({7: 3})
    scene.open(7, head=3).join(single)
    scene.feeds.all_matches.join(everything)
    assert scene.accept(event(7, 4), event(7, 4), event(7, 5)) == [True, False, True]
    await settle()
    assert single.received == everything.received == wire(4, 5)


async def test_an_unknown_match_begins_with_its_first_event_or_a_gap() -> None:
    scene = FeedScene()
    scene.follow_all()
    assert scene.accept(event(7, 3)) == [False]
    assert scene.gaps() == {7}
    assert scene.accept(event(7, 1)) == [True]


async def test_deliveries_are_recorded_for_the_horizon_being_drawn_and_for_the_present_one() -> None:
    scene = FeedScene()
    all_matches = scene.feeds.all_matches
    scene.follow_all()
    scene.accept(event(7, 1))
    delivered = all_matches.start_position()
    assert delivered == {}
    scene.accept(event(7, 2))
    all_matches.take_position(scene.identity.epoch, Horizon(5, 5), delivered)
    assert all_matches.position is not None
    scene.accept(event(7, 3), event(8, 1))
    assert all_matches.position.delivered == {7: 3, 8: 1}
    later = all_matches.start_position()
    scene.accept(event(7, 4))
    assert (later, all_matches.position.delivered) == ({7: 4}, {7: 4, 8: 1})


async def test_a_horizon_that_was_drawn_before_a_restart_is_not_used() -> None:
    scene = FeedScene()
    all_matches = scene.feeds.all_matches
    scene.follow_all()
    delivered = all_matches.start_position()
    assert delivered is not None
    all_matches.restart({})
    all_matches.take_position(scene.identity.epoch, Horizon(5, 5), delivered)
    assert all_matches.position is None


# Announcements


async def test_new_matches_are_announced_in_the_order_of_their_ids() -> None:
    scene, socket = FeedScene(), Socket()
    announcements = scene.feeds.announcements
    announcements.join(socket)
    scene.accept(created(1))
    assert announcements.last is None, "nothing is known before PostgreSQL was read"
    announcements.start(4)
    scene.requests.take()
    scene.accept(*map(created, (4, 5, 7, 5)))
    assert scene.requests.take().is_audit
    scene.accept(created(6))
    await settle()
    assert socket.received == b"".join(frame(created(match_id).message) for match_id in (5, 6))


async def test_a_new_match_reaches_a_socket_by_its_announcement_only() -> None:
    scene, socket = FeedScene(), Socket()
    scene.feeds.announcements.start(6)
    scene.follow_all()
    feed = scene.open(7)
    for one in (feed, scene.feeds.all_matches, scene.feeds.announcements):
        one.join(socket)
    scene.accept(created(7))
    await settle()
    assert len(socket.written) == 1
    assert (feed.head, scene.feeds.all_matches.heads[7]) == (1, 1)


async def test_no_event_of_a_match_is_delivered_before_the_match_is_announced() -> None:
    scene, socket = FeedScene(), Socket()
    scene.feeds.announcements.start(5)
    feed = scene.open(7)
    feed.join(socket)
    assert scene.accept(created(7), event(7, 2)) == [False, False]
    assert feed.head == 0
    assert scene.accept(created(6), created(7), event(7, 2)) == [True, True, True]


async def test_a_socket_that_received_a_match_by_a_resume_is_skipped_by_its_announcement_alone() -> None:
    scene, early, other = FeedScene(), Socket(), Socket()
    announcements = scene.feeds.announcements
    announcements.start(6)
    for socket in (early, other):
        announcements.join(socket)
    announcements.skip_broadcast(8, early)
    scene.accept(*map(created, (7, 8, 9)))
    await settle()
    messages = {match_id: frame(created(match_id).message) for match_id in (7, 8, 9)}
    assert early.received == messages[7] + messages[9]
    assert other.received == messages[7] + messages[8] + messages[9]
    assert announcements._early == {}


async def test_a_closed_socket_does_not_return_to_the_announcements() -> None:
    scene, early = FeedScene(), Socket()
    announcements = scene.feeds.announcements
    announcements.start(6)
    early.open = False
    announcements.skip_broadcast(7, early)
    scene.accept(created(7))
    await settle()
    assert (early.written, announcements.socket_count) == ([], 0)


# One match


async def test_an_event_that_arrives_while_a_feed_opens_is_a_gap_once_it_is_open() -> None:
    scene = FeedScene()
    feed = MatchFeed(7, scene.feeds.matches._source)
    scene.feeds.matches._feeds[7] = feed
    assert scene.accept(event(7, 4)) == [False]
    assert feed.state is FeedState.OPENING
    feed.open(3)
    assert (feed.state, feed.head, scene.gaps()) == (FeedState.LINGERING, 3, {7})


async def test_a_feed_lives_while_it_has_subscribers_and_lingers_afterwards() -> None:
    scene, socket = FeedScene(), Socket()
    feed = scene.open(7)
    feed.join(socket)
    states = [feed.state]
    await scene.clock.advance(10 * LINGER_SECONDS)
    assert not feed.close_if_idle()
    feed.leave(socket)
    states.append(feed.state)
    assert not feed.close_if_idle()
    await scene.clock.advance(LINGER_SECONDS + 0.1)
    with feed.pinned():
        assert not feed.close_if_idle()
    await scene.clock.advance(LINGER_SECONDS + 0.1)
    assert feed.close_if_idle()
    assert [*states, feed.state] == [FeedState.LIVE, FeedState.LINGERING, FeedState.CLOSED]


@pytest.mark.parametrize(
    ("since", "missed", "reads"), [(6, [7, 8, 9, 10], 0), (9, [10], 0), (10, [], 0), (5, [6, 7, 8, 9, 10], 1)]
)
async def test_a_resume_is_served_from_memory_as_far_as_that_reaches(since: int, missed: list[int], reads: int) -> None:
    store = Store()
    scene = FeedScene(store, recent_events=4)
    feed = scene.open(7)
    for store.last in range(1, 11):
        scene.accept(event(7, store.last))
    history = await feed.resume(since)
    assert ([one.seq for one in history.events], history.seq, history.recovered) == (missed, 10, True)
    assert store.reads == reads


async def test_a_resume_that_is_ahead_of_the_instance_reads_what_is_committed() -> None:
    scene, socket = FeedScene(Store(last=8)), Socket()
    feed = scene.open(7, head=5)
    feed.join(socket)
    history = await feed.resume(7)
    assert ([one.seq for one in history.events], history.seq, history.recovered) == ([8], 8, True)
    await settle()
    assert socket.received == wire(6, 7, 8), "the events also reach the other subscribers"


@pytest.mark.parametrize(("since", "epoch"), [(9, None), (2, None), (5, "another epoch")])
async def test_a_resume_without_its_history_gets_a_snapshot(since: int, epoch: str | None) -> None:
    """Ahead of PostgreSQL, pruned, or of another database."""
    feed = FeedScene(Store(last=6, pruned=4)).open(7, head=6)
    history = await feed.resume(since, epoch)
    assert (history.recovered, history.snapshot_seq, history.events) == (False, 6, [])
    assert history.snapshot is not None


async def test_an_event_during_a_resume_belongs_to_its_history_and_nothing_lies_between_history_and_join() -> None:
    store = Store(last=3)
    scene, socket = FeedScene(store, recent_events=0), Socket()
    feed = scene.open(7, head=3)
    resuming = asyncio.ensure_future(feed.resume(1))
    await asyncio.sleep(0)
    store.last = 4
    scene.accept(event(7, 4))
    history = await resuming
    feed.join(socket)
    scene.accept(event(7, 5))
    await settle()
    assert [one.seq for one in history.events] == [2, 3, 4]
    assert socket.received == wire(5)


# Histories that are gone


async def test_a_restore_sends_states_and_continues_after_them() -> None:
    store = Store(last=4)
    scene, single, everything, stream = FeedScene(store), Socket(), Socket(), Stream()
    feed = scene.open(7, head=9)
    feed.join(single)
    feed.add_queue(queue_of(stream))
    scene.follow_all({7: 9, 8: 2})
    scene.feeds.all_matches.join(everything)
    scene.feeds.announcements.start(8)
    await scene.feeds.restart("another epoch")
    assert (feed.head, dict(scene.feeds.all_matches.heads), scene.feeds.announcements.last) == (4, {7: 4}, 3)
    expected = History(4, [], recovered=False, snapshot=stream.events[1].message, snapshot_seq=4)
    assert single.received == b"".join(map(frame, expected.acknowledgement(7, "another epoch")))
    assert [one.type for one in stream.events] == ["subscribed", "snapshot"]
    assert everything.closed == [SERVICE_RESTART]
    assert scene.accept(event(7, 5)) == [True]


async def test_pruned_events_are_replaced_by_a_snapshot_for_the_feeds_that_lack_them() -> None:
    scene, single, everything = FeedScene(Store(last=8)), Socket(), Socket()
    feed = scene.open(7, head=3)
    feed.join(single)
    scene.follow_all({7: 3})
    scene.feeds.all_matches.join(everything)
    await scene.feeds.restart_match(7, first_seq=4)
    assert single.written == everything.written == []
    await scene.feeds.restart_match(7, first_seq=8)
    assert b'"snapshot"' in single.received
    assert b'"snapshot"' in everything.received
    assert scene.feeds.heads_to_fill([7]) == scene.feeds.heads() == {7: 8}


async def test_the_feed_of_a_match_and_that_of_all_matches_agree_on_its_last_event() -> None:
    """A socket that changes from one to the other neither misses an event nor receives one twice."""
    scene = FeedScene()
    scene.follow_all({7: 6})
    feed = scene.open(7, head=7)
    assert (feed.head, scene.gaps()) == (6, {7}), "the publication of 7 is still under way"
    assert scene.accept(event(7, 7), event(7, 8)) == [True, True]
    assert (feed.head, scene.feeds.all_matches.heads[7]) == (8, 8)


async def test_all_matches_begin_where_the_open_feeds_are() -> None:
    scene = FeedScene(Store(last=9))
    scene.open(7, head=6)
    opening = asyncio.ensure_future(scene.feeds.all_matches.acquire())
    await settle()
    assert dict(scene.feeds.all_matches.heads) == {7: 6}
    opening.cancel()
    scene.requests.take().served()


# Ownership

NUMBERS = {
    "announcements.py": ("_early", "_last"),
    "match_feed.py": ("_head", "_seen", "_written", "_recent", "_pins", "_kept_until", "_opened", "_is_closed"),
    "all_matches.py": ("_heads", "_position", "_drawing", "_users", "_kept_until", "_opening"),
    "feed.py": ("_audience", "_queues"),
}
# The cursor of a client has a `last` of its own.
ALLOWED = {"all_matches_stream.py": ("last",), "cursor.py": ("last",)}
MUTATORS = {"add", "append", "clear", "discard", "extend", "pop", "popitem", "remove", "setdefault", "update"}


def _owned_attributes(node: ast.AST) -> set[str]:
    """Return the names of the attributes that a statement or a call of a mutating method writes."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    elif isinstance(node, ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        targets = [node.func.value]
    return {
        one.attr
        for target in targets
        for one in ast.walk(target)
        if isinstance(one, ast.Attribute) and not _is_self(one)
    }


def _is_self(attribute: ast.Attribute) -> bool:
    return isinstance(attribute.value, ast.Name) and attribute.value.id == "self"


def test_only_a_feed_itself_writes_its_state() -> None:
    """Over the syntax trees of the package: no statement outside of a feed's class reaches into its numbers."""
    package = Path(livescore.live.__file__).parent
    owned = {name for names in NUMBERS.values() for name in names}
    public = {name.lstrip("_") for name in owned}
    writes: list[str] = []
    for path in [*package.glob("*.py"), *(package.parent / "api").rglob("*.py"), package.parent / "application.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            writes += [
                f"{path.name}:{node.lineno} {name}"  # type: ignore[attr-defined]  # statements have a line
                for name in _owned_attributes(node)
                if name in owned or (name in public and name not in ALLOWED.get(path.name, ()))
            ]
    assert writes == []


def test_every_attribute_of_a_feed_is_private_and_covered_by_the_rule() -> None:
    package = Path(livescore.live.__file__).parent
    for name, numbers in NUMBERS.items():
        assigned = {
            target.attr
            for node in ast.walk(ast.parse((package / name).read_text()))
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Attribute) and _is_self(target)
        }
        collaborators = {
            "_channels",
            "_clock",
            "_fan_out",
            "_identity",
            "_match_heads",
            "_requests",
            "_source",
            "_store",
            "match_id",
        }
        assert assigned - collaborators == set(numbers)
