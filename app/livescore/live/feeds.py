"""All feeds of this process, and the way of an event to them."""

from collections.abc import Callable, Coroutine, Iterable

from livescore.clock import Clock
from livescore.live.all_matches import AllMatches
from livescore.live.announcements import Announcements
from livescore.live.channels import Channels
from livescore.live.fan_out import FanOut
from livescore.live.feed import LINGER_SECONDS
from livescore.live.heal_requests import HealRequests
from livescore.live.identity import Identity
from livescore.live.match_feed import FeedSource
from livescore.live.match_feeds import MatchFeeds
from livescore.scores.feed import Event
from livescore.scores.store import Store
from livescore.telemetry import metrics


class Feeds:
    """Announcements, all matches, and the feeds of single matches.

    Every event passes through :meth:`accept`. The feed of a match and the feed of all matches therefore always agree on
    the last event of a match that was delivered.

    Args:
        recent_events: Number of events that the feed of a match keeps in memory.
        spawn: Runs a background task.
    """

    def __init__(
        self,
        store: Store,
        identity: Identity,
        requests: HealRequests,
        clock: Clock,
        recent_events: int,
        spawn: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        self._store = store
        self._identity = identity
        self._clock = clock
        fan_out, self.channels = FanOut(), Channels(identity)
        self.announcements = Announcements(fan_out, requests)
        self.all_matches = AllMatches(store, identity, self.channels, requests, fan_out, clock, self._match_heads)
        source = FeedSource(
            store,
            identity,
            requests,
            fan_out,
            clock,
            deliver=self.accept,
            delivered_seq=self.all_matches.delivered_seq,
            recent_events=recent_events,
        )
        self.matches = MatchFeeds(source, self.channels, spawn)

    def accept(self, event: Event) -> bool:
        """Hand an event, from Redis or from PostgreSQL, to the feeds that it belongs to.

        A new match is announced before its feed moves. While an earlier match is missing, it is not announced.

        Returns:
            True if at least one feed delivered the event.
        """
        delivered = False
        if event.type == "match_created":
            delivered = self.announcements.accept(event)
            if not self.announcements.includes(event.match_id):
                return False
            if delivered:
                self.all_matches.note_delivery(event)
        if self.all_matches.accept(event):
            delivered = True
        feed = self.matches.get(event.match_id)
        if feed is not None and feed.accept(event):
            delivered = True
        if delivered:
            metrics.event(event.type)
        return delivered

    async def release_idle(self) -> None:
        """Release feeds whose time without subscribers is over. Runs until cancelled."""
        while True:
            await self._clock.sleep(LINGER_SECONDS / 2)
            await self.matches.release_idle()
            await self.all_matches.release_if_idle()
            metrics.SUBSCRIPTIONS.set(self.matches.subscriptions)

    # Numbers for the healer

    def heads(self) -> dict[int, int]:
        """Return match id → seq of the last event that any feed delivered."""
        return {**self.all_matches.heads, **self._match_heads()}

    def _match_heads(self) -> dict[int, int]:
        return {feed.match_id: feed.head for feed in self.matches.opened()}

    def heads_to_fill(self, matches: Iterable[int]) -> dict[int, int]:
        """Return match id → seq after which events are needed, for those of the given matches that are followed."""
        heads: dict[int, int] = {}
        for match_id in matches:
            feed = self.matches.get(match_id)
            head = feed.head if feed is not None and feed.is_open else self.all_matches.delivered_seq(match_id)
            if head is not None:
                heads[match_id] = head
        return heads

    # Histories that are gone

    async def restart(self, epoch: str) -> None:
        """Continue in a restored database: subscribers receive states in place of a history that no longer holds.

        Raises:
            DatabaseAway: If the states cannot be read; nothing is changed then.
        """
        last_match = await self._store.last_match()
        was_delivering_all = self.all_matches.is_delivering
        heads = await self._store.heads() if was_delivering_all else {}
        states = {feed: await self._store.snapshot(feed.match_id) for feed in self.matches.all()}
        # From here on nothing is awaited: no subscriber sees one feed restarted and another one not.
        self._identity.change_epoch(epoch)
        self.announcements.restart(last_match)
        if was_delivering_all:
            seqs = {feed.match_id: state[1] if state else 0 for feed, state in states.items()}
            self.all_matches.restart({**heads, **seqs})
        for feed, state in states.items():
            feed.restart(state)

    async def restart_match(self, match_id: int, first_seq: int) -> None:
        """Continue a match from a snapshot, because the events before ``first_seq`` were pruned before they came.

        Raises:
            DatabaseAway: If the snapshot cannot be read; nothing is changed then.
        """
        state = await self._store.snapshot(match_id)
        feed = self.matches.get(match_id)
        if feed is not None and feed.head + 1 < first_seq:
            feed.restart(state)
        if self.all_matches.heads.get(match_id, 0) + 1 < first_seq:
            self.all_matches.restart_match(match_id, state)
