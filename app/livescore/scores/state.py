"""The state of a match and the entries from which it follows: data without rules.

Every class is immutable and maps to the JSON of part 4 of the contract, which clients receive and the database stores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self, get_args

import orjson

Json = dict[str, Any]

Side = Literal["home", "away"]

Winner = Literal["home", "away", "draw"]

DecidedBy = Literal["regular", "extra_time", "penalties", "awarded", "retired", "walkover", "defaulted"]
"""How a result came about. ``extra_time`` and ``penalties`` also mean overtime and shoot-out."""

Status = Literal[
    "scheduled",
    "delayed",
    "live",
    "interrupted",
    "finished",
    "postponed",
    "cancelled",
    "abandoned",
    "awarded",
]

STATUSES: tuple[Status, ...] = get_args(Status)


def opponent(side: Side) -> Side:
    """Return the other side."""
    return "away" if side == "home" else "home"


@dataclass(frozen=True, slots=True)
class Score:
    """Goals, points or sets of both sides, or a difference between two scores."""

    home: int = 0
    away: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(self.home + other.home, self.away + other.away)

    def __sub__(self, other: "Score") -> "Score":
        return Score(self.home - other.home, self.away - other.away)

    @classmethod
    def of(cls, side: Side, points: int = 1) -> Self:
        """Return a score with points for one side."""
        return cls(points, 0) if side == "home" else cls(0, points)

    @property
    def leader(self) -> Winner:
        """The side that has more, or ``draw``."""
        if self.home == self.away:
            return "draw"
        return "home" if self.home > self.away else "away"

    def at_least_zero(self) -> "Score":
        """Return the score without negative numbers."""
        return Score(max(0, self.home), max(0, self.away))


NO_SCORE = Score()


@dataclass(frozen=True, slots=True)
class PeriodScore:
    """The points of one period alone, never cumulative.

    Attributes:
        period: Code of the period; ``REG`` or ``ET`` if no finer split is known.
        score: Points, or games of a set in tennis.
        tie_break: Points of the set's tie-break in tennis.
    """

    period: str
    score: Score
    tie_break: Score | None = None

    def to_json(self) -> Json:
        """Return the element of ``scores``."""
        element: Json = {"period": self.period, "home": self.score.home, "away": self.score.away}
        if self.tie_break is not None:
            element["tieBreak"] = {"home": self.tie_break.home, "away": self.tie_break.away}
        return element

    @classmethod
    def from_json(cls, element: Mapping[str, Any]) -> Self:
        """Return the score that :meth:`to_json` has written."""
        tie_break = element.get("tieBreak")
        return cls(
            element["period"],
            Score(element["home"], element["away"]),
            None if tie_break is None else Score(tie_break["home"], tie_break["away"]),
        )


@dataclass(frozen=True, slots=True)
class Clock:
    """The match time at a moment, from which clients count on while it is running.

    Attributes:
        period: Code of the period that the clock measures.
        seconds: Match time at ``at``: since the start of the match if ``direction`` is ``up``, left in the period if
            it is ``down``. May have a fraction, to the millisecond.
        announced: Added time that the board shows, in seconds.
        at: Moment of ``seconds``, by the clock of PostgreSQL.
    """

    period: str
    seconds: float
    announced: int | None
    running: bool
    direction: Literal["up", "down"]
    at: datetime

    def seconds_at(self, moment: datetime) -> float:
        """Return the match time at a moment, to the millisecond. A count-down ends at 0."""
        if not self.running:
            return self.seconds
        elapsed = max(0.0, (moment - self.at).total_seconds())
        return round(self.seconds + elapsed if self.direction == "up" else max(0.0, self.seconds - elapsed), 3)

    def stopped(self, at: datetime) -> "Clock":
        """Return the clock as it stands still at a moment."""
        return replace(self, seconds=self.seconds_at(at), running=False, at=at)

    def started(self, at: datetime) -> "Clock":
        """Return the clock as it runs on from a moment."""
        return replace(self, seconds=self.seconds_at(at), running=True, at=at)

    def to_json(self) -> Json:
        """Return the member ``clock``."""
        return {
            "period": self.period,
            "seconds": int(self.seconds) if float(self.seconds).is_integer() else self.seconds,
            "announced": self.announced,
            "running": self.running,
            "direction": self.direction,
            "at": timestamp(self.at),
        }

    @classmethod
    def from_json(cls, member: Mapping[str, Any]) -> Self:
        """Return the clock that :meth:`to_json` has written."""
        return cls(**{**member, "at": datetime.fromisoformat(member["at"])})


@dataclass(frozen=True, slots=True)
class Kick:
    """One kick of a shoot-out, or one attempt in ice hockey."""

    side: Side
    actor: str | None
    scored: bool


@dataclass(frozen=True, slots=True)
class Shootout:
    """A shoot-out. ``kicks`` is empty if only the totals are known; ``first`` is the side that began, if known."""

    score: Score = NO_SCORE
    first: Side | None = None
    kicks: tuple[Kick, ...] = ()

    def to_json(self) -> Json:
        """Return the member ``shootout``."""
        kicks = [{"side": kick.side, "actor": kick.actor, "scored": kick.scored} for kick in self.kicks]
        return {"home": self.score.home, "away": self.score.away, "first": self.first, "kicks": kicks}

    @classmethod
    def from_json(cls, member: Mapping[str, Any]) -> Self:
        """Return the shoot-out that :meth:`to_json` has written."""
        kicks = tuple(Kick(kick["side"], kick["actor"], kick["scored"]) for kick in member["kicks"])
        return cls(Score(member["home"], member["away"]), member["first"], kicks)

    def plus(self, kick: Kick) -> "Shootout":
        """Return the shoot-out after one more kick. The side of the first kick began."""
        score = self.score + Score.of(kick.side, int(kick.scored))
        return Shootout(score, self.first or kick.side, (*self.kicks, kick))


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards of both sides.

    Attributes:
        yellow: All yellow cards, also both of a player who was dismissed for the second one.
        red: All red cards, also those after a second yellow one.
        second_yellow: Dismissals after two yellow cards.
    """

    yellow: Score = NO_SCORE
    red: Score = NO_SCORE
    second_yellow: Score = NO_SCORE

    def to_json(self) -> Json:
        """Return the member ``cards``."""
        home, away = (
            {
                "yellow": getattr(self.yellow, side),
                "red": getattr(self.red, side),
                "secondYellow": getattr(self.second_yellow, side),
            }
            for side in ("home", "away")
        )
        return {"home": home, "away": away}

    @classmethod
    def from_json(cls, member: Mapping[str, Any]) -> Self:
        """Return the cards that :meth:`to_json` has written."""
        home, away = member["home"], member["away"]
        return cls(
            Score(home["yellow"], away["yellow"]),
            Score(home["red"], away["red"]),
            Score(home.get("secondYellow", 0), away.get("secondYellow", 0)),
        )


@dataclass(frozen=True, slots=True)
class State:
    """What the entries of a match say about it.

    Attributes:
        score: The headline: goals, points or sets.
        scores: The points of each period, in the order of play.
        period: Code of the current period or break.
        detail: The sport's own state as JSON: the member ``state``.
        status: The status that the entries give the match; None while the clock decides.
    """

    score: Score = NO_SCORE
    scores: tuple[PeriodScore, ...] = ()
    period: str | None = None
    clock: Clock | None = None
    shootout: Shootout | None = None
    winner: Winner | None = None
    decided_by: DecidedBy | None = None
    cards: Cards | None = None
    detail: Json | None = None
    status: Status | None = None

    def in_period(self, code: str) -> PeriodScore | None:
        """Return the points of a period; None if it has none yet."""
        return next((entry for entry in self.scores if entry.period == code), None)

    def plus(self, delta: Score, period: str) -> "State":
        """Return the state with points added to the headline and to a period, neither below zero.

        Points to subtract that the period does not have are those of the latest other periods: their sum stays the
        headline.
        """
        score = (self.score + delta).at_least_zero()
        return replace(self, score=score, scores=_added(self.scores, score - self.score, period))

    def to_json(self) -> str:
        """Return the JSON object that the database stores: members of a match, and its ``score`` and ``status``.

        The columns of score and status differ from these after a write by an older version of the service.
        """
        members: Json = {
            "score": [self.score.home, self.score.away],
            "period": self.period,
            "clock": None if self.clock is None else self.clock.to_json(),
            "scores": [entry.to_json() for entry in self.scores],
            "shootout": None if self.shootout is None else self.shootout.to_json(),
            "winner": self.winner,
            "decidedBy": self.decided_by,
            "cards": None if self.cards is None else self.cards.to_json(),
            "state": self.detail,
            "status": self.status,
        }
        return orjson.dumps(members).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the state that :meth:`to_json` has written."""
        members = orjson.loads(text)
        clock, shootout, cards = members["clock"], members["shootout"], members["cards"]
        return cls(
            Score(*members["score"]),
            tuple(PeriodScore.from_json(entry) for entry in members["scores"]),
            members["period"],
            None if clock is None else Clock.from_json(clock),
            None if shootout is None else Shootout.from_json(shootout),
            members["winner"],
            members["decidedBy"],
            None if cards is None else Cards.from_json(cards),
            members["state"],
            members["status"],
        )


def _added(scores: tuple[PeriodScore, ...], delta: Score, period: str) -> tuple[PeriodScore, ...]:
    entries = {entry.period: entry for entry in scores}
    entries.setdefault(period, PeriodScore(period, NO_SCORE))
    for code in (period, *(code for code in reversed(entries) if code != period)):
        total = entries[code].score + delta
        entries[code] = replace(entries[code], score=total.at_least_zero())
        delta = total - total.at_least_zero()
    return tuple(entries.values())


@dataclass(frozen=True, slots=True)
class Entry:
    """A commentary entry as the rules of a sport see it.

    Attributes:
        id: Id of the entry. Entries apply in the order of their ids, which is that of their creation.
        type: The ``eventType``.
        side: The side whose score rises or that the entry concerns; for an own goal the side that benefits.
        period: The ``periodCode``.
        at: Time of creation, by the clock of PostgreSQL.
    """

    id: int
    type: str
    at: datetime
    side: Side | None = None
    period: str | None = None
    minute: int = 0
    stoppage: int | None = None
    actor: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Override:
    """A change by hand. It has a place among the entries, so that corrections of earlier entries leave it in force.

    Attributes:
        id: Place among the entries: both take their ids from one sequence.
        score: The score from here on.
        adjustment: Difference to the score for which no entry accounts: what an older version of the service wrote.
        status: The status from here on; None together with ``sets_status`` returns the match to the clock.
    """

    id: int
    at: datetime
    score: Score | None = None
    adjustment: Score | None = None
    sets_status: bool = False
    status: Status | None = None

    def to_json(self) -> str:
        """Return the JSON object that the database stores."""
        members: Json = {}
        if self.score is not None:
            members["score"] = [self.score.home, self.score.away]
        if self.adjustment is not None:
            members["adjustment"] = [self.adjustment.home, self.adjustment.away]
        if self.sets_status:
            members["status"] = self.status
        return orjson.dumps(members).decode()

    @classmethod
    def from_json(cls, id_: int, at: datetime, members: Mapping[str, Any]) -> Self:
        """Return the override that :meth:`to_json` has written."""
        score, adjustment = members.get("score"), members.get("adjustment")
        return cls(
            id_,
            at,
            None if score is None else Score(*score),
            None if adjustment is None else Score(*adjustment),
            "status" in members,
            members.get("status"),
        )


def timestamp(moment: datetime) -> str:
    """Return a time as clients receive it: UTC with milliseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
