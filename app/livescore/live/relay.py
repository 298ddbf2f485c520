"""Redis pub/sub in and out, and the feed wherever pub/sub fell short.

Redis carries hints: what it loses, delays or forgets is found by comparing the last event delivered of every followed
match with the feed, in one query for all of them. That happens at a gap, after every (re)subscription, while Redis is
away, and every few seconds in any case.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from time import monotonic, time

import structlog

from livescore import outages
from livescore.broker import Broker, BrokerAway, Subscription
from livescore.deployment import ID_LENGTH, Deployment, Origin
from livescore.live.cursor import Position
from livescore.live.hub import Hub
from livescore.scores.database import DatabaseAway
from livescore.scores.feed import EVERYBODY, EVERYTHING, Event, channel, channels, pack, unpack
from livescore.scores.store import BATCH, Store
from livescore.settings import Settings
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)

# Between attempts to reach Redis; short, because the feed is polled meanwhile.
RECONNECT_SECONDS = 0.25

# How long a start waits for PostgreSQL; without it the process serves what it can, and says that it is not ready.
START_SECONDS = 1.0

# Matches with events since the last horizon that make the next one due. The ids of streams of all matches name each of
# them, and proxies refuse header lines of more than 8 kB.
MAX_LATE_MATCHES = 200

# Publications that wait for Redis at most; what is dropped beyond is found in the feed.
MAX_WAITING = 10_000


class Relay:
    """Brings events to the hub of this process and those of this process to all others.

    Args:
        on_new_epoch: called when the feed turns out to be another one than before.
        on_pruned: called with a match whose next event is no longer in the feed.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        broker: Broker,
        hub: Hub,
        on_new_epoch: Callable[[str], Awaitable[None]],
        on_pruned: Callable[[int], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._broker = broker
        self._hub = hub
        self._on_new_epoch = on_new_epoch
        self._on_pruned = on_pruned
        self.epoch = ""
        # None until PostgreSQL was reached: nothing is published, and no channel subscribed to, before.
        self.deployment: Deployment | None = None
        self._identified = asyncio.Event()
        self._origin = Origin(Deployment(settings.redis_prefix, ""), "")
        self._stamp = b""
        self.redis_up = False
        # Also while there is no subscription yet, because the deployment is unknown.
        self.redis_answers = False
        self._subscription: Subscription | None = None
        self._outgoing: deque[Event] = deque(maxlen=MAX_WAITING)
        self._has_outgoing = asyncio.Event()
        self._gaps: set[int] = set()
        self._audit_wanted = False
        self._foreign_audit: asyncio.TimerHandle | None = None
        self._heal_wanted = asyncio.Event()
        self._comparing = asyncio.Lock()
        self._compared = 0.0
        self._begun = asyncio.Event()
        self.position: Position | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to listen, to publish and to compare."""
        for work in (self._listen, self._publish, self._heal):
            self._tasks.append(asyncio.create_task(_supervise(work), name=f"relay{work.__name__}"))
        with suppress(TimeoutError):
            # Before anybody connects: who resumes is asked for the epoch, and new matches are told from the last on.
            await asyncio.wait_for(self._begun.wait(), START_SECONDS)

    async def stop(self) -> None:
        """Send what waits, then end."""
        if self._identified.is_set():
            with suppress(BrokerAway, TimeoutError):
                await asyncio.wait_for(self._send(), self._settings.redis_timeout_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def heads(self) -> Mapping[int, int]:
        """Match id → seq of the last event delivered by this process."""
        return self._hub.heads

    @property
    def current(self) -> bool:
        """Whether the hub's heads are as new as Redis or the last comparison can make them."""
        return self.redis_up or monotonic() - self._compared < 2 * self._settings.poll_interval_seconds

    # Out

    def publish(self, events: Iterable[Event]) -> None:
        """Queue committed events for Redis; never waits, never fails."""
        self._outgoing.extend(events)
        self._has_outgoing.set()

    async def _publish(self) -> None:
        while True:
            await self._has_outgoing.wait()
            await self._identified.wait()
            self._has_outgoing.clear()
            await self._send()

    async def _send(self) -> None:
        while self._outgoing:
            batch = list(self._outgoing)
            self._outgoing.clear()
            try:
                await self._broker.publish(list(self._publications(batch)))
            except BrokerAway:
                # The other nodes poll the feed; this one knows at once what it has to look for.
                for event in batch:
                    self.gap(event.match_id)

    def _publications(self, events: Iterable[Event]) -> Iterator[tuple[str, bytes]]:
        for event in events:
            payload = pack(event, self._origin)
            for name in channels(event):
                yield self._name(name), payload

    # In

    async def subscribe(self, name: str) -> None:
        """Subscribe to a channel and wait until Redis confirms; while Redis is away the feed is polled instead."""
        if self._subscription is not None:
            with suppress(BrokerAway):
                await self._subscription.add(self._name(name))

    async def unsubscribe(self, name: str) -> None:
        """Unsubscribe from a channel."""
        if self._subscription is not None:
            with suppress(BrokerAway):
                await self._subscription.remove(self._name(name))

    async def _resubscribe(self) -> None:
        """A subscription that Redis did not acknowledge in time is asked for again, until the first failure."""
        for name in self._wanted():
            if not self._holds(name):
                await self.subscribe(name)
                if not self._holds(name):
                    return

    def _holds(self, name: str) -> bool:
        return self._subscription is not None and self._subscription.holds(self._name(name))

    def _wanted(self) -> list[str]:
        everything = [EVERYTHING] if self._hub.follows_everything else []
        return [EVERYBODY, *everything, *map(channel, self._hub.match_feeds)]

    def _name(self, channel: str) -> str:
        """Return the name of a channel on Redis."""
        return self._origin.deployment.name(channel)

    async def _listen(self) -> None:
        await self._await_deployment()
        while True:
            started = monotonic()
            try:
                await self._listen_once()
            except BrokerAway as error:
                outages.REDIS.failed(error, monotonic() if self.redis_up else started)
            self._set_redis(False)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _await_deployment(self) -> None:
        """Wait until PostgreSQL was read; probes learn meanwhile whether Redis answers."""
        while self.deployment is None:
            started = monotonic()
            self.redis_answers = await self._broker.ping()
            if self.redis_answers:
                outages.REDIS.answered(started)
            else:
                outages.REDIS.failed("no answer to PING", started)
            with suppress(TimeoutError):
                async with asyncio.timeout(RECONNECT_SECONDS):
                    await self._identified.wait()

    async def _listen_once(self) -> None:
        async with self._broker.subscription() as subscription:
            deployment, started = self.deployment, monotonic()
            await subscription.connect(map(self._name, self._wanted()))
            outages.REDIS.answered(started)
            self._subscription = subscription
            try:
                # Opened while Redis was away or while this was connecting: catch them too.
                await subscription.connect(map(self._name, self._wanted()))
                if self.deployment != deployment:
                    return  # changed while this was connecting
                self._set_redis(True)
                await self._receive(subscription)
            finally:
                self._subscription = None

    async def _receive(self, subscription: Subscription) -> None:
        async for payload in subscription:
            try:
                stamp, event = unpack(payload)
            except ValueError:
                metrics.foreign_message("malformed")
                log.debug("dropped a message that is not an event")
                continue
            if stamp != self._stamp:
                self._drop_foreign(stamp)
                continue
            log.debug("relayed", match_id=event.match_id, seq=event.seq, request_id=event.request_id)
            metrics.RELAY_LAG_SECONDS.observe(max(0.0, time() - event.created))
            self._hub.accept(event)
            if self.position is not None and len(self.position.delivered) > MAX_LATE_MATCHES:
                self.audit()

    def _drop_foreign(self, stamp: bytes) -> None:
        """Count an event of another database.

        With our own deployment id it comes from a copy of this database, or this database was restored and either side
        has not noticed yet. One comparison per poll interval finds out.
        """
        ours = stamp[:ID_LENGTH] == self._stamp[:ID_LENGTH]
        metrics.foreign_message("epoch" if ours else "deployment")
        log.debug("dropped an event of another database", same_deployment=ours)
        loop = asyncio.get_running_loop()
        if ours and (self._foreign_audit is None or self._foreign_audit.when() <= loop.time()):
            self._foreign_audit = loop.call_later(self._settings.poll_interval_seconds, self.audit)

    def _set_redis(self, up: bool) -> None:
        if up != self.redis_up:
            self.audit()
        self.redis_up = self.redis_answers = up

    # Compared with the feed

    def gap(self, match_id: int) -> None:
        """Look this match up in the feed at once."""
        self._gaps.add(match_id)
        self._heal_wanted.set()

    def audit(self) -> None:
        """Look every followed match up in the feed at once."""
        self._audit_wanted = True
        self._heal_wanted.set()

    async def _heal(self) -> None:
        while True:
            with suppress(TimeoutError):
                # Not wait_for(): before Python 3.12 it forgets a cancellation that comes together with the event.
                async with asyncio.timeout(self._until_audit()):
                    await self._heal_wanted.wait()
            self._heal_wanted.clear()
            # Gaps may be reported without end; the matches that nobody reports must not wait for them.
            self._audit_wanted |= self._until_audit() <= 0
            try:
                async with self._comparing:
                    await self._compare()
            except DatabaseAway:
                self._audit_wanted = True
                await asyncio.sleep(self._settings.poll_interval_seconds)

    def _until_audit(self) -> float:
        """Seconds until all followed matches are due to be looked up."""
        interval = self._settings.audit_interval_seconds if self.redis_up else self._settings.poll_interval_seconds
        return max(0.0, self._compared + interval - monotonic())

    async def _compare(self) -> None:
        audit, self._audit_wanted = self._audit_wanted, False
        gaps, self._gaps = self._gaps, set()
        if not audit:
            await self._heal_matches(gaps)
            return
        await self.check_epoch()
        position = await self._new_position()
        await self._heal_new_matches()
        await self._heal_matches(gaps | await self._changed())
        self._take_position(position)
        self._compared = monotonic()
        self._begun.set()
        await self._resubscribe()

    async def _new_position(self) -> Position | None:
        """Draw a horizon, and note every event that is delivered from just before it."""
        if not self._hub.follows_everything:
            return None
        delivered: dict[int, int] = {}
        self._hub.delivered_since = [*self._known_deliveries(), delivered]
        return Position(self.epoch, await self._store.horizon(), delivered)

    def _take_position(self, position: Position | None) -> None:
        """Let clients resume from a horizon, now that every event it shows is delivered."""
        if position is not None and position.epoch == self.epoch:
            self.position = position
        self._hub.delivered_since = self._known_deliveries()

    def _known_deliveries(self) -> list[dict[int, int]]:
        return [self.position.delivered] if self.position else []

    async def check_epoch(self) -> None:
        """Learn which feed this is, and start again when it is another one than before.

        Raises:
            DatabaseAway: when it cannot be asked.
        """
        deployment_id, epoch = await self._store.origin()
        if epoch == self.epoch and await self._store.lacks(self._hub.heads):
            epoch = await self._store.renew_epoch(epoch)
        if self.epoch and epoch != self.epoch:
            log.warning("the feed is another one than before", epoch=epoch)
            self.position = None
            await self._on_new_epoch(epoch)
        self.epoch = epoch
        self._identify(deployment_id)

    def _identify(self, deployment_id: str) -> None:
        """Use the names of the deployment that the database belongs to, and its current epoch as origin of events."""
        if not deployment_id:
            return
        deployment = Deployment(self._settings.redis_prefix, deployment_id)
        self._origin = Origin(deployment, self.epoch)
        self._stamp = self._origin.stamp
        if deployment == self.deployment:
            return
        log.info("deployment identified", namespace=deployment.namespace)
        self.deployment = deployment
        self._identified.set()
        if self._subscription is not None:
            self._subscription.leave("the database belongs to another deployment now")

    async def _changed(self) -> set[int]:
        """The matches to look at: those with listeners, or, where everything is followed, those that changed."""
        if not self._hub.follows_everything:
            return set(self._hub.heads)
        # What was lost between reading all heads and the first horizon is in no later one.
        position = self.position
        changed = await (self._store.changed(position.horizon) if position else self._store.heads())
        heads = self._hub.heads
        return {match_id for match_id, seq in changed.items() if heads.get(match_id, 0) < seq} | set(
            self._hub.match_feeds
        )

    async def _heal_new_matches(self) -> None:
        hub = self._hub
        if hub.last_match is None:
            hub.last_match = await self._store.last_match()
        for event in await self._store.created(hub.last_match):
            # Ids have no gap when they are committed: what is missing here was deleted or pruned.
            hub.last_match = max(hub.last_match, event.match_id - 1)
            hub.accept_new_match(event)

    async def _heal_matches(self, matches: Iterable[int]) -> None:
        heads = self._hub.heads
        wanted = {match_id: heads[match_id] for match_id in matches if match_id in heads}
        if self._hub.follows_everything:
            wanted |= {match_id: 0 for match_id in matches if match_id not in heads}
        while wanted:
            events = await self._store.missed(wanted)
            for match_id in _pruned(events, wanted):
                await self._on_pruned(match_id)
            healed = sum(self._hub.accept(event) for event in events)
            metrics.GAPS_HEALED.inc(healed)
            more = healed and len(events) == BATCH
            wanted = {match_id: heads[match_id] for match_id in wanted if match_id in heads} if more else {}

    # Following everything

    async def follow_everything(self) -> None:
        """Deliver the events of every match from now on.

        Takes the heads of all of them, so that nothing in between is missed, and waits for the first horizon, without
        which no client could resume.

        Raises:
            DatabaseAway: if the feed cannot be read.
        """
        await self.subscribe(EVERYTHING)
        async with self._comparing:
            if self.position is not None:
                return
            for match_id, seq in (await self._store.heads()).items():
                self._hub.heads.setdefault(match_id, seq)
            self._hub.follows_everything = True
            await self.subscribe(EVERYTHING)
            self._audit_wanted = True
            await self._compare()

    async def catch_up(self) -> None:
        """Deliver all that is committed now, before a client joins that may have received it from another instance.

        Raises:
            DatabaseAway: if the feed cannot be read.
        """
        async with self._comparing:
            await self._heal_new_matches()
            feed = await (self._store.changed(self.position.horizon) if self.position else self._store.heads())
            heads = self._hub.heads
            await self._heal_matches(match_id for match_id, seq in feed.items() if heads.get(match_id, 0) < seq)

    async def forget_everything(self, wanted: Callable[[], bool]) -> None:
        """Deliver only the matches with subscribers of their own from now on, unless all are ``wanted`` again."""
        async with self._comparing:
            if wanted():
                return
            self._hub.follows_everything = False
            for match_id in self._hub.heads.keys() - self._hub.match_feeds.keys():
                del self._hub.heads[match_id]
            self.position = None
            self._hub.delivered_since = []
            await self.unsubscribe(EVERYTHING)


def _pruned(events: Iterable[Event], served: Mapping[int, int]) -> set[int]:
    """The matches whose first event is not the one after the last delivered."""
    first: dict[int, int] = {}
    for event in events:
        first.setdefault(event.match_id, event.seq)
    return {match_id for match_id, seq in first.items() if seq > served[match_id] + 1}


async def _supervise(work: Callable[[], Awaitable[None]]) -> None:
    """An error nobody thought of is logged, not the end of real time."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("relay failed, starting again")
            await asyncio.sleep(RECONNECT_SECONDS)
