"""``Idempotency-Key`` on POST: one effect and one response, however often and from wherever the request is sent."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from livescore.security.keys import generate
from tests.support.clients import feed_of
from tests.support.service import Service, Start, eventually, match_body

REPLAYED = "Idempotency-Replayed"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


async def test_same_key_and_body_get_the_first_response_again(http: httpx.AsyncClient, key: dict[str, str]) -> None:
    body = match_body()
    first, second = [await http.post("/matches", json=body, headers=key) for _ in range(2)]
    assert first.status_code == second.status_code == 201
    assert first.content == second.content
    assert (REPLAYED in first.headers, second.headers[REPLAYED]) == (False, "true")


async def test_replayed_commentary_is_stored_and_published_once(
    http: httpx.AsyncClient, service: Service, key: dict[str, str]
) -> None:
    match = await service.create_match()
    goal = {"minute": 1, "message": "Goal!", "eventType": "goal", "metadata": {"scoreDelta": {"home": 1}}}
    for _ in range(3):
        await http.post(f"/matches/{match['id']}/commentary", json=goal, headers=key)
    feed = await feed_of(service.base_url, match["id"])
    assert [event["type"] for event in feed] == ["match_created", "commentary", "score_update"]
    assert feed[-1]["data"]["homeScore"] == 1


async def test_equivalent_bodies_count_as_the_same(http: httpx.AsyncClient, key: dict[str, str]) -> None:
    body = match_body()
    await http.post("/matches", json=body, headers=key)
    otherwise = json.dumps(dict(reversed(body.items())), indent=3)
    headers = {**key, "Content-Type": "application/json"}
    again = await http.post("/api/matches", content=otherwise, headers=headers)
    assert (again.status_code, again.headers[REPLAYED]) == (201, "true")


async def test_another_body_with_the_same_key_is_refused(http: httpx.AsyncClient, key: dict[str, str]) -> None:
    body = match_body()
    await http.post("/matches", json=body, headers=key)
    answer = await http.post("/matches", json={**body, "homeScore": 1}, headers=key)
    assert answer.status_code == 422
    assert answer.json() == {"error": "This Idempotency-Key was used for another request"}


async def test_key_applies_to_one_path(http: httpx.AsyncClient, service: Service, key: dict[str, str]) -> None:
    matches = [await service.create_match() for _ in range(2)]
    body = {"minute": 1, "message": "m"}
    paths = [f"/matches/{match['id']}/commentary" for match in matches]
    answers = [await http.post(path, json=body, headers=key) for path in paths]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert [answer.json()["data"]["matchId"] for answer in answers] == [match["id"] for match in matches]


async def test_a_refused_request_leaves_its_key_unused(http: httpx.AsyncClient, key: dict[str, str]) -> None:
    refused = await http.post("/matches", json=match_body(sport=""), headers=key)
    accepted = await http.post("/matches", json=match_body(), headers=key)
    assert (refused.status_code, accepted.status_code, REPLAYED in accepted.headers) == (400, 201, False)


async def test_a_match_that_was_not_found_leaves_its_key_unused(
    http: httpx.AsyncClient, service: Service, key: dict[str, str]
) -> None:
    newest = await service.create_match()
    path, body = f"/matches/{newest['id'] + 1}/commentary", {"minute": 1, "message": "m"}
    assert (await http.post(path, json=body, headers=key)).status_code == 404
    await service.create_match()
    accepted = await http.post(path, json=body, headers=key)
    assert (accepted.status_code, REPLAYED in accepted.headers) == (201, False)


async def test_one_of_many_concurrent_requests_takes_effect(
    http: httpx.AsyncClient, service: Service, key: dict[str, str]
) -> None:
    match = await service.create_match()
    path, body = f"/matches/{match['id']}/commentary", {"minute": 1, "message": "m"}
    answers = await asyncio.gather(*(http.post(path, json=body, headers=key) for _ in range(12)))
    created = [answer for answer in answers if answer.status_code == 201]
    assert len([answer for answer in created if REPLAYED not in answer.headers]) == 1
    assert len({answer.content for answer in created}) == 1
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len(await feed_of(service.base_url, match["id"])) == 2


async def test_second_request_gets_409_while_the_first_is_running(
    start: Start, database_url: str, key: dict[str, str]
) -> None:
    api = await start("api")
    async with api.client() as http, await psycopg.AsyncConnection.connect(database_url) as lock:
        await lock.execute("LOCK TABLE catalog IN EXCLUSIVE MODE")
        body = match_body()
        first = asyncio.create_task(http.post("/matches", json=body, headers=key))
        await eventually_waiting(database_url)
        second = await http.post("/matches", json=body, headers=key)
        assert (second.status_code, second.headers["Retry-After"]) == (409, "1")
        await lock.commit()
        assert (await first).status_code == 201
        assert (await http.post("/matches", json=body, headers=key)).content == (await first).content


async def eventually_waiting(database_url: str) -> None:
    """Wait until a statement is waiting for a lock."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        await eventually(lambda: connection.execute(WAITING).fetchone() == (1,))


@pytest.mark.parametrize("text", ["", "x" * 256, "two words", "a\tb", "caf\u00e9"])
async def test_a_key_is_1_to_255_visible_ascii_characters(http: httpx.AsyncClient, text: str) -> None:
    headers = [(b"Idempotency-Key", text.encode("latin-1"))]
    answer = await http.post("/matches", json=match_body(), headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"] == "Invalid Idempotency-Key"
    assert answer.json()["details"][0]["path"] == ["Idempotency-Key"]


async def test_a_key_of_255_characters_is_accepted_and_two_keys_are_not(http: httpx.AsyncClient) -> None:
    longest = ("Idempotency-Key", uuid4().hex + "~" * 223)
    assert (await http.post("/matches", json=match_body(), headers=[longest])).status_code == 201
    assert (await http.post("/matches", json=match_body(), headers=[longest, longest])).status_code == 400


async def test_key_applies_to_one_caller(start: Start, tmp_path: Path, key: dict[str, str]) -> None:
    callers = [generate(name, ["write"]) for name in ("one", "two")]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([asdict(record) for _, record in callers]))
    api = await start("api", API_KEYS_FILE=str(file))
    answers: list[Any] = []
    async with api.client() as http:
        for text, _ in callers:
            answers.append(await http.post("/matches", json=match_body(), headers={**key, "X-API-Key": text}))
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["data"]["id"] != answers[1].json()["data"]["id"]
