"""Who listens to what, and how an event reaches them all.

An event is encoded once. It waits in its group's pending list; one flush per iteration of the event loop joins what is
pending and writes it once to every socket of the group. The kernel's ``write`` is most of the cost of a delivery, so
fewer writes are what makes fan-out fast.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from time import perf_counter
from typing import Protocol

import structlog
from websockets.frames import Frame, Opcode

from livescore.scores.feed import Event
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)

# Writes between two looks at the rest of the loop: 3 to 6 ms, so that pings and requests are served meanwhile, and more
# of a burst comes in to be joined into the next write (with 1 000 a burst took half as many writes again). With fewer
# than this, requests that come faster than they are served would slow the fan-out down.
WRITES_PER_TURN = 250


def frame(message: bytes) -> bytes:
    """One text message as a server puts it on the wire: unmasked, so the same bytes serve everybody."""
    return Frame(Opcode.TEXT, message).serialize(mask=False)


class Socket(Protocol):
    """A connection that takes ready frames."""

    def write(self, data: bytes) -> None:
        """Put bytes on the wire; nothing happens once it is closed."""


class Stream(Protocol):
    """A listener that takes events one by one: SSE, or a WebSocket of another ASGI server."""

    def put(self, item: Event) -> None:
        """Take one event; never blocks."""


class Group:
    """Listeners of the same events, and the events that wait for their next write."""

    __slots__ = ("joining", "pending", "sockets", "streams", "unwritten", "writing")

    def __init__(self) -> None:
        self.sockets: set[Socket] = set()
        self.streams: set[Stream] = set()
        self.pending: list[bytes] = []
        # Who came after some events were already pending: they have seen the first n of those otherwise.
        self.joining: dict[Socket, int] = {}
        # The frames that are being written, and who has not got them yet.
        self.writing = b""
        self.unwritten: set[Socket] = set()

    def __len__(self) -> int:
        return len(self.sockets) + len(self.joining) + len(self.streams)

    def join(self, socket: Socket) -> None:
        """From the next event on this socket belongs to the group."""
        if self.pending or self.writing:
            self.joining[socket] = len(self.pending)
        else:
            self.sockets.add(socket)

    def leave(self, socket: Socket) -> None:
        """This socket gets nothing more, not even what is pending; see :meth:`flush`."""
        self.sockets.discard(socket)
        self.unwritten.discard(socket)
        self.joining.pop(socket, None)

    def flush(self, socket: Socket) -> None:
        """Write now what this socket, a member, would get later in this turn."""
        first = b""
        if socket in self.unwritten:
            self.unwritten.discard(socket)
            first = self.writing
        frames = self.pending[self.joining.get(socket, 0) :]
        if self.pending:
            self.sockets.discard(socket)
            self.joining[socket] = len(self.pending)
        if first or frames:
            socket.write(b"".join((first, *frames)))


class EarlyBird(Protocol):
    """A listener that can sit out one event of a group."""

    @property
    def open(self) -> bool:
        """Whether it still listens."""

    def join(self, group: Group) -> None:
        """Hear the events of a group from now on."""

    def leave(self, group: Group) -> None:
        """Hear them no more."""

    def flush(self, group: Group) -> None:
        """Get what the group was told before now."""


class MatchFeed(Group):
    """The listeners of one match."""

    __slots__ = ("opened", "pinned", "recent", "seen", "watched_until")

    def __init__(self, opened: asyncio.Future[None], recent: int) -> None:
        super().__init__()
        self.opened = opened
        self.recent: deque[Event] = deque(maxlen=recent)
        # How many are reading its history, about to join.
        self.pinned = 0
        # The highest seq heard while the channel was being opened.
        self.seen = 0
        self.watched_until = 0.0

    def since(self, seq: int, last: int) -> list[Event] | None:
        """The events after ``seq`` up to ``last``, when all of them are remembered."""
        if seq >= last:
            return []
        missing = last - seq
        if missing > len(self.recent) or self.recent[-missing].seq != seq + 1:
            return None
        return list(islice(self.recent, len(self.recent) - missing, None))


class Hub:
    """All listeners of this process. ``heads`` is the last event delivered of every match that is followed.

    Args:
        on_gap: called with a match id when an event arrives before the one it follows.
        on_new_match_gap: the same for ``match_created``.
    """

    def __init__(self, on_gap: Callable[[int], None], on_new_match_gap: Callable[[], None]) -> None:
        self.match_feeds: dict[int, MatchFeed] = {}
        self.everybody = Group()
        self.everything = Group()
        self.heads: dict[int, int] = {}
        self.last_match: int | None = None
        # Match id → those who have its match_created from its history although everybody is still to be told.
        self.told_early: dict[int, list[EarlyBird]] = {}
        self.follows_everything = False
        # One dict for each moment that the relay is interested in: match id → seq of the last event delivered since.
        self.delivered_since: list[dict[int, int]] = []
        self._on_gap = on_gap
        self._on_new_match_gap = on_new_match_gap
        self._dirty: deque[Group] = deque()
        self._writer: Iterator[None] | None = None

    # Events come in

    def accept(self, item: Event) -> bool:
        """Deliver an event of a followed match if it is the next one; report a gap if it is a later one."""
        if item.type == "match_created" and not self.accept_new_match(item):
            return False  # the matches before it come first, and it before its own events
        head = self.heads.get(item.match_id)
        if head is None:
            return self._accept_unknown(item)
        if item.seq == head + 1:
            self._deliver(item)
            return True
        if item.seq > head:
            self._on_gap(item.match_id)
        return False

    def accept_new_match(self, item: Event) -> bool:
        """Deliver ``match_created`` to everybody, unless they have it; its numbers are the match ids."""
        if self.last_match is None:
            return False
        if item.match_id <= self.last_match:
            return True
        if item.match_id > self.last_match + 1:
            self._on_new_match_gap()
            return False
        self.last_match = item.match_id
        self._note(item)
        early = [listener for listener in self.told_early.pop(item.match_id, ()) if listener.open]
        for listener in early:
            listener.flush(self.everybody)
            listener.leave(self.everybody)
        self._append(self.everybody, item)
        for listener in early:
            listener.join(self.everybody)
        return True

    def _note(self, item: Event) -> None:
        for delivered in self.delivered_since:
            delivered[item.match_id] = item.seq

    def _accept_unknown(self, item: Event) -> bool:
        channel = self.match_feeds.get(item.match_id)
        if channel is not None:
            channel.seen = max(channel.seen, item.seq)
        elif self.follows_everything:
            self.heads[item.match_id] = 0
            return self.accept(item)
        return False

    def _deliver(self, item: Event) -> None:
        self.heads[item.match_id] = item.seq
        metrics.event(item.type)
        self._note(item)
        channel = self.match_feeds.get(item.match_id)
        if channel is not None:
            channel.recent.append(item)
        if item.type == "match_created":
            return  # everybody has it already
        if channel is not None:
            self._append(channel, item)
        self._append(self.everything, item)

    def _append(self, group: Group, item: Event) -> None:
        for stream in group.streams:
            stream.put(item)
        if group.sockets or group.joining:
            if not group.pending:
                self._dirty.append(group)
            group.pending.append(frame(item.message))
            self._schedule()

    # and go out

    def _schedule(self) -> None:
        if self._writer is None:
            self._writer = self._write()
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        if not self._advance():
            self._writer = self._write() if self._dirty else None
        if self._writer is not None:
            asyncio.get_running_loop().call_soon(self._turn)

    def _advance(self) -> bool:
        """Write the next share; whether there is more. One socket that fails must not end the writing to all."""
        try:
            return self._writer is not None and next(self._writer, self) is not self
        except Exception:
            log.exception("a share of the fan-out failed")
            return False

    def _write(self) -> Iterator[None]:
        while self._dirty:
            group = self._dirty.popleft()
            yield from self._write_group(group)
            if not group.pending:
                group.sockets.update(group.joining)
                group.joining.clear()

    def _write_group(self, group: Group) -> Iterator[None]:
        started = perf_counter()
        frames, group.pending = group.pending, []
        group.unwritten, group.writing = set(group.sockets), b"".join(frames)
        deliveries = len(group.unwritten) * len(frames) + _write_joining(group, frames)
        try:
            yield from _write_each(group)
        finally:
            metrics.DELIVERIES.inc(deliveries)
            metrics.DELIVERED_BYTES.inc(deliveries * len(group.writing) / len(frames))
            metrics.FANOUT_SECONDS.observe(perf_counter() - started)
            group.writing = b""


def _write_each(group: Group) -> Iterator[None]:
    """Write to everybody, one share per turn; a write may close a slow consumer, which then leaves the group."""
    written = 0
    while group.unwritten:
        try:
            group.unwritten.pop().write(group.writing)
        except Exception:
            log.exception("a socket failed, the others get their share")
        written += 1
        if written % WRITES_PER_TURN == 0:
            yield


def _write_joining(group: Group, frames: list[bytes]) -> int:
    """Write to those who came after some of the frames; how many they were in all."""
    joining, group.joining = group.joining, {}
    group.sockets.update(joining)
    deliveries = 0
    for socket, known in joining.items():
        if frames[known:]:
            deliveries += len(frames) - known
            socket.write(b"".join(frames[known:]))
    return deliveries
