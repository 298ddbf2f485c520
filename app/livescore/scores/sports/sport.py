"""What a sport is: its periods, its clock and how its entries move the state of a match. Pure, without I/O.

:class:`Sport` implements what all sports share. A sport is one module with one subclass, and one line in the registry
of this package.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from livescore.scores.state import (
    NO_SCORE,
    Cards,
    Clock,
    DecidedBy,
    Entry,
    Json,
    Score,
    State,
    Status,
    Winner,
    opponent,
)

PeriodKind = Literal["play", "break", "shootout", "end"]

# Codes for points whose period is not known: regular time and extra time as a whole.
REGULAR = "REG"
EXTRA = "ET"
FULL_TIME = "FT"

MALFORMED_SCORE = "metadata.score has no effect: it needs home and away, integers of at least 0"
"""Warning for a ``metadata.score`` that :func:`score` cannot read."""

# The largest number that metadata may contribute to a state, such as seconds of a clock. Larger ones are errors.
LARGEST = 1_000_000

# Results that follow the score when it is corrected.
BY_SCORE: frozenset[DecidedBy | None] = frozenset({"regular", "extra_time", "penalties"})


class Rules(BaseModel):
    """What the fold needs to know and no entry says: the member ``rules`` of a match."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Period:
    """A period, a break or the end of a match.

    Attributes:
        start: Match time in seconds at which the clock of the period starts, or None if it has no clock.
    """

    code: str
    kind: PeriodKind
    start: float | None = None


END = Period(FULL_TIME, "end")


class Sport:
    """The rules of a sport.

    Entries always apply, even where the rules make them impossible, because reporters may know more than the rules;
    :meth:`warnings` names the contradiction.

    Attributes:
        name: Canonical name.
        aliases: Other values of a match's ``sport`` that mean this one, in lower case.
        moving: The ``eventType`` values that may change the state. Others are free commentary.
        scoring: Those of them that move the score and honour ``metadata.scoreDelta``.
        rules: Model of a match's ``rules``.
        detail_schema: JSON schema of a match's ``state``; None if the sport has no state of its own.
        direction: Direction of the clock.
    """

    name: ClassVar[str]
    aliases: ClassVar[frozenset[str]] = frozenset()
    moving: ClassVar[frozenset[str]]
    scoring: ClassVar[frozenset[str]] = frozenset()
    rules: ClassVar[type[Rules]] = Rules
    detail_schema: ClassVar[Json | None] = None
    direction: ClassVar[Literal["up", "down"]] = "up"

    # Periods

    def period(self, code: str, rules: Any) -> Period | None:
        """Return the period of a code; None if the sport has no such period."""
        raise NotImplementedError

    def next_periods(self, state: State, rules: Any) -> tuple[str, ...]:
        """Return the codes of the periods that may start now; the first one is the usual one."""
        raise NotImplementedError

    def after(self, code: str, state: State, rules: Any) -> str:
        """Return the code of the break that follows a period, or ``FT``."""
        raise NotImplementedError

    # State

    def initial_state(self, rules: Any) -> State:
        """Return the state of a match without entries."""
        return State()

    def apply(self, state: State, entry: Entry, rules: Any) -> State:
        """Return the state after an entry. Subclasses handle their own types and leave the others to this method."""
        match entry.type:
            case "period_start":
                return self.start_period(state, entry, rules)
            case "period_end":
                return self.end_period(self.with_period_score(state, entry, rules), entry, rules)
            case "clock_start" | "clock_stop" | "clock_set" | "added_time":
                return self.change_clock(state, entry, rules)
            case "retirement" | "walkover" | "default" if entry.side is not None:
                reasons: Mapping[str, DecidedBy] = {"walkover": "walkover", "default": "defaulted"}
                reason = reasons.get(entry.type, "retired")
                return self.close(state, entry.at, opponent(entry.side), reason, "finished")
            case "award":
                winner = entry.side or state.score.leader
                return self.close(self.add_delta(state, entry, rules), entry.at, winner, "awarded", "awarded")
        return state

    def with_score(self, state: State, score: Score, rules: Any) -> State:
        """Return the state with a score set by hand; the difference counts in the current period."""
        if score == state.score:
            return state
        return state.plus(score - state.score, self.scoring_period(state, None, rules))

    def finish(self, state: State, rules: Any, at: datetime) -> State:
        """Return the state of a match that has ended, with the result that its score gives it."""
        winner, decided_by = self.result(state, rules)
        clock = None if state.clock is None else state.clock.stopped(at)
        period = FULL_TIME if state.period is not None else None
        return replace(state, period=period, clock=clock, winner=winner, decided_by=decided_by, status="finished")

    def resume(self, state: State, rules: Any, at: datetime, *, was_stopped: bool) -> State:
        """Return the state of a match that goes on after a stop, or after an end by mistake.

        A clock that counts up starts again. One that counts down stands still whenever play does: ``clock_start``
        starts it.
        """
        had_ended = state.period == FULL_TIME
        period = self.last_played(state) if had_ended else state.period
        state = replace(state, period=period, winner=None, decided_by=None, status="live")
        clock = state.clock
        stood_still = was_stopped or had_ended
        if clock is not None and clock.period == period and stood_still and self.direction == "up":
            state = replace(state, clock=clock.started(at))
        return state

    def last_played(self, state: State) -> str | None:
        """Return the code of the period that was played last."""
        return state.scores[-1].period if state.scores else None

    def result(self, state: State, rules: Any) -> tuple[Winner, DecidedBy]:
        """Return the winner of a match that ends now, and how it was decided."""
        if state.shootout is not None and state.shootout.score.leader != "draw":
            return state.shootout.score.leader, "penalties"
        return state.score.leader, "extra_time" if self.had_extra_time(state) else "regular"

    def with_result(self, state: State, rules: Any) -> State:
        """Return the state with the result of its current score, if the match had been decided by its score before."""
        if state.winner is None or state.decided_by not in BY_SCORE:
            return state
        winner, decided_by = self.result(state, rules)
        return replace(state, winner=winner, decided_by=decided_by)

    def had_extra_time(self, state: State) -> bool:
        """Return True if the match went beyond its regular length."""
        return any(entry.period.startswith((EXTRA, "OT")) for entry in state.scores)

    def warnings(self, state: State, entry: Entry, rules: Any) -> list[str]:
        """Return the contradictions between an entry and the state before it, for the reporter."""
        match entry.type:
            case "period_start":
                return self.start_warnings(state, entry, rules)
            case "period_end" if "score" in entry.metadata and score(entry.metadata, "score") is None:
                return [MALFORMED_SCORE]
            case "period_end" if not self.is_open(state, rules):
                return ["no period is open"]
            case "period_end" if entry.period not in (None, state.period, FULL_TIME):
                return [f"period {state.period} is open, not {entry.period}"]
            case "clock_start" | "clock_stop" | "added_time" if state.clock is None:
                return ["the match has no clock yet: its first period has not started"]
            case "retirement" | "walkover" | "default" if entry.side is None:
                return ["no side: the entry has no effect"]
        if entry.type in self.scoring and state.winner is not None:
            return ["the match is decided"]
        return []

    # For subclasses

    def start_warnings(self, state: State, entry: Entry, rules: Any) -> list[str]:
        """Return the contradictions between a ``period_start`` and the state before it."""
        following = self.next_periods(state, rules)
        code = entry.period or (following[0] if following else None)
        if code is None:
            return ["no period follows: name one in periodCode"]
        if self.period(code, rules) is None:
            return [f"{self.name} has no period {code}"]
        if code in following:
            return []
        expected = " or ".join(following) or "no further period"
        return [f"period {code} is not expected now: {expected} follows"]

    def is_open(self, state: State, rules: Any) -> bool:
        """Return True while a period is played."""
        period = None if state.period is None else self.period(state.period, rules)
        return period is not None and period.kind in ("play", "shootout")

    def scoring_period(self, state: State, entry: Entry | None, rules: Any) -> str:
        """Return the code of the period in which an entry scores.

        It is the one that the entry names, else the current one, else the last one, else ``REG``.
        """
        named = None if entry is None or entry.period is None else self.period(entry.period, rules)
        if named is not None and named.kind == "play":
            return named.code
        current = None if state.period is None else self.period(state.period, rules)
        if current is not None and current.kind == "play":
            return current.code
        played = [entry.period for entry in state.scores if not self._is_shootout(entry.period, rules)]
        return played[-1] if played else REGULAR

    def _is_shootout(self, code: str, rules: Any) -> bool:
        period = self.period(code, rules)
        return period is not None and period.kind == "shootout"

    def add(self, state: State, entry: Entry, rules: Any, points: int) -> State:
        """Return the state with the points of a scoring entry, also those that come after the end of the match."""
        delta = self.delta(entry, points)
        if delta == NO_SCORE:
            return state
        return self.with_result(state.plus(delta, self.scoring_period(state, entry, rules)), rules)

    def delta(self, entry: Entry, points: int = 1) -> Score:
        """Return the points of a scoring entry: its ``metadata.scoreDelta``, else points for its side."""
        given = entry.metadata.get("scoreDelta")
        if isinstance(given, dict):
            return Score(int(given.get("home", 0)), int(given.get("away", 0)))
        return NO_SCORE if entry.side is None else Score.of(entry.side, points)

    def add_delta(self, state: State, entry: Entry, rules: Any) -> State:
        """Return the state with only the ``metadata.scoreDelta`` of an entry, for entries that score nothing else."""
        if not has_delta(entry):
            return state
        return self.with_score(state, (state.score + self.delta(entry)).at_least_zero(), rules)

    def close(self, state: State, at: datetime, winner: Winner, decided_by: DecidedBy, status: Status) -> State:
        """Return the state of a match that ends for another reason than its score."""
        clock = None if state.clock is None else state.clock.stopped(at)
        period = FULL_TIME if state.period is not None else None
        return replace(state, period=period, clock=clock, winner=winner, decided_by=decided_by, status=status)

    def start_period(self, state: State, entry: Entry, rules: Any) -> State:
        """Start the period that an entry names, or the next one."""
        following = self.next_periods(state, rules)
        code = entry.period or (following[0] if following else state.period or REGULAR)
        period = self.period(code, rules) or Period(code, "play")
        if period.kind == "end":
            return self.finish(state, rules, entry.at)
        clock = None if state.clock is None else state.clock.stopped(entry.at)
        if clock is not None and clock.period == code:
            # The clock of a period that starts again continues: it goes back only by a correction.
            clock = clock.started(entry.at)
        elif period.start is not None:
            clock = Clock(code, period.start, None, True, self.direction, entry.at)
        scores = state.scores
        if period.kind == "play" and state.in_period(code) is None:
            scores = state.plus(Score(), code).scores
        return replace(state, period=code, clock=clock, scores=scores, winner=None, decided_by=None, status="live")

    def end_period(self, state: State, entry: Entry, rules: Any) -> State:
        """End the current period, or the one that an entry names."""
        code = entry.period or state.period
        if code is None or state.period == FULL_TIME:
            return state
        following = self.after(code, state, rules)
        if following == FULL_TIME:
            return self.finish(state, rules, entry.at)
        clock = None if state.clock is None else state.clock.stopped(entry.at)
        return replace(state, period=following, clock=clock)

    def with_period_score(self, state: State, entry: Entry, rules: Any) -> State:
        """Return the state with the points of a period as the ``metadata.score`` of its end gives them.

        The headline changes by the difference. Results without single goals or points are entered in this way.
        """
        code = entry.period or state.period
        points = score(entry.metadata, "score")
        if code is None or points is None:
            return state
        period = self.period(code, rules)
        if code not in (REGULAR, EXTRA) and (period is None or period.kind != "play"):
            return state
        known = state.in_period(code)
        return self.with_result(state.plus(points if known is None else points - known.score, code), rules)

    def change_clock(self, state: State, entry: Entry, rules: Any) -> State:
        """Start, stop or set the clock to ``metadata.seconds``, or announce added time."""
        seconds = number(entry.metadata, "seconds")
        clock = state.clock
        if clock is None:
            if entry.type != "clock_set" or seconds is None or state.period is None:
                return state
            clock = Clock(entry.period or state.period, seconds, None, False, self.direction, entry.at)
        match entry.type:
            case "added_time":
                return replace(state, clock=replace(clock, announced=_added_time(entry, clock.announced)))
            case "clock_start":
                clock = clock.started(entry.at)
            case "clock_stop":
                clock = clock.stopped(entry.at)
            case "clock_set":
                clock = replace(clock, period=entry.period or clock.period)
        if seconds is not None:
            clock = replace(clock, seconds=seconds, at=entry.at)
        return replace(state, clock=clock)

    def show_card(self, state: State, entry: Entry) -> State:
        """Count a yellow, second yellow or red card. A second yellow counts as a yellow and a red one."""
        if entry.side is None:
            return state
        card, cards = Score.of(entry.side), state.cards or Cards()
        yellow = card if entry.type in ("yellow_card", "second_yellow") else Score()
        red = card if entry.type in ("red_card", "second_yellow") else Score()
        twice = card if entry.type == "second_yellow" else Score()
        return replace(state, cards=Cards(cards.yellow + yellow, cards.red + red, cards.second_yellow + twice))


COMMON_TYPES = frozenset(
    {
        *("period_start", "period_end", "clock_start", "clock_stop", "clock_set", "added_time"),
        *("retirement", "walkover", "default", "award", "goal_disallowed", "var_decision"),
    }
)
"""The ``eventType`` values that have a meaning in every sport: those that :class:`Sport` handles, and reversals."""


def has_delta(entry: Entry) -> bool:
    """Return True if an entry says by itself how it moves the score."""
    return isinstance(entry.metadata.get("scoreDelta"), dict)


def _added_time(entry: Entry, otherwise: int | None) -> int | None:
    """Return the added time of an entry in seconds: its ``metadata.seconds``, or ``metadata.minutes``."""
    seconds, minutes = number(entry.metadata, "seconds"), whole(entry.metadata, "minutes")
    if seconds is not None:
        return round(seconds)
    return otherwise if minutes is None else 60 * minutes


def whole(metadata: Mapping[str, Any], name: str) -> int | None:
    """Return a member of the metadata if it is an integer within the bounds of :func:`number`; else None."""
    value = number(metadata, name)
    return value if isinstance(value, int) else None


def number(metadata: Mapping[str, Any], name: str) -> int | float | None:
    """Return a member of the metadata if it is a number from 0 to :data:`LARGEST`, to three decimals; else None."""
    value = metadata.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value, 3) if 0 <= value <= LARGEST else None


def score(metadata: Mapping[str, Any], name: str) -> Score | None:
    """Return a member of the metadata if it is an object of two integers, ``home`` and ``away``; else None."""
    value = metadata.get(name)
    if not isinstance(value, dict):
        return None
    home, away = whole(value, "home"), whole(value, "away")
    return None if home is None or away is None else Score(home, away)
