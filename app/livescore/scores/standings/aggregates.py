"""The score over both legs of a tie. Pure, without I/O."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from livescore.scores.state import DecidedBy, Json, Score, Status, Winner

_STARTED: frozenset[Status] = frozenset({"live", "interrupted", "finished", "awarded"})
_ENDED: frozenset[Status] = frozenset({"finished", "awarded"})

# Results of the second leg that decide a tie which the goals of both legs leave level.
_DECIDES: frozenset[DecidedBy | None] = frozenset({"penalties", "awarded"})


@dataclass(frozen=True, slots=True)
class Leg:
    """A match that is one of two legs.

    Attributes:
        number: 1 or 2.
        place: Season, stage and round, which both legs share.
        winner: The winner of this match, None while it has none.
    """

    match_id: int
    number: int
    place: tuple[str | None, ...]
    home: str
    away: str
    status: Status
    score: Score
    winner: Winner | None = None
    decided_by: DecidedBy | None = None


def aggregates(legs: Iterable[Leg]) -> dict[int, Json]:
    """Return the member ``aggregate`` by match id, for both legs of every tie that has started.

    Home and away are the sides of the match that shows it. A tie whose legs cannot be told apart, because a number
    occurs twice, has no aggregate.
    """
    ties: dict[tuple[object, ...], list[Leg]] = defaultdict(list)
    for leg in legs:
        ties[*leg.place, frozenset((leg.home, leg.away))].append(leg)
    result: dict[int, Json] = {}
    for tie in ties.values():
        first, *others = sorted(tie, key=lambda leg: leg.number)
        if len(others) == 1 and (first.number, others[0].number) == (1, 2):
            result |= _aggregate(first, others[0])
    return result


def _aggregate(first: Leg, second: Leg) -> dict[int, Json]:
    started = [leg for leg in (first, second) if leg.status in _STARTED]
    if not started:
        return {}
    total = sum((_seen_by(second, leg) for leg in started), Score())
    winner = _winner(first, second, total)
    other = Score(total.away, total.home)
    is_swapped = first.home != second.home
    return {
        second.match_id: _member(total, winner),
        first.match_id: _member(other, _swapped(winner)) if is_swapped else _member(total, winner),
    }


def _seen_by(second: Leg, leg: Leg) -> Score:
    """Return the score of a leg from the sides of the second one."""
    return leg.score if leg.home == second.home else Score(leg.score.away, leg.score.home)


def _winner(first: Leg, second: Leg, total: Score) -> Winner | None:
    """Return the winner of the tie, as a side of the second leg; None while the tie is not decided."""
    if first.status not in _ENDED or second.status not in _ENDED:
        return None
    if total.leader != "draw":
        return total.leader
    return second.winner if second.decided_by in _DECIDES and second.winner != "draw" else None


def _swapped(winner: Winner | None) -> Winner | None:
    if winner == "home":
        return "away"
    return "home" if winner == "away" else winner


def _member(score: Score, winner: Winner | None) -> Json:
    return {"home": score.home, "away": score.away, "winner": winner}
