"""A sport is one module and one line in the registry."""

from typing import Any

import pytest

from livescore.scores import sports
from livescore.scores.sports.sport import COMMON_TYPES, END, Period, Sport
from livescore.scores.state import Entry, State
from tests.unit.sports.match import Match, assert_sum

# The module of the new sport.


class Kabaddi(Sport):
    """Two halves of twenty minutes; a raid scores as many points as it touches defenders."""

    name = "kabaddi"
    aliases = frozenset({"pro kabaddi"})
    moving = COMMON_TYPES | {"raid"}
    scoring = frozenset({"raid"})
    direction = "down"

    def period(self, code: str, rules: Any) -> Period | None:
        periods = (Period("H1", "play", 1200), Period("HT", "break"), Period("H2", "play", 1200), END)
        return next((period for period in periods if period.code == code), None)

    def next_periods(self, state: State, rules: Any) -> tuple[str, ...]:
        return {None: ("H1",), "H1": ("H2", "HT"), "HT": ("H2",)}.get(state.period, ())

    def after(self, code: str, state: State, rules: Any) -> str:
        return {"H1": "HT", "HT": "HT"}.get(code, "FT")

    def apply(self, state: State, entry: Entry, rules: Any) -> State:
        if entry.type == "raid":
            return self.add(state, entry, rules, len(entry.metadata.get("touched", [])))
        return super().apply(state, entry, rules)


@pytest.fixture
def kabaddi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the line in the registry."""
    monkeypatch.setattr(sports, "SPORTS", (*sports.SPORTS, Kabaddi()))


@pytest.mark.usefixtures("kabaddi")
def test_a_new_sport_needs_its_module_and_one_line() -> None:
    assert sports.of("Pro Kabaddi").name == "kabaddi"
    assert "raid" in sports.moving()
    match = Match("kabaddi")
    match.start()
    raid = match.add("raid", "home", touched=["Left corner", "Right in"], after=30)
    match.add("raid", "away", touched=["Raider"])
    match.end()
    match.start()
    match.add("raid", "home")
    match.end()
    assert (match.score, match.breakdown) == ((2, 1), {"H1": (2, 1), "H2": (0, 0)})
    assert match.result == ("finished", "home", "regular")
    match.delete(raid)
    assert (match.score, match.result) == ((0, 1), ("finished", "away", "regular"))
    assert_sum(match.state)


@pytest.mark.usefixtures("kabaddi")
def test_entries_of_a_new_sport_are_free_commentary_in_others() -> None:
    match = Match("basketball")
    match.add("raid", "home", touched=["Left corner"])
    assert match.score == (0, 0)


def test_a_sport_that_is_not_registered_is_generic() -> None:
    assert sports.of("kabaddi").name == "generic"
    assert "raid" not in sports.moving()


def test_names_and_aliases_are_unique_and_in_lower_case() -> None:
    names = [name for sport in sports.SPORTS for name in (sport.name, *sport.aliases)]
    assert len(names) == len(set(names))
    assert names == [name.casefold() for name in names]


@pytest.mark.parametrize("sport", sports.SPORTS, ids=lambda sport: sport.name)
def test_scoring_types_move_the_state_and_the_state_has_a_schema(sport: Sport) -> None:
    assert sport.scoring <= sport.moving
    assert sport.moving >= COMMON_TYPES
    detail = sport.initial_state(sport.rules()).detail
    assert (detail is None) == (sport.detail_schema is None)
