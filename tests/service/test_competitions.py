"""Competitions on PostgreSQL: what makes standings due, their computation, and aggregates of two legs."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import orjson
import pytest

from livescore.http_errors import NotFound
from livescore.scores import competitions as competitions_module
from livescore.scores.competitions import Competitions, InvalidSeason, SeasonChange
from livescore.scores.database import Database, fetch
from livescore.scores.standings.table import Adjustment
from livescore.scores.store import Store
from tests.support.databases import opened

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url, size=10, timeout=30) as database:
        yield database


@pytest.fixture
def competitions(database: Database) -> Competitions:
    return Competitions(database)


async def create(database: Database, home: str = "A", away: str = "B", **columns: Any) -> int:
    """Create a match with some columns and return its id; it is finished unless they say otherwise."""
    values = {
        "sport": "football",
        "home_team": home,
        "away_team": away,
        "start": START,
        "end": START + timedelta(hours=2),
        "home_score": 0,
        "away_score": 0,
    }
    match_id = (await Store(database).create_match(values, "test")).events[0].match_id
    await change(database, match_id, **{"competition": "league", "season": "2026", "status": "finished", **columns})
    return match_id


async def change(database: Database, match_id: int, **columns: Any) -> None:
    assignments = ", ".join(f'"{name}" = %({name})s' for name in columns)
    await database.execute(f"UPDATE match SET {assignments} WHERE id = %(match_id)s", {**columns, "match_id": match_id})


async def update_all(competitions: Competitions) -> int:
    """Compute all standings that are due. Returns the number of seasons."""
    due = await competitions.due()
    for competition, season in due:
        await competitions.update(competition, season)
    return len(due)


async def table(competitions: Competitions, season: str | None = "2026", **options: Any) -> list[tuple[str, int]]:
    """Return team and points of the rows of the only table."""
    standings = await competitions.standings("league", season, **{"live": False, **options})
    (only,) = orjson.loads(f"[{standings.tables}]")
    return [(row["team"], row["points"]) for row in only["rows"]]


async def test_the_first_match_creates_its_competition_and_season(
    database: Database, competitions: Competitions
) -> None:
    assert await competitions.page(10) == []
    await create(database)
    await create(database, season="2025")
    await create(database, competition="cup", season=None)
    assert await competitions.page(10) == [("cup", None, []), ("league", None, ["2026", "2025"])]
    assert await competitions.page(1, "cup") == [("league", None, ["2026", "2025"])]
    assert sorted(await competitions.due()) == [("cup", ""), ("league", "2025"), ("league", "2026")]


async def test_finished_matches_give_the_standings_of_their_season(
    database: Database, competitions: Competitions
) -> None:
    await create(database, home_score=2, away_score=1)
    await create(database, "B", "C", home_score=1, away_score=1)
    await create(database, "C", "A", status="cancelled")
    await create(database, "D", "A", status="scheduled")
    assert await update_all(competitions) == 1
    assert await competitions.due() == []
    assert await table(competitions) == [("A", 3), ("C", 1), ("B", 1), ("D", 0)]


async def test_running_matches_count_only_in_the_live_table(database: Database, competitions: Competitions) -> None:
    await create(database, status="live", home_score=1)
    await update_all(competitions)
    assert await table(competitions) == [("A", 0), ("B", 0)]
    assert await table(competitions, live=True) == [("A", 3), ("B", 0)]


CHANGES: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"status": "live"}, [("league", "2026")]),
    ({"home_score": 5}, [("league", "2026")]),
    ({"home_team": "Z"}, [("league", "2026")]),
    ({"group": "G"}, [("league", "2026")]),
    ({"stage": "final"}, [("league", "2026")]),
    ({"leg": 1}, [("league", "2026")]),
    ({"fold": '{"winner":"away"}'}, [("league", "2026")]),
    ({"season": "2027"}, [("league", "2026"), ("league", "2027")]),
    ({"season": None}, [("league", ""), ("league", "2026")]),
    ({"competition": None}, [("league", "2026")]),
    ({"competition": "other"}, [("league", "2026"), ("other", "2026")]),
    ({"seq": 9}, []),
    ({"updated_at": START}, []),
    ({"venue": "Stadium"}, []),
    ({"status": "finished", "home_score": 0}, []),
]


@pytest.mark.parametrize(("columns", "due"), CHANGES, ids=lambda value: str(value) if isinstance(value, dict) else "")
async def test_a_change_of_what_standings_follow_from_makes_them_due(
    database: Database, competitions: Competitions, columns: dict[str, Any], due: list[tuple[str, str]]
) -> None:
    match_id = await create(database)
    await update_all(competitions)
    await change(database, match_id, **columns)
    assert sorted(await competitions.due()) == due


async def test_neutral_commentary_and_matches_without_a_competition_make_nothing_due(
    database: Database, competitions: Competitions
) -> None:
    match_id = await create(database)
    await create(database, competition=None)
    await update_all(competitions)
    plain = {"minute": 1, "sequence": 0, "period": 1, "event_type": "commentary", "message": "a chance"}
    values = {**plain, **dict.fromkeys(("actor", "team", "metadata", "tags"))}
    await Store(database).create_commentary(match_id, values, "test")
    assert await competitions.due() == []


async def test_a_table_keeps_its_seq_until_its_rows_change(database: Database, competitions: Competitions) -> None:
    async def state() -> tuple[int, str]:
        (only,) = orjson.loads(f"[{(await competitions.standings('league', None, live=False)).tables}]")
        return only["seq"], only["asOf"]

    match_id = await create(database, home_score=1)
    await update_all(competitions)
    first = await state()
    assert first[0] == 1
    await competitions.update("league", "2026")
    assert await state() == first
    await change(database, match_id, home_score=2)
    await update_all(competitions)
    assert (await state())[0] == 2
    assert (await state())[1] >= first[1]


async def test_tables_of_a_group_that_no_longer_exists_are_deleted(
    database: Database, competitions: Competitions
) -> None:
    first = await create(database, group="A")
    await create(database, "C", "D", group="B")
    await update_all(competitions)

    async def groups() -> list[str]:
        tables = orjson.loads(f"[{(await competitions.standings('league', None, live=False)).tables}]")
        return [table["group"] for table in tables]

    assert await groups() == ["A", "B"]
    await change(database, first, group="B")
    await update_all(competitions)
    assert await groups() == ["B"]
    assert await table(competitions, group="B") == [("A", 1), ("B", 1), ("C", 1), ("D", 1)]
    assert (await competitions.standings("league", None, live=False, group="A")).tables == ""


async def test_decisions_of_a_season_count(database: Database, competitions: Competitions) -> None:
    await create(database)
    change_ = SeasonChange("The League", "premier-league", [Adjustment("A", -2, "late payment")])
    await competitions.set_season("league", "2026", change_)
    await update_all(competitions)
    assert await table(competitions) == [("B", 1), ("A", -1)]
    assert await competitions.name("league") == "The League"
    (season,) = await competitions.seasons("league")
    assert season.rules.id == "premier-league"
    # What a later change does not mention stays.
    await competitions.set_season("league", "2026", SeasonChange(orders={"play_off": ["A", "B"]}))
    (season,) = await competitions.seasons("league")
    assert season.rules.id == "premier-league"
    assert season.decisions.adjustments == (Adjustment("A", -2, "late payment"),)
    assert await competitions.name("league") == "The League"
    await competitions.set_season("league", "2026", SeasonChange(adjustments=[]))
    assert await update_all(competitions) == 1
    assert await table(competitions) == [("A", 1), ("B", 1)]


@pytest.mark.parametrize(
    ("change_", "member"), [(SeasonChange(rule_set="mine"), "ruleSet"), (SeasonChange(orders={"luck": []}), "orders")]
)
async def test_unknown_rule_sets_and_orders_are_refused(
    competitions: Competitions, change_: SeasonChange, member: str
) -> None:
    with pytest.raises(InvalidSeason, match=f"^{member}: "):
        await competitions.set_season("league", None, change_)


async def test_the_latest_season_is_the_default_and_unknown_ones_do_not_exist(
    database: Database, competitions: Competitions
) -> None:
    for season in ("2024-25", "2025-26", None):
        await create(database, season=season)
    await update_all(competitions)
    assert (await competitions.standings("league", None, live=False)).season.name == "2025-26"
    with pytest.raises(NotFound, match="no such season"):
        await competitions.standings("league", "1999", live=False)
    with pytest.raises(NotFound, match="Competition not found"):
        await competitions.standings("nothing", None, live=False)


async def test_concurrent_changes_and_computations_end_in_the_latest_table(
    database: Database, competitions: Competitions
) -> None:
    ids = [await create(database, status="scheduled") for _ in range(8)]

    async def play(match_id: int) -> None:
        await change(database, match_id, status="finished", home_score=1)
        await competitions.update("league", "2026")

    await asyncio.gather(*(play(match_id) for match_id in ids))
    assert await competitions.due() == []
    assert await table(competitions) == [("A", 24), ("B", 0)]


async def test_a_season_stays_due_if_its_computation_fails(
    database: Database, competitions: Competitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(database)
    with monkeypatch.context() as patch:
        patch.setattr(competitions_module, "tables", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await competitions.update("league", "2026")
    assert await competitions.due() == [("league", "2026")]
    assert await update_all(competitions) == 1
    assert await table(competitions) == [("A", 1), ("B", 1)]


async def test_updates_of_a_match_of_a_competition_stay_hot(database: Database) -> None:
    """No index of the table contains a column that entries change."""
    match_id = await create(database, status="live")
    statistics: LiteralString = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'match'"

    async def work(connection: Any) -> tuple[Any, Any]:
        async with connection.transaction():
            (before,) = await fetch(connection, statistics)
            for score in range(5):
                await connection.execute(
                    "UPDATE match SET seq = seq + 1, home_score = %(score)s, fold = '{}' WHERE id = %(match_id)s",
                    {"score": score, "match_id": match_id},
                )
            (after,) = await fetch(connection, statistics)
            return before, after

    before, after = await database.use(work)
    assert (after[0] - before[0], after[1] - before[1]) == (5, 5)


# Aggregates of two legs


async def aggregate(database: Database, match_id: int) -> Any:
    row = await database.row("SELECT aggregate FROM match WHERE id = %(match_id)s", {"match_id": match_id})
    assert row is not None
    return row[0]


async def test_both_legs_show_the_aggregate_from_their_own_sides(
    database: Database, competitions: Competitions
) -> None:
    legs: dict[str, Any] = {"stage": "knockout", "round": "Semi-finals"}
    first = await create(database, "A", "B", leg=1, home_score=2, away_score=1, **legs)
    second = await create(database, "B", "A", leg=2, status="scheduled", **legs)
    await create(database, "B", "C", leg=1, home_score=9, **legs)
    await update_all(competitions)
    assert await aggregate(database, first) == {"home": 2, "away": 1, "winner": None}
    assert await aggregate(database, second) == {"home": 1, "away": 2, "winner": None}
    await change(database, second, status="finished", home_score=3, away_score=0)
    events, _ = await competitions.update("league", "2026")
    assert await aggregate(database, first) == {"home": 2, "away": 4, "winner": "away"}
    assert await aggregate(database, second) == {"home": 4, "away": 2, "winner": "home"}
    assert [(event.match_id, event.type) for event in events] == [(first, "match_updated"), (second, "match_updated")]
    assert orjson.loads(events[1].data)["aggregate"] == {"home": 4, "away": 2, "winner": "home"}
    again, _ = await competitions.update("league", "2026")
    assert again == []


async def test_penalties_of_the_second_leg_decide_a_level_aggregate(
    database: Database, competitions: Competitions
) -> None:
    first = await create(database, "A", "B", leg=1, home_score=1)
    fold = '{"winner":"away","decidedBy":"penalties"}'
    second = await create(database, "B", "A", leg=2, home_score=1, fold=fold)
    await update_all(competitions)
    assert await aggregate(database, second) == {"home": 1, "away": 1, "winner": "away"}
    assert await aggregate(database, first) == {"home": 1, "away": 1, "winner": "home"}
    await change(database, first, leg=None)
    await update_all(competitions)
    assert await aggregate(database, first) is None
    assert await aggregate(database, second) is None
