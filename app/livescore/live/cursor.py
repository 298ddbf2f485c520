"""Cursors: the place of a client in a stream, and the content of the stream's ids."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from livescore.scores.horizon import NOTHING, Horizon
from livescore.scores.rules import INT4_MAX

# Above every match id: start of a history of snapshots, newest match first.
NO_MATCH = INT4_MAX + 1

# Epoch of ids without one, as the first version of this service sent them.
UNKNOWN_EPOCH = ""

_FIRST_VERSION = re.compile(r"[0-9]{1,19}(~[0-9]{1,10}\.[0-9]{1,10})*", re.ASCII)
_EPOCH = re.compile(r"[0-9a-f]{1,64}", re.ASCII)
_PLACE = re.compile(r"([0-9]{1,10})\.([0-9]{1,10})", re.ASCII)

_MATCH_ID = re.compile(r"([0-9]{1,10})(?:~([0-9a-f]{1,64}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Position:
    """Place up to which every subscriber of all matches has received everything.

    Attributes:
        epoch: Epoch of the database.
        horizon: Every event that it shows was delivered.
        delivered: Match id → seq of the last event that was delivered since just before the horizon was drawn. An
            event delivered before the horizon was read can still lie after it, because an older transaction is open.
    """

    epoch: str
    horizon: Horizon
    delivered: dict[int, int]


@dataclass(slots=True)
class AllMatchesCursor:
    """Events that one client of all matches has received. Any instance can continue from its text, exactly once.

    While a long history is being sent, ``target`` is the horizon at its end and ``place`` the last event that was sent:
    every event that the target shows, up to that match id and seq, was sent. A client that knows nothing of this
    database receives a history of snapshots instead, newest match first; ``place`` is then the last match that was
    sent.

    Attributes:
        epoch: Epoch of the database that the other members refer to.
        horizon: Every event that it shows was sent.
        last: Match id → seq of the last event that was sent, for matches with events after the horizon.
    """

    epoch: str
    horizon: Horizon
    last: dict[int, int] = field(default_factory=dict)
    target: Horizon | None = None
    place: tuple[int, int] = (0, 0)

    @classmethod
    def from_nothing(cls, epoch: str) -> Self:
        """Return the cursor of a client that receives snapshots."""
        return cls(epoch, NOTHING, place=(NO_MATCH, 0))

    @classmethod
    def at(cls, position: Position) -> Self:
        """Return the cursor of a client that joins now and needs no history."""
        return cls(position.epoch, position.horizon, dict(position.delivered))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cursor with this text.

        Raises:
            ValueError: If no stream of this service can have sent it.
        """
        if _FIRST_VERSION.fullmatch(text):
            return cls.from_nothing(UNKNOWN_EPOCH)
        epoch, horizon, *rest = text.split("~") if "~" in text else (text, "")
        if not _EPOCH.fullmatch(epoch):
            raise ValueError("no epoch")
        cursor = cls.from_nothing(epoch)
        if (shown := Horizon.parse(horizon)) != NOTHING:
            cursor.horizon, cursor.place = shown, (0, 0)
        if rest and "@" in rest[0]:
            target, _, place = rest.pop(0).partition("@")
            cursor.target, cursor.place = Horizon.parse(target), _place(place)
        cursor.last = dict(map(_place, rest))
        if any(match_id > INT4_MAX for match_id in cursor.last):
            raise ValueError("no match has such an id")
        return cursor

    def __str__(self) -> str:
        parts = [self.epoch, str(self.horizon)]
        if self.target is not None:
            match_id, seq = self.place
            parts.append(f"{self.target}@{match_id}.{seq}")
        parts += [f"{match_id}.{seq}" for match_id, seq in self.last.items()]
        return "~".join(parts)

    @property
    def newest(self) -> Horizon:
        """Return the latest horizon of the cursor."""
        return self.target or self.horizon

    @property
    def wants_snapshots(self) -> bool:
        """Return True if the history consists of snapshots."""
        return self.horizon == NOTHING

    def has(self, match_id: int, seq: int) -> bool:
        """Return True if the client has received this event, according to ``last``."""
        return seq <= self.last.get(match_id, 0)

    def reach_target(self) -> None:
        """Note that every event that the target shows was sent."""
        self.horizon, self.target, self.place = self.newest, None, (0, 0)

    def advance(self, position: Position | None, heads: Mapping[int, int]) -> None:
        """Replace the horizon by a later one. Everything that was delivered before this moment must have been sent.

        Args:
            position: Position of this instance. The client's last instance may have been ahead of it.
            heads: Match id → seq of the last event that this instance delivered. The client may have received later
                ones from the history; those stay in ``last``.
        """
        if position is None or position.epoch != self.epoch:
            return
        if not position.horizon.includes(self.horizon):
            return
        self.horizon = position.horizon
        self.last = {
            match_id: seq
            for match_id, seq in self.last.items()
            if match_id in position.delivered or heads.get(match_id, 0) < seq
        }


@dataclass(slots=True)
class MatchCursor:
    """Events that one client of one match has received.

    Its text is the seq and, with ``named``, the epoch: only then is another epoch noticed when the client returns.

    Attributes:
        seq: Seq of the last event that was sent; None for a client that needs no history.
        epoch: Epoch of the database that ``seq`` refers to; None if the client does not know it.
        named: True if the client knows epochs.
    """

    seq: int | None
    epoch: str | None
    named: bool

    @classmethod
    def parse(cls, text: str | None, since: int | None, epoch: str | None) -> Self:
        """Return the cursor with this id; without an id, the place that ``since`` and ``epoch`` describe.

        Raises:
            ValueError: If no stream of this service can have sent the id.
        """
        if text is None:
            return cls(since, epoch, epoch is not None)
        match = _MATCH_ID.fullmatch(text)
        if match is None or int(match[1]) > INT4_MAX:
            raise ValueError("not a seq")
        return cls(int(match[1]), match[2] or epoch, match[2] is not None)

    def __str__(self) -> str:
        return f"{self.seq}~{self.epoch}" if self.named else f"{self.seq}"

    def reach(self, seq: int, epoch: str | None = None) -> None:
        """Note that the client has received this event, or a snapshot of this epoch."""
        self.seq = seq
        self.epoch = epoch or self.epoch


def _place(text: str) -> tuple[int, int]:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError("not a match id and a seq")
    match_id, seq = int(match[1]), int(match[2])
    if match_id > NO_MATCH or seq > INT4_MAX:
        raise ValueError("not a match id and a seq")
    return match_id, seq
