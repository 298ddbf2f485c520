"""Sports with periods of fixed length, a clock that counts down, and overtimes while the score is level."""

import re
from dataclasses import replace
from typing import Any, ClassVar

from livescore.scores.sports.sport import END, EXTRA, REGULAR, Period, Sport, number
from livescore.scores.state import Entry, PeriodScore, Score, State

OVERTIME = "OT"

# The break before an overtime. Other breaks have codes of their sport.
BREAK_BEFORE_OVERTIME = "BOT"

_OVERTIME_CODE = re.compile(r"OT[1-9]\d?")


class TimedSport(Sport):
    """A sport whose periods have a length.

    The clock shows the seconds that are left in the period: periods start it, and it shows 0 after them.

    Attributes:
        sudden_death: True if the first score in an overtime ends it, with time left on the clock.
    """

    direction = "down"
    sudden_death: ClassVar[bool] = False

    # For subclasses

    def points(self, entry: Entry) -> int:
        """Return the points of a scoring entry without ``metadata.scoreDelta``."""
        raise NotImplementedError

    def regular(self, rules: Any) -> tuple[Period, ...]:
        """Return the regular periods and the breaks between them, in the order of play."""
        raise NotImplementedError

    def overtime_seconds(self, rules: Any) -> int:
        """Return the length of an overtime; 0 if the sport's rules have none."""
        raise NotImplementedError

    def next_overtime(self, state: State, rules: Any) -> str | None:
        """Return the code of the period that follows the last one while the score is level; None if it is a draw."""
        played = sum(entry.period.startswith((OVERTIME, EXTRA)) for entry in state.scores)
        return f"{OVERTIME}{played + 1}" if self.overtime_seconds(rules) > 0 else None

    def break_before(self, code: str) -> str:
        """Return the code of the break before a period that :meth:`next_overtime` names."""
        return BREAK_BEFORE_OVERTIME

    # Periods

    def period(self, code: str, rules: Any) -> Period | None:
        """Return the period of a code; None if the sport has no such period."""
        if code in (REGULAR, EXTRA):
            return Period(code, "play")
        if code == BREAK_BEFORE_OVERTIME:
            return Period(code, "break")
        if _OVERTIME_CODE.fullmatch(code):
            return Period(code, "play", self.overtime_seconds(rules))
        return next((period for period in (*self.regular(rules), END) if period.code == code), None)

    def next_periods(self, state: State, rules: Any) -> tuple[str, ...]:
        """Return the next period, and the break before it unless the match is in a break."""
        regular = [period.code for period in self.regular(rules)]
        if state.period is None:
            return (regular[0],)
        if state.period in regular[:-1]:
            position = regular.index(state.period)
            following = regular[position + 1 : position + 3]
            return tuple(reversed(following)) if self.is_open(state, rules) else (following[0],)
        if state.winner is not None or state.score.leader != "draw":
            return ()
        overtime = self.next_overtime(state, rules)
        if overtime is None:
            return ()
        return (overtime, self.break_before(overtime)) if self.is_open(state, rules) else (overtime,)

    def after(self, code: str, state: State, rules: Any) -> str:
        """Return the code of the break that follows a period, or ``FT``. A break lasts until a period starts."""
        period = self.period(code, rules)
        if period is None or period.kind == "break":
            return code
        regular = [period.code for period in self.regular(rules)]
        if code in regular[:-1]:
            return regular[regular.index(code) + 1]
        overtime = self.next_overtime(state, rules) if state.score.leader == "draw" else None
        return END.code if overtime is None else self.break_before(overtime)

    # State

    def apply(self, state: State, entry: Entry, rules: Any) -> State:
        """Return the state after an entry. Subclasses with further types leave the others to this method."""
        if entry.type in self.scoring:
            return self._in_order(self.add(state, entry, rules, self.points(entry)), rules)
        return self._in_order(super().apply(state, entry, rules), rules)

    def with_score(self, state: State, score: Score, rules: Any) -> State:
        """Return the state with a score set by hand."""
        return self._in_order(super().with_score(state, score, rules), rules)

    def end_period(self, state: State, entry: Entry, rules: Any) -> State:
        """End a period. Its clock shows 0, except for the time that was left when a sudden death ended it."""
        code = entry.period or state.period
        decided = code is not None and code.startswith(OVERTIME) and state.score.leader != "draw"
        ended = super().end_period(state, entry, rules)
        if ended.clock is None or ended.clock.period != code or (self.sudden_death and decided):
            return ended
        return replace(ended, clock=replace(ended.clock, seconds=0))

    def change_clock(self, state: State, entry: Entry, rules: Any) -> State:
        """Change the clock. It does not start in a break."""
        if entry.type == "clock_start" and not self.is_open(state, rules):
            return state
        return super().change_clock(state, entry, rules)

    def _in_order(self, state: State, rules: Any) -> State:
        """Return the state with its ``scores`` in the order of the rules, also if a late entry has added one."""
        regular = [period.code for period in self.regular(rules)]

        def place(score: PeriodScore) -> tuple[int, int]:
            if score.period == REGULAR:
                return 0, 0
            if score.period in regular:
                return 1, regular.index(score.period)
            if score.period == EXTRA:
                return 2, 0
            if _OVERTIME_CODE.fullmatch(score.period):
                return 2, int(score.period.removeprefix(OVERTIME))
            return 3, 0

        ordered = tuple(sorted(state.scores, key=place))
        return state if ordered == state.scores else replace(state, scores=ordered)

    # Warnings

    def warnings(self, state: State, entry: Entry, rules: Any) -> list[str]:
        """Return the contradictions between an entry and the state before it, for the reporter."""
        found = super().warnings(state, entry, rules)
        if found:
            return found
        if entry.type in self.scoring:
            return self._period_warnings(state, entry, rules)
        if entry.type == "clock_start" and not self.is_open(state, rules):
            return ["no period is open: the clock stays stopped"]
        if entry.type in ("clock_start", "clock_stop", "clock_set"):
            return self._clock_warnings(state, entry, rules)
        return []

    def _period_warnings(self, state: State, entry: Entry, rules: Any) -> list[str]:
        code = entry.period or state.period
        counts_in = self.scoring_period(state, entry, rules)
        if code is None or code == counts_in:
            return []
        if self.period(code, rules) is None:
            return [f"{self.name} has no period {code}: the score counts in {counts_in}"]
        return [f"nothing is scored in {code}: the score counts in {counts_in}"]

    def _clock_warnings(self, state: State, entry: Entry, rules: Any) -> list[str]:
        seconds = number(entry.metadata, "seconds")
        code = entry.period or (None if state.clock is None else state.clock.period)
        period = None if code is None else self.period(code, rules)
        if seconds is None or period is None or period.start is None or seconds <= period.start:
            return []
        return [f"period {code} has {period.start:g} seconds, the clock shows {seconds:g}"]
