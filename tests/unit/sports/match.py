"""A match for the tests of sports: a short notation for its entries, and checks after each of them.

match = Match("basketball", {"periodSeconds": 720})
match.start("Q1")
three = match.add("points", "home", after=34, points=3)
assert (match.score, match.breakdown, match.seconds()) == ((3, 0), {"Q1": (3, 0)}, 686)
match.delete(three)
assert match.score == (0, 0)
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from livescore.scores import sports
from livescore.scores.fold import Folder, Step, reversal
from livescore.scores.sports.sport import Sport
from livescore.scores.state import DecidedBy, Entry, Override, Score, Side, State, Status, Winner

START = datetime(2026, 6, 11, 19, tzinfo=UTC)


class Match:
    """A match whose state is checked after every change.

    Attributes:
        steps: Entries and overrides in the order of their ids.
        now: Time of the next entry.
        state: The fold of the steps.
        warnings: The warnings of the last entry.
    """

    def __init__(
        self, sport: Sport | str, rules: Mapping[str, Any] | None = None, initial: tuple[int, int] = (0, 0)
    ) -> None:
        """Create a match.

        Args:
            sport: A sport, or a value of a match's ``sport``.
            rules: The member ``rules`` of the match.
            initial: The score with which the match is created.
        """
        self.sport = sports.of(sport) if isinstance(sport, str) else sport
        self.folder = Folder(self.sport, self.sport.rules.model_validate(rules or {}), Score(*initial))
        self.steps: list[Step] = []
        self.now = START
        self.state = self.folder.start()
        self.warnings: list[str] = []
        self._last_id = 0

    # Changes

    def add(
        self,
        type: str,
        side: Side | None = None,
        *,
        after: float = 0,
        period: str | None = None,
        minute: int = 0,
        stoppage: int | None = None,
        actor: str | None = None,
        **metadata: Any,
    ) -> int:
        """Append an entry.

        Args:
            type: The ``eventType``.
            side: The member ``side``.
            after: Seconds since the entry before.
            period: The member ``periodCode``.
            minute: The member ``minute``.
            stoppage: The member ``stoppage``.
            actor: The member ``actor``.
            **metadata: Members of ``metadata``, as clients spell them.

        Returns:
            The id of the entry.
        """
        self.wait(after)
        entry = Entry(self._next_id(), type, self.now, side, period, minute, stoppage, actor, metadata)
        self.warnings = self.folder.warnings(self.state, entry)
        self.append(entry)
        return entry.id

    def start(self, period: str | None = None, *, after: float = 0) -> int:
        """Append a ``period_start``."""
        return self.add("period_start", period=period, after=after)

    def end(self, period: str | None = None, *, after: float = 0) -> int:
        """Append a ``period_end``."""
        return self.add("period_end", period=period, after=after)

    def set_score(self, home: int, away: int) -> None:
        """Set the score by hand."""
        self._override(Override(self._next_id(), self.now, score=Score(home, away)))

    def set_status(self, status: Status | None) -> None:
        """Set the status by hand; None returns the match to the clock."""
        self._override(Override(self._next_id(), self.now, sets_status=True, status=status))

    def adjust(self, home: int, away: int) -> None:
        """Append a difference to the score for which no entry accounts."""
        self._override(Override(self._next_id(), self.now, adjustment=Score(home, away)))

    def delete(self, id: int) -> None:
        """Delete an entry."""
        self.steps.remove(self._step(id))
        self._fold()

    def change(self, id: int, **fields: Any) -> None:
        """Correct an entry: new values by field of :class:`Entry`."""
        step = self._step(id)
        self.steps[self.steps.index(step)] = replace(step, **fields)
        self._fold()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    # The state

    @property
    def score(self) -> tuple[int, int]:
        """The headline."""
        return _pair(self.state.score)

    @property
    def breakdown(self) -> dict[str, tuple[int, int]]:
        """The points of each period, in the order of play."""
        return {entry.period: _pair(entry.score) for entry in self.state.scores}

    @property
    def result(self) -> tuple[Status | None, Winner | None, DecidedBy | None]:
        """Status, winner, and how the match was decided."""
        return self.state.status, self.state.winner, self.state.decided_by

    @property
    def kicks(self) -> tuple[int, int] | None:
        """The score of the shoot-out."""
        return None if self.state.shootout is None else _pair(self.state.shootout.score)

    def seconds(self) -> float | None:
        """Return the match time on the clock now."""
        return None if self.state.clock is None else self.state.clock.seconds_at(self.now)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _step(self, id: int) -> Step:
        return next(step for step in self.steps if step.id == id)

    def _override(self, step: Override) -> None:
        assert Override.from_json(step.id, step.at, orjson.loads(step.to_json())) == step
        self.append(step)

    def append(self, step: Step) -> None:
        """Append a step and check that its effect on the stored state is that of the fold."""
        stored = State.from_json(self.state.to_json())
        self.steps.append(step)
        self._fold()
        if reversal(step) is None:
            assert self.state == self.folder.apply(stored, step)

    def _fold(self) -> None:
        self.state = self.folder.fold(self.steps)
        assert_consistent(self.state)


def assert_consistent(state: State) -> None:
    """Check everything that holds for the state of every match of every sport."""
    assert State.from_json(state.to_json()) == state
    codes = [entry.period for entry in state.scores]
    assert len(codes) == len(set(codes))
    assert min(state.score.home, state.score.away, 0) == 0
    assert state.clock is None or state.clock.seconds >= 0
    assert (state.winner is None) == (state.decided_by is None)


def assert_sum(state: State) -> None:
    """Check that the points of the periods add up to the headline. In tennis they do not: it counts sets."""
    assert sum((entry.score for entry in state.scores), Score()) == state.score


def _pair(score: Score) -> tuple[int, int]:
    return score.home, score.away


def replay(folder: Folder, steps: list[Step]) -> Iterator[State]:
    """Yield the state after each step, as it follows from the stored state and the step alone.

    The last one is checked to be the fold of all steps. After a reversal the match is folded again.
    """
    state = folder.start()
    for number, step in enumerate(steps, start=1):
        stored = State.from_json(state.to_json())
        state = folder.apply(stored, step) if reversal(step) is None else folder.fold(steps[:number])
        assert_consistent(state)
        yield state
    assert state == folder.fold(steps)
