"""Ice hockey: three periods, overtime, and a shoot-out that adds one goal to the score of its winner."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import Field

from livescore.scores.sports.sport import BY_SCORE, COMMON_TYPES, FULL_TIME, Period, Rules
from livescore.scores.sports.sport import score as period_score
from livescore.scores.sports.timed import OVERTIME, TimedSport
from livescore.scores.state import NO_SCORE, Entry, Kick, Score, Shootout, State

PERIOD_SECONDS = 1200

SHOOTOUT = "SO"
BREAK_BEFORE_SHOOTOUT = "BSO"

_REGULAR = (
    Period("P1", "play", PERIOD_SECONDS),
    Period("I1", "break"),
    Period("P2", "play", PERIOD_SECONDS),
    Period("I2", "break"),
    Period("P3", "play", PERIOD_SECONDS),
)

_SHOOTOUT_TYPES = frozenset({"shootout_goal", "shootout_missed"})


class IceHockeyRules(Rules):
    """The rules of an ice hockey match. The defaults are those of a regular season."""

    overtime_seconds: int = Field(300, ge=0, le=3600, description="Length of an overtime; 0 if there is none.")
    shootout: bool = Field(True, description="One overtime, then a shoot-out; false: overtimes until one side scores.")


class IceHockey(TimedSport):
    """The rules of ice hockey. Penalties, and how a goal was scored, are free commentary."""

    name = "ice hockey"
    aliases = frozenset({"ice-hockey", "ice_hockey", "icehockey"})
    moving = COMMON_TYPES | _SHOOTOUT_TYPES | {"goal", "own_goal", "penalty_goal"}
    scoring = frozenset({"goal", "own_goal", "penalty_goal"})
    rules = IceHockeyRules
    sudden_death = True

    # Periods

    def regular(self, rules: IceHockeyRules) -> tuple[Period, ...]:
        """Return the three periods and the intermissions between them."""
        return _REGULAR

    def overtime_seconds(self, rules: IceHockeyRules) -> int:
        """Return the length of an overtime."""
        return rules.overtime_seconds

    def period(self, code: str, rules: IceHockeyRules) -> Period | None:
        """Return the period of a code; None if ice hockey has no such period."""
        if code == SHOOTOUT:
            return Period(code, "shootout")
        if code == BREAK_BEFORE_SHOOTOUT:
            return Period(code, "break")
        return super().period(code, rules)

    def next_overtime(self, state: State, rules: IceHockeyRules) -> str | None:
        """Return the next overtime, or the shoot-out that follows the first one."""
        if state.period == SHOOTOUT:
            return None
        overtime = super().next_overtime(state, rules)
        is_shootout = rules.shootout and overtime != f"{OVERTIME}1"
        return SHOOTOUT if is_shootout else overtime

    def break_before(self, code: str) -> str:
        """Return the code of the break before an overtime or the shoot-out."""
        return BREAK_BEFORE_SHOOTOUT if code == SHOOTOUT else super().break_before(code)

    def after(self, code: str, state: State, rules: IceHockeyRules) -> str:
        """Return the code of the break that follows a period, or ``FT``. A level shoot-out goes on."""
        if code != SHOOTOUT:
            return super().after(code, state, rules)
        return SHOOTOUT if state.shootout is None or state.shootout.score.leader == "draw" else FULL_TIME

    # State

    def points(self, entry: Entry) -> int:
        """Return 1: goals are goals, however they were scored."""
        return 1

    def apply(self, state: State, entry: Entry, rules: IceHockeyRules) -> State:
        """Return the state after an entry; those of a shoot-out are its attempts."""
        if entry.type in _SHOOTOUT_TYPES:
            return self._attempt(state, entry, rules)
        return super().apply(state, entry, rules)

    def start_period(self, state: State, entry: Entry, rules: IceHockeyRules) -> State:
        """Start a period. The goal of a shoot-out counts only while the match is decided."""
        started = super().start_period(_without_deciding_goal(state), entry, rules)
        if started.period != SHOOTOUT:
            return started
        return replace(started, shootout=state.shootout or Shootout())

    def finish(self, state: State, rules: IceHockeyRules, at: datetime) -> State:
        """Return the state of a match that has ended, with the goal of its shoot-out."""
        return super().finish(_with_deciding_goal(state), rules, at)

    def resume(self, state: State, rules: IceHockeyRules, at: datetime, *, was_stopped: bool) -> State:
        """Return the state of a match that goes on, without the goal of its shoot-out."""
        return super().resume(_without_deciding_goal(state), rules, at, was_stopped=was_stopped)

    def last_played(self, state: State) -> str | None:
        """Return the code of the period that was played last."""
        return super().last_played(state) if state.shootout is None else SHOOTOUT

    def with_score(self, state: State, score: Score, rules: IceHockeyRules) -> State:
        """Return the state with a score set by hand, which includes the goal of a decided shoot-out."""
        before = _without_deciding_goal(state)
        goal = state.score - before.score
        rest = score - goal
        if goal == NO_SCORE or rest != rest.at_least_zero():
            return super().with_score(before, score, rules)
        return super().with_score(before, rest, rules).plus(goal, SHOOTOUT)

    def with_period_score(self, state: State, entry: Entry, rules: IceHockeyRules) -> State:
        """Return the state with the score that the end of a period gives, also that of a shoot-out."""
        totals = period_score(entry.metadata, "score")
        if (entry.period or state.period) != SHOOTOUT or totals is None:
            return super().with_period_score(state, entry, rules)
        return self._with_shootout(state, replace(state.shootout or Shootout(), score=totals), rules)

    def _attempt(self, state: State, entry: Entry, rules: IceHockeyRules) -> State:
        """Count an attempt. The first one starts the shoot-out if no entry has done so."""
        if entry.side is None:
            return state
        if state.period != SHOOTOUT and state.winner is None:
            state = self.start_period(state, replace(entry, period=SHOOTOUT), rules)
        shootout = state.shootout or Shootout()
        attempt = Kick(entry.side, entry.actor, scored=entry.type == "shootout_goal")
        return self._with_shootout(state, shootout.plus(attempt), rules)

    def _with_shootout(self, state: State, shootout: Shootout, rules: IceHockeyRules) -> State:
        """Return the state with a shoot-out. If the match was decided by its score, the winner may change."""
        changed = replace(state, shootout=shootout)
        if state.decided_by not in BY_SCORE:
            return changed
        return self.with_result(_with_deciding_goal(changed), rules)

    # Warnings

    def warnings(self, state: State, entry: Entry, rules: Any) -> list[str]:
        """Return the contradictions between an entry and the state before it, for the reporter."""
        if entry.type not in _SHOOTOUT_TYPES:
            return super().warnings(state, entry, rules)
        if entry.side is None:
            return ["no side: the attempt is not counted"]
        if state.winner is not None:
            return ["the match is decided"]
        return [] if state.period == SHOOTOUT else ["the shoot-out had not started: it starts with this attempt"]


def _without_deciding_goal(state: State) -> State:
    goal = state.in_period(SHOOTOUT)
    if goal is None:
        return state
    return replace(
        state, score=state.score - goal.score, scores=tuple(entry for entry in state.scores if entry is not goal)
    )


def _with_deciding_goal(state: State) -> State:
    """Return the state with exactly one goal for the winner of the shoot-out, if it has one."""
    state = _without_deciding_goal(state)
    leader = "draw" if state.shootout is None else state.shootout.score.leader
    return state if leader == "draw" else state.plus(Score.of(leader), SHOOTOUT)
