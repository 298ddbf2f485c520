"""Cache lifetimes for clients and proxies, and the matches that this process keeps ready."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cache

import orjson

from livescore.scores.state import Status

# Matches. Each takes some 1.2 kB: 5 MB at most.
CACHED_MATCHES = 4_096

# Seconds for which a match may be shown without asking again. A live match changes any moment, a finished one rarely.
MAX_AGE: dict[Status, int] = {
    "scheduled": 5,
    "delayed": 1,
    "live": 1,
    "interrupted": 1,
    "finished": 60,
    "postponed": 5,
    "cancelled": 60,
    "abandoned": 60,
    "awarded": 60,
}

# The same for lists.
LIST_MAX_AGE = 1


def cache_control(max_age: int, *, private: bool) -> str:
    """Return the value of ``Cache-Control``; ``private`` where reading needs a key."""
    return f"{'private' if private else 'public'}, max-age={max_age}"


@cache
def cache_control_header(max_age: int, *, private: bool) -> tuple[bytes, bytes]:
    """Return the encoded header ``Cache-Control``."""
    return b"cache-control", cache_control(max_age, private=private).encode()


@dataclass(frozen=True, slots=True)
class CachedMatch:
    """A match as GET returns it.

    Attributes:
        epoch: The epoch of the feed; empty if it is not known.
        seq: The seq of the match.
        body: The response body; None if only the seq is known.
        max_age: Seconds for which clients may keep the body.
    """

    epoch: str
    seq: int
    body: bytes | None = None
    max_age: int | None = None

    @classmethod
    def of(cls, epoch: str, seq: int, match: str) -> "CachedMatch":
        """Return the cache entry of a match, from its JSON."""
        data = match.encode()
        return cls(epoch, seq, b'{"data":%b}' % data, MAX_AGE[orjson.loads(data)["status"]])


class MatchCache:
    """The matches that were read last. An entry is stale once the match has a newer event."""

    def __init__(self, size: int = CACHED_MATCHES) -> None:
        self._size = size
        self._entries: OrderedDict[int, CachedMatch] = OrderedDict()

    def current(self, match_id: int, epoch: str, head: int | None) -> CachedMatch | None:
        """Return the entry of a match, without a body if it is stale.

        Args:
            match_id: The match.
            epoch: The current epoch of the feed.
            head: The seq of the match's last event; None if only PostgreSQL knows it.
        """
        if head is None or not epoch:
            return None
        entry = self._entries.get(match_id)
        if entry is None or entry.epoch != epoch or entry.seq < head:
            return CachedMatch(epoch, head)
        self._entries.move_to_end(match_id)
        return entry

    def keep(self, match_id: int, match: CachedMatch) -> None:
        """Store a match, unless the cache has a newer one."""
        entry = self._entries.get(match_id)
        if entry and entry.epoch == match.epoch and entry.seq > match.seq:
            return
        self._entries[match_id] = match
        self._entries.move_to_end(match_id)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
