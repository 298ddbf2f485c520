"""Tennis matches from their scorelines: the results of the sets, and points that lead to them."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from livescore.scores.sports.tennis_board import TennisRules
from livescore.scores.state import PeriodScore, Score, Side, opponent

_SET = re.compile(r"(\d+)-(\d+)(?: \((\d+)-(\d+)\))?")
_MATCH_TIE_BREAK = re.compile(r"\[(\d+)-(\d+)\]")


@dataclass(frozen=True)
class SetResult:
    """The games of a set, and the points of its tie-break."""

    games: Score
    tie_break: Score | None = None

    @classmethod
    def of(cls, text: str) -> "SetResult":
        """Parse ``7-6 (10-8)``, or ``[10-7]`` for a tie-break instead of a set."""
        points = _MATCH_TIE_BREAK.fullmatch(text)
        if points is not None:
            tie_break = Score(int(points[1]), int(points[2]))
            leader = tie_break.leader
            assert leader != "draw"
            return cls(Score.of(leader), tie_break)
        parts = _SET.fullmatch(text)
        assert parts is not None, text
        tie_break_given = None if parts[3] is None else Score(int(parts[3]), int(parts[4]))
        return cls(Score(int(parts[1]), int(parts[2])), tie_break_given)


@dataclass(frozen=True)
class Scoreline:
    """A real match of ``tests/data/tennis.json``."""

    rules: TennisRules
    sets: tuple[SetResult, ...]
    winner: Side
    decided_by: str
    end: dict[str, Any] | None

    @classmethod
    def of(cls, match: dict[str, Any]) -> "Scoreline":
        """Parse an element of the file."""
        sets = tuple(SetResult.of(text) for text in match["sets"])
        rules = TennisRules.model_validate(match["rules"])
        return cls(rules, sets, match["winner"], match["decidedBy"], match.get("end"))

    @property
    def scores(self) -> tuple[PeriodScore, ...]:
        """The member ``scores`` of the finished match."""
        return tuple(
            PeriodScore(f"S{n}", played.games, played.tie_break) for n, played in enumerate(self.sets, start=1)
        )

    @property
    def headline(self) -> Score:
        """Sets won: all but one that ended early."""
        complete = self.sets if self.end is None else self.sets[:-1]
        return sum((Score.of(winner_of(played.games)) for played in complete), Score())

    def points(self, seed: int) -> Iterator[Side]:
        """Yield the winners of points that lead to the scoreline. The seed selects the order within games and sets."""
        chance = random.Random(seed)
        for played in self.sets:
            is_match_tie_break = played.tie_break is not None and max(played.games.home, played.games.away) == 1
            games = played.games
            if played.tie_break is not None:
                games -= Score.of(winner_of(played.games))
            if not is_match_tie_break:
                for winner in sequence(games, chance):
                    yield from game(winner, self.rules, chance)
            if played.tie_break is not None:
                yield from sequence(played.tie_break, chance)


def winner_of(score: Score) -> Side:
    """Return the side that has more."""
    leader = score.leader
    assert leader != "draw"
    return leader


def sequence(total: Score, chance: random.Random) -> Iterator[Side]:
    """Yield sides so that each occurs as often as in a score, and neither takes a lead of two before it must."""
    for _ in range(min(total.home, total.away)):
        first: Side = chance.choice(["home", "away"])
        yield from (first, opponent(first))
    if total.leader != "draw":
        yield from [total.leader] * abs(total.home - total.away)


def game(winner: Side, rules: TennisRules, chance: random.Random) -> Iterator[Side]:
    """Yield the points of a game: won to love, 15 or 30, or after deuces."""
    lost = chance.randrange(4)
    if lost < 3:
        points: list[Side] = [winner] * 3 + [opponent(winner)] * lost
        chance.shuffle(points)
        yield from (*points, winner)
        return
    points = [winner, opponent(winner)] * 3
    chance.shuffle(points)
    yield from points
    if rules.no_ad:
        yield winner
        return
    while chance.random() < 0.3:
        first: Side = chance.choice(["home", "away"])
        yield from (first, opponent(first))
    yield from (winner, winner)
