"""This process's part of real time: its listeners, what they have missed, and how they come and go."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from time import monotonic, time
from typing import Literal

import structlog

from livescore.broker import Broker
from livescore.deployment import Deployment
from livescore.live import messages
from livescore.live.all_matches_stream import AllMatchesStream, state_item
from livescore.live.connection import SERVICE_RESTART, Connection
from livescore.live.cursor import AllMatchesCursor
from livescore.live.hub import Hub, Stream
from livescore.live.inbound import Turns
from livescore.live.match_feeds import LINGER_SECONDS, History, MatchFeeds, pinned
from livescore.live.queued_subscriber import QueuedSubscriber
from livescore.live.relay import Relay
from livescore.scores.feed import Event
from livescore.scores.store import Store
from livescore.settings import Settings
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)


class RealtimeServer:
    """Everything real-time of one API process.

    Args:
        on_close: told of every WebSocket that is gone.
    """

    def __init__(
        self, settings: Settings, store: Store, broker: Broker, on_close: Callable[[Connection], None]
    ) -> None:
        self.settings = settings
        self.store = store
        self.broker = broker
        self.hub = Hub(on_gap=self._gap, on_new_match_gap=self._audit)
        self.relay = Relay(settings, store, broker, self.hub, self._restart_feed, self._restart_pruned)
        self.match_feeds = MatchFeeds(store, self.hub, self.relay, settings.recent_events, self.spawn)
        self.sockets: set[Connection] = set()
        self.queued_subscribers: set[QueuedSubscriber] = set()
        self.turns = Turns()
        # Open streams and waiting long polls.
        self.http_subscribers: dict[Literal["streams", "long_polls"], int] = {"streams": 0, "long_polls": 0}
        self.draining = False
        self._on_close = on_close
        self._tasks: set[asyncio.Task[None]] = set()
        self._all_opened: asyncio.Future[None] | None = None
        self._all_followers = 0

    async def start(self) -> None:
        """Begin to relay."""
        await self.relay.start()
        self.spawn(self.match_feeds.release_idle())

    async def stop(self) -> None:
        """Close what is still open and end."""
        for socket in list(self.sockets):
            socket.close(1001)
        for subscriber in list(self.queued_subscribers):
            subscriber.close()
        for task in list(self._tasks):
            task.cancel()
        await self.relay.stop()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something beside everything else until it ends or the server stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_ended)

    def _spawned_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed", exc_info=error)

    def _gap(self, match_id: int) -> None:
        self.relay.gap(match_id)

    def _audit(self) -> None:
        self.relay.audit()

    # What the rest of the program asks

    @property
    def epoch(self) -> str:
        """The fingerprint of the feed; empty until PostgreSQL was reached."""
        return self.relay.epoch

    @property
    def deployment(self) -> Deployment | None:
        """The deployment of the database; None until PostgreSQL was reached."""
        return self.relay.deployment

    @property
    def redis_up(self) -> bool:
        """Whether Redis answers."""
        return self.relay.redis_answers

    @property
    def connections(self) -> int:
        """Open WebSockets."""
        return len(self.sockets)

    def publish(self, events: list[Event]) -> None:
        """Tell all nodes of committed events; never waits, never fails."""
        for event in events:
            self.match_feeds.note_written(event)
        self.relay.publish(events)

    # Sockets

    def attach(self, connection: Connection) -> None:
        """A WebSocket was accepted."""
        self.sockets.add(connection)
        connection.join(self.hub.everybody)
        metrics.CONNECTIONS.set(len(self.sockets))

    def detach(self, connection: Connection) -> None:
        """A WebSocket is gone or about to be: it gets no events any more."""
        if connection not in self.sockets:
            return
        self.sockets.discard(connection)
        connection.leave(self.hub.everybody)
        self.forget(connection)
        metrics.CONNECTIONS.set(len(self.sockets))
        self._on_close(connection)

    def forget(self, connection: Connection) -> None:
        """End all subscriptions of a connection."""
        for match_id in list(connection.state.matches or ()):
            self.unsubscribe(connection, match_id)
        if connection.state.follows_all:
            connection.state.follows_all = False
            connection.leave(self.hub.everything)
            self._leave_everything()

    async def subscribe(
        self, connection: Connection, match_id: int, since: int | None = None, epoch: str | None = None
    ) -> None:
        """Send what the client missed and let it hear the rest: exactly once, in order.

        The acknowledgement is sent first, in the same step in which the client joins.
        """
        if since is None:
            history = await self.match_feeds.history(match_id, None)
            self.flush(connection)
            _send(connection, _acknowledgement(match_id, history, self.epoch), [])
        else:
            self.unsubscribe(connection, match_id)
            await self._resume(connection, match_id, since, epoch)
        self._join(connection, match_id)

    async def _resume(self, connection: Connection, match_id: int, since: int, epoch: str | None) -> None:
        acknowledged, announced = False, connection.state.announced
        with pinned(await self.match_feeds.open(match_id)):
            if since == 0 and announced is not None and announced < match_id:
                since = self._beside_announcement(connection, match_id)
            async for piece in self.match_feeds.backlog(match_id, since, epoch):
                told = History(self.hub.heads[match_id], [], recovered=True)
                _send(connection, [] if acknowledged else _acknowledgement(match_id, told, self.epoch), piece)
                acknowledged, since = True, piece[-1].seq
                connection.state.charge(1, self.settings.inbound_burst)
                await connection.drained()
            history = await self.match_feeds.history(match_id, since, epoch)
        known = acknowledged and history.recovered
        _send(connection, [] if known else _acknowledgement(match_id, history, self.epoch), history.items)

    def _beside_announcement(self, connection: Connection, match_id: int) -> int:
        """Who reads a new match's feed from its start hears ``match_created`` once: there or with everybody."""
        if (self.hub.last_match or 0) >= match_id:
            connection.flush(self.hub.everybody)
            return 1
        if self.hub.heads[match_id]:
            self.hub.told_early.setdefault(match_id, []).append(connection)
        return 0

    def flush(self, connection: Connection) -> None:
        """Send a connection what its groups have been told, so that what follows may be said to come after it."""
        for match_id in list(connection.state.matches or ()):  # a slow consumer is closed by a write
            connection.flush(self.hub.match_feeds[match_id])
        if connection.state.follows_all:
            connection.flush(self.hub.everything)

    def _join(self, connection: Connection, match_id: int) -> None:
        matches = connection.state.matches
        if not connection.open or match_id in (matches or ()):
            return
        if matches is None:
            matches = connection.state.matches = set()
        matches.add(match_id)
        connection.join(self.hub.match_feeds[match_id])

    def unsubscribe(self, connection: Connection, match_id: int) -> None:
        """Let a connection hear a match no more."""
        matches = connection.state.matches
        if matches is None or match_id not in matches:
            return
        matches.discard(match_id)
        if not matches:
            connection.state.matches = None
        opened = self.hub.match_feeds[match_id]
        connection.leave(opened)
        opened.watched_until = max(opened.watched_until, monotonic() + LINGER_SECONDS)

    def replace(self, connection: Connection, matches: list[int]) -> None:
        """Let a connection hear exactly these matches, which are open; those it has go on without a break."""
        self.flush(connection)
        if connection.state.follows_all:
            self.forget(connection)
        for match_id in set(connection.state.matches or ()) - set(matches):
            self.unsubscribe(connection, match_id)
        for match_id in matches:
            if match_id not in (connection.state.matches or ()):
                self._join(connection, match_id)

    async def subscribe_all(self, connection: Connection) -> None:
        """Let a connection hear every match."""
        await self._follow_everything()
        self.flush(connection)
        self.forget(connection)
        if connection.open:
            connection.state.follows_all = True
            connection.join(self.hub.everything)
        else:
            self._leave_everything()

    async def _follow_everything(self) -> None:
        self._all_followers += 1
        if self._all_opened is None:
            self._all_opened = asyncio.ensure_future(self.relay.follow_everything())
        try:
            await asyncio.shield(self._all_opened)
        except BaseException:
            self._leave_everything()
            raise

    def _leave_everything(self) -> None:
        self._all_followers -= 1
        if self._all_followers == 0:
            self._all_opened = None
            self.spawn(self._stop_following_everything())

    async def _stop_following_everything(self) -> None:
        await asyncio.sleep(LINGER_SECONDS)
        if self._all_followers == 0:
            await self.relay.forget_everything(wanted=lambda: self._all_followers > 0)

    # Streams: SSE and long polls

    @asynccontextmanager
    async def follow(
        self, match_id: int, since: int | None, epoch: str | None = None
    ) -> AsyncIterator[tuple[History, QueuedSubscriber]]:
        """The events of one match as a queue: first what was missed, then live."""
        history = await self.match_feeds.history(match_id, since, epoch)
        subscriber = QueuedSubscriber(self.settings.slow_consumer_bytes, history.items)
        with self._following(subscriber, [self.hub.match_feeds[match_id].streams]):
            yield history, subscriber

    @asynccontextmanager
    async def follow_all(self, cursor: AllMatchesCursor | None) -> AsyncIterator[AllMatchesStream]:
        """Open a stream of all matches: from ``cursor`` on, or from now on.

        Raises:
            DatabaseAway: if the feed cannot be read.
        """
        await self._follow_everything()
        try:
            subscriber = QueuedSubscriber(self.settings.slow_consumer_bytes, [])
            with self._following(subscriber, []) as membership:
                groups = [self.hub.everything.streams, self.hub.everybody.streams]
                stream = AllMatchesStream(self.relay, self.store, subscriber, join=lambda: membership.join(groups))
                await (stream.begin() if cursor is None else stream.resume(cursor))
                yield stream
        finally:
            self._leave_everything()

    def _following(self, subscriber: QueuedSubscriber, groups: Iterable[set[Stream]]) -> "_Membership":
        return _Membership(subscriber, self.queued_subscribers, groups)

    # Another feed

    async def _restart_feed(self, epoch: str) -> None:
        """The database was restored: everybody gets the state in place of a history that no longer holds."""
        hub, last_match = self.hub, await self.store.last_match()
        heads = await self.store.heads() if hub.follows_everything else {}
        states = {match_id: await self.store.snapshot(match_id) for match_id in list(hub.match_feeds)}
        self.relay.epoch, hub.last_match = epoch, last_match
        for match_id in hub.heads.keys() - hub.match_feeds.keys():
            del hub.heads[match_id]
        hub.heads.update(heads)
        for match_id, state in states.items():
            self._restart_match(match_id, state)
        for socket in [one for one in self.sockets if one.state.follows_all]:
            socket.close(SERVICE_RESTART)  # the states of all matches at once are for REST
        for subscriber in [one for one in self.queued_subscribers if one in hub.everything.streams]:
            subscriber.close()

    async def _restart_pruned(self, match_id: int) -> None:
        """Send the state of a match whose events were pruned while this process was without PostgreSQL."""
        state = await self.store.snapshot(match_id)
        self._restart_match(match_id, state)
        if state is None:
            return
        data, seq = state
        message = messages.snapshot(match_id, seq, data)
        for connection in [one for one in self.sockets if one.state.follows_all]:
            self.flush(connection)
            connection.send(message)
        for subscriber in [one for one in self.queued_subscribers if one in self.hub.everything.streams]:
            subscriber.put(state_item(match_id, seq, message))

    def _restart_match(self, match_id: int, state: tuple[str, int] | None) -> None:
        """Tell the listeners of a match its state, from which its feed goes on."""
        data, seq = state or ("", 0)
        self.hub.heads[match_id] = seq
        opened = self.hub.match_feeds.get(match_id)
        if opened is None:
            return
        opened.recent.clear()
        snapshot = messages.snapshot(match_id, seq, data) if state else None
        told = _acknowledgement(match_id, History(seq, [], False, snapshot), self.epoch)
        kinds = ("subscribed", "snapshot")
        for connection in [one for one in self.sockets if match_id in (one.state.matches or ())]:
            self.flush(connection)
            _send(connection, told, [])
        for subscriber in [one for one in self.queued_subscribers if one in opened.streams]:
            for kind, message in zip(kinds, told, strict=False):
                subscriber.put(Event(match_id, seq, kind, time(), "", message))


class _Membership:
    """The membership of a subscriber in groups of the hub, for the length of a block."""

    def __init__(
        self, subscriber: QueuedSubscriber, queued_subscribers: set[QueuedSubscriber], groups: Iterable[set[Stream]]
    ) -> None:
        self._subscriber = subscriber
        self._queued_subscribers = queued_subscribers
        self._groups = list(groups)

    def __enter__(self) -> "_Membership":
        self._queued_subscribers.add(self._subscriber)
        self.join(())
        return self

    def join(self, groups: Iterable[set[Stream]]) -> None:
        """Add the subscriber to more groups, and to those it should be in already."""
        self._groups += groups
        for streams in self._groups:
            streams.add(self._subscriber)

    def __exit__(self, *_: object) -> None:
        self._queued_subscribers.discard(self._subscriber)
        for streams in self._groups:
            streams.discard(self._subscriber)


def _acknowledgement(match_id: int, history: History, epoch: str) -> list[bytes]:
    acknowledged = messages.Subscribed(match_id=match_id, seq=history.seq, recovered=history.recovered, epoch=epoch)
    return [acknowledged.encode(), *([history.snapshot] if history.snapshot else [])]


def _send(connection: Connection, first: Iterable[bytes], items: Iterable[Event]) -> None:
    for message in first:
        connection.send(message)
    for item in items:
        connection.send(item.message)
