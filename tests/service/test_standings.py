"""``/competitions``: lists, filters, standings with ETags, and bad input."""

from typing import Any

import httpx
import psycopg
import pytest

from livescore.scores.competitions import Competitions
from tests.support.databases import opened
from tests.support.service import Service, Start


@pytest.fixture
async def api(start: Start) -> Service:
    return await start("api")


async def create(api: Service, database_url: str, home: str = "A", away: str = "B", **columns: Any) -> int:
    """Create a match of a competition and return its id; it is finished unless the columns say otherwise."""
    match_id: int = (await api.create_match(homeTeam=home, awayTeam=away))["id"]
    values = {"competition": "cup 1-2", "season": "2026", "status": "finished", **columns}
    assignments = ", ".join(f'"{name}" = %({name})s' for name in values)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(f"UPDATE match SET {assignments} WHERE id = %(id)s", {**values, "id": match_id})
    return match_id


async def compute(database_url: str) -> None:
    """Compute the standings that are due, as the worker does."""
    async with opened(database_url, size=1, timeout=30) as database:
        competitions = Competitions(database)
        for competition, season in await competitions.due():
            await competitions.update(competition, season)


PATH = "/competitions/cup%201-2"


async def test_competitions_appear_with_their_first_match(api: Service, database_url: str) -> None:
    async with api.client() as http:
        assert (await http.get("/competitions")).json() == {"data": [], "nextCursor": None}
        assert (await http.get(PATH)).status_code == 404
        await create(api, database_url)
        await create(api, database_url, competition="league", season="2025-26")
        listed = (await http.get("/competitions?limit=1")).json()
        assert listed == {"data": [{"id": "cup 1-2", "name": None, "seasons": ["2026"]}], "nextCursor": "cup 1-2"}
        rest = (await http.get("/competitions", params={"cursor": listed["nextCursor"]})).json()
        assert [competition["id"] for competition in rest["data"]] == ["league"]
        described = (await http.get(PATH)).json()["data"]
        assert (described["id"], described["seasons"][0]["season"]) == ("cup 1-2", "2026")
        assert described["seasons"][0]["ruleSet"]["criteria"] == ["points", "goal_difference", "goals_for"]


async def test_standings_have_an_etag_and_show_rows_and_rules(api: Service, database_url: str) -> None:
    await create(api, database_url, home_score=2, away_score=1, group="A")
    await create(api, database_url, "C", "D", status="live", home_score=1, group="B")
    await compute(database_url)
    async with api.client() as http:
        response = await http.get(f"{PATH}/standings")
        assert response.headers["Cache-Control"] == "public, max-age=1"
        data = response.json()["data"]
        assert (data["competition"], data["season"], data["live"]) == ("cup 1-2", "2026", False)
        assert [(table["kind"], table["group"], table["seq"]) for table in data["tables"]] == [
            ("group", "A", 1),
            ("group", "B", 1),
        ]
        assert data["tables"][0]["rows"][0] == {
            "position": 1,
            "team": "A",
            "played": 1,
            "won": 1,
            "drawn": 0,
            "lost": 0,
            "goalsFor": 2,
            "goalsAgainst": 1,
            "goalDifference": 1,
            "points": 3,
            "adjustment": 0,
            "form": "W",
            "note": None,
            "tied": False,
            "decidedBy": "points",
            "group": "A",
            "advances": None,
        }
        same = await http.get(f"{PATH}/standings", headers={"If-None-Match": response.headers["ETag"]})
        assert (same.status_code, same.content) == (304, b"")
        live = await http.get(f"{PATH}/standings?live=1&group=B&season=2026")
        assert live.headers["ETag"] != response.headers["ETag"]
        (table,) = live.json()["data"]["tables"]
        assert [(row["team"], row["points"]) for row in table["rows"]] == [("C", 3), ("D", 0)]


async def test_matches_are_filtered_by_competition_season_stage_round_and_group(
    api: Service, database_url: str
) -> None:
    first = await create(api, database_url, stage="groups", group="A", round="1")
    second = await create(api, database_url, stage="groups", group="B", round="1", season="2022")
    other = await create(api, database_url, competition="league", round="1")
    async with api.client() as http:

        async def ids(path: str) -> list[int]:
            response = await http.get(path)
            assert response.status_code == 200, response.text
            return [match["id"] for match in response.json()["data"]]

        assert await ids("/matches?competition=cup%201-2") == [second, first]
        assert await ids("/matches?competition=league&competition=cup%201-2&season=2026") == [other, first]
        assert await ids("/matches?round=1&group=B&stage=groups") == [second]
        assert await ids(f"{PATH}/matches") == [second, first]
        assert await ids(f"{PATH}/matches?group=A&status=finished") == [first]
        assert await ids(f"{PATH}/matches?season=1999") == []
        assert (await http.get("/competitions/none/matches")).status_code == 404
        page = (await http.get(f"{PATH}/matches?limit=1")).json()
        assert await ids(f"{PATH}/matches?limit=1&cursor={page['nextCursor']}") == [first]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/competitions/{'x' * 101}", 400),
        ("/competitions/a%00b/standings", 400),
        ("/competitions/none/standings", 404),
        ("/competitions/none", 404),
        ("/competitions/none/standings?live=2", 400),
        ("/competitions/none/standings?season=", 400),
        ("/competitions/none/standings?season=1&season=2", 400),
        (f"/competitions?cursor={'x' * 101}", 400),
        ("/competitions?limit=0", 400),
        (f"/matches?competition={'x' * 101}", 400),
    ],
)
async def test_bad_input_is_refused(http: httpx.AsyncClient, path: str, status: int) -> None:
    response = await http.get(path)
    assert response.status_code == status, response.text
    assert response.json()["error"]
