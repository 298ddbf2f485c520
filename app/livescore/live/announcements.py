"""The feed of new matches: ``match_created``, to every socket and to the streams of all matches."""

from livescore.live.fan_out import FanOut
from livescore.live.feed import Feed, FeedSocket
from livescore.live.heal_requests import HealRequests
from livescore.scores.feed import Event


class Announcements(Feed):
    """New matches in the order of their ids.

    The numbers of this feed are the match ids, which have no gaps either.
    """

    __slots__ = ("_early", "_last", "_requests")

    def __init__(self, fan_out: FanOut, requests: HealRequests) -> None:
        super().__init__(fan_out)
        self._requests = requests
        self._last: int | None = None
        # Match id → sockets that received `match_created` by a resume, before its broadcast; the broadcast skips them.
        self._early: dict[int, list[FeedSocket]] = {}

    @property
    def last(self) -> int | None:
        """Id of the last match that was announced; None until PostgreSQL was read."""
        return self._last

    def includes(self, match_id: int) -> bool:
        """Return True if the match was announced."""
        return self._last is not None and match_id <= self._last

    def start(self, last: int) -> None:
        """Announce the matches after ``last``, the newest one when PostgreSQL was first read."""
        if self._last is None:
            self._last = last

    def accept(self, event: Event) -> bool:
        """Announce a match if its id is the next one."""
        if self._last is None or event.match_id <= self._last:
            return False
        if event.match_id > self._last + 1:
            self._requests.request_audit()
            return False
        self._last = event.match_id
        early = [socket for socket in self._early.pop(event.match_id, ()) if socket.open]
        for socket in early:
            self.flush(socket)
            self.leave(socket)
        self._deliver(event)
        for socket in early:
            self.join(socket)
        return True

    def skip_to(self, match_id: int) -> None:
        """Treat all matches before ``match_id`` as announced: PostgreSQL does not have the missing ones any more."""
        self._last = max(self._last or 0, match_id - 1)

    def skip_broadcast(self, match_id: int, socket: FeedSocket) -> None:
        """Exclude a socket from the coming broadcast of a match, because it receives the event by a resume."""
        self._early.setdefault(match_id, []).append(socket)

    def restart(self, last: int) -> None:
        """Continue after the newest match of a restored database."""
        self._last = last
        self._early.clear()
