"""Basketball: points of one, two or three, four quarters or two halves, and overtimes until one side leads."""

from typing import Any, Literal

from pydantic import Field

from livescore.scores.sports.sport import COMMON_TYPES, Period, Rules, has_delta, whole
from livescore.scores.sports.timed import TimedSport
from livescore.scores.state import Entry, State


class BasketballRules(Rules):
    """The rules of a basketball match. The defaults are those of FIBA."""

    periods: Literal[2, 4] = Field(4, description="Four quarters or two halves.")
    period_seconds: int = Field(600, ge=1, le=3600, description="Length of a quarter or half: 720 in the NBA.")
    overtime_seconds: int = Field(300, ge=0, le=3600, description="Length of an overtime; 0 if a draw ends the match.")


class Basketball(TimedSport):
    """The rules of basketball. Fouls and timeouts are free commentary."""

    name = "basketball"
    moving = COMMON_TYPES | {"points", "goal"}
    scoring = frozenset({"points", "goal"})
    rules = BasketballRules

    def regular(self, rules: BasketballRules) -> tuple[Period, ...]:
        """Return the quarters or halves, and the breaks between them."""
        codes = ("Q1", "B1", "Q2", "HT", "Q3", "B3", "Q4") if rules.periods == 4 else ("H1", "HT", "H2")
        return tuple(
            Period(code, "break") if index % 2 else Period(code, "play", rules.period_seconds)
            for index, code in enumerate(codes)
        )

    def overtime_seconds(self, rules: BasketballRules) -> int:
        """Return the length of an overtime."""
        return rules.overtime_seconds

    def points(self, entry: Entry) -> int:
        """Return the points of a basket. A ``goal`` counts only by its ``metadata.scoreDelta``, as in all sports."""
        return _points(entry) if entry.type == "points" else 0

    def warnings(self, state: State, entry: Entry, rules: Any) -> list[str]:
        """Return the contradictions between an entry and the state before it, for the reporter."""
        if entry.type != "points" or has_delta(entry):
            return super().warnings(state, entry, rules)
        if entry.side is None:
            return ["no side: the score stays"]
        if _points(entry) == 0:
            return ["metadata.points is not 1, 2 or 3: the score stays"]
        return super().warnings(state, entry, rules)


def _points(entry: Entry) -> int:
    """Return the points of a basket; 0 if the entry does not say 1, 2 or 3."""
    points = whole(entry.metadata, "points")
    return points if points in (1, 2, 3) else 0
