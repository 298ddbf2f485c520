"""The job that computes standings: after a result, a correction, a goal, and a change that no process announced."""

import asyncio
from typing import Any

import psycopg
import pytest

from tests.support.service import Service, Start, instant

COMPETITION: dict[str, Any] = {"competition": "league", "season": "2026"}


@pytest.fixture
async def api(start: Start) -> Service:
    api = await start("api")
    await start("worker")
    return api


async def live_match(api: Service, **fields: Any) -> int:
    """Create a live match of the league and return its id."""
    times = {"startTime": instant(-3600), "endTime": instant(3600)}
    match_id: int = (await api.create_match(**{**times, **COMPETITION, **fields}))["id"]
    return match_id


async def points(api: Service, **query: Any) -> dict[str, int]:
    """Return team → points; empty while there is no table."""
    async with api.client() as http:
        response = await http.get("/competitions/league/standings", params=query)
        tables = response.json()["data"]["tables"] if response.status_code == 200 else []
        return {row["team"]: row["points"] for table in tables for row in table["rows"]}


async def shows(api: Service, expected: dict[str, int], **query: Any) -> None:
    """Wait until the table has these points."""
    async with asyncio.timeout(60):
        while await points(api, **query) != expected:
            await asyncio.sleep(0.05)


async def test_standings_follow_goals_results_and_corrections(api: Service) -> None:
    match_id = await live_match(api, homeTeam="A", awayTeam="B")
    goal = await api.comment(match_id, eventType="goal", metadata={"scoreDelta": {"home": 1, "away": 0}})
    await shows(api, {"A": 3, "B": 0}, live=1)
    await shows(api, {"A": 0, "B": 0})
    async with api.client() as http:
        (await http.patch(f"/matches/{match_id}/end")).raise_for_status()
        await shows(api, {"A": 3, "B": 0})
        (await http.delete(f"/matches/{match_id}/commentary/{goal['id']}")).raise_for_status()
    await shows(api, {"A": 1, "B": 1})


async def test_a_change_that_no_process_announced_is_found(api: Service, database_url: str) -> None:
    """A process of an older version writes the match and does not know of standings."""
    match_id = await live_match(api, homeTeam="A", awayTeam="B")
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        change = "UPDATE match SET status = 'finished', home_score = 1 WHERE id = %(id)s"
        await connection.execute(change, {"id": match_id})
    await shows(api, {"A": 3, "B": 0})


async def test_a_match_that_the_clock_finishes_counts(api: Service) -> None:
    await live_match(api, homeTeam="A", awayTeam="B", homeScore=2, endTime=instant(2))
    await shows(api, {"A": 3, "B": 0})
