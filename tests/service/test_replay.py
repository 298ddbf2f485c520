"""After a replay, the tournament on the server matches the file, despite outages in between."""

import asyncio
import itertools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from rich.console import Console

from livescore.imports.openfootball import Match, read
from livescore_dev import script
from livescore_dev.replay import ReplayError, Summary, replay
from livescore_dev.rest import instant
from tests.support.openfootball import FINALS
from tests.support.servers import OwnPostgres, Valkey
from tests.support.service import Service, Start

DATA = Path(__file__).parent.parent / "data"
TODAY = "tournament-today.json"
ROUNDS = "tournament-rounds.json"
AS_FAST_AS_POSSIBLE = 100_000.0

# The outage tests play about a second per match, so that matches are in progress when the outage begins.
SLOW = 6_000.0

Json = dict[str, Any]
Copy = Callable[[str], Path]


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """Copy a file of ``tests/data`` with team names used only by this test, because the server is shared."""
    mark = uuid4().hex[:8]

    def renamed(written: Any, key: str = "") -> Any:
        if isinstance(written, dict):
            return {name: renamed(value, name) for name, value in written.items()}
        if isinstance(written, list):
            return [renamed(value) for value in written]
        return f"{written} {mark}" if key in {"team1", "team2", "code"} or (key == "name" and written) else written

    def copied(name: str) -> Path:
        file = tmp_path / Path(name).name
        file.write_text(json.dumps(renamed(json.loads((DATA / name).read_text()))))
        return file

    return copied


async def replay_file(
    file: Path, service: Service, speed: float = AS_FAST_AS_POSSIBLE, key: str | None = None
) -> Summary:
    console = Console(file=StringIO())
    return await replay(file, speed=speed, base_url=service.base_url, api_key=key, console=console)


async def find_match(service: Service, match: Match) -> Json:
    """Return the match of these teams at that time."""
    window = {"from": instant(match.kick_off), "to": instant(match.kick_off + timedelta(milliseconds=1))}
    async with service.client() as http:
        answer = await http.get("/matches", params={"team": match.home, **window})
    (record,) = answer.raise_for_status().json()["data"]
    return dict(record)


async def steps_of(service: Service, match_id: int) -> list[str]:
    async with service.client() as http:
        answer = await http.get(f"/matches/{match_id}/commentary", params={"limit": 100})
    return [entry["metadata"]["replay"] for entry in reversed(answer.raise_for_status().json()["data"])]


async def change(service: Service, path: str, **body: Any) -> None:
    async with service.client() as http:
        (await http.patch(path, json=body)).raise_for_status()


async def assert_matches_file(file: Path, service: Service) -> None:
    """Assert that every match exists once, with its score and times, and every step once and in order."""
    for match in read(file).matches:
        record = await find_match(service, match)
        assert (record["homeTeam"], record["awayTeam"]) == (match.home, match.away)
        assert (record["startTime"], record["endTime"]) == (
            instant(match.kick_off),
            instant(script.record_end(match)),
        )
        assert await steps_of(service, record["id"]) == [step.id for step in script.plan(match)]
        if match.decided:
            assert (record["homeScore"], record["awayScore"]) == match.score.final
            assert record["status"] == "finished"


@pytest.mark.parametrize("name", [TODAY, ROUNDS])
async def test_final_scores_equal_the_file(service: Service, copy: Copy, name: str) -> None:
    file = copy(name)

    summary = await replay_file(file, service)

    await assert_matches_file(file, service)
    assert (summary.matches, summary.played, summary.not_played, summary.skipped) == (4, 3, 1, 0)
    assert summary.mismatches == []


async def test_matches_without_all_goals_are_counted(service: Service, copy: Copy) -> None:
    summary = await replay_file(copy(ROUNDS), service)

    assert (summary.goals, summary.incomplete) == (5, 1)


@pytest.mark.parametrize(
    ("year", "teams", "score", "shootout", "periods"),
    [
        (2022, ("Argentina", "France"), (3, 3), (4, 2), "1H 2-0, 2H 0-2, ET1 0-0, ET2 1-1"),
        (2006, ("Italy", "France"), (1, 1), (5, 3), "1H 1-1, 2H 0-0, ET1 0-0, ET2 0-0"),
        (1994, ("Brazil", "Italy"), (0, 0), (3, 2), "1H 0-0, 2H 0-0, ET1 0-0, ET2 0-0"),
    ],
)
async def test_a_final_has_its_periods_and_shoot_out(
    service: Service,
    copy: Copy,
    year: int,
    teams: tuple[str, str],
    score: tuple[int, int],
    shootout: tuple[int, int],
    periods: str,
) -> None:
    file = copy(FINALS.name)
    document = json.loads(file.read_text())
    finals = [found for found in document["matches"] if found["date"].startswith(str(year))]
    file.write_text(json.dumps({"name": f"World Cup {year}", "matches": finals}))

    summary = await replay_file(file, service)

    (match,) = read(file).matches
    record = await find_match(service, match)
    assert summary.mismatches == []
    assert match.home.startswith(teams[0])
    assert match.away.startswith(teams[1])
    assert (record["homeScore"], record["awayScore"], record["decidedBy"]) == (*score, "penalties")
    assert (record["shootout"]["home"], record["shootout"]["away"]) == shootout
    assert ", ".join(f"{each['period']} {each['home']}-{each['away']}" for each in record["scores"]) == periods
    assert (record["season"], record["round"], record["period"]) == (str(year), "Final", "FT")
    assert record["venue"]


async def test_periods_and_shoot_out_are_events(service: Service, copy: Copy) -> None:
    file = copy(TODAY)
    document = json.loads(file.read_text())
    document["matches"] = document["matches"][2:3]
    file.write_text(json.dumps(document))

    await replay_file(file, service)

    record = await find_match(service, read(file).matches[0])
    async with service.client() as http:
        events = (await http.get(f"/matches/{record['id']}/events", params={"limit": 100})).json()["data"]
    periods = [event["data"]["period"] for event in events if event["type"] == "period_changed"]
    codes = ["1H", "HT", "2H", "BET", "ET1", "ETHT", "ET2", "BPEN", "PEN", "FT"]
    assert [code for code, _ in itertools.groupby(periods)] == codes
    last = [event["data"] for event in events if event["type"] == "score_update"][-1]
    assert (last["shootout"]["home"], last["shootout"]["away"]) == (4, 2)


async def test_future_match_is_scheduled_and_cancelled_match_is_cancelled(service: Service, copy: Copy) -> None:
    today, rounds = copy(TODAY), copy(ROUNDS)

    await replay_file(today, service)
    await replay_file(rounds, service)

    assert (await find_match(service, read(today).matches[3]))["status"] == "scheduled"
    assert (await find_match(service, read(rounds).matches[2]))["status"] == "cancelled"


OUTCOMES = [
    ({"status": "POSTPONED"}, ("postponed", 0, 0), []),
    ({"status": "Cancelled"}, ("cancelled", 0, 0), []),
    ({"status": "annulled", "score": {"ft": [2, 1]}}, ("cancelled", 0, 0), []),
    ({}, ("postponed", 0, 0), []),
    ({"score": {"ft": []}}, ("postponed", 0, 0), []),
    ({"status": "AWARDED"}, ("postponed", 0, 0), []),
    ({"status": "AWARDED", "score": {"ft": [3, 0]}}, ("awarded", 3, 0), ["award"]),
    ({"status": "w/o", "score": [0, 3]}, ("awarded", 0, 3), ["award"]),
    ({"status": "ABANDONED"}, ("abandoned", 0, 0), ["abandoned"]),
    ({"status": "ABANDONED", "score": {"ft": [0, 1]}}, ("abandoned", 0, 1), ["goals-unlisted", "abandoned"]),
    (
        {"status": "SUSPENDED", "score": {"ft": [1, 0]}, "goals1": [{"name": "Ada Holm", "minute": 12}]},
        ("abandoned", 1, 0),
        ["start-1H", "goal-home-1", "abandoned"],
    ),
]


@pytest.mark.parametrize(("fields", "state", "steps"), OUTCOMES)
async def test_a_match_keeps_the_outcome_of_the_file(
    service: Service, copy: Copy, fields: Json, state: tuple[str, int, int], steps: list[str]
) -> None:
    file = copy(TODAY)
    fixture = json.loads(file.read_text())["matches"][1]
    file.write_text(json.dumps({"name": "Cup", "matches": [{**fixture, "score": None, **fields}]}))

    await replay_file(file, service)
    again = await replay_file(file, service)

    (match,) = read(file).matches
    record = await find_match(service, match)
    assert (record["status"], record["homeScore"], record["awayScore"]) == state
    assert record["endTime"] == instant(script.record_end(match))
    assert await steps_of(service, record["id"]) == steps
    assert again.skipped == 1


async def test_a_match_without_result_is_never_shown_as_finished(service: Service, copy: Copy) -> None:
    file = copy(TODAY)
    fixture = json.loads(file.read_text())["matches"][1]
    file.write_text(json.dumps({"name": "Cup", "matches": [{**fixture, "score": None}]}))

    await replay_file(file, service)

    record = await find_match(service, read(file).matches[0])
    async with service.client() as http:
        events = (await http.get(f"/matches/{record['id']}/events")).json()["data"]
    statuses = [event["data"].get("status") or event["data"].get("newStatus") for event in events]
    assert "finished" not in statuses


async def test_a_postponed_match_is_played_once_the_file_has_its_score(service: Service, copy: Copy) -> None:
    file = copy(TODAY)
    fixture = json.loads(file.read_text())["matches"][0]
    file.write_text(json.dumps({"name": "Cup", "matches": [{**fixture, "status": "POSTPONED"}]}))
    assert (await replay_file(file, service)).not_played == 1

    file.write_text(json.dumps({"name": "Cup", "matches": [fixture]}))
    assert (await replay_file(file, service)).played == 1

    await assert_matches_file(file, service)


async def test_score_agrees_with_the_text_of_every_entry(service: Service, copy: Copy) -> None:
    """The second match has scores without goals, the third misses a goal at half-time."""
    file = copy(TODAY)
    first, second, third, _ = json.loads(file.read_text())["matches"]
    second["score"] = {"ht": [1, 0], "ft": [1, 2]}
    third["goals1"] = third["goals1"][1:]
    file.write_text(json.dumps({"name": "Cup", "matches": [first, second, third]}))

    await replay_file(file, service)

    for match in read(file).matches:
        record = await find_match(service, match)
        async with service.client() as http:
            events = (await http.get(f"/matches/{record['id']}/events", params={"limit": 100})).json()["data"]
        scores = stated_and_actual_scores(events, match)
        assert len(scores) >= 3
        assert [stated for stated, _ in scores] == [actual for _, actual in scores]


def stated_and_actual_scores(events: list[Json], match: Match) -> list[tuple[str, str]]:
    """Return the score stated by each text, and the match's score once the change described is complete."""
    pairs = []
    for position, event in enumerate(events):
        if stated := score_in(event, match):
            follower = events[position + 1]
            updates = [each for each in [*events[:position], follower] if each["type"] == "score_update"]
            data = updates[-1]["data"] if updates else {"homeScore": 0, "awayScore": 0}
            pairs.append((stated, f"{match.home} {data['homeScore']}\u2013{data['awayScore']} {match.away}"))
    return pairs


def score_in(event: Json, match: Match) -> str | None:
    text = event["data"].get("message", "") if event["type"] == "commentary" else ""
    found = re.search(rf"{re.escape(match.home)} \d+\u2013\d+ {re.escape(match.away)}", text)
    return found[0] if found and "shoot-out" not in text else None


async def test_repeated_matches_are_skipped_with_a_warning(service: Service, copy: Copy) -> None:
    file = copy(TODAY)
    first = json.loads(file.read_text())["matches"][0]
    file.write_text(json.dumps({"name": "Cup", "matches": [{**first, "score": None}, first]}))
    shown = StringIO()
    console = Console(file=shown, width=200)

    summary = await replay(file, speed=AS_FAST_AS_POSSIBLE, base_url=service.base_url, api_key=None, console=console)

    assert "match 2 (" in shown.getvalue()
    assert "was skipped" in shown.getvalue()
    assert summary.played == 1
    await assert_matches_file(file, service)


@pytest.mark.parametrize("name", [TODAY, ROUNDS])
async def test_second_run_creates_no_duplicates(service: Service, copy: Copy, name: str) -> None:
    file = copy(name)
    await replay_file(file, service)

    summary = await replay_file(file, service)

    await assert_matches_file(file, service)
    assert (summary.skipped, summary.events) == (4, 0)


async def test_concurrent_runs_create_no_duplicates(service: Service, copy: Copy) -> None:
    file = copy(TODAY)

    await asyncio.gather(replay_file(file, service), replay_file(file, service))

    await assert_matches_file(file, service)


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.6])
async def test_interrupted_run_can_be_continued(service: Service, copy: Copy, seconds: float) -> None:
    file = copy(TODAY)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(replay_file(file, service, SLOW), seconds)

    await replay_file(file, service)

    await assert_matches_file(file, service)


async def test_a_match_ended_by_the_clock_is_played_once_the_file_has_its_score(service: Service, copy: Copy) -> None:
    file = copy(TODAY)
    match = json.loads(file.read_text())["matches"][0]
    file.write_text(json.dumps({"name": "Cup", "matches": [{**match, "score": None, "goals1": [], "goals2": []}]}))
    assert (await replay_file(file, service)).not_played == 1

    file.write_text(json.dumps({"name": "Cup", "matches": [match]}))
    assert (await replay_file(file, service)).played == 1

    await assert_matches_file(file, service)


async def test_a_score_from_the_future_is_played_at_once(service: Service, copy: Copy) -> None:
    file = copy(TODAY)
    document = json.loads(file.read_text())
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    document["matches"] = [{**document["matches"][0], "date": tomorrow}]
    file.write_text(json.dumps(document))

    await replay_file(file, service)
    await replay_file(file, service)

    await assert_matches_file(file, service)


async def test_a_score_that_differs_is_an_error_that_names_the_match(service: Service, copy: Copy) -> None:
    file = copy(TODAY)
    await replay_file(file, service)
    first = read(file).matches[0]
    await change(service, f"/matches/{(await find_match(service, first))['id']}", homeScore=7)

    with pytest.raises(ReplayError) as caught:
        await replay_file(file, service)

    assert first.title in str(caught.value)
    assert "score is 7\u20131, in the file 2\u20131" in str(caught.value)


async def test_the_virtual_clock_keeps_its_speed(service: Service, copy: Copy) -> None:
    began = asyncio.get_running_loop().time()

    await replay_file(copy(TODAY), service, 20_000)

    # Two matches an hour apart plus one with extra time, without the days between: about 5.5 hours of football.
    assert asyncio.get_running_loop().time() - began >= 5 * 3600 / 20_000


async def test_progress_and_summary_are_shown(service: Service, copy: Copy) -> None:
    shown = StringIO()
    console = Console(file=shown, width=120)

    await replay(copy(TODAY), speed=AS_FAST_AS_POSSIBLE, base_url=service.base_url, api_key=None, console=console)

    assert "118' Goal! Finn Mohr" in shown.getvalue()
    assert "33/33" in shown.getvalue()
    assert "mismatches" in shown.getvalue()


async def test_missing_keys_are_reported_and_given_ones_used(start: Start, copy: Copy) -> None:
    api = await start("api", DEV_API_KEY="a-key-for-this-test-alone")
    file = copy(TODAY)

    with pytest.raises(ReplayError, match="requires an API key: set --api-key"):
        await replay_file(file, api)
    with pytest.raises(ReplayError, match="does not know this API key"):
        await replay_file(file, api, key="wrong")
    await replay_file(file, api, key="a-key-for-this-test-alone")

    await assert_matches_file(file, api)


async def test_rate_limits_are_respected(start: Start, copy: Copy) -> None:
    limited, free = await start("api", SECURITY_MODE="LIVE", HTTP_LIMIT="40 per 1 seconds"), await start("api")
    file = copy(TODAY)

    await replay_file(file, limited)

    await assert_matches_file(file, free)


async def test_replay_survives_the_death_of_the_api(start: Start, copy: Copy) -> None:
    api = await start("api")
    file = copy(TODAY)
    run = asyncio.create_task(replay_file(file, api, SLOW))
    await _under_way(api)

    await api.kill()
    await api.start()

    await run
    await assert_matches_file(file, api)


async def test_replay_survives_a_restart_of_postgresql(start: Start, own_postgres: OwnPostgres, copy: Copy) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url)
    file = copy(TODAY)
    run = asyncio.create_task(replay_file(file, api, SLOW))
    await _under_way(api)

    await own_postgres.restart()

    await run
    await assert_matches_file(file, api)


async def test_replay_survives_the_death_of_valkey(start: Start, own_valkey: Valkey, copy: Copy) -> None:
    api = await start("api", REDIS_URL=own_valkey.url)
    file = copy(TODAY)
    run = asyncio.create_task(replay_file(file, api, SLOW))
    await _under_way(api)

    await own_valkey.kill()

    await run
    await assert_matches_file(file, api)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"base_url": "localhost"}, "--base-url localhost must look like http"),
        ({"base_url": "http://[::1"}, "--base-url"),
        ({"speed": 0.0}, "--speed 0.0 must be a number of at least 0.01"),
        ({"speed": float("inf")}, "--speed inf"),
        ({"api_key": "two\nlines"}, "--api-key contains characters that no key has"),
    ],
)
async def test_invalid_options_are_named(options: dict[str, Any], named: str) -> None:
    usual: dict[str, Any] = {"speed": 1.0, "base_url": "http://127.0.0.1:8000", "api_key": None}

    with pytest.raises(ReplayError) as caught:
        await replay(DATA / TODAY, **usual | options)

    assert named in str(caught.value)


async def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"none\.json cannot be opened"):
        await replay(tmp_path / "none.json", speed=1, base_url="http://127.0.0.1:8000", api_key=None)


async def test_another_server_is_recognised(service: Service) -> None:
    with pytest.raises(ReplayError, match="404"):
        await replay(DATA / TODAY, speed=1, base_url=f"{service.base_url}/elsewhere", api_key=None)


async def _under_way(api: Service) -> None:
    """Wait until a match has started."""
    async with api.client() as http:

        async def live() -> bool:
            answer = await http.get("/matches", params={"status": "live"})
            return bool(answer.json()["data"])

        async with asyncio.timeout(30):
            while not await live():
                await asyncio.sleep(0.02)
