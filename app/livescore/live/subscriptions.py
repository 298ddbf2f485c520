"""Subscriptions of WebSockets: how they begin, change and end."""

from collections.abc import Iterable

from livescore.live.connection import Connection
from livescore.live.feeds import Feeds
from livescore.live.identity import Identity
from livescore.live.match_feed import History, MatchFeed


class Subscriptions:
    """Subscriptions of the WebSockets to the feeds.

    Args:
        burst: Size of a socket's bucket of inbound messages; long histories are charged to it.
    """

    def __init__(self, feeds: Feeds, identity: Identity, burst: int) -> None:
        self._feeds = feeds
        self._identity = identity
        self._burst = burst

    async def subscribe(
        self, connection: Connection, match_id: int, since: int | None = None, epoch: str | None = None
    ) -> None:
        """Send what the client missed of a match, then the live events: exactly once and in order.

        Args:
            connection: The client's socket.
            match_id: Id of the match, existing or not.
            since: Seq of the last event that the client has; None for live events only.
            epoch: Epoch of the database that ``since`` refers to, if the client knows it.

        Raises:
            DatabaseAway: If the history cannot be read.
        """
        feed = await self._feeds.matches.open(match_id)
        if since is None:
            self.flush(connection)
            self._acknowledge(connection, feed, await feed.resume(None))
        else:
            self.unsubscribe(connection, match_id)
            with feed.pinned():
                await self._send_missed(connection, feed, since, epoch)
        # Here the subscription becomes live. Nothing was suspended since the end of the history was determined, so no
        # event lies between the last one that was sent and the first one that the feed delivers.
        self._join(connection, feed)

    async def _send_missed(self, connection: Connection, feed: MatchFeed, since: int, epoch: str | None) -> None:
        """Send a long history in pieces, at the pace of the client, and then the rest in the same step as the join."""
        if since == 0:
            since = self._start_of_new_match(connection, feed)
        is_acknowledged = False
        async for piece in feed.backlog(since, epoch):
            if not is_acknowledged:
                self._acknowledge(connection, feed, History(feed.head, [], recovered=True))
            is_acknowledged = True
            for event in piece:
                connection.send(event.message)
            since = piece[-1].seq
            connection.state.charge(1, self._burst)
            await connection.drained()
        history = await feed.resume(since, epoch)
        if not (is_acknowledged and history.recovered):
            self._acknowledge(connection, feed, history)
        for event in history.events:
            connection.send(event.message)

    def _acknowledge(self, connection: Connection, feed: MatchFeed, history: History) -> None:
        for message in history.acknowledgement(feed.match_id, self._identity.epoch):
            connection.send(message)

    def _start_of_new_match(self, connection: Connection, feed: MatchFeed) -> int:
        """Return the ``since`` for a client that resumes from 0, so that it receives ``match_created`` once.

        If the match had not been announced when the message arrived, its event reaches the client either by the
        broadcast or by the resume.
        """
        announced = connection.state.announced
        if announced is None or announced >= feed.match_id:
            return 0
        announcements = self._feeds.announcements
        if announcements.includes(feed.match_id):
            announcements.flush(connection)
            return 1
        if feed.head:
            announcements.skip_broadcast(feed.match_id, connection)
        return 0

    def _join(self, connection: Connection, feed: MatchFeed) -> None:
        matches = connection.state.matches
        if not connection.open or feed.match_id in (matches or ()):
            return
        if matches is None:
            matches = connection.state.matches = set()
        matches.add(feed.match_id)
        feed.join(connection)

    def unsubscribe(self, connection: Connection, match_id: int) -> None:
        """End the subscription to a match, if there is one."""
        matches = connection.state.matches
        if matches is None or match_id not in matches:
            return
        matches.discard(match_id)
        if not matches:
            connection.state.matches = None
        feed = self._feeds.matches.get(match_id)
        if feed is not None:
            feed.leave(connection)

    def replace(self, connection: Connection, feeds: Iterable[MatchFeed]) -> None:
        """Replace all subscriptions by those to the given feeds. Subscriptions in both sets continue unchanged."""
        wanted = {feed.match_id: feed for feed in feeds}
        self.flush(connection)
        if connection.state.follows_all:
            self.end_all(connection)
        for match_id in set(connection.state.matches or ()) - wanted.keys():
            self.unsubscribe(connection, match_id)
        for feed in wanted.values():
            self._join(connection, feed)

    async def subscribe_to_all(self, connection: Connection) -> None:
        """Subscribe to all matches instead of single ones.

        Raises:
            DatabaseAway: If the feeds cannot be read.
        """
        all_matches = self._feeds.all_matches
        await all_matches.acquire()
        self.flush(connection)
        self.end_all(connection)
        if connection.open:
            connection.state.follows_all = True
            all_matches.join(connection)
        else:
            all_matches.release()

    def end_all(self, connection: Connection) -> None:
        """End all subscriptions of a socket."""
        for match_id in list(connection.state.matches or ()):
            self.unsubscribe(connection, match_id)
        if connection.state.follows_all:
            connection.state.follows_all = False
            self._feeds.all_matches.leave(connection)
            self._feeds.all_matches.release()

    def flush(self, connection: Connection) -> None:
        """Write what waits for the next fan-out, so that an acknowledgement follows the events before it."""
        for match_id in list(connection.state.matches or ()):  # a write may close a slow consumer
            feed = self._feeds.matches.get(match_id)
            if feed is not None:
                feed.flush(connection)
        if connection.state.follows_all:
            self._feeds.all_matches.flush(connection)
