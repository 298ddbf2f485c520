"""Every error is the JSON envelope, and no request waits longer than its timeout."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from livescore.security.keys import generate
from tests.support.servers import OwnPostgres
from tests.support.service import Service, Start, match_body
from tests.support.stopwatch import Stopwatch

COMMENTARY = {"minute": 1, "message": "m"}


# Routes and methods


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api", "/api/health", "/matches/1/nothing", "/matches/1/commentary/1/x", "/%00"]
)
async def test_an_unknown_route_is_json(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()) == (404, {"error": "Not found"})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD"),
        ("/health", "GET, HEAD"),
        ("/matches", "GET, HEAD, POST"),
        ("/api/matches/1", "GET, HEAD, PATCH"),
        ("/matches/1/end", "PATCH"),
        ("/matches/1/commentary", "GET, HEAD, POST"),
        ("/matches/1/commentary/1", "DELETE, GET, HEAD, PATCH"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "QUERY"])
async def test_wrong_method_gets_405_with_the_allowed_ones(
    http: httpx.AsyncClient, path: str, allowed: str, method: str
) -> None:
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()) == (405, {"error": "Method not allowed"})
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("path", ["/", "/health", "/matches", "/api/matches", "/matches/1/commentary"])
async def test_head_is_get_without_a_body(http: httpx.AsyncClient, path: str) -> None:
    get, head = await http.get(path), await http.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


# Size


async def test_a_body_over_100_kb_is_too_large(http: httpx.AsyncClient) -> None:
    answer = await http.post("/matches", json=match_body(padding="x" * 102_400))
    assert answer.status_code == 413
    assert list(answer.json()) == ["error"]


async def test_body_of_100_kb_is_accepted(http: httpx.AsyncClient, service: Service) -> None:
    match = await service.create_match()
    body = {"minute": 1, "message": "x"}
    body["message"] = "x" * (102_400 - len(json.dumps(body, separators=(",", ":"))) + 1)
    answer = await http.post(f"/matches/{match['id']}/commentary", json=body)
    assert answer.status_code == 201
    assert answer.json()["data"]["message"] == body["message"]


# PostgreSQL


async def test_without_postgresql_requests_get_503_at_once(start: Start, own_postgres: OwnPostgres) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url, DATABASE_TIMEOUT_SECONDS="2")
    match = await api.create_match()
    async with api.client() as http:
        await own_postgres.stop()
        watch = Stopwatch()
        answers = await asyncio.gather(
            http.get("/matches"),
            http.get("/matches/2147483647"),
            http.get(f"/matches/{match['id']}/commentary"),
            http.post("/matches", json=match_body()),
            http.post("/matches", json=match_body(), headers={"Idempotency-Key": "k"}),
            http.post(f"/matches/{match['id']}/commentary", json=COMMENTARY),
            http.patch(f"/matches/{match['id']}/end"),
            http.delete(f"/matches/{match['id']}/commentary/1"),
        )
        assert watch.seconds() < 4
        for answer in answers:
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json().keys() == {"error", "reason"}
        assert (await http.get("/")).status_code == 200
        assert (await http.post("/matches", json={})).status_code == 400


async def test_requests_to_a_hanging_database_end_in_time_and_leave_nothing(
    start: Start, own_postgres: OwnPostgres
) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url, DATABASE_TIMEOUT_SECONDS="1")
    async with api.client() as http:
        own_postgres.pause()
        try:
            watch = Stopwatch()
            answers = await asyncio.gather(*(http.get("/matches") for _ in range(30)))
            assert watch.seconds() < 4
            assert {answer.status_code for answer in answers} == {503}
        finally:
            own_postgres.resume()
        async with asyncio.timeout(30):
            while (await http.get("/matches")).status_code != 200:
                await asyncio.sleep(0.05)


async def test_internal_error_gets_500_without_details(start: Start, database_url: str) -> None:
    api = await start("api", LOG_FORMAT="json")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE commentary RENAME TO elsewhere")
    async with api.client(event_hooks={}) as http:  # this response is not documented
        answer = await http.get("/matches/1/commentary", headers={"X-Request-ID": "the-failed-one"})
    assert (answer.status_code, answer.json()) == (500, {"error": "Internal server error"})
    await api.logged("the-failed-one")


# Keys


@pytest.fixture
async def guarded(start: Start, tmp_path: Path) -> tuple[Service, dict[str, str]]:
    """An API with a key of each scope, and the keys' texts by scope."""
    made = {scope: generate(scope, [scope]) for scope in ("read", "write", "admin")}
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([asdict(record) for _, record in made.values()]))
    api = await start("api", API_KEYS_FILE=str(file))
    return api, {scope: text for scope, (text, _) in made.items()}


WRITES: list[tuple[str, str, Any]] = [
    ("POST", "/matches", match_body()),
    # Before the changes by hand, which take their places in the order of entries from the same sequence of ids.
    ("POST", "/matches/1/commentary", COMMENTARY),
    ("PATCH", "/matches/1", {"sport": "x"}),
    ("PATCH", "/matches/1/score", {"homeScore": 1, "awayScore": 1}),
    ("PATCH", "/matches/1/end", None),
    ("PATCH", "/matches/1/commentary/1", {"message": "x"}),
    ("DELETE", "/matches/1/commentary/1", None),
]


async def test_every_write_requires_a_key_with_write_scope(guarded: tuple[Service, dict[str, str]]) -> None:
    api, keys = guarded
    async with api.client() as http:
        for method, path, body in WRITES:
            for prefix in ("", "/api"):
                missing = await http.request(method, prefix + path, json=body)
                assert (missing.status_code, missing.json()) == (401, {"error": "API key required"})
                assert missing.headers["WWW-Authenticate"].startswith("Bearer")
                wrong = await http.request(method, path, json=body, headers={"X-API-Key": keys["write"] + "x"})
                assert (wrong.status_code, wrong.json()) == (401, {"error": "Invalid API key"})
                weak = await http.request(method, path, json=body, headers={"X-API-Key": keys["read"]})
                assert (weak.status_code, list(weak.json())) == (403, ["error"])
            strong = await http.request(method, path, json=body, headers={"Authorization": f"Bearer {keys['admin']}"})
            assert strong.status_code < 300, strong.text


async def test_unauthorized_write_reveals_nothing_about_the_request(guarded: tuple[Service, dict[str, str]]) -> None:
    api, _ = guarded
    async with api.client() as http:
        assert (await http.post("/matches", json={})).status_code == 401
        assert (await http.patch("/matches/abc", json={})).status_code == 401


async def test_reads_are_public(guarded: tuple[Service, dict[str, str]]) -> None:
    api, _ = guarded
    async with api.client() as http:
        for path in ("/", "/matches", "/matches/1/commentary", "/health"):
            assert (await http.get(path)).status_code == 200


async def test_reads_need_a_key_if_required(start: Start) -> None:
    api = await start("api", READ_KEYS_REQUIRED="true", DEV_API_KEY="development")
    match = await api.create_match()
    paths = ["/matches", f"/matches/{match['id']}", f"/matches/{match['id']}/commentary"]
    async with api.client() as with_key, httpx.AsyncClient(base_url=api.base_url, verify=False) as without:
        for path in paths:
            assert (await with_key.get(path)).status_code == 200
            assert (await without.get(path)).status_code == 401
        assert (await without.get("/health")).status_code == 200
