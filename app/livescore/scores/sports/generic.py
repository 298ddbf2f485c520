"""Any sport without rules of its own: the score moves only by ``metadata.scoreDelta``, and periods are free text."""

from dataclasses import replace
from typing import Any

from livescore.scores.sports.sport import COMMON_TYPES, FULL_TIME, Period, Sport
from livescore.scores.state import Entry, State


class Generic(Sport):
    """A sport of which nothing is known."""

    name = "generic"
    moving = COMMON_TYPES | {"goal"}
    scoring = frozenset({"goal"})

    def period(self, code: str, rules: Any) -> Period | None:
        """Accept any text."""
        return Period(code, "end" if code == FULL_TIME else "play")

    def next_periods(self, state: State, rules: Any) -> tuple[str, ...]:
        """Expect nothing."""
        return ()

    def after(self, code: str, state: State, rules: Any) -> str:
        """Stay in the period: breaks have no names here."""
        return code

    def end_period(self, state: State, entry: Entry, rules: Any) -> State:
        """Return the match to the clock: between periods, nothing but the clock can say that it is over."""
        if state.period is None or state.period == FULL_TIME:
            return state
        if entry.period == FULL_TIME:
            return self.finish(state, rules, entry.at)
        clock = None if state.clock is None else state.clock.stopped(entry.at)
        return replace(state, clock=clock, status=None)

    def apply(self, state: State, entry: Entry, rules: Any) -> State:
        """Move the score by ``metadata.scoreDelta``."""
        if entry.type != "goal":
            return super().apply(state, entry, rules)
        return self.add(state, entry, rules, 0)

    def start_warnings(self, state: State, entry: Entry, rules: Any) -> list[str]:
        """Return a warning if a period has no name. Periods come in any order."""
        return ["no periodCode: name the period"] if entry.period is None else []
