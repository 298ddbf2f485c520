"""The scoreboard of a tennis match, and the rules by which points become games and sets."""

from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from livescore.scores.sports.sport import FULL_TIME, Rules
from livescore.scores.state import NO_SCORE, Json, PeriodScore, Score, Side, State, Winner, opponent

SETS = ("S1", "S2", "S3", "S4", "S5")

# Points of a game by the number of points won. At 40 each, the side that wins the next point has the advantage.
POINTS = ("0", "15", "30", "40", "AD")
_DEUCE, _ADVANTAGE_LOST = Score(3, 3), Score(4, 4)
_GAME = 4

# Points of a tie-break that replaces the final set, by the ITF Rules of Tennis, Appendix V.
_MATCH_TIE_BREAK = 10

# Statuses in which a point shows that play has begun or goes on. A cancelled or abandoned match stays that.
_RESUMED_BY_PLAY = frozenset({None, "scheduled", "delayed", "interrupted", "postponed"})


class TennisRules(Rules):
    """Rules of a tennis match. The defaults are those of most tournaments: best of three sets with tie-breaks."""

    best_of: Literal[1, 3, 5] = Field(3, description="Largest number of sets.")
    no_ad: bool = Field(default=False, description="At deuce, the next point wins the game.")
    games_per_set: int = Field(6, ge=1, le=99, description="Games that win a set with a lead of two.")
    tie_break_at: int | None = Field(
        default_factory=lambda data: data.get("games_per_set"),
        ge=1,
        le=99,
        description="Games of each side at which a tie-break follows: `gamesPerSet` if absent; null: no tie-breaks.",
    )
    tie_break_to: int = Field(7, ge=1, le=99, description="Points that win a tie-break with a lead of two.")
    final_set: Literal["tie_break", "match_tie_break", "advantage"] = Field(
        "tie_break",
        description="The final set: a set like the others, a tie-break instead of a set, or a set without tie-break.",
    )
    final_set_tie_break_at: int | None = Field(
        None, ge=1, le=99, description="`tieBreakAt` in the final set, if it differs."
    )
    final_set_tie_break_to: int | None = Field(
        None, ge=1, le=99, description="`tieBreakTo` in the final set, if it differs; 10 in a match tie-break."
    )

    @model_validator(mode="after")
    def _tie_breaks_are_reached(self) -> Self:
        earliest = self.games_per_set - 1
        if self.tie_break_at is not None and self.tie_break_at < earliest:
            raise ValueError(f"tieBreakAt must be at least gamesPerSet - 1 = {earliest}, or null")
        if self.final_set_tie_break_at is not None and self.final_set_tie_break_at < earliest:
            raise ValueError(f"finalSetTieBreakAt must be at least gamesPerSet - 1 = {earliest}, or null")
        return self

    @property
    def sets_to_win(self) -> int:
        """Sets that win the match."""
        return self.best_of // 2 + 1

    def is_match_tie_break(self, number: int) -> bool:
        """Return True if a tie-break is played instead of a set."""
        return number >= self.best_of and self.final_set == "match_tie_break"

    def games_before_tie_break(self, number: int) -> int | None:
        """Return the games of each side at which the tie-break of a set follows; None if the set has none."""
        if number < self.best_of:
            return self.tie_break_at
        return None if self.final_set == "advantage" else self.final_set_tie_break_at or self.tie_break_at

    def points_of_tie_break(self, number: int) -> int:
        """Return the points that win the tie-break of a set."""
        if number < self.best_of:
            return self.tie_break_to
        default = _MATCH_TIE_BREAK if self.final_set == "match_tie_break" else self.tie_break_to
        return self.final_set_tie_break_to or default


class Board:
    """The scoreboard of a match: a working copy of its state, to which points are added.

    Attributes:
        sets: Sets won.
        results: Games and tie-breaks of the sets by their code, the current set included.
        period: Code of the current set; ``FT`` after the match.
        points: Points won in the current game by number; those of a tie-break are in the set's result.
    """

    def __init__(self, state: State, rules: TennisRules) -> None:
        self.rules = rules
        self.sets = state.score
        self.results = {result.period: result for result in state.scores}
        self.period = state.period
        self.winner = state.winner
        self.decided_by = state.decided_by
        self.status = state.status
        self.points = NO_SCORE
        self.server: Side | None = None
        self._state = state
        detail = state.detail
        if detail is not None:
            self.server = detail["server"]
            points = detail["points"]
            if not detail["tieBreak"]:
                self.points = Score(POINTS.index(points["home"]), POINTS.index(points["away"]))

    def to_state(self) -> State:
        """Return the state that the scoreboard shows."""
        return replace(
            self._state,
            score=self.sets,
            scores=tuple(self.results[code] for code in SETS if code in self.results),
            period=self.period,
            winner=self.winner,
            decided_by=self.decided_by,
            status=self.status,
            detail=self._detail(),
        )

    def _detail(self) -> Json:
        tie_break = self.tie_break
        if tie_break is None:
            points: Json = {"home": POINTS[self.points.home], "away": POINTS[self.points.away]}
        else:
            points = {"home": tie_break.home, "away": tie_break.away}
        return {
            "points": points,
            "tieBreak": tie_break is not None,
            "server": self.server,
            "games": {"home": self.games.home, "away": self.games.away},
            "sets": {"home": self.sets.home, "away": self.sets.away},
        }

    @property
    def number(self) -> int | None:
        """Number of the current set; None before and after the match."""
        return set_number(self.period)

    @property
    def expected_number(self) -> int:
        """Number of the current set, or of the one that follows the sets won."""
        return self.number or min(self.sets.home + self.sets.away + 1, len(SETS))

    @property
    def result(self) -> PeriodScore | None:
        """Games and tie-break of the current set; None before and after the match."""
        return self.results.get(self.period or "") if self.number is not None else None

    @property
    def games(self) -> Score:
        """Games of the current set, or of the last one."""
        if self.result is not None:
            return self.result.score
        return self.results[max(self.results)].score if self.results else NO_SCORE

    @property
    def tie_break(self) -> Score | None:
        """Points of the tie-break that is played now; None in a game."""
        return None if self.result is None else self.result.tie_break

    @property
    def is_won(self) -> bool:
        """True if a side has won the sets that it needs."""
        return max(self.sets.home, self.sets.away) >= self.rules.sets_to_win

    @property
    def is_over(self) -> bool:
        """True if the match has a result, by its sets or otherwise."""
        return self.is_won or self.winner is not None

    @property
    def is_played(self) -> bool:
        """True if a point of the current set was played."""
        return any(won not in (None, NO_SCORE) for won in (self.games, self.tie_break, self.points))

    # Points, games and sets

    def resume(self) -> None:
        """Open the first set if none was opened, and make the match live."""
        if self.number is None:
            self.open(self.expected_number)
        if self.status in _RESUMED_BY_PLAY:
            self.status = "live"

    def open(self, number: int) -> None:
        """Make a set the current one. A current set of which no point was played is removed."""
        self.discard_unplayed()
        self.period = SETS[number - 1]
        if self.period not in self.results:
            self.points = NO_SCORE
            tie_break = NO_SCORE if self.rules.is_match_tie_break(number) else None
            self.results[self.period] = PeriodScore(self.period, NO_SCORE, tie_break)

    def win_points(self, side: Side, number: int) -> None:
        """Add several points of one side, until the match is over."""
        for _ in range(number):
            if self.is_over:
                return
            self.win_point(side)

    def win_point(self, side: Side) -> None:
        """Add a point."""
        if self.tie_break is not None:
            self._win_tie_break_point(self.tie_break + Score.of(side), side)
            return
        points = self.points + Score.of(side)
        if has_won(points, side, _GAME, lead=1 if self.rules.no_ad else 2):
            self.win_game(side)
        else:
            self.points = _DEUCE if points == _ADVANTAGE_LOST else points

    def _win_tie_break_point(self, points: Score, side: Side) -> None:
        self._set_result(self.games, points)
        if (points.home + points.away) % 2 == 1:
            self._change_server()
        if has_won(points, side, self.rules.points_of_tie_break(self.expected_number), lead=2):
            self.win_game(side)

    def win_game(self, side: Side) -> None:
        """End the current game or tie-break. The points of a tie-break that was not over are not known then."""
        number, tie_break = self.expected_number, self.tie_break
        games = self.games + Score.of(side)
        self.points = NO_SCORE
        if tie_break is None:
            self._change_server()
            starts_tie_break = games == self._before_tie_break(number)
            self._set_result(games, NO_SCORE if starts_tie_break else None)
            if has_won(games, side, self.rules.games_per_set, lead=2):
                self.end_set(side)
            return
        if not is_first_server(tie_break):
            self._change_server()
        # The side that served first in the tie-break receives first in the next set.
        self._change_server()
        is_complete = has_won(tie_break, side, self.rules.points_of_tie_break(number), lead=2)
        self._set_result(games, tie_break if is_complete else None)
        self.end_set(side)

    def end_set(self, winner: Winner) -> None:
        """End the current set, and the match with its last set. A set without winner counts for neither side."""
        if winner != "draw":
            self.sets += Score.of(winner)
        number = self.expected_number
        if self.is_won or number >= self.rules.best_of:
            self._end()
        else:
            self.open(number + 1)

    def _end(self) -> None:
        self.discard_unplayed()
        self.period = FULL_TIME
        self.points, self.server = NO_SCORE, None
        self.winner, self.decided_by, self.status = self.sets.leader, "regular", "finished"

    # Results and changes by hand

    def set_games(self, number: int, games: Score, tie_break: Score | None) -> None:
        """Set the games of a set. Two numbers alone may be the points of a match tie-break."""
        if self.rules.is_match_tie_break(number) and tie_break is None and max(games.home, games.away) > 1:
            leader, tie_break = games.leader, games
            is_over = leader != "draw" and has_won(games, leader, self.rules.points_of_tie_break(number), lead=2)
            games = Score.of(leader) if is_over and leader != "draw" else NO_SCORE
        elif tie_break is None and games == self._before_tie_break(number):
            tie_break = NO_SCORE
        code = SETS[number - 1]
        known = self.results.get(code)
        if tie_break is None and known is not None and known.score == games:
            tie_break = known.tie_break
        self.results[code] = PeriodScore(code, games, tie_break)
        if code == self.period:
            self.points = NO_SCORE

    def correct_set(self, number: int, games: Score, tie_break: Score | None) -> None:
        """Replace the result of an earlier set, and count the sets again. This may end or continue the match."""
        before = self.results.get(SETS[number - 1])
        self.set_games(number, games, tie_break)
        if self.winner is not None and self.decided_by != "regular":
            return
        earlier = SETS[: len(self.results) if self.number is None else self.number - 1]
        if all(code in self.results for code in earlier):
            self.sets = sum((set_won(self.results[code]) for code in earlier), NO_SCORE)
        else:
            change = set_won(self.results[SETS[number - 1]]) - (NO_SCORE if before is None else set_won(before))
            self.sets = (self.sets + change).at_least_zero()
        if self.is_won:
            self._end()
        elif self.number is None:
            self.winner, self.decided_by, self.status = None, None, "live"
            self.open(self.expected_number)

    def set_sets(self, sets: Score) -> None:
        """Set the sets by hand. During the match, the set that follows them becomes the current one."""
        self.sets = sets
        number = self.number
        if number is None:
            return
        expected = min(sets.home + sets.away + 1, self.rules.best_of)
        if self.is_won:
            self._end()
        elif expected > number:
            self.open(expected)
        elif expected < number:
            self.results = {code: result for code, result in self.results.items() if code <= SETS[expected - 1]}
            self.open(expected)
            self.points = NO_SCORE
            self._set_result(self.games, NO_SCORE if self.rules.is_match_tie_break(expected) else None)

    def _set_result(self, games: Score, tie_break: Score | None) -> None:
        code = SETS[self.expected_number - 1]
        self.results[code] = PeriodScore(code, games, tie_break)

    def discard_unplayed(self) -> None:
        """Remove the current set if no point of it was played."""
        if self.period is not None and self.number is not None and not self.is_played:
            self.results.pop(self.period, None)

    def _change_server(self) -> None:
        self.server = None if self.server is None else opponent(self.server)

    def _before_tie_break(self, number: int) -> Score | None:
        games = self.rules.games_before_tie_break(number)
        return None if games is None else Score(games, games)


def is_final(rules: TennisRules, number: int, games: Score) -> bool:
    """Return True if games are the result of a set by the rules."""
    more, fewer = max(games.home, games.away), min(games.home, games.away)
    if rules.is_match_tie_break(number):
        return (more, fewer) == (1, 0)
    tie_break_at = rules.games_before_tie_break(number)
    if tie_break_at is not None and fewer >= tie_break_at:
        return (more, fewer) == (tie_break_at + 1, tie_break_at)
    if more == rules.games_per_set:
        return more - fewer >= 2
    return more > rules.games_per_set and more - fewer == 2


def set_number(code: str | None) -> int | None:
    """Return the number of a set by its code; None for all other codes."""
    return SETS.index(code) + 1 if code in SETS else None


def set_won(result: PeriodScore) -> Score:
    """Return one set for the side that has more games; none if they are level."""
    leader = result.score.leader
    return NO_SCORE if leader == "draw" else Score.of(leader)


def has_won(points: Score, side: Side, target: int, *, lead: int) -> bool:
    """Return True if a side has a number of points or games, and a lead over the other side."""
    own, other = (points.home, points.away) if side == "home" else (points.away, points.home)
    return own >= target and own - other >= lead


def is_first_server(points: Score) -> bool:
    """Return True if the next point of a tie-break is served by the side that served its first point.

    That side serves one point, then both serve two in turn.
    """
    return (points.home + points.away + 1) // 2 % 2 == 0
