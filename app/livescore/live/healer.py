"""Reads the events from PostgreSQL that did not arrive over Redis.

Redis carries hints. Events that it loses, delays or forgets are found by comparing the last event that each feed
delivered with PostgreSQL, in one query for all feeds. That happens at a gap, after every (re)subscription, repeatedly
while Redis is away, and every few seconds in any case.
"""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from livescore.clock import Clock
from livescore.live.feeds import Feeds
from livescore.live.heal_requests import HealRequests, Requests
from livescore.live.identity import Identity
from livescore.scores.database import DatabaseAway
from livescore.scores.feed import Event
from livescore.scores.store import BATCH, Store
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)


class Healer:
    """Fills gaps, audits all feeds, and notices when the database was restored.

    Args:
        audit_interval: Returns the seconds between two audits; fewer while Redis is away.
        retry_seconds: Time between two attempts while PostgreSQL is away.

    Attributes:
        first_audit: Set once the feeds were compared with PostgreSQL for the first time.
    """

    def __init__(
        self,
        store: Store,
        identity: Identity,
        feeds: Feeds,
        requests: HealRequests,
        clock: Clock,
        audit_interval: Callable[[], float],
        retry_seconds: float,
    ) -> None:
        self.first_audit = asyncio.Event()
        self._store = store
        self._identity = identity
        self._feeds = feeds
        self._requests = requests
        self._clock = clock
        self._audit_interval = audit_interval
        self._retry_seconds = retry_seconds
        self._audited_at = float("-inf")

    @property
    def seconds_since_audit(self) -> float:
        """Return the age of the last completed audit."""
        return self._clock.now() - self._audited_at

    async def run(self) -> None:
        """Serve requests and audit regularly until cancelled."""
        while True:
            await self._requests.wait(max(0.0, self._audit_interval() - self.seconds_since_audit))
            await self._serve(self._requests.take())

    async def _serve(self, requests: Requests) -> None:
        # Checked here too: gaps may be reported without end, and the matches without reports must not wait for them.
        is_audit_due = self.seconds_since_audit >= self._audit_interval()
        try:
            if requests.is_audit or is_audit_due:
                await self._audit(requests.gaps)
            else:
                await self._fill_gaps(requests)
        except DatabaseAway as error:
            requests.failed(error)
            self._requests.request_audit()
            await self._requests.wait_for_waiter(self._retry_seconds)
        except BaseException as error:
            requests.failed(error)
            self._requests.request_audit()  # the supervisor restarts the loop: nothing that was requested is lost
            raise
        requests.served()

    async def _audit(self, gaps: set[int]) -> None:
        """Compare all feeds with PostgreSQL."""
        all_matches = self._feeds.all_matches
        await self._check_epoch()
        epoch, delivered = self._identity.epoch, all_matches.start_position()
        horizon = None if delivered is None else await self._store.horizon()
        await self._announce_new_matches()
        await self._fill(gaps | await self._changed_matches())
        if delivered is not None and horizon is not None:
            all_matches.take_position(epoch, horizon, delivered)
        self._audited_at = self._clock.now()
        self.first_audit.set()
        await self._feeds.channels.retry()

    async def _fill_gaps(self, requests: Requests) -> None:
        """Fill the reported gaps; for a catch-up, everything that the feed of all matches lacks."""
        gaps = requests.gaps
        if requests.is_catch_up:
            await self._announce_new_matches()
            gaps |= self._feeds.all_matches.behind(await self._changed_heads())
        await self._fill(gaps)

    async def _check_epoch(self) -> None:
        """Read which database this is, and restart the feeds if it is another one than before."""
        deployment_id, epoch = await self._store.origin()
        known_epoch = self._identity.epoch
        if epoch == known_epoch and await self._store.lacks(self._feeds.heads()):
            epoch = await self._store.renew_epoch(epoch)
        if known_epoch and epoch != known_epoch:
            log.warning("database was restored: restarting all feeds", epoch=epoch)
            await self._feeds.restart(epoch)
        if self._identity.update(deployment_id, epoch):
            self._feeds.channels.abandon("the database belongs to another deployment")

    async def _changed_matches(self) -> set[int]:
        """Return the matches to compare: those with a feed and, if all are followed, those that changed."""
        matches = {feed.match_id for feed in self._feeds.matches.opened()}
        if self._feeds.all_matches.is_delivering:
            matches |= self._feeds.all_matches.behind(await self._changed_heads())
        return matches

    async def _changed_heads(self) -> dict[int, int]:
        """Return match id → last seq, for all matches with events that the last horizon does not show.

        Without a horizon, for all matches: what was lost between reading all heads and the first horizon is in no later
        one.
        """
        position = self._feeds.all_matches.position
        return await (self._store.changed(position.horizon) if position else self._store.heads())

    async def _announce_new_matches(self) -> None:
        announcements = self._feeds.announcements
        if announcements.last is None:
            announcements.start(await self._store.last_match())
        for event in await self._store.created(announcements.last or 0):
            # Ids have no gaps when they are committed: a match that is missing here was deleted or pruned.
            announcements.skip_to(event.match_id)
            self._feeds.accept(event)

    async def _fill(self, matches: Iterable[int]) -> None:
        """Read the events that the feeds of these matches lack, and deliver them."""
        heads = self._feeds.heads_to_fill(matches)
        while heads:
            events = await self._store.missed(heads)
            for match_id, first_seq in _first_seqs(events).items():
                if first_seq > heads[match_id] + 1:
                    await self._feeds.restart_match(match_id, first_seq)
            filled = sum(self._feeds.accept(event) for event in events)
            metrics.GAPS_HEALED.inc(filled)
            is_complete = not filled or len(events) < BATCH
            heads = {} if is_complete else self._feeds.heads_to_fill(heads)


def _first_seqs(events: Iterable[Event]) -> dict[int, int]:
    first_seqs: dict[int, int] = {}
    for event in events:
        first_seqs.setdefault(event.match_id, event.seq)
    return first_seqs
