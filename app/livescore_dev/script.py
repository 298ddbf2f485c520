"""The commentary of a replayed match: pure functions of the match as its file describes it.

:mod:`livescore.imports.entries` says what the file knows. A replay adds what every match has: the starts of its periods
and the time at which each entry comes. It invents no goals: of a match without goals in the file, as in the files of
leagues, the score changes at the end of each half.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from livescore.imports.documents import REGULAR_TIME, WITH_EXTRA_TIME
from livescore.imports.entries import EN_DASH, RecordedEntry, record
from livescore.imports.openfootball import Match, Pair

# Duration of a shoot-out.
SHOOT_OUT_TIME = timedelta(minutes=10)

# Ids of the last step of a match that was played, abandoned or awarded.
END = "end"
ABANDONED = "abandoned"
AWARDED = "award"
LAST_STEPS = {END, ABANDONED, AWARDED}

GOALS = frozenset({"goal", "own_goal", "penalty_goal"})


@dataclass(frozen=True, slots=True)
class Step:
    """One commentary entry.

    Attributes:
        id: Stable within its match, so that a second run recognises the step.
        at: Time since kick-off.
        body: Request body for the API.
    """

    id: str
    at: timedelta
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Period:
    """A period of a match from minute ``first`` to ``last``, followed by ``pause`` (Laws of the Game, law 7)."""

    first: int
    last: int
    opening: str
    pause: timedelta


# By code. REG and ET stand for both halves where the file does not tell them apart.
PERIODS = {
    "1H": Period(0, 45, "Kick-off", timedelta(minutes=15)),
    "2H": Period(45, 90, "Second half under way", timedelta(minutes=5)),
    "REG": Period(0, 90, "Kick-off", timedelta(minutes=5)),
    "ET1": Period(90, 105, "Extra time under way", timedelta(minutes=1)),
    "ET2": Period(105, 120, "Second half of extra time under way", timedelta(minutes=5)),
    "ET": Period(90, 120, "Extra time under way", timedelta(minutes=5)),
}
PENALTIES = "PEN"


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
            return [*script.entries(), script.end()]
        case "abandoned":
            return [*script.entries(), script.abandonment()]
        case "awarded":
            return list(script.entries())
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


class _Script:
    """Writes the steps of a match and keeps its time meanwhile."""

    def __init__(self, match: Match) -> None:
        self.match = match
        self.recorded = record(match).entries
        self.elapsed = timedelta()
        # Time since kick-off at which the current period began, and its code.
        self.began = timedelta()
        self.code: str | None = None
        self.number = 1
        self.written = 0

    def entries(self) -> Iterator[Step]:
        """Yield what the file knows, with the start of each period before its first entry."""
        announced = False
        for entry in self._in_order():
            if entry.period_code != self.code and self._starts_period(entry):
                yield self._start(entry)
                announced = False
            if entry.stoppage and not announced:
                yield self._announce(entry)
                announced = True
            self._advance(entry)
            yield self._recorded(entry)
            if entry.type == "period_end" and self.code in PERIODS:
                self.elapsed += PERIODS[self.code].pause

    def end(self) -> Step:
        """Return the end of a match that was played."""
        score = self.match.score
        text = f"The match is over: {self._line(score.final or Pair(0, 0))}"
        if score.penalties:
            text += f" ({score.penalties.home}{EN_DASH}{score.penalties.away} on penalties)"
        return self._mark(END, text, "end")

    def abandonment(self) -> Step:
        """Return the abandonment of a match."""
        goals = [goal.side for goal in self.match.goals]
        final = self.match.score.final or Pair(goals.count("home"), goals.count("away"))
        return self._mark(ABANDONED, f"The match was abandoned: {self._line(final)}", "abandoned")

    def _in_order(self) -> list[RecordedEntry]:
        """Return the entries with the goals of unknown minute before the last end of a period."""
        unknown = [entry for entry in self.recorded if "minuteUnknown" in entry.metadata]
        known = [entry for entry in self.recorded if "minuteUnknown" not in entry.metadata]
        ends = [
            place for place, entry in enumerate(known) if entry.type == "period_end" and entry.period_code in PERIODS
        ]
        place = ends[-1] if ends else len(known)
        return [*known[:place], *unknown, *known[place:]]

    def _starts_period(self, entry: RecordedEntry) -> bool:
        """Return True for an entry of a later period. Goals that the file only counts start none."""
        has_minute = entry.type == "period_end" or entry.minute > 0
        return has_minute and (entry.period_code in PERIODS or entry.period_code == PENALTIES)

    def _start(self, entry: RecordedEntry) -> Step:
        self.began, self.code, self.number = self.elapsed, entry.period_code, entry.period
        period = PERIODS.get(self.code or "")
        text = "Penalty shoot-out" if period is None else period.opening
        if self.code in ("1H", "REG"):
            text += f": {self.match.home} {EN_DASH} {self.match.away}"
        minute = entry.minute if period is None else period.first
        return self._mark(f"start-{self.code}", text, "period_start", minute)

    def _announce(self, entry: RecordedEntry) -> Step:
        """Return the added time, as far as goals prove it: the file does not have the board's number."""
        added = max(each.stoppage or 0 for each in self.recorded if each.period_code == self.code)
        text = f"At least {added} minute{'s' if added > 1 else ''} of added time"
        self._advance_to(entry.minute, 0)
        return self._mark(f"added-{self.code}", text, "added_time", entry.minute, minutes=added)

    def _advance(self, entry: RecordedEntry) -> None:
        period = PERIODS.get(self.code or "")
        if period is None:
            self.elapsed += SHOOT_OUT_TIME if self.code == PENALTIES else timedelta()
        elif entry.type == "period_end" or "minuteUnknown" in entry.metadata:
            self._advance_to(period.last, 0)
        else:
            self._advance_to(entry.minute, entry.stoppage or 0)

    def _advance_to(self, minute: int, stoppage: int) -> None:
        first = PERIODS[self.code].first if self.code in PERIODS else minute
        self.elapsed = max(self.elapsed, self.began + timedelta(minutes=max(0, minute - first) + stoppage))

    def _recorded(self, entry: RecordedEntry) -> Step:
        optional = {
            "periodCode": entry.period_code,
            "stoppage": entry.stoppage,
            "side": entry.side,
            "team": entry.team,
            "actor": entry.actor,
        }
        tags = ["goal"] if entry.type in GOALS else ["period"]
        body = {
            "minute": entry.minute,
            "period": entry.period,
            "eventType": entry.type,
            "message": entry.message,
            "tags": tags,
            **{name: value for name, value in optional.items() if value is not None},
        }
        return self._step(entry.key, body, entry.metadata)

    def _mark(self, name: str, message: str, kind: str, minute: int | None = None, **facts: Any) -> Step:
        """Return an entry that the file does not have."""
        body: dict[str, Any] = {
            "minute": self._last_minute() if minute is None else minute,
            "period": self.number,
            "eventType": kind,
            "message": message,
            "tags": ["period"],
        }
        if kind in ("period_start", "added_time"):
            body["periodCode"] = self.code
        return self._step(name, body, facts)

    def _step(self, name: str, body: dict[str, Any], facts: dict[str, Any]) -> Step:
        # The sequence orders stoppage time of a half before the first minute of the next half.
        self.written += 1
        return Step(name, self.elapsed, {**body, "sequence": self.written, "metadata": {**facts, "replay": name}})

    def _last_minute(self) -> int:
        return max((entry.minute for entry in self.recorded), default=0)

    def _line(self, score: Pair) -> str:
        return f"{self.match.home} {score.home}{EN_DASH}{score.away} {self.match.away}"
