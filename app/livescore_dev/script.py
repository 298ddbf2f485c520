"""The commentary of a match: pure functions of the match as its file describes it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from livescore.imports.openfootball import Goal, Match, Pair, Side

# Recorded duration of a match: two halves with their break, and thirty minutes more with extra time.
REGULAR_TIME = timedelta(hours=2)
WITH_EXTRA_TIME = timedelta(hours=2, minutes=30)

# Duration of a shoot-out, and the number of its period: after two halves and two periods of extra time.
SHOOT_OUT_TIME = timedelta(minutes=10)
SHOOT_OUT = 5

# Ids of the last step of a match that was played, abandoned or awarded.
END = "end"
ABANDONED = "abandoned"
AWARDED = "awarded"
LAST_STEPS = {END, ABANDONED, AWARDED}

EN_DASH = "\N{EN DASH}"
EM_DASH = "\N{EM DASH}"


@dataclass(frozen=True, slots=True)
class Step:
    """One commentary entry.

    Attributes:
        id: Stable within its match, so that a second run recognises the step.
        at: Time since kick-off.
        body: Request body for the API.
        score: Score that the text states, if the goals so far do not add up to it; else None. The match must have this
            score before the entry is written.
    """

    id: str
    at: timedelta
    body: dict[str, Any]
    score: Pair | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """A period of a match from minute ``first`` to ``last``, followed by ``pause`` (Laws of the Game, law 7)."""

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
    """Return the periods of a match. A shoot-out is not a period: it may follow with or without extra time."""
    return HALVES + EXTRA_TIME if match.score.extra_time else HALVES


def record_end(match: Match) -> datetime:
    """Return the recorded end of a match: kick-off plus 2 h, or 2.5 h with extra time."""
    return match.kick_off + (WITH_EXTRA_TIME if match.score.extra_time else REGULAR_TIME)


def plan(match: Match) -> list[Step]:
    """Return the commentary of a match in order.

    The commentary of an abandoned match ends with its abandonment. An awarded match has a single entry, and a match
    that was not played has none.
    """
    script = _Script(match)
    match match.outcome:
        case "played":
            return list(script.played())
        case "abandoned":
            return list(script.abandoned())
        case "awarded":
            return [script.awarded()]
        case _:
            return []


def timeline(spans: Sequence[tuple[datetime, timedelta]]) -> list[timedelta]:
    """Return the start of each match on the virtual clock: spaced as in the file, without idle gaps.

    Args:
        spans: Kick-off and duration of each match, ordered by kick-off.
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
    """Return the goals of each period in the order in which they were scored."""
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
    """Return the first period with a final score above the goals placed so far: the period of a goal without minute."""
    placed = 0
    for period in played:
        placed += sum(goal.side == side for goal in chosen[period.number])
        stated = _stated(match, period)
        if stated and getattr(stated, side) > placed:
            return period
    return played[-1]


def _stated(match: Match, period: Period) -> Pair | None:
    """Return the score that the file gives for the end of a period.

    The final score of an abandoned match is its score at the abandonment, not at the end of a period.
    """
    score = match.score
    if match.outcome == "abandoned":
        return score.half_time if period.number == 1 else None
    return {1: score.half_time, 2: score.full_time, 4: score.extra_time}.get(period.number)


class _Script:
    """Writes the steps of a match and keeps its clock and score meanwhile."""

    def __init__(self, match: Match) -> None:
        self.match = match
        self.elapsed = timedelta()
        self.score = Pair(0, 0)
        self.goals: dict[Side, int] = {"home": 0, "away": 0}
        self.written = 0

    def played(self) -> Iterator[Step]:
        for period, goals in _goals_by_period(self.match):
            yield from self._period(period, goals)
        if self.match.score.penalties:
            self.elapsed += SHOOT_OUT_TIME
            yield self._shoot_out(self.match.score.penalties)
        yield self._end()

    def abandoned(self) -> Iterator[Step]:
        """Yield the periods up to the last goal, then the abandonment; only the abandonment if no goal is known."""
        by_period = [entry for entry in _goals_by_period(self.match) if entry[1]]
        last = by_period[-1][0] if by_period else None
        for period, goals in _goals_by_period(self.match) if last else []:
            yield self._opening(period)
            yield from self._goals(period, goals)
            if period == last:
                break
            yield self._closing(period)
            self.elapsed += period.pause
        final = self.match.score.final or self.score
        text = f"The match was abandoned: {self._line(final)}"
        yield self._mark(ABANDONED, text, self._minute(), last.number if last else 1, final)

    def awarded(self) -> Step:
        final = self.match.score.final or self.score
        return self._mark(AWARDED, f"The match was awarded: {self._line(final)}", 0, 1, final)

    def _period(self, period: Period, goals: list[Goal]) -> Iterator[Step]:
        yield self._opening(period)
        yield from self._goals(period, goals)
        yield self._closing(period)
        self.elapsed += period.pause

    def _goals(self, period: Period, goals: list[Goal]) -> Iterator[Step]:
        """Yield the goals of a period and leave the clock at its end."""
        began = self.elapsed
        for goal in goals:
            minute = period.last if goal.minute is None else goal.minute
            minutes_played = max(0, minute - period.first) + goal.stoppage
            self.elapsed = began + timedelta(minutes=minutes_played)
            yield self._goal(goal, minute, period.number)
        self.elapsed = max(self.elapsed, began + timedelta(minutes=period.last - period.first))

    def _opening(self, period: Period) -> Step:
        name, text = period.opening
        if period.number > 1:
            return self._mark(name, f"{text} under way", period.first, period.number)
        facts: dict[str, Any] = {}
        stage = self.match.group or self.match.round
        if stage:
            facts["stage"] = stage
        if self.match.ground:
            facts["ground"] = self.match.ground
        return self._mark(name, f"{text}: {self.match.home} {EN_DASH} {self.match.away}", 0, 1, **facts)

    def _closing(self, period: Period) -> Step:
        name, text = period.closing
        score = _stated(self.match, period) or self.score
        return self._mark(name, f"{text}: {self._line(score)}", period.last, period.number, score)

    def _shoot_out(self, score: Pair) -> Step:
        text = f"Penalty shoot-out: {self._line(score)}"
        return self._mark("penalty-shoot-out", text, self._last_minute(), SHOOT_OUT, penalties=score._asdict())

    def _end(self) -> Step:
        score = self.match.score
        final = score.final or self.score
        text = f"The match is over: {self._line(final)}"
        if score.penalties:
            text += f" ({score.penalties.home}{EN_DASH}{score.penalties.away} on penalties)"
        last = SHOOT_OUT if score.penalties else periods(self.match)[-1].number
        return self._mark(END, text, self._last_minute(), last, final)

    def _last_minute(self) -> int:
        return periods(self.match)[-1].last

    def _minute(self) -> int:
        """Return the minute of the latest goal; 0 if the file contains none."""
        return max((goal.minute or 0 for goal in self.match.goals), default=0)

    def _goal(self, goal: Goal, minute: int, period: int) -> Step:
        self.goals[goal.side] += 1
        self.score = Pair(self.score.home + (goal.side == "home"), self.score.away + (goal.side == "away"))
        kind = _kind(goal)
        tags = ["goal"]
        credit = [goal.scorer] if goal.scorer else []
        if kind:
            tags.append(kind.replace(" ", "-"))
            credit.append(f"({kind})")
        line = self._line(self.score)
        body = {
            "minute": minute,
            "period": period,
            "eventType": "goal",
            "team": getattr(self.match, goal.side),
            "message": f"Goal! {' '.join(credit)} {EM_DASH} {line}" if credit else f"Goal! {line}",
            "tags": tags,
        }
        if goal.scorer:
            body["actor"] = goal.scorer
        return self._step(f"goal-{goal.side}-{self.goals[goal.side]}", body, _goal_facts(goal))

    def _mark(self, name: str, message: str, minute: int, period: int, score: Pair | None = None, **facts: Any) -> Step:
        """Write an entry other than a goal. If its text states a score, the match has that score from then on."""
        kind = name.replace("-", "_")
        body = {"minute": minute, "period": period, "eventType": kind, "message": message, "tags": ["period"]}
        correction = score if score != self.score else None
        self.score = score or self.score
        return self._step(name, body, facts, correction)

    def _step(self, name: str, body: dict[str, Any], facts: dict[str, Any], score: Pair | None = None) -> Step:
        # The sequence orders stoppage time of a half before the first minute of the next half.
        self.written += 1
        metadata = {**facts, "replay": name}
        return Step(name, self.elapsed, {**body, "sequence": self.written, "metadata": metadata}, score)

    def _line(self, score: Pair) -> str:
        return f"{self.match.home} {score.home}{EN_DASH}{score.away} {self.match.away}"


def _kind(goal: Goal) -> str:
    if goal.own_goal:
        return "own goal"
    return "penalty" if goal.penalty else ""


def _goal_facts(goal: Goal) -> dict[str, Any]:
    facts: dict[str, Any] = {"scoreDelta": {goal.side: 1}}
    if goal.penalty:
        facts["penalty"] = True
    if goal.own_goal:
        facts["ownGoal"] = True
    if goal.stoppage:
        facts["stoppage"] = goal.stoppage
    return facts
