"""Association football: two halves, extra time, a shoot-out, and a clock that runs on through stoppage time."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from math import ceil, floor
from typing import Any

from pydantic import Field

from livescore.scores.sports.sport import COMMON_TYPES, END, EXTRA, FULL_TIME, REGULAR, Period, Rules, Sport, has_delta
from livescore.scores.sports.sport import score as score_of
from livescore.scores.state import NO_SCORE, Cards, Entry, Kick, Score, Shootout, Side, State

FIRST_HALF = "1H"
HALF_TIME = "HT"
SECOND_HALF = "2H"
BREAK_BEFORE_EXTRA_TIME = "BET"
EXTRA_FIRST = "ET1"
EXTRA_HALF_TIME = "ETHT"
EXTRA_SECOND = "ET2"
BREAK_BEFORE_PENALTIES = "BPEN"
PENALTIES = "PEN"

GOALS = frozenset({"goal", "own_goal", "penalty_goal"})
KICKS = frozenset({"shootout_goal", "shootout_missed"})
CARDS = frozenset({"yellow_card", "second_yellow", "red_card"})

# Kicks of each side before sudden death (Laws of the Game, law 10).
KICKS_EACH = 5

# The order of play. `scores` follows it, also if a goal of an earlier period is entered late.
_ORDER = {
    code: place
    for place, code in enumerate(
        (
            *(REGULAR, FIRST_HALF, HALF_TIME, SECOND_HALF, BREAK_BEFORE_EXTRA_TIME),
            *(EXTRA, EXTRA_FIRST, EXTRA_HALF_TIME, EXTRA_SECOND, BREAK_BEFORE_PENALTIES, PENALTIES, FULL_TIME),
        )
    )
}

# The break after each period of play; after the halves it depends on the score and the rules.
_BREAKS = {FIRST_HALF: HALF_TIME, EXTRA_FIRST: EXTRA_HALF_TIME}

# Results that a shoot-out may still change. An award or a walkover stands.
_OPEN_RESULTS = frozenset({None, "regular", "extra_time"})
_BY_SCORE = _OPEN_RESULTS | {"penalties"}


class FootballRules(Rules):
    """The rules of a football match.

    Attributes:
        half_seconds: Duration of a half. A half of extra time lasts a third of it.
        extra_time: Extra time follows if the match is level after two halves.
        penalties: A shoot-out follows if the match is level after that.
    """

    half_seconds: int = Field(default=2700, ge=60, le=3600)
    extra_time: bool = False
    penalties: bool = False


class Football(Sport):
    """Association football."""

    name = "football"
    aliases = frozenset({"soccer", "association football", "fussball", "futbol", "fútbol", "futebol"})
    moving = COMMON_TYPES | GOALS | KICKS | CARDS
    scoring = GOALS
    rules = FootballRules

    # Periods

    def period(self, code: str, rules: FootballRules) -> Period | None:
        return _periods(rules.half_seconds).get(code)

    def next_periods(self, state: State, rules: FootballRules) -> tuple[str, ...]:
        """Return what may follow: the end of a period may be left out, and a break may be started by its code."""
        extra = (EXTRA_FIRST, BREAK_BEFORE_EXTRA_TIME) if rules.extra_time else ()
        shootout = (PENALTIES, BREAK_BEFORE_PENALTIES) if rules.penalties else ()
        code = self.last_played(state) if state.period == FULL_TIME else state.period
        match code:
            case None:
                return (FIRST_HALF,)
            case "1H":
                return (SECOND_HALF, HALF_TIME)
            case "HT":
                return (SECOND_HALF,)
            case "2H" | "REG" | "BET":
                return tuple(following for following in extra + shootout if following != code)
            case "ET1":
                return (EXTRA_SECOND, EXTRA_HALF_TIME)
            case "ETHT":
                return (EXTRA_SECOND,)
            case "ET2" | "ET" | "BPEN":
                return tuple(following for following in shootout if following != code)
        return ()

    def last_played(self, state: State) -> str | None:
        return PENALTIES if state.shootout is not None else super().last_played(state)

    def after(self, code: str, state: State, rules: FootballRules) -> str:
        """Return the break after a period. A match that is not level ends after two halves, and after extra time."""
        if code in _BREAKS:
            return _BREAKS[code]
        level = state.score.leader == "draw"
        match code:
            case "2H" | "REG" if level and rules.extra_time:
                return BREAK_BEFORE_EXTRA_TIME
            case "2H" | "REG" | "ET2" | "ET" if level and rules.penalties:
                return BREAK_BEFORE_PENALTIES
            case "2H" | "REG" | "ET2" | "ET" | "PEN":
                return FULL_TIME
        return code

    # State

    def initial_state(self, rules: FootballRules) -> State:
        return State(cards=Cards())

    def apply(self, state: State, entry: Entry, rules: FootballRules) -> State:
        if entry.type in GOALS:
            return _in_order(self.add(state, entry, rules, 1))
        if entry.type in KICKS:
            return self._kick(state, entry, rules)
        if entry.type in CARDS:
            return self.show_card(state, entry)
        # The end of a period may give another score to a match that is over.
        return _in_order(self.with_result(super().apply(state, entry, rules), rules))

    def with_score(self, state: State, score: Score, rules: FootballRules) -> State:
        return _in_order(super().with_score(state, score, rules))

    def start_period(self, state: State, entry: Entry, rules: FootballRules) -> State:
        """Start a period, but none that is over: the clock would jump back."""
        if entry.period is not None and _is_over(entry.period, state):
            return state
        changed = super().start_period(state, entry, rules)
        if changed.period == PENALTIES:
            shootout = changed.shootout or Shootout(first=_side(entry.metadata, "first"))
            return replace(changed, shootout=shootout)
        return changed

    def end_period(self, state: State, entry: Entry, rules: FootballRules) -> State:
        """End a period. It counts as played even if no entry has started it."""
        code = entry.period or state.period
        if code is None or _is_over(code, state) or _has_ended(code, state):
            return state
        period = self.period(code, rules)
        if period is not None and period.kind == "play":
            state = state.plus(NO_SCORE, code)
        return super().end_period(replace(state, period=code), entry, rules)

    def with_period_score(self, state: State, entry: Entry, rules: FootballRules) -> State:
        """Return the state with the score that the end of a period gives, also that of a shoot-out."""
        if (entry.period or state.period) != PENALTIES:
            return super().with_period_score(state, entry, rules)
        totals = score_of(entry.metadata, "score")
        if totals is None:
            return state
        shootout = state.shootout or Shootout()
        first = shootout.first or _side(entry.metadata, "first")
        return replace(state, shootout=replace(shootout, score=totals, first=first))

    def change_clock(self, state: State, entry: Entry, rules: FootballRules) -> State:
        """Change the clock. It does not start in a break."""
        if entry.type == "clock_start" and not self.is_open(state, rules):
            return state
        return super().change_clock(state, entry, rules)

    def _kick(self, state: State, entry: Entry, rules: FootballRules) -> State:
        """Count a kick of the shoot-out. The first one starts the shoot-out if no entry has done so."""
        if entry.side is None:
            return state
        if state.shootout is None and state.decided_by in _OPEN_RESULTS:
            state = super().start_period(state, replace(entry, period=PENALTIES), rules)
        shootout = state.shootout or Shootout()
        kick = Kick(entry.side, entry.actor, scored=entry.type == "shootout_goal")
        return self.with_result(replace(state, shootout=shootout.plus(kick)), rules)

    # Warnings

    def warnings(self, state: State, entry: Entry, rules: FootballRules) -> list[str]:
        found = super().warnings(state, entry, rules)
        if entry.type in GOALS:
            found += self._goal_warnings(state, entry, rules)
        if entry.type in KICKS:
            found += _kick_warnings(state, entry)
        if entry.type in CARDS and entry.side is None:
            found.append("no side: the card is not counted")
        if entry.type == "clock_start" and state.clock is not None and not self.is_open(state, rules):
            found.append("no period is open: the clock stays stopped")
        return found

    def start_warnings(self, state: State, entry: Entry, rules: FootballRules) -> list[str]:
        if entry.period is not None and _is_over(entry.period, state):
            return [f"period {entry.period} is over: the entry has no effect; correct the clock with clock_set"]
        if entry.period == state.period and state.status == "interrupted":
            return []
        return super().start_warnings(state, entry, rules)

    def _goal_warnings(self, state: State, entry: Entry, rules: FootballRules) -> list[str]:
        if entry.side is None and not has_delta(entry):
            return ["neither side nor metadata.scoreDelta: the score stays"]
        code = self.scoring_period(state, entry, rules)
        if entry.period is not None and entry.period != code:
            return [f"no goals are scored in period {entry.period}: the goal counts in {code}"]
        if entry.period is None and state.period == PENALTIES:
            return [f"the goal counts in {code}: use shootout_goal for kicks of the shoot-out"]
        period = self.period(code, rules)
        start = 0.0 if period is None or period.start is None else period.start / 60
        if entry.period is None and 0 < entry.minute < start:
            return [f"minute {entry.minute} is before period {code}, in which the goal counts: name its periodCode"]
        return []


@cache
def _periods(half: int) -> Mapping[str, Period]:
    """Return the periods by code for a duration of a half in seconds."""
    extra = half // 3
    periods = (
        Period(REGULAR, "play"),
        Period(FIRST_HALF, "play", 0),
        Period(HALF_TIME, "break"),
        Period(SECOND_HALF, "play", half),
        Period(BREAK_BEFORE_EXTRA_TIME, "break"),
        Period(EXTRA, "play"),
        Period(EXTRA_FIRST, "play", 2 * half),
        Period(EXTRA_HALF_TIME, "break"),
        Period(EXTRA_SECOND, "play", 2 * half + extra),
        Period(BREAK_BEFORE_PENALTIES, "break"),
        Period(PENALTIES, "shootout"),
        END,
    )
    return {period.code: period for period in periods}


def displayed_minute(period: str, seconds: float, rules: FootballRules | None = None) -> tuple[int, int]:
    """Return the minute that a scoreboard shows for a clock, and the minutes of stoppage time.

    The first second belongs to minute 1. After the end of a period its last minute stays: 45:00 in the first half is
    ``(45, 1)``, shown as 45+1.
    """
    half = (rules or FootballRules()).half_seconds
    extra = half // 3
    ends = {FIRST_HALF: half, SECOND_HALF: 2 * half, EXTRA_FIRST: 2 * half + extra, EXTRA_SECOND: 2 * half + 2 * extra}
    minute = floor(seconds / 60) + 1
    if period not in ends:
        return minute, 0
    last = ceil(ends[period] / 60)
    return min(minute, last), max(0, minute - last)


def is_shootout_decided(kicks: tuple[Kick, ...]) -> bool:
    """Return True if no further kick can change the winner of a shoot-out."""
    taken = scored = NO_SCORE
    for kick in kicks:
        taken += Score.of(kick.side)
        scored += Score.of(kick.side) if kick.scored else NO_SCORE
    # In sudden death both sides have the same number of kicks.
    planned = max(KICKS_EACH, taken.home, taken.away)
    return scored.home > scored.away + planned - taken.away or scored.away > scored.home + planned - taken.home


def _kick_warnings(state: State, entry: Entry) -> list[str]:
    if entry.side is None:
        return ["no side: the kick is not counted"]
    if state.shootout is None:
        return ["the shoot-out had not started: it starts with this kick"]
    if is_shootout_decided(state.shootout.kicks):
        return ["the shoot-out is decided"]
    return []


def _is_over(code: str, state: State) -> bool:
    """Return True if a later period has started."""
    clock = None if state.clock is None else state.clock.period
    last = PENALTIES if state.shootout is not None else clock
    return last is not None and _ORDER.get(code, len(_ORDER)) < _ORDER.get(last, 0)


def _has_ended(code: str, state: State) -> bool:
    """Return True if the match is over and a period was part of it, or the result does not depend on its score."""
    if state.period != FULL_TIME:
        return False
    return code == FULL_TIME or state.in_period(code) is not None or state.decided_by not in _BY_SCORE


def _in_order(state: State) -> State:
    """Return the state with its ``scores`` in the order of play; periods of other names come last."""
    ordered = tuple(sorted(state.scores, key=lambda entry: _ORDER.get(entry.period, len(_ORDER))))
    return state if ordered == state.scores else replace(state, scores=ordered)


def _side(metadata: Mapping[str, Any], name: str) -> Side | None:
    value = metadata.get(name)
    return value if value in ("home", "away") else None
