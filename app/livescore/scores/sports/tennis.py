"""Tennis: points, games, tie-breaks and sets.

The headline is the sets, and each set is a period whose score is its games. Sets start and end with their points: the
first point opens the first set and makes the match live, the last one finishes the match. ``period_start`` and
``period_end`` are for reporters that know more: the first server, or only the results of the sets.
"""

from datetime import datetime

from livescore.scores.sports.sport import (
    COMMON_TYPES,
    END,
    FULL_TIME,
    MALFORMED_SCORE,
    Period,
    Sport,
    has_delta,
    score,
    whole,
)
from livescore.scores.sports.tennis_board import POINTS, SETS, Board, TennisRules, is_final, set_number
from livescore.scores.state import DecidedBy, Entry, Json, Score, Side, State, Status, Winner

_CLOCK_TYPES = frozenset({"clock_start", "clock_stop", "clock_set", "added_time"})

_ENDS_EARLY = frozenset({"retirement", "walkover", "default"})

_DECIDED = ["the match is decided: the entry has no effect"]
_NOT_WON = ["no side has the sets that win the match: the side that leads wins"]

_NUMBER: Json = {"type": "integer", "minimum": 0}
_POINTS: Json = {"anyOf": [{"enum": list(POINTS)}, _NUMBER]}


def _both_sides(description: str, value: Json) -> Json:
    return {
        "description": description,
        "type": "object",
        "properties": {"home": value, "away": value},
        "required": ["home", "away"],
    }


_DETAIL_SCHEMA: Json = {
    "title": "TennisState",
    "description": "Points of the current game or tie-break, games of the current set, and sets.",
    "type": "object",
    "properties": {
        "points": _both_sides("Points of the current game: text, or numbers in a tie-break.", _POINTS),
        "tieBreak": {"description": "True while a tie-break is played.", "type": "boolean"},
        "server": {
            "description": "Side that serves the next point; null if it is not known, and after the last point.",
            "enum": ["home", "away", None],
        },
        "games": _both_sides("Games of the current set, or of the last one.", _NUMBER),
        "sets": _both_sides("Sets won: the headline.", _NUMBER),
    },
    "required": ["points", "tieBreak", "server", "games", "sets"],
}


class Tennis(Sport):
    """Tennis, singles and doubles. The side that an entry names wins the point."""

    name = "tennis"
    moving = COMMON_TYPES | {"point", "points", "goal"}
    scoring = frozenset({"point", "points", "goal"})
    rules = TennisRules

    detail_schema = _DETAIL_SCHEMA

    def period(self, code: str, rules: TennisRules) -> Period | None:
        """Return a set that these rules allow, or the end."""
        if code == FULL_TIME:
            return END
        return Period(code, "play") if code in SETS[: rules.best_of] else None

    def next_periods(self, state: State, rules: TennisRules) -> tuple[str, ...]:
        """Return the current set, or the one that follows: a set continues after an interruption."""
        board = Board(state, rules)
        return () if board.is_won else (SETS[board.expected_number - 1],)

    def after(self, code: str, state: State, rules: TennisRules) -> str:
        """Return the set that follows another one: sets have no breaks with names between them."""
        number = set_number(code)
        is_last = number is None or number >= rules.best_of or Board(state, rules).is_won
        return FULL_TIME if number is None or is_last else SETS[number]

    def initial_state(self, rules: TennisRules) -> State:
        """Return love all."""
        return Board(State(), rules).to_state()

    def apply(self, state: State, entry: Entry, rules: TennisRules) -> State:
        """Add points; end the match early; leave the clock, which tennis does not have, alone."""
        if entry.type in self.scoring:
            return self._add_points(state, entry, rules)
        if entry.type in _ENDS_EARLY:
            if entry.side is None or Board(state, rules).is_won:
                return state
            return super().apply(self._with_last_result(state, entry, rules), entry, rules)
        if entry.type == "period_end":
            return self.end_period(state, entry, rules)
        return state if entry.type in _CLOCK_TYPES else super().apply(state, entry, rules)

    def with_score(self, state: State, score: Score, rules: TennisRules) -> State:
        """Return the state with sets set by hand. The set that follows is then the current one."""
        board = Board(state, rules)
        board.set_sets(score)
        return board.to_state()

    def finish(self, state: State, rules: TennisRules, at: datetime) -> State:
        """Return the state of a match that has ended by hand, without a set of which no point was played."""
        return super().finish(_without_unplayed_set(state), rules, at)

    def close(self, state: State, at: datetime, winner: Winner, decided_by: DecidedBy, status: Status) -> State:
        """Return the state of a match that ended early: its last set stays as it stood."""
        return super().close(_without_unplayed_set(state), at, winner, decided_by, status)

    def resume(self, state: State, rules: TennisRules, at: datetime, *, was_stopped: bool) -> State:
        """Return the state of a match that goes on in its last set, unless a side has won it."""
        board = Board(state, rules)
        board.winner, board.decided_by, board.status = None, None, "live"
        if board.period == FULL_TIME and not board.is_won:
            board.open(board.expected_number)
        return board.to_state()

    def start_period(self, state: State, entry: Entry, rules: TennisRules) -> State:
        """Start a set, or continue the current one: ``metadata.server`` serves, ``metadata.score`` are the games.

        The result of a set that was not over remains open until a ``period_end`` gives it. A set that is over does not
        start again.
        """
        board = Board(state, rules)
        if entry.period == FULL_TIME:
            return state if board.is_over else self.finish(state, rules, entry.at)
        number = set_number(entry.period) or board.expected_number
        if board.is_won or number < board.expected_number:
            return state
        if number != board.number:
            board.open(number)
        games = score(entry.metadata, "score")
        if games is not None:
            board.set_games(number, games, score(entry.metadata, "tieBreak"))
        board.server = given_server(entry) or board.server
        board.winner, board.decided_by, board.status = None, None, "live"
        return board.to_state()

    def end_period(self, state: State, entry: Entry, rules: TennisRules) -> State:
        """End a set with its ``metadata.score`` and ``metadata.tieBreak``, or with the side that won it.

        Without either, the side that has more games wins the set. The result of an earlier set replaces that set's.
        """
        board = Board(state, rules)
        if entry.period == FULL_TIME:
            return state if board.is_over else self.finish(state, rules, entry.at)
        number = set_number(entry.period) or board.expected_number
        games = score(entry.metadata, "score")
        if board.is_over or number < board.expected_number:
            if games is not None:
                board.correct_set(number, games, score(entry.metadata, "tieBreak"))
            return board.to_state()
        if games is None and entry.side is None and not board.is_played:
            # The set before has ended with its last point.
            return state
        if number != board.number:
            board.open(number)
        if games is not None:
            board.set_games(number, games, score(entry.metadata, "tieBreak"))
        board.resume()
        board.end_set(entry.side or board.games.leader)
        return board.to_state()

    def warnings(self, state: State, entry: Entry, rules: TennisRules) -> list[str]:
        """Return the contradictions between an entry and the state before it."""
        board = Board(state, rules)
        if entry.type in ("point", "points"):
            return _point_warnings(board, entry)
        if entry.type == "period_start":
            return _start_warnings(board, entry)
        if entry.type == "period_end":
            return _end_warnings(board, entry, rules)
        if entry.type in _CLOCK_TYPES:
            return ["tennis has no clock: the entry has no effect"]
        if entry.type in _ENDS_EARLY and entry.side is not None and board.is_won:
            return _DECIDED
        return super().warnings(state, entry, rules)

    def _add_points(self, state: State, entry: Entry, rules: TennisRules) -> State:
        if has_delta(entry):
            return self.with_result(self.add_delta(state, entry, rules), rules)
        board = Board(state, rules)
        points = whole(entry.metadata, "points") if entry.type == "points" else 1
        if entry.side is None or entry.type == "goal" or board.is_over or not points:
            return state
        board.resume()
        board.server = given_server(entry) or board.server
        if entry.metadata.get("wins") == "game":
            board.win_game(entry.side)
            return board.to_state()
        board.win_points(entry.side, points)
        return board.to_state()

    def _with_last_result(self, state: State, entry: Entry, rules: TennisRules) -> State:
        """Return the state with the games of the set in which a match ended early, if the entry gives them."""
        games = score(entry.metadata, "score")
        board = Board(state, rules)
        if games is not None:
            number = set_number(entry.period) or board.expected_number
            if number != board.number:
                board.open(number)
            board.set_games(number, games, score(entry.metadata, "tieBreak"))
        return board.to_state()


def _without_unplayed_set(state: State) -> State:
    board = Board(state, TennisRules())
    board.discard_unplayed()
    return board.to_state()


def given_server(entry: Entry) -> Side | None:
    """Return the side that serves by the reporter: ``metadata.server``."""
    server = entry.metadata.get("server")
    return server if server in ("home", "away") else None


def _point_warnings(board: Board, entry: Entry) -> list[str]:
    if has_delta(entry):
        return []
    if entry.side is None:
        return ["no side: the entry has no effect"]
    if board.is_over:
        return _DECIDED
    warnings = []
    if entry.type == "points" and not whole(entry.metadata, "points"):
        warnings.append("metadata.points has no effect: it needs an integer of at least 1")
    current, server = SETS[board.expected_number - 1], given_server(entry)
    if entry.period not in (None, current):
        warnings.append(f"the point counts in the current set {current}, not in {entry.period}")
    if server is not None and board.server not in (None, server):
        warnings.append(f"{board.server} was to serve, the entry says {server}")
    return warnings


def _start_warnings(board: Board, entry: Entry) -> list[str]:
    if entry.period == FULL_TIME:
        return _NOT_WON if not board.is_over else []
    current = SETS[board.expected_number - 1]
    code = entry.period or current
    if code not in SETS:
        return [f"tennis has no period {code}: the entry counts for {current}"]
    if board.is_won:
        return _DECIDED
    if code < current:
        return [f"{code} is over: the entry has no effect"]
    if code > current and board.number is not None and board.is_played:
        return [f"{current} is not over: it counts for neither side until its period_end gives its metadata.score"]
    return [f"{code} is not expected now: {current} follows"] if code > current else []


def _end_warnings(board: Board, entry: Entry, rules: TennisRules) -> list[str]:
    if entry.period == FULL_TIME:
        return _NOT_WON if not board.is_over else []
    number, current = set_number(entry.period) or board.expected_number, board.expected_number
    code, games = SETS[number - 1], score(entry.metadata, "score")
    if entry.period not in (None, code):
        return [f"tennis has no period {entry.period}: the entry counts for {code}"]
    if "score" in entry.metadata and games is None:
        return [MALFORMED_SCORE]
    if games is not None and board.is_over and code not in board.results:
        return ["the match is decided"]
    if number > current and not board.is_over:
        return [f"{code} is not expected now: {SETS[current - 1]} is the current set"]
    return _result_warnings(board, entry, rules, number)


def _result_warnings(board: Board, entry: Entry, rules: TennisRules, number: int) -> list[str]:
    games = score(entry.metadata, "score")
    if games is not None:
        outcome = Board(board.to_state(), rules)
        outcome.set_games(number, games, score(entry.metadata, "tieBreak"))
        result = outcome.results[SETS[number - 1]].score
    elif board.is_over or number < board.expected_number or not board.is_played or entry.side is not None:
        return []
    else:
        result = board.games
    if is_final(rules, number, result):
        return []
    return [f"{result.home}-{result.away} is not the result of a set by the rules of this match"]
