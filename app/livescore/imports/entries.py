"""The entries that a recorded result supports, and nothing beyond it. Pure, without I/O.

A file knows results, not the course of a match. Goals that it lists become entries of their own. What it only counts
is stated by the end of a period: ``metadata.score`` of a ``period_end`` is the score of this period alone, or the
result of a shoot-out. The codes ``REG`` and ``ET`` stand for both halves where the file does not say in which half the
goals were scored.

Where the file contradicts itself, the goals decide if they add up to the final score: in the files of World Cups
the scores at half-time are wrong more often than the minutes of goals.

No entry starts a period: the file does not say when, so the match has no clock.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from livescore.imports.openfootball import Goal, Match, Pair
from livescore.scores.state import NO_SCORE, Entry, Json, Score, Side, Status

EN_DASH = "\N{EN DASH}"
EM_DASH = "\N{EM DASH}"

# The years in which a golden goal could end extra time before its second half.
GOLDEN_GOAL_YEARS = range(1993, 2005)

NO_DELTA = {"home": 0, "away": 0}


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """An entry of a recorded match.

    Attributes:
        key: Stable within the match, so that a second import recognises the entry.
        period: The number of part 1 of the contract: 1 and 2 for halves, 3 and 4 for extra time, 5 for a shoot-out.
    """

    key: str
    type: str
    message: str
    minute: int
    period: int
    period_code: str | None = None
    stoppage: int | None = None
    side: Side | None = None
    team: str | None = None
    actor: str | None = None
    metadata: Json = field(default_factory=dict)

    def entry(self, id_: int, at: datetime) -> Entry:
        """Return the entry as the fold sees it."""
        return Entry(
            id_, self.type, at, self.side, self.period_code, self.minute, self.stoppage, self.actor, self.metadata
        )


@dataclass(frozen=True, slots=True)
class Record:
    """What a file says about a match, in the terms of the service.

    Attributes:
        rules: The member ``rules``: extra time and penalties as far as they were played.
        status: Status to set after all entries; None if the entries lead to it.
        warnings: Contradictions within the file.
    """

    entries: tuple[RecordedEntry, ...] = ()
    rules: Json = field(default_factory=dict)
    status: Status | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Period:
    """A period of play.

    Attributes:
        last: Its last minute.
        stated: The score at its end, with all earlier periods; None if the file does not say.
    """

    code: str
    number: int
    last: int
    end: str
    stated: Pair | None


def record(match: Match) -> Record:
    """Return what the file says about a match. A match that was not played has no entries."""
    writer = _Writer(match)
    match match.outcome:
        case "played":
            return Record(tuple(writer.played()), _rules(match), warnings=_contradictions(match))
        case "awarded":
            return Record((writer.award(),))
        case "abandoned":
            return Record(tuple(writer.abandoned()), status="abandoned")
        case "postponed" | "cancelled":
            return Record(status=match.outcome)
    return Record()


def _rules(match: Match) -> Json:
    rules: Json = {}
    if match.score.extra_time is not None:
        rules["extraTime"] = True
    if match.score.penalties is not None:
        rules["penalties"] = True
    return rules


def _regular_time(match: Match) -> tuple[_Period, ...]:
    """Return both halves if the file tells them apart, else regular time as a whole."""
    score = match.score
    is_listed = _lists_all(match, score.full_time, extra=False)
    full_time = score.full_time or score.final
    if score.half_time is None and not is_listed:
        return (_Period("REG", 2, 90, "Full-time", full_time),)
    return (
        _Period("1H", 1, 45, "Half-time", None if is_listed else score.half_time),
        _Period("2H", 2, 90, "Full-time", full_time),
    )


def _extra_time(match: Match) -> tuple[_Period, ...]:
    """Return both halves of extra time if the goals tell them apart, else extra time as a whole."""
    score = match.score
    if score.extra_time is None or score.full_time is None:
        return ()
    goals = Pair(score.extra_time.home - score.full_time.home, score.extra_time.away - score.full_time.away)
    may_be_golden = goals.home != goals.away and match.kick_off.year in GOLDEN_GOAL_YEARS
    if may_be_golden or not _lists_all(match, goals, extra=True):
        return (_Period("ET", 4, 120, "End of extra time", score.extra_time),)
    return (
        _Period("ET1", 3, 105, "Half-time of extra time", None),
        _Period("ET2", 4, 120, "End of extra time", score.extra_time),
    )


def _lists_all(match: Match, total: Pair | None, *, extra: bool) -> bool:
    """Return True if the file lists all goals of regular time, or of extra time, with their minutes."""
    if total is None or any(goal.minute is None for goal in match.goals):
        return False
    goals = [goal for goal in match.goals if _is_extra(goal, match) == extra]
    return _total(goals) == total


def _is_extra(goal: Goal, match: Match) -> bool:
    return match.score.extra_time is not None and (goal.minute or 0) > 90


def _total(goals: Iterable[Goal]) -> Pair:
    sides = [goal.side for goal in goals]
    return Pair(sides.count("home"), sides.count("away"))


def _contradictions(match: Match) -> tuple[str, ...]:
    half_time = match.score.half_time
    if half_time is None or not _lists_all(match, match.score.full_time, extra=False):
        return ()
    goals = _total(goal for goal in match.goals if (goal.minute or 0) <= 45)
    if goals == half_time:
        return ()
    stated, counted = (f"{pair.home}{EN_DASH}{pair.away}" for pair in (half_time, goals))
    return (f"the score at half-time is {stated} by its own field, {counted} by the goals; the goals were used",)


class _Writer:
    """Writes the entries of a match and keeps its score meanwhile."""

    def __init__(self, match: Match) -> None:
        self.match = match
        self.score = NO_SCORE
        self.goals: dict[Side, int] = {"home": 0, "away": 0}

    def played(self) -> Iterator[RecordedEntry]:
        periods = _regular_time(self.match) + _extra_time(self.match)
        yield from self._goals_without_minute(periods[-1])
        for period, goals in self._goals(periods):
            before = self.score
            for goal in goals:
                yield self._goal(goal, period)
            yield self._end(period, before)
        if self.match.score.penalties is not None:
            yield self._shootout(self.match.score.penalties, periods[-1].last)

    def abandoned(self) -> Iterator[RecordedEntry]:
        """Yield the goals, and the end of the first half if the file has its score: no other period was completed."""
        periods = _regular_time(self.match)
        yield from self._goals_without_minute(periods[-1])
        for period, goals in self._goals(periods):
            before = self.score
            for goal in goals:
                yield self._goal(goal, period)
            if period.code == "1H" and period.stated is not None:
                yield self._end(period, before)
        final = self.match.score.final
        if final is not None and final != (self.score.home, self.score.away):
            yield self._unlisted_goals(periods[-1], Score(*final))

    def _unlisted_goals(self, period: _Period, final: Score) -> RecordedEntry:
        before, self.score = self.score, final
        return RecordedEntry(
            key="goals-unlisted",
            type="goal",
            message=f"Score at the abandonment: {self._line()}",
            minute=0,
            period=period.number,
            period_code=period.code,
            metadata={"scoreDelta": _json(final - before)},
        )

    def award(self) -> RecordedEntry:
        """Return the award of a match, with the score that was awarded."""
        final = self.match.score.final or Pair(0, 0)
        self.score = Score(*final)
        winner = self.score.leader
        return RecordedEntry(
            key="award",
            type="award",
            message=f"The match was awarded: {self._line()}",
            minute=0,
            period=1,
            side=None if winner == "draw" else winner,
            metadata={"scoreDelta": final._asdict()},
        )

    def _goals(self, periods: tuple[_Period, ...]) -> Iterator[tuple[_Period, list[Goal]]]:
        """Yield each period with its goals in the order in which they were scored."""
        timed = [goal for goal in self.match.goals if goal.minute is not None]
        timed.sort(key=lambda goal: (goal.minute, goal.stoppage, goal.total))
        for index, period in enumerate(periods):
            first = periods[index - 1].last + 1 if index else 0
            last = period.last if index < len(periods) - 1 else 999
            yield period, [goal for goal in timed if first <= (goal.minute or 0) <= last]

    def _goals_without_minute(self, last: _Period) -> Iterator[RecordedEntry]:
        """Yield the goals whose period is not known. They do not move the score: the ends of the periods do."""
        for goal in self.match.goals:
            if goal.minute is None:
                unknown = {"minuteUnknown": True, "scoreDelta": NO_DELTA}
                yield self._goal_entry(goal, f"Goal! {_credit(goal)}".rstrip(), last.last, last.number, unknown)

    def _goal(self, goal: Goal, period: _Period) -> RecordedEntry:
        self.score += Score.of(goal.side)
        message = " ".join(part for part in ("Goal!", _credit(goal), EM_DASH, self._line()) if part)
        return self._goal_entry(goal, message, goal.minute or 0, period.number, {}, period.code)

    def _goal_entry(
        self, goal: Goal, message: str, minute: int, number: int, metadata: Json, code: str | None = None
    ) -> RecordedEntry:
        self.goals[goal.side] += 1
        return RecordedEntry(
            key=f"goal-{goal.side}-{self.goals[goal.side]}",
            type=_goal_type(goal),
            message=message,
            minute=minute,
            period=number,
            period_code=code,
            stoppage=goal.stoppage or None,
            side=goal.side,
            team=getattr(self.match, goal.side),
            actor=goal.scorer,
            metadata=metadata,
        )

    def _end(self, period: _Period, before: Score) -> RecordedEntry:
        """Return the end of a period, with the score of the period if the goals do not account for it.

        Args:
            period: The period.
            before: The score at its start.
        """
        metadata: Json = {}
        stated = self.score if period.stated is None else Score(*period.stated)
        if stated != self.score:
            self.score = stated
            metadata["score"] = _json(self.score - before)
        return RecordedEntry(
            key=f"end-{period.code}",
            type="period_end",
            message=f"{period.end}: {self._line()}",
            minute=period.last,
            period=period.number,
            period_code=period.code,
            metadata=metadata,
        )

    def _shootout(self, score: Pair, minute: int) -> RecordedEntry:
        return RecordedEntry(
            key="end-PEN",
            type="period_end",
            message=f"Penalty shoot-out: {self.match.home} {score.home}{EN_DASH}{score.away} {self.match.away}",
            minute=minute,
            period=5,
            period_code="PEN",
            metadata={"score": score._asdict()},
        )

    def _line(self) -> str:
        return f"{self.match.home} {self.score.home}{EN_DASH}{self.score.away} {self.match.away}"


def _json(score: Score) -> Json:
    return {"home": score.home, "away": score.away}


def _goal_type(goal: Goal) -> str:
    if goal.own_goal:
        return "own_goal"
    return "penalty_goal" if goal.penalty else "goal"


def _credit(goal: Goal) -> str:
    """Return the player and the kind of a goal as far as they are known."""
    kind = "(own goal)" if goal.own_goal else "(penalty)" if goal.penalty else ""
    return " ".join(part for part in (goal.scorer or "", kind) if part)
