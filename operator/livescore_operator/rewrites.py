"""Detection of write loops: objects that another writer keeps changing back.

The histories are kept in memory, per object. After a restart counting starts again, which costs a few writes.
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

# Rewrites in a row that are not delayed: they repair manual edits and restarts of controllers.
FREE_REWRITES = 10

# Seconds without a rewrite after which a loop counts as ended; longer while rewrites are delayed.
QUIET_SECONDS = 60.0

FIRST_DELAY_SECONDS = 1.0
LAST_DELAY_SECONDS = 300.0

# The status is delayed for less time, since people rely on it.
LAST_STATUS_DELAY_SECONDS = 30.0

# Number of contents remembered per object, to recognize writers that alternate between several.
REMEMBERED = 8

STATUS: planning.Key = ("LiveScore", "status")
"""Key of the status of the LiveScore among its objects."""

_DELETED = "deleted"

# Field managers that add to objects but never revert them.
_HARMLESS = frozenset({"kube-controller-manager", "kube-scheduler", FIELD_MANAGER, HANDOVER_MANAGER})


@dataclass
class History:
    """Writes of one object.

    Attributes:
        contents: Digests of the written contents, latest last.
        rewrites: Number of writes of a content that had been written before.
        last: Monotonic time of the last write.
        blocked_until: Monotonic time before which the object is not written again.
        rival: Name of the other writer; empty if unknown.
        same_manager: Whether the other writer uses the field manager of this operator.
    """

    contents: list[str] = field(default_factory=list)
    rewrites: int = 0
    last: float = 0.0
    blocked_until: float = 0.0
    rival: str = ""
    same_manager: bool = False

    @property
    def delay(self) -> float:
        """Minimum interval in seconds between two writes; 0 if there is no loop."""
        over = self.rewrites - FREE_REWRITES
        return FIRST_DELAY_SECONDS * 2.0 ** min(over - 1, 16) if over > 0 else 0.0


class Rewrites:
    """Counts rewrites of objects, and delays those that repeat.

    Attributes:
        monotonic: Returns monotonic time in seconds.
    """

    def __init__(self) -> None:
        self._histories: dict[Object, History] = {}
        self.monotonic: Callable[[], float] = time.monotonic

    def require(self, key: Key, change: Change) -> None:
        """Check that a change may be made now.

        Raises:
            Terminal: Raised if the change is part of a loop and not due yet. It has the remaining seconds, and the name
                of the other writer if that is known.
        """
        history = self._current(key, planning.key(change.manifest))
        if history is not None and self.monotonic() < history.blocked_until:
            raise self._conflict(planning.key(change.manifest), history)

    def made(self, key: Key, change: Change, result: Manifest | None = None) -> None:
        """Record a change that was made. ``result`` is the object as the API server returned it."""
        if change.verb == "delete" and change.manifest["kind"] == "Job":
            self._histories.pop(
                (key, planning.key(change.manifest)), None
            )  # Failed migrations are retried at their own pace.
            return
        content = _DELETED if change.verb == "delete" else _digest(change.manifest)
        history = self._count(key, planning.key(change.manifest), content)
        if change.verb == "update" and history.rewrites:
            changed = result is not None and not planning.is_applied(change.manifest, result, FIELD_MANAGER)
            history.rival, history.same_manager = _rival(change.live or {}, changed)

    def may_write_status(self, key: Key) -> bool:
        """Return True if the status may be written now."""
        history = self._current(key, STATUS)
        return history is None or self.monotonic() >= history.blocked_until

    def status_written(self, key: Key, found: Any, written: Any) -> None:
        """Record a write of the status. It counts as a rewrite if another writer changed the last status.

        Args:
            key: Key of the LiveScore.
            found: Status that was read.
            written: Status as the API server stored it.
        """
        history = self._current(key, STATUS) or self._histories.setdefault((key, STATUS), History())
        if history.contents and history.contents[-1] != _digest(found):
            self._rewritten(history, LAST_STATUS_DELAY_SECONDS)
            history.same_manager = True
        history.contents = [_digest(written)]
        history.last = self.monotonic()

    def conflicts(self, key: Key, reported: Collection[planning.Key] = ()) -> list[Terminal]:
        """Return an error for each loop that has not ended.

        Args:
            key: Key of the LiveScore.
            reported: Objects whose errors are reported already.
        """
        conflicts: list[Terminal] = []
        # A copy, since histories of ended loops are removed.
        for owner, place in list(self._histories):
            if owner != key or place in reported:
                continue
            history = self._current(key, place)
            if history is not None and history.delay:
                conflicts.append(self._conflict(place, history))
        return conflicts

    def remaining(self, key: Key) -> float | None:
        """Return the seconds until the status may be written; None if it may be written now."""
        history = self._current(key, STATUS)
        left = history.blocked_until - self.monotonic() if history else 0.0
        return left if left > 0 else None

    def forget(self, key: Key) -> None:
        """Forget a LiveScore that was deleted."""
        self._histories = {at: history for at, history in self._histories.items() if at[0] != key}

    def _current(self, key: Key, place: planning.Key) -> History | None:
        """Return the history of an object, or None if its last loop has ended."""
        history = self._histories.get((key, place))
        if history is None or self.monotonic() - history.last < self._quiet(history):
            return history
        del self._histories[key, place]
        return None

    @staticmethod
    def _quiet(history: History) -> float:
        return max(QUIET_SECONDS, 2 * min(history.delay, LAST_DELAY_SECONDS))

    def _count(self, key: Key, place: planning.Key, content: str) -> History:
        history = self._current(key, place) or self._histories.setdefault((key, place), History())
        # Creation after a deletion by this operator does not respond to another writer.
        remade = content != _DELETED and history.contents[-1:] == [_DELETED]
        if content in history.contents and not remade:
            self._rewritten(history, LAST_DELAY_SECONDS)
        history.contents = [*(one for one in history.contents if one != content), content][-REMEMBERED:]
        history.last = self.monotonic()
        return history

    def _rewritten(self, history: History, longest: float) -> None:
        history.rewrites += 1
        history.blocked_until = self.monotonic() + min(history.delay, longest)

    def _conflict(self, place: planning.Key, history: History) -> Terminal:
        rests_at = history.last + self._quiet(history)
        due = history.blocked_until if history.blocked_until > self.monotonic() else rests_at
        after = max(due - self.monotonic(), FIRST_DELAY_SECONDS)
        kind, name = place
        what = f"the status of this {kind}" if place == STATUS else f"{kind} {name}"
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
    """Return the writer that changes an object back, and whether it writes as an operator of this project."""
    if changed_at_once:
        return "an admission webhook, or the API server,", False
    entries = [one for one in live["metadata"].get("managedFields") or [] if not one.get("subresource")]
    ours = max((_time(one) for one in entries if one.get("manager") == FIELD_MANAGER), default=None)
    others = [one for one in entries if one.get("manager") not in _HARMLESS]
    newest = max(others, key=_time, default=None)
    if newest is not None and (ours is None or _time(newest) >= ours):
        return f'the field manager "{newest["manager"]}"', False
    # No other manager wrote later: the change was made under our own name, or the object was deleted.
    return "", ours is not None


def _time(entry: Manifest) -> datetime:
    text = entry.get("time")
    return datetime.fromisoformat(str(text)) if text else datetime.min.replace(tzinfo=UTC)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
