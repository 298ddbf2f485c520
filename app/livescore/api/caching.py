"""How long clients and proxies may keep answers, and what this process keeps: matches by their seq."""

from collections import OrderedDict
from dataclasses import dataclass

import orjson

# Some 600 bytes each: 3 MB at most.
REPRESENTATIONS = 4_096

# Seconds that a match may be shown without asking again. A live one changes any moment; one that is over, rarely.
_MAX_AGE = {"live": 1, "scheduled": 5, "postponed": 5, "finished": 60, "cancelled": 60}

LIST_MAX_AGE = 1


def cache_control(max_age: int, *, private: bool) -> str:
    """``Cache-Control`` for ``max_age`` seconds; ``private`` where a key is needed to read."""
    return f"{'private' if private else 'public'}, max-age={max_age}"


@dataclass(frozen=True, slots=True)
class Representation:
    """A match at ``seq``; without a body when all that is known is that it has come so far."""

    epoch: str
    seq: int
    body: bytes | None = None
    max_age: int | None = None


def represent(epoch: str, seq: int, match: str) -> Representation:
    """The answer to GET of a match, from its JSON."""
    data = match.encode()
    return Representation(epoch, seq, b'{"data":%b}' % data, _MAX_AGE[orjson.loads(data)["status"]])


class MatchCache:
    """The matches asked for lately. One that changed since is worth nothing; only its seq is."""

    def __init__(self, size: int = REPRESENTATIONS) -> None:
        self._size = size
        self._kept: OrderedDict[int, Representation] = OrderedDict()

    def current(self, match_id: int, epoch: str, head: int | None) -> Representation | None:
        """What is known of a match whose feed stands at ``head``; None when only PostgreSQL knows."""
        kept = self._kept.get(match_id)
        if head is None or not epoch:
            return None
        if kept is None or kept.epoch != epoch or kept.seq < head:
            return Representation(epoch, head)
        self._kept.move_to_end(match_id)
        return kept

    def keep(self, match_id: int, representation: Representation) -> None:
        """Remember a match, unless something newer is known."""
        kept = self._kept.get(match_id)
        if kept and kept.epoch == representation.epoch and kept.seq > representation.seq:
            return
        self._kept[match_id] = representation
        self._kept.move_to_end(match_id)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
