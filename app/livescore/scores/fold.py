"""The state of a match as the fold of its entries and overrides, in the order of their ids. Pure, without I/O.

An override, a score or status set by hand, is absolute and applies at its place: the correction of an earlier goal does
not change a score that was set after it, and later goals count from that score. An entry that a later one takes back,
such as a goal that was disallowed, does not apply.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from livescore.scores.sports.sport import Sport
from livescore.scores.state import NO_SCORE, Entry, Override, Score, State

Step = Entry | Override

# Values of a video review's `metadata.outcome` that take the entry back to which `metadata.commentaryId` points.
_REVERSALS = frozenset({"overturned", "disallowed", "cancelled", "rescinded"})

# Statuses of a match that is not played at the moment, or no longer, and has no result.
_STOPPED = frozenset({"interrupted", "postponed", "cancelled", "abandoned", "delayed"})

# Results that do not follow from the score. The end of the match leaves them.
_WITHOUT_SCORE = frozenset({"retired", "walkover", "defaulted"})


@dataclass(frozen=True, slots=True)
class Folder:
    """The fold of one match.

    Attributes:
        rules: The match's rules, an instance of ``sport.rules``.
        initial: The score with which the match was created.
    """

    sport: Sport
    rules: Any
    initial: Score = NO_SCORE

    def start(self) -> State:
        """Return the state before all entries."""
        state = self.sport.initial_state(self.rules)
        return state if self.initial == state.score else self.sport.with_score(state, self.initial, self.rules)

    def fold(self, steps: Iterable[Step]) -> State:
        """Return the state after all entries and overrides, given in the order of their ids."""
        return reduce(self.apply, _in_force(list(steps)), self.start())

    def apply(self, state: State, step: Step) -> State:
        """Return the state after one entry or override. An entry with a :func:`reversal` needs :meth:`fold` instead."""
        # A stored clock has milliseconds: times with more digits would make its fold differ from that of all steps.
        step = replace(step, at=step.at.replace(microsecond=step.at.microsecond // 1000 * 1000))
        if isinstance(step, Entry):
            return self.sport.apply(state, step, self.rules)
        return self._override(state, step)

    def warnings(self, state: State, entry: Entry) -> list[str]:
        """Return the contradictions between an entry and the state before it."""
        if entry.type == "goal_disallowed" and reversal(entry) is None:
            return ["metadata.commentaryId does not name an earlier goal: the score stays"]
        if entry.type == "var_decision" and _reverses(entry) and reversal(entry) is None:
            return ["metadata.commentaryId does not name an earlier entry: the decision takes nothing back"]
        return self.sport.warnings(state, entry, self.rules)

    def _override(self, state: State, step: Override) -> State:
        if step.adjustment is not None:
            state = self._with_score(state, (state.score + step.adjustment).at_least_zero())
        if step.score is not None:
            state = self._with_score(state, step.score)
        return self._with_status(state, step) if step.sets_status else state

    def _with_score(self, state: State, score: Score) -> State:
        """Return the state with a score and its result. An award of a level score keeps its winner."""
        state = self.sport.with_result(self.sport.with_score(state, score, self.rules), self.rules)
        if state.decided_by == "awarded" and score.leader != "draw":
            return replace(state, winner=score.leader)
        return state

    def _with_status(self, state: State, step: Override) -> State:
        match step.status:
            case "finished" if state.decided_by in _WITHOUT_SCORE:
                return replace(state, status="finished")
            case "finished":
                return self.sport.finish(state, self.rules, step.at)
            case "awarded":
                return self.sport.close(state, step.at, state.winner or state.score.leader, "awarded", "awarded")
            case "live":
                return self.sport.resume(state, self.rules, step.at, was_stopped=state.status in _STOPPED)
        if step.status in _STOPPED:
            clock = None if state.clock is None else state.clock.stopped(step.at)
            state = replace(state, clock=clock, winner=None, decided_by=None)
        return replace(state, status=step.status)


def _in_force(steps: list[Step]) -> list[Step]:
    """Return the steps without the entries that later ones take back, unless these are taken back themselves."""
    taken_back: set[int] = set()
    for step in reversed(steps):
        target = reversal(step)
        if target is not None and step.id not in taken_back:
            taken_back.add(target)
    return [step for step in steps if isinstance(step, Override) or step.id not in taken_back]


def reversal(step: Step) -> int | None:
    """Return the id of the earlier entry that an entry takes back: a disallowed goal, or an overturned decision."""
    if not isinstance(step, Entry) or not _reverses(step):
        return None
    target = step.metadata.get("commentaryId")
    return target if isinstance(target, int) and not isinstance(target, bool) and target < step.id else None


def _reverses(entry: Entry) -> bool:
    if entry.type == "var_decision":
        outcome = entry.metadata.get("outcome")
        return isinstance(outcome, str) and outcome.casefold() in _REVERSALS
    return entry.type == "goal_disallowed"
