"""Detection of write loops: objects that are written again and again because another writer changes them back.

Kept in memory, per object. A restart begins to count again, which costs a handful of writes.
"""

import hashlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from livescore_operator import planning
from livescore_operator.cluster import FIELD_MANAGER, HANDOVER_MANAGER
from livescore_operator.errors import Terminal
from livescore_operator.planning import Change
from livescore_operator.resource import Manifest

Key = tuple[str, str]
"""Namespace and name of a LiveScore."""

Object = tuple[Key, planning.Key]

# Rewrites in a row that cost nothing: repairs after edits by hand and restarts of controllers.
FREE_REWRITES = 10

# Seconds without a rewrite after which an object is at rest; longer while its rewrites are delayed.
QUIET_SECONDS = 60.0

FIRST_DELAY_SECONDS = 1.0
LAST_DELAY_SECONDS = 300.0

# The status must stay readable: it is delayed for less.
LAST_STATUS_DELAY_SECONDS = 30.0

# Contents of an object that are remembered, to recognize writers that alternate.
REMEMBERED = 8

STATUS: planning.Key = ("LiveScore", "status")
"""Stands for the status of the LiveScore among its objects."""

_DELETED = "deleted"

# Managers that complete objects but contest nothing.
_HARMLESS = frozenset({"kube-controller-manager", "kube-scheduler", FIELD_MANAGER, HANDOVER_MANAGER})


@dataclass
class History:
    """Writes of one object.

    Attributes:
        contents: digests of what was written, the latest last.
        rewrites: how often something was written that had been written before.
        last: when something was last written.
        blocked_until: when the next write may be made.
        rival: who changes the object back, for people; empty if nothing tells.
        same_manager: whether the rival writes as an operator of this project does.
    """

    contents: list[str] = field(default_factory=list)
    rewrites: int = 0
    last: float = 0.0
    blocked_until: float = 0.0
    rival: str = ""
    same_manager: bool = False

    @property
    def delay(self) -> float:
        """Seconds between two writes; 0 while there is no loop."""
        over = self.rewrites - FREE_REWRITES
        return FIRST_DELAY_SECONDS * 2.0 ** min(over - 1, 16) if over > 0 else 0.0


class Rewrites:
    """Counts rewrites of objects, and delays those that repeat.

    Attributes:
        monotonic: seconds of a clock that nothing sets.
    """

    def __init__(self) -> None:
        self._histories: dict[Object, History] = {}
        self.monotonic: Callable[[], float] = time.monotonic

    def require(self, key: Key, change: Change) -> None:
        """Let a change pass, or raise because it is one of a loop and not due yet.

        Raises:
            Terminal: Raised with the seconds that remain and the name of the other writer, if it is known.
        """
        history = self._current(key, planning.key(change.manifest))
        if history is not None and self.monotonic() < history.blocked_until:
            raise self._conflict(planning.key(change.manifest), history)

    def made(self, key: Key, change: Change, result: Manifest | None = None) -> None:
        """Count a change that was made. ``result`` is the object as the API server returned it."""
        if change.verb == "delete" and change.manifest["kind"] == "Job":
            self._histories.pop((key, planning.key(change.manifest)), None)  # tried again at a pace of its own
            return
        content = _DELETED if change.verb == "delete" else _digest(change.manifest)
        history = self._count(key, planning.key(change.manifest), content)
        if change.verb == "update" and history.rewrites:
            changed = result is not None and not planning.is_applied(change.manifest, result, FIELD_MANAGER)
            history.rival, history.same_manager = _rival(change.live or {}, changed)

    def may_write_status(self, key: Key) -> bool:
        """Return whether the status may be written now."""
        history = self._current(key, STATUS)
        return history is None or self.monotonic() >= history.blocked_until

    def status_written(self, key: Key, found: Any, written: Any) -> None:
        """Note a write of the status; count it if another writer had changed the one before.

        Args:
            key: of the LiveScore.
            found: the status that was read.
            written: the status as it was stored then.
        """
        history = self._current(key, STATUS) or self._histories.setdefault((key, STATUS), History())
        if history.contents and history.contents[-1] != _digest(found):
            self._rewritten(history, LAST_STATUS_DELAY_SECONDS)
            history.same_manager = True
        history.contents = [_digest(written)]
        history.last = self.monotonic()

    def conflicts(self, key: Key, reported: Collection[planning.Key] = ()) -> list[Terminal]:
        """Return what to report about the loops of a LiveScore, until each has rested for a while.

        Args:
            key: of the LiveScore.
            reported: objects that are reported already.
        """
        objects = [child for owner, child in self._histories if owner == key and child not in reported]
        found = ((child, self._current(key, child)) for child in objects)
        return [self._conflict(child, one) for child, one in found if one is not None and one.delay]

    def remaining(self, key: Key) -> float | None:
        """Return after how many seconds the status may be written; None if it may be now."""
        history = self._current(key, STATUS)
        left = history.blocked_until - self.monotonic() if history else 0.0
        return left if left > 0 else None

    def forget(self, key: Key) -> None:
        """Forget a LiveScore that is gone."""
        self._histories = {at: history for at, history in self._histories.items() if at[0] != key}

    def _current(self, key: Key, child: planning.Key) -> History | None:
        """Return the history of an object, None if it is at rest."""
        history = self._histories.get((key, child))
        if history is None or self.monotonic() - history.last < self._quiet(history):
            return history
        del self._histories[key, child]
        return None

    @staticmethod
    def _quiet(history: History) -> float:
        return max(QUIET_SECONDS, 2 * min(history.delay, LAST_DELAY_SECONDS))

    def _count(self, key: Key, child: planning.Key, content: str) -> History:
        history = self._current(key, child) or self._histories.setdefault((key, child), History())
        # An object is made again after its deletion by this operator: that answers no other writer.
        remade = content != _DELETED and history.contents[-1:] == [_DELETED]
        if content in history.contents and not remade:
            self._rewritten(history, LAST_DELAY_SECONDS)
        history.contents = [*(one for one in history.contents if one != content), content][-REMEMBERED:]
        history.last = self.monotonic()
        return history

    def _rewritten(self, history: History, longest: float) -> None:
        history.rewrites += 1
        history.blocked_until = self.monotonic() + min(history.delay, longest)

    def _conflict(self, child: planning.Key, history: History) -> Terminal:
        rests_at = history.last + self._quiet(history)
        due = history.blocked_until if history.blocked_until > self.monotonic() else rests_at
        after = max(due - self.monotonic(), FIRST_DELAY_SECONDS)
        kind, name = child
        what = f"the status of this {kind}" if child == STATUS else f"{kind} {name}"
        rival = history.rival or "another writer"
        if history.same_manager:
            rival = f'another operator (field manager "{FIELD_MANAGER}", perhaps of an older version)'
        message = (
            f"{what} was written {history.rewrites + 1} times because {rival} changes it back: stop one of the two; "
            f"until then it is written at most every {min(history.delay, LAST_DELAY_SECONDS):g} s"
        )
        if history.same_manager:
            return Terminal("AnotherOperator", message, after=after)
        return Terminal("WriteConflict", message, after=after)


def _rival(live: Manifest, changed_at_once: bool) -> tuple[str, bool]:
    """Return who changes an object back, and whether that is an operator of this project."""
    if changed_at_once:
        return "an admission webhook, or the API server,", False
    entries = [one for one in live["metadata"].get("managedFields") or [] if not one.get("subresource")]
    ours = max((_time(one) for one in entries if one.get("manager") == FIELD_MANAGER), default=None)
    others = [one for one in entries if one.get("manager") not in _HARMLESS]
    newest = max(others, key=_time, default=None)
    if newest is not None and (ours is None or _time(newest) >= ours):
        return f'the field manager "{newest["manager"]}"', False
    # Nothing else wrote later: the change came under our own name, or as a deletion.
    return "", ours is not None


def _time(entry: Manifest) -> datetime:
    text = entry.get("time")
    return datetime.fromisoformat(str(text)) if text else datetime.min.replace(tzinfo=UTC)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
