"""Results entered by period: a ``period_end`` with ``metadata.score``."""

from datetime import UTC, datetime
from typing import Any

import pytest

from livescore.scores.fold import Folder
from livescore.scores.sports.generic import Generic
from livescore.scores.state import Entry, PeriodScore, Score, State

NOW = datetime(2026, 6, 11, 19, tzinfo=UTC)
GENERIC = Folder(Generic(), Generic.rules())


def ended(id_: int, period: str, score: Any) -> Entry:
    return Entry(id_, "period_end", NOW, period=period, metadata={"score": score})


def fold(*entries: Entry) -> State:
    return GENERIC.fold(entries)


def test_the_points_of_each_period_sum_up_to_the_headline() -> None:
    state = fold(ended(1, "first half", {"home": 12, "away": 9}), ended(2, "second half", {"home": 14, "away": 17}))
    assert state.score == Score(26, 26)
    assert state.scores == (PeriodScore("first half", Score(12, 9)), PeriodScore("second half", Score(14, 17)))


def test_the_points_of_a_period_replace_those_counted_so_far() -> None:
    start = Entry(1, "period_start", NOW, period="first half")
    goal = Entry(2, "goal", NOW, metadata={"scoreDelta": {"home": 1}})
    assert fold(start, goal, ended(3, "first half", {"home": 0, "away": 2})).score == Score(0, 2)


@pytest.mark.parametrize("score", [None, 3, {}, {"home": 1}, {"home": -1, "away": 0}, {"home": "1", "away": 0}])
def test_a_malformed_score_has_no_effect_and_a_warning(score: Any) -> None:
    entry = ended(1, "first half", score)
    assert fold(entry).scores == ()
    assert GENERIC.warnings(GENERIC.start(), entry) == [
        "metadata.score has no effect: it needs home and away, integers of at least 0"
    ]
