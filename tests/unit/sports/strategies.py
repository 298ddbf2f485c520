"""Random matches for property tests of sports."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from livescore.scores.fold import Step
from livescore.scores.state import STATUSES, Entry, Override, Score
from tests.unit.sports.match import START

scores = st.builds(Score, st.integers(0, 9), st.integers(0, 9))
differences = st.builds(Score, st.integers(-9, 9), st.integers(-9, 9))
statuses = st.none() | st.sampled_from(STATUSES)

# Values that no client should send, and that must do no harm.
_nonsense: st.SearchStrategy[Any] = st.sampled_from([None, True, -1, 1.5, "3", 10**30, 1e300, [], {}])


def _metadata(max_id: int) -> st.SearchStrategy[dict[str, Any]]:
    delta = st.fixed_dictionaries({}, optional={"home": st.integers(0, 3), "away": st.integers(0, 3)})
    return st.fixed_dictionaries(
        {},
        optional={
            "scoreDelta": delta | st.none(),
            "points": st.integers(1, 3) | _nonsense,
            "seconds": st.floats(0, 3000) | _nonsense,
            "minutes": st.integers(0, 9) | _nonsense,
            "commentaryId": st.integers(1, max_id) | _nonsense,
            "outcome": st.sampled_from(["overturned", "confirmed"]),
        },
    )


def steps(types: Iterable[str], codes: Iterable[str], size: int = 25) -> st.SearchStrategy[list[Step]]:
    """Return a strategy for the entries and overrides of a match, in the order of their ids.

    Args:
        types: Values of ``eventType``, usually ``sport.moving``.
        codes: Values of ``periodCode``, to which "?" is added.
        size: Largest number of steps.
    """
    entry = st.builds(
        Entry,
        id=st.just(0),
        type=st.sampled_from([*sorted(types), "commentary"]),
        at=st.just(START),
        side=st.sampled_from(["home", "away", None]),
        period=st.none() | st.sampled_from([*codes, "?"]),
        minute=st.integers(0, 130),
        actor=st.none() | st.just("A"),
        metadata=_metadata(size),
    )
    override = st.one_of(
        st.builds(Override, st.just(0), st.just(START), score=scores),
        st.builds(Override, st.just(0), st.just(START), adjustment=differences),
        st.builds(Override, st.just(0), st.just(START), sets_status=st.just(True), status=statuses),
    )
    # Hypothesis would draw an override as often as an entry.
    step: st.SearchStrategy[Step] = st.integers(0, 9).flatmap(lambda number: override if number == 0 else entry)
    return st.lists(st.tuples(step, st.floats(0, 2000)), max_size=size).map(_in_order)


def _in_order(drawn: list[tuple[Step, float]]) -> list[Step]:
    """Give ids and times to steps, each of which comes some seconds after the one before."""
    ordered: list[Step] = []
    now = START
    for number, (step, seconds) in enumerate(drawn, start=1):
        now += timedelta(seconds=seconds)
        ordered.append(replace(step, id=number, at=now))
    return ordered
