"""Imports: what a file says is on the server, once, whatever happens in between."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from rich.console import Console

from livescore.cli import imports as command
from livescore.imports.documents import CSV_TYPE, JSON_TYPE
from livescore.imports.importer import CHUNK, Importer, next_import
from livescore.imports.records import ImportRecords
from livescore.imports.rows import ImportOptions
from livescore.scores.competitions import Competitions
from livescore.scores.feed import Event
from livescore.scores.store import Store
from tests.support.databases import opened
from tests.support.openfootball import final as final_of
from tests.support.service import Start

Json = dict[str, Any]

FINAL_2022 = "world-cup/2022/final/argentina-france"

ROW: Json = {
    "externalId": "cup/1",
    "homeTeam": "Juist",
    "awayTeam": "Borkum",
    "startTime": "2021-06-11T19:00:00Z",
    "scores": [{"period": "1H", "home": 1, "away": 0}, {"period": "2H", "home": 1, "away": 1}],
}


class Imports:
    """Imports files into the database of the test, as a worker does."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.records = ImportRecords(store.database)
        self.published: list[Event] = []
        self.importer = Importer(store, Competitions(store.database), self.published.extend)

    async def add(self, file: object, media_type: str = JSON_TYPE, **options: str) -> int:
        body = file if isinstance(file, bytes) else json.dumps(file).encode()
        _, import_id = await self.records.create(body, media_type, "file", ImportOptions(**options), "test")
        return import_id

    async def get(self, import_id: int) -> Json:
        return dict(json.loads(await self.records.get(import_id)))

    async def run(self, file: object, media_type: str = JSON_TYPE, **options: str) -> Json:
        """Import a file and return the import."""
        import_id = await self.add(file, media_type, **options)
        await self.importer.run(import_id)
        return await self.get(import_id)

    async def match(self, external_id: str) -> Json:
        row = await self.store.database.row("SELECT id FROM match WHERE external_id = %(id)s", {"id": external_id})
        assert row is not None, external_id
        found = await self.store.match(row[0])
        assert found is not None
        return dict(json.loads(found[0]))

    async def entries(self, match_id: int) -> list[Json]:
        """Return the commentary, oldest first."""
        return list(reversed(json.loads(f"[{await self.store.commentary(match_id, 100)}]")))


@pytest.fixture
async def imports(database_url: str) -> AsyncIterator[Imports]:
    async with opened(database_url, size=4, timeout=60) as database:
        yield Imports(Store(database))


OPENING: Json = {
    "round": "Matchday 1",
    "date": "2022-11-20",
    "time": "19:00",
    "team1": "Qatar",
    "team2": "Ecuador",
    "score": {"ft": [0, 2], "ht": [0, 2]},
    "group": "Group A",
}


def tournament(size: int) -> Json:
    """Return a file of openfootball in which each match has a goal."""
    matches = [
        {
            "round": f"Matchday {1 + number % 3}",
            "date": "2006-06-09",
            "team1": f"Juist {number}",
            "team2": f"Borkum {number}",
            "score": {"ft": [1, 0], "ht": [1, 0]},
            "goals1": [{"name": "Meyer", "minute": 1 + number % 45}],
            "group": f"Group {number % 8}",
        }
        for number in range(size)
    ]
    return {"name": "World Cup 2006", "matches": matches}


def counts(found: Json) -> tuple[int, int, int, int]:
    return found["created"], found["updated"], found["unchanged"], found["failed"]


async def test_a_world_cup_is_imported_with_its_extra_time_and_shoot_outs(imports: Imports) -> None:
    cup = final_of(2022)
    cup["matches"].insert(0, OPENING)

    found = await imports.run(cup)

    assert (found["status"], found["format"], found["total"]) == ("finished", "openfootball", 2)
    assert counts(found) == (2, 0, 0, 0)
    final = await imports.match(FINAL_2022)
    assert (final["homeScore"], final["awayScore"], final["status"], final["period"]) == (3, 3, "finished", "FT")
    assert (final["winner"], final["decidedBy"]) == ("home", "penalties")
    assert final["shootout"] == {"home": 4, "away": 2, "first": None, "kicks": []}
    assert final["scores"] == [
        {"period": "1H", "home": 2, "away": 0},
        {"period": "2H", "home": 0, "away": 2},
        {"period": "ET1", "home": 0, "away": 0},
        {"period": "ET2", "home": 1, "away": 1},
    ]
    assert (final["competition"], final["season"], final["round"]) == ("world-cup", "2022", "Final")
    assert (final["startTimeConfirmed"], final["venue"][:6], final["clock"]) == (True, "Lusail", None)
    opening = await imports.match("world-cup/2022/matchday-1/qatar-ecuador")
    assert (opening["group"], opening["stage"], opening["round"]) == ("Group A", "Group stage", "Matchday 1")


async def test_a_repeated_import_changes_nothing(imports: Imports) -> None:
    await imports.run(tournament(52))
    heads = await imports.store.heads()
    imports.published.clear()

    again = await imports.run(tournament(52))

    assert counts(again) == (0, 0, 52, 0)
    assert await imports.store.heads() == heads
    assert imports.published == []


async def test_an_import_continues_at_its_checkpoint(imports: Imports) -> None:
    import_id = await imports.add(tournament(64))
    reached = asyncio.Event()
    slow = Importer(imports.store, Competitions(imports.store.database), lambda _: reached.set())
    run = asyncio.create_task(slow.run(import_id))
    await reached.wait()
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run
    interrupted = await imports.get(import_id)
    assert interrupted["status"] == "running"
    assert interrupted["done"] < 64

    assert await next_import(imports.store.database) == import_id
    await imports.importer.run(import_id)

    ended = await imports.get(import_id)
    assert (ended["status"], ended["done"]) == ("finished", 64)
    assert ended["created"] > 64 - interrupted["done"] - CHUNK
    assert counts(await imports.run(tournament(64))) == (0, 0, 64, 0)
    assert len(await imports.store.heads()) == 64


async def test_a_killed_worker_leaves_its_import_to_the_next_one(imports: Imports, database_url: str) -> None:
    import_id = await imports.add({"matches": [ROW]})
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE import SET status = 'running', lease = gen_random_uuid(), lease_until = now() + interval '1 hour'"
        )
    await imports.importer.run(import_id)
    assert (await imports.get(import_id))["status"] == "running"
    assert await next_import(imports.store.database) is None

    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE import SET lease_until = now()")
    await imports.importer.run(import_id)

    assert (await imports.get(import_id))["status"] == "finished"


async def test_a_later_file_corrects_entries_in_place(imports: Imports) -> None:
    match = {"team1": "Juist", "team2": "Borkum", "date": "2021-06-11", "round": "Final"}
    goals = [{"name": "Ada Holm", "minute": 12}, {"name": "Eve Lund", "minute": 60}]
    file = {"name": "Cup 2021", "matches": [{**match, "score": {"ht": [1, 0], "ft": [2, 0]}, "goals1": goals}]}
    await imports.run(file)
    stored = await imports.match("cup/2021/final/juist-borkum")
    before = await imports.entries(stored["id"])

    goals[1] = {"name": "Eva Lund", "minute": 61}
    corrected = await imports.run(file)

    after = await imports.entries(stored["id"])
    assert counts(corrected) == (0, 1, 0, 0)
    assert [entry["id"] for entry in after] == [entry["id"] for entry in before]
    assert [entry["actor"] for entry in after if entry["actor"]] == ["Ada Holm", "Eva Lund"]
    assert [event.type for event in imports.published[-1:]] == ["commentary_updated"]


async def test_a_goal_that_was_missing_moves_score_and_result(imports: Imports) -> None:
    match = {"team1": "Juist", "team2": "Borkum", "date": "2021-06-11", "round": "Final"}
    score = {"ht": [0, 0], "ft": [0, 0]}
    file: Json = {"name": "Cup 2021", "matches": [{**match, "score": score, "goals2": []}]}
    await imports.run(file)

    score |= {"ht": [0, 1], "ft": [0, 1]}
    file["matches"][0]["goals2"] = [{"name": "Eve Lund", "minute": 12}]
    await imports.run(file)

    stored = await imports.match("cup/2021/final/juist-borkum")
    assert (stored["homeScore"], stored["awayScore"], stored["winner"]) == (0, 1, "away")
    assert stored["scores"] == [{"period": "1H", "home": 0, "away": 1}, {"period": "2H", "home": 0, "away": 0}]
    types = [entry["eventType"] for entry in await imports.entries(stored["id"])]
    assert types == ["goal", "period_end", "period_end"]


async def test_the_new_date_of_a_match_moves_it(imports: Imports) -> None:
    fixture = {"team1": "Juist", "team2": "Borkum", "date": "2091-06-11", "round": "Matchday 1"}
    file = {"name": "League 2091/92", "matches": [fixture]}
    await imports.run(file)

    fixture["date"] = "2091-07-01"
    moved = await imports.run(file)

    assert counts(moved) == (0, 1, 0, 0)
    stored = await imports.match("league/2091-92/matchday-1/juist-borkum")
    assert (stored["startTime"], stored["status"]) == ("2091-07-01T12:00:00.000Z", "scheduled")
    assert stored["startTimeConfirmed"] is False


async def test_a_past_match_without_result_is_postponed_until_a_file_has_it(imports: Imports) -> None:
    match = {"team1": "Juist", "team2": "Borkum", "date": "2021-06-11", "round": "Matchday 1"}
    file = {"name": "League 2021/22", "matches": [match]}
    found = await imports.run(file)
    assert [warning["field"] for warning in found["warnings"]] == ["score"]
    assert (await imports.match("league/2021-22/matchday-1/juist-borkum"))["status"] == "postponed"

    await imports.run({**file, "matches": [{**match, "score": {"ht": [2, 2], "ft": [4, 3]}}]})

    stored = await imports.match("league/2021-22/matchday-1/juist-borkum")
    assert (stored["status"], stored["homeScore"], stored["awayScore"]) == ("finished", 4, 3)
    assert stored["scores"] == [{"period": "1H", "home": 2, "away": 2}, {"period": "2H", "home": 2, "away": 1}]


async def test_errors_name_row_and_field_and_other_rows_are_imported(imports: Imports) -> None:
    wrong = [
        {**ROW, "externalId": "cup/2", "startTime": "tomorrow"},
        {**ROW, "externalId": "cup/3", "scores": [{"period": "1H", "home": -1, "away": 0}]},
        {**ROW, "externalId": "cup/4", "homeGoals": 1},
        {**ROW, "externalId": "cup/5", "rules": {"halves": 3}},
        ROW,
        7,
    ]
    found = await imports.run({"matches": [ROW, *wrong]})

    assert (found["status"], found["total"], counts(found)) == ("finished", 7, (1, 0, 0, 6))
    assert [(error["row"], error["field"]) for error in found["errors"]] == [
        (2, "startTime"),
        (3, "scores.0.home"),
        (4, "homeGoals"),
        (5, "rules.halves"),
        (6, "externalId"),
        (7, ""),
    ]
    assert found["errors"][4]["message"] == "row 1 has the same externalId"


async def test_errors_of_openfootball_name_row_and_field(imports: Imports) -> None:
    rows = [{"team1": "Juist", "team2": "Borkum", "date": "2021-06-11", "score": {"ft": [1, "x"]}}, {"team1": "Juist"}]
    found = await imports.run({"name": "Cup 2021", "matches": rows})

    assert counts(found) == (0, 0, 0, 2)
    assert [(error["row"], error["field"]) for error in found["errors"]] == [
        (1, "score.ft.1"),
        (2, "team2"),
        (2, "date"),
    ]


@pytest.mark.parametrize("separator", [",", ";"])
async def test_a_table_is_imported(imports: Imports, separator: str) -> None:
    lines = [
        "externalId,competition,season,homeTeam,awayTeam,startTime,scores,shootout,status",
        'cup/1,island-cup,2021,Juist,Borkum,2021-06-11T19:00:00+02:00,"1H 1-0; 2H 0-1",4-2,',
        "cup/2,island-cup,2021,Emden,Leer,2021-06-12T19:00:00Z,,,postponed",
        "cup/3,island-cup,2021,,Leer,2021-06-12T19:00:00Z,,,",
    ]
    table = "\r\n".join(lines).replace(",", separator)
    found = await imports.run(f"\ufeff{table}".encode(), CSV_TYPE)

    assert (found["format"], counts(found)) == ("csv", (2, 0, 0, 1))
    assert [(error["row"], error["field"]) for error in found["errors"]] == [(4, "homeTeam")]
    stored = await imports.match("cup/1")
    assert (stored["startTime"], stored["competition"]) == ("2021-06-11T17:00:00.000Z", "island-cup")
    assert (stored["homeScore"], stored["awayScore"], stored["winner"]) == (1, 1, "home")
    assert (await imports.match("cup/2"))["status"] == "postponed"


async def test_entries_of_the_own_format_are_imported(imports: Imports) -> None:
    entries = [
        {"eventType": "own_goal", "minute": 12, "side": "home", "actor": "Eve Lund", "periodCode": "1H"},
        {"eventType": "yellow_card", "minute": 30, "team": "Borkum"},
        {"eventType": "period_end", "periodCode": "1H"},
        {"eventType": "period_end", "periodCode": "2H"},
    ]
    row = {name: value for name, value in ROW.items() if name != "scores"}
    file = {"competition": "island-cup", "season": "2021", "matches": [{**row, "entries": entries, "attendance": 900}]}
    await imports.run(file)
    again = await imports.run(file)

    stored = await imports.match("cup/1")
    assert (stored["homeScore"], stored["status"], stored["attendance"]) == (1, "finished", 900)
    assert stored["cards"]["away"]["yellow"] == 1
    assert counts(again) == (0, 0, 1, 0)


async def test_results_of_other_sports_are_imported(imports: Imports) -> None:
    chess = {**ROW, "sport": "chess", "homeScore": 2, "awayScore": 1}
    del chess["scores"]
    await imports.run({"matches": [chess]})

    stored = await imports.match("cup/1")
    assert (stored["homeScore"], stored["awayScore"], stored["status"], stored["winner"]) == (2, 1, "finished", "home")


async def test_a_match_of_a_reporter_keeps_its_entries(imports: Imports) -> None:
    fixture = {**ROW, "startTime": "2091-06-11T19:00:00Z"}
    del fixture["scores"]
    await imports.run({"matches": [fixture]})
    stored = await imports.match("cup/1")
    names = ("actor", "team", "side", "period_code", "stoppage", "metadata", "tags")
    goal = {"minute": 5, "sequence": 0, "period": 1, "event_type": "goal", "message": "1-0", **dict.fromkeys(names)}
    await imports.store.create_commentary(stored["id"], {**goal, "side": "home"}, "test")

    found = await imports.run({"matches": [{**ROW, "startTime": "2091-06-11T19:00:00Z", "venue": "Dune Park"}]})

    after = await imports.match("cup/1")
    assert (after["homeScore"], after["awayScore"], after["venue"]) == (1, 0, "Dune Park")
    assert [warning["field"] for warning in found["warnings"]] == ["entries"]


@pytest.mark.parametrize(
    ("body", "media_type", "reason"),
    [
        (b"{", JSON_TYPE, "Malformed JSON"),
        (b"[]", JSON_TYPE, "expected a JSON object"),
        (b"{}", JSON_TYPE, 'field "matches" must be a list'),
        (b'{"matches": [], "ruleSet": 7}', JSON_TYPE, "field ruleSet"),
        (b'{"matches": [], "competition": "c", "ruleSet": "none-such"}', JSON_TYPE, "none-such is not a rule set"),
        (b'{"matches": ["\\u0000"]}', JSON_TYPE, "U+0000"),
        (b"home;away\n1;2", CSV_TYPE, "unknown columns: away, home"),
        (b"\xff\xfe", CSV_TYPE, "not UTF-8"),
    ],
)
async def test_a_file_of_another_format_fails_with_its_reason(
    imports: Imports, body: bytes, media_type: str, reason: str
) -> None:
    found = await imports.run(body, media_type)

    assert found["status"] == "failed"
    assert reason in found["error"]


async def test_the_api_takes_a_file_and_the_worker_imports_it(start: Start, tmp_path: Path) -> None:
    api = await start("api")
    await start("worker")
    async with api.client() as http:
        answer = await http.post("/imports", params={"name": "cup"}, json={"matches": [ROW]})
        assert answer.status_code == 202
        path = answer.headers["Location"]
        assert path == f"/imports/{answer.json()['data']['id']}"
        ended = await _ended(http, path)
        (listed,) = (await http.get("/imports")).json()["data"]
    assert (ended["status"], ended["name"], counts(ended)) == ("finished", "cup", (1, 0, 0, 0))
    assert (listed["id"], "errors" in listed) == (ended["id"], False)

    file = tmp_path / "cup.json"
    file.write_text(json.dumps({"matches": [ROW, {**ROW, "externalId": ""}]}))
    shown = StringIO()
    console = Console(file=shown, width=200)
    complete = await asyncio.to_thread(command.run, file, url=api.base_url, key=None, options={}, console=console)
    assert not complete
    assert "2 matches: 0 created, 0 updated, 1 unchanged, 1 failed" in shown.getvalue()
    assert "row 2 (Juist \u2013 Borkum), field externalId" in shown.getvalue()


async def _ended(http: httpx.AsyncClient, path: str) -> Json:
    async with asyncio.timeout(60):
        while True:
            found: Json = (await http.get(path)).json()["data"]
            if found["status"] in ("finished", "failed"):
                return found
            await asyncio.sleep(0.1)


async def test_an_import_needs_the_scope_admin(start: Start, tmp_path: Path) -> None:
    api = await start("api", DEV_API_KEY="a-key-that-may-only-write")
    file = tmp_path / "cup.json"
    file.write_text("{}")
    async with api.client() as http:
        assert (await http.post("/imports", json={})).status_code == 403
        assert (await http.get("/imports")).status_code == 403
    for key in (None, "a-key-that-may-only-write"):
        with pytest.raises(command.ImportFailed, match="set --key to a key of scope admin"):
            await asyncio.to_thread(command.run, file, url=api.base_url, key=key, options={})


async def test_malformed_requests_are_refused(start: Start) -> None:
    api = await start("api")
    async with api.client(event_hooks={}) as http:
        text = await http.post("/imports", content="x", headers={"Content-Type": "text/plain"})
        empty = await http.post("/imports", content="", headers={"Content-Type": CSV_TYPE})
        large = await http.post("/imports", content=b"x" * 200_000, headers={"Content-Type": CSV_TYPE})
        larger = await http.post("/imports", content=b"x" * 21_000_000, headers={"Content-Type": CSV_TYPE})
        unknown = await http.get("/imports/7000")
    assert [answer.status_code for answer in (text, empty, large, larger, unknown)] == [400, 400, 202, 413, 404]
    assert text.json()["details"][0]["message"] == "Content-Type should be application/json or text/csv"
