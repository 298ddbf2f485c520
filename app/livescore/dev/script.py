"""What happens in a match, minute by minute, as commentary: pure functions of what a file says about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from livescore.dev.openfootball import Goal, Match, Pair, Side

# How long a record lasts from kick-off: two halves with their break, and thirty minutes more with extra time.
REGULAR_TIME = timedelta(hours=2)
WITH_EXTRA_TIME = timedelta(hours=2, minutes=30)

# What kicking a shoot-out takes, and the number of its period: after two halves and two of extra time.
SHOOT_OUT_TIME = timedelta(minutes=10)
SHOOT_OUT = 5

# The last step of every match.
END = "end"

EN_DASH = "\N{EN DASH}"
EM_DASH = "\N{EM DASH}"


@dataclass(frozen=True, slots=True)
class Step:
    """One commentary: ``id`` is stable within its match, ``at`` counts from kick-off, ``body`` is for the API."""

    id: str
    at: timedelta
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Period:
    """A part of a match, between two minutes of its clock; ``pause`` follows it (Laws of the Game, law 7)."""

    number: int
    first: int
    last: int
    opening: tuple[str, str]
    closing: tuple[str, str]
    pause: timedelta


HALVES = (
    Period(1, 0, 45, ("kick-off", "Kick-off"), ("half-time", "Half-time"), timedelta(minutes=15)),
    Period(2, 45, 90, ("second-half", "Second half"), ("full-time", "Full-time"), timedelta(minutes=5)),
)
EXTRA_TIME = (
    Period(3, 90, 105, ("extra-time", "Extra time"), ("extra-half-time", "Half-time"), timedelta(minutes=1)),
    Period(
        number=4,
        first=105,
        last=120,
        opening=("extra-second-half", "Second half of extra time"),
        closing=("extra-time-end", "End of extra time"),
        pause=timedelta(minutes=5),
    ),
)


def periods(match: Match) -> tuple[Period, ...]:
    """The parts that were played; a shoot-out may follow without extra time."""
    return HALVES + EXTRA_TIME if match.score.extra_time else HALVES


def record_end(match: Match) -> datetime:
    """When the match ended, for the record: kick-off plus 2 h, or 2.5 h with extra time."""
    return match.kick_off + (WITH_EXTRA_TIME if match.score.extra_time else REGULAR_TIME)


def plan(match: Match) -> list[Step]:
    """Every commentary of a match in order; none for a match that was not played to its end."""
    return list(_Script(match).steps()) if match.played else []


def timeline(spans: Sequence[tuple[datetime, timedelta]]) -> list[timedelta]:
    """When each match begins on the virtual clock: as far apart as in the file, without the idle gaps.

    Args:
        spans: kick-off and duration of each match, in the order of kick-off.
    """
    starts: list[timedelta] = []
    if not spans:
        return starts
    first = busy_until = spans[0][0]
    idle = timedelta()
    for kick_off, duration in spans:
        idle += max(kick_off - busy_until, timedelta())
        starts.append(kick_off - first - idle)
        busy_until = max(busy_until, kick_off + duration)
    return starts


def _goals_by_period(match: Match) -> list[tuple[Period, list[Goal]]]:
    """The goals of each period in the order in which they fell."""
    played = periods(match)
    chosen: dict[int, list[Goal]] = {period.number: [] for period in played}
    for goal in match.goals:
        if goal.minute is not None:
            chosen[_period_at(goal.minute, played).number].append(goal)
    for goals in chosen.values():
        goals.sort(key=lambda goal: (goal.minute, goal.stoppage, goal.total))
    for goal in match.goals:
        if goal.minute is None:
            chosen[_period_short_of_goals(goal.side, chosen, match, played).number].append(goal)
    return [(period, chosen[period.number]) for period in played]


def _period_at(minute: int, played: tuple[Period, ...]) -> Period:
    return next((period for period in played if minute <= period.last), played[-1])


def _period_short_of_goals(
    side: Side, chosen: dict[int, list[Goal]], match: Match, played: tuple[Period, ...]
) -> Period:
    """Where a goal without a minute belongs: the first period at whose end the file counts more than were placed."""
    placed = 0
    for period in played:
        placed += sum(goal.side == side for goal in chosen[period.number])
        stated = _stated(match, period)
        if stated and getattr(stated, side) > placed:
            return period
    return played[-1]


def _stated(match: Match, period: Period) -> Pair | None:
    """The score that the file gives for the end of a period."""
    score = match.score
    return {1: score.half_time, 2: score.full_time, 4: score.extra_time}.get(period.number)


class _Script:
    """Writes the steps of one match while its clock and its score run."""

    def __init__(self, match: Match) -> None:
        self.match = match
        self.elapsed = timedelta()
        self.goals: dict[Side, int] = {"home": 0, "away": 0}
        self.written = 0

    def steps(self) -> Iterator[Step]:
        for period, goals in _goals_by_period(self.match):
            yield from self._period(period, goals)
        if self.match.score.penalties:
            self.elapsed += SHOOT_OUT_TIME
            yield self._shoot_out(self.match.score.penalties)
        yield self._end()

    def _period(self, period: Period, goals: list[Goal]) -> Iterator[Step]:
        began = self.elapsed
        yield self._opening(period)
        for goal in goals:
            minute = period.last if goal.minute is None else goal.minute
            self.elapsed = began + timedelta(minutes=max(0, minute - period.first) + goal.stoppage)
            yield self._goal(goal, minute, period.number)
        self.elapsed = max(self.elapsed, began + timedelta(minutes=period.last - period.first))
        yield self._closing(period)
        self.elapsed += period.pause

    def _opening(self, period: Period) -> Step:
        name, text = period.opening
        if period.number > 1:
            return self._mark(name, f"{text} under way", period.first, period.number)
        place = {"stage": self.match.stage, "ground": self.match.ground}
        facts = {key: value for key, value in place.items() if value}
        return self._mark(name, f"{text}: {self.match.home} {EN_DASH} {self.match.away}", 0, 1, **facts)

    def _closing(self, period: Period) -> Step:
        name, text = period.closing
        return self._mark(name, f"{text}: {self._line(_stated(self.match, period))}", period.last, period.number)

    def _shoot_out(self, score: Pair) -> Step:
        text = f"Penalty shoot-out: {self._line(score)}"
        return self._mark("penalty-shoot-out", text, self._last_minute(), SHOOT_OUT, penalties=score._asdict())

    def _end(self) -> Step:
        score = self.match.score
        text = f"The match is over: {self._line(score.final)}"
        if score.penalties:
            text += f" ({score.penalties.home}{EN_DASH}{score.penalties.away} on penalties)"
        last = SHOOT_OUT if score.penalties else periods(self.match)[-1].number
        return self._mark(END, text, self._last_minute(), last)

    def _last_minute(self) -> int:
        return periods(self.match)[-1].last

    def _goal(self, goal: Goal, minute: int, period: int) -> Step:
        self.goals[goal.side] += 1
        kind = "own goal" if goal.own_goal else "penalty" if goal.penalty else ""
        scorer = " ".join(part for part in (goal.scorer, f"({kind})" if kind else "") if part)
        known = {"actor": goal.scorer} if goal.scorer else {}
        return self._step(
            f"goal-{goal.side}-{self.goals[goal.side]}",
            {
                "minute": minute,
                "period": period,
                "eventType": "goal",
                "team": getattr(self.match, goal.side),
                "message": f"Goal! {scorer} {EM_DASH} {self._line(None)}" if scorer else f"Goal! {self._line(None)}",
                "tags": ["goal", *([kind.replace(" ", "-")] if kind else [])],
                **known,
            },
            _goal_facts(goal),
        )

    def _mark(self, name: str, message: str, minute: int, period: int, **facts: Any) -> Step:
        kind = name.replace("-", "_")
        body = {"minute": minute, "period": period, "eventType": kind, "message": message, "tags": ["period"]}
        return self._step(name, body, facts)

    def _step(self, name: str, body: dict[str, Any], facts: dict[str, Any]) -> Step:
        # The sequence keeps stoppage time of a half before the first minute of the next one.
        self.written += 1
        return Step(name, self.elapsed, {**body, "sequence": self.written, "metadata": {**facts, "replay": name}})

    def _line(self, stated: Pair | None) -> str:
        home, away = stated or (self.goals["home"], self.goals["away"])
        return f"{self.match.home} {home}{EN_DASH}{away} {self.match.away}"


def _goal_facts(goal: Goal) -> dict[str, Any]:
    flags = {"penalty": goal.penalty, "ownGoal": goal.own_goal, "stoppage": goal.stoppage}
    return {"scoreDelta": {goal.side: 1}, **{key: value for key, value in flags.items() if value}}
