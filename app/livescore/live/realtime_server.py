"""Everything real-time of one API process: its feeds, its sockets and streams, and the loops that keep them going."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Literal

from livescore.broker import Broker
from livescore.clock import Clock
from livescore.deployment import Deployment
from livescore.live.all_matches_stream import AllMatchesStream
from livescore.live.connection import GOING_AWAY, Connection
from livescore.live.cursor import AllMatchesCursor
from livescore.live.feeds import Feeds
from livescore.live.heal_requests import HealRequests
from livescore.live.healer import Healer
from livescore.live.heartbeat import Heartbeat
from livescore.live.identity import Identity
from livescore.live.inbound import Turns
from livescore.live.listener import Listener
from livescore.live.match_feed import History
from livescore.live.publisher import Publisher
from livescore.live.queued_subscriber import QueuedSubscriber
from livescore.live.subscriptions import Subscriptions
from livescore.scores.feed import Event
from livescore.scores.store import Store
from livescore.settings import Settings
from livescore.supervisor import Supervisor
from livescore.telemetry import metrics

# Longest time in seconds that a start waits for PostgreSQL. Without it the process starts too, but is not ready.
START_SECONDS = 1.0


class RealtimeServer:
    """Everything real-time of one API process.

    Args:
        supervisor: Runs the loops.
        on_close: Called with every WebSocket that is gone.

    Attributes:
        sockets: Open WebSockets.
        queues: Queues of open streams and waiting long polls.
        turns: Order in which the sockets' received bytes are parsed.
        http_subscribers: Number of open streams and of waiting long polls.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        broker: Broker,
        supervisor: Supervisor,
        on_close: Callable[[Connection], None],
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.store = store
        self.broker = broker
        self.supervisor = supervisor
        self.clock = clock
        self.identity = Identity(settings.redis_prefix)
        self._requests = HealRequests(clock)
        self.feeds = Feeds(store, self.identity, self._requests, clock, settings.recent_events, spawn=supervisor.spawn)
        self.publisher = Publisher(broker, self.identity, self._requests)
        self.listener = Listener(
            broker, self.identity, self.feeds, self._requests, clock, settings.poll_interval_seconds
        )
        self.healer = Healer(
            store,
            self.identity,
            self.feeds,
            self._requests,
            clock,
            self._audit_interval,
            settings.poll_interval_seconds,
        )
        self.subscriptions = Subscriptions(self.feeds, self.identity, settings.inbound_burst)
        self.sockets: set[Connection] = set()
        self.queues: set[QueuedSubscriber] = set()
        self.turns = Turns()
        self.http_subscribers: dict[Literal["streams", "long_polls"], int] = {"streams": 0, "long_polls": 0}
        self._on_close = on_close

    def _audit_interval(self) -> float:
        if self.listener.is_subscribed:
            return self.settings.audit_interval_seconds
        return self.settings.poll_interval_seconds

    async def start(self) -> None:
        """Start the loops, and wait a moment for PostgreSQL.

        Clients that resume need the epoch, and new matches are announced from the last one on: both should be known
        before the first client connects.
        """
        # After a promotion the epoch is another one, which the next audit would notice later.
        self.store.database.on_server_change = self._requests.request_audit
        heartbeat = Heartbeat(self.sockets, self.settings.ping_interval_seconds, self.clock)
        self.supervisor.run("listener", self.listener.run)
        self.supervisor.run("publisher", self.publisher.run)
        self.supervisor.run("healer", self.healer.run)
        self.supervisor.run("release of idle feeds", self.feeds.release_idle)
        self.supervisor.run("heartbeat", heartbeat.run)
        await self.clock.wait(self.healer.first_audit, START_SECONDS)

    async def stop(self) -> None:
        """Close everything that is still open, and publish what waits."""
        for socket in list(self.sockets):
            socket.close(GOING_AWAY)
        for queue in list(self.queues):
            queue.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.publisher.flush(), self.settings.redis_timeout_seconds)

    # For the HTTP API

    @property
    def epoch(self) -> str:
        """Fingerprint of the database; empty until PostgreSQL was read."""
        return self.identity.epoch

    @property
    def deployment(self) -> Deployment | None:
        """Deployment of the database; None until PostgreSQL was read."""
        return self.identity.deployment

    @property
    def redis_up(self) -> bool:
        """Return True if Redis answers."""
        return self.listener.redis_answers

    @property
    def connections(self) -> int:
        """Number of open WebSockets."""
        return len(self.sockets)

    def publish(self, events: list[Event]) -> None:
        """Publish committed events to all instances. Never waits and never fails."""
        for event in events:
            self.feeds.matches.note_written(event)
        self.publisher.publish(events)

    def watch(self, match_id: int) -> None:
        """Follow a match for a while, so that :meth:`known_seq` knows it."""
        self.feeds.matches.watch(match_id)

    def known_seq(self, match_id: int) -> int | None:
        """Return the seq of a match's last event, if this process knows it for certain within the delay of Redis."""
        feed = self.feeds.matches.get(match_id)
        if feed is None or not self._is_current:
            return None
        return feed.newest or None

    @property
    def _is_current(self) -> bool:
        """Return True if Redis, or a recent audit, keeps the heads of the feeds current."""
        if self.listener.is_subscribed:
            return True
        return self.healer.seconds_since_audit < 2 * self.settings.poll_interval_seconds

    # WebSockets

    def attach(self, connection: Connection) -> None:
        """Register an accepted WebSocket; new matches are announced to it from now on."""
        self.sockets.add(connection)
        self.feeds.announcements.join(connection)
        metrics.CONNECTIONS.set(len(self.sockets))

    def detach(self, connection: Connection) -> None:
        """Unregister a WebSocket that is closed or closing; it receives no more events. Idempotent."""
        if connection not in self.sockets:
            return
        self.sockets.discard(connection)
        self.feeds.announcements.leave(connection)
        self.subscriptions.end_all(connection)
        metrics.CONNECTIONS.set(len(self.sockets))
        self._on_close(connection)

    # Streams and long polls

    @asynccontextmanager
    async def follow(
        self, match_id: int, since: int | None, epoch: str | None = None
    ) -> AsyncIterator[tuple[History, QueuedSubscriber]]:
        """Queue the events of one match: first what was missed since ``since``, then the live ones.

        Raises:
            DatabaseAway: If the history cannot be read.
        """
        feed = await self.feeds.matches.open(match_id)
        history = await feed.resume(since, epoch)
        # Here the stream becomes live; see Subscriptions.subscribe.
        queue = QueuedSubscriber(self.settings.slow_consumer_bytes, history.events)
        feed.add_queue(queue)
        try:
            with self._registered(queue):
                yield history, queue
        finally:
            feed.remove_queue(queue)

    @asynccontextmanager
    async def follow_all(self, cursor: AllMatchesCursor | None) -> AsyncIterator[AllMatchesStream]:
        """Open a stream of all matches, from ``cursor`` or, without one, from now on.

        Raises:
            DatabaseAway: If the feeds cannot be read.
        """
        all_matches = self.feeds.all_matches
        await all_matches.acquire()
        queue = QueuedSubscriber(self.settings.slow_consumer_bytes, [])
        stream = AllMatchesStream(self.feeds, self.identity, self._requests, self.store, queue)
        try:
            with self._registered(queue):
                await (stream.start() if cursor is None else stream.resume(cursor))
                yield stream
        finally:
            stream.leave()
            all_matches.release()

    @contextmanager
    def _registered(self, queue: QueuedSubscriber) -> Iterator[None]:
        """Let a drain close the queue within a block."""
        self.queues.add(queue)
        try:
            yield
        finally:
            self.queues.discard(queue)
