"""Pages of allowed origins can read every response, including those sent before routing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psycopg
import pytest

from tests.support.clients import Listener
from tests.support.service import Service, Start, match_body

PAGE = "https://app.example"
ORIGIN = {"Origin": PAGE}
PREFLIGHT = {
    **ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,if-match",
}
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n\r\n"
EXPOSED = {"etag", "location", "retry-after", "ratelimit", "ratelimit-policy", "idempotency-replayed", "x-request-id"}


@pytest.fixture
async def api(start: Start) -> Service:
    return await start("api", ALLOWED_ORIGINS="HTTPS://App.example/", MAX_CONNECTIONS="1", REQUEST_TIMEOUT_SECONDS="1")


@asynccontextmanager
async def page(api: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sends a page's origin; preflights and early responses are not in OpenAPI."""
    async with httpx.AsyncClient(base_url=api.base_url, verify=False, headers=ORIGIN, timeout=30) as http:
        yield http


def assert_readable(answer: httpx.Response) -> None:
    """Assert that the page can read the status, the body and the headers it needs."""
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "origin" in answer.headers["Vary"].lower()
    assert {name.strip().lower() for name in answer.headers["Access-Control-Expose-Headers"].split(",")} >= EXPOSED


async def raw(api: Service, request: bytes) -> httpx.Response:
    """Send raw bytes and return the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(request)
    head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
    writer.close()
    status, *lines = head.decode().split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return httpx.Response(int(status.split()[1]), headers=headers, content=body)


async def test_every_answer_of_the_application_is_readable(api: Service, database_url: str) -> None:
    match = await api.create_match()
    async with page(api) as http:
        async with Listener(api.ws_url):  # occupies the only place
            full = await http.get("/events/stream")
        answers = {
            503: full,
            200: await http.get("/matches"),
            201: await http.post("/matches", json=match_body()),
            304: await http.get(f"/matches/{match['id']}", headers={"If-None-Match": "*"}),
            400: await http.post("/matches", json={}),
            404: await http.get("/nowhere"),
            405: await http.put("/matches"),
            413: await http.post("/matches", json=match_body(padding="x" * 200_000)),
        }
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("ALTER TABLE commentary RENAME TO elsewhere")
        answers[500] = await http.get("/matches/1/commentary")
    for status, answer in answers.items():
        assert answer.status_code == status, answer.text
        assert_readable(answer)


async def test_answers_of_the_protocol_are_readable(api: Service) -> None:
    head = b"POST /matches HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\nContent-Type: application/json\r\n"
    answers = {
        408: await raw(api, head + b"Content-Length: 10\r\n\r\n{"),
        431: await raw(api, head + b"X: " + b"x" * 40_000 + b"\r\n\r\n"),
        400: await raw(api, head + b"Content-Length: x\r\n\r\n"),
        417: await raw(api, head + b"Expect: later\r\n\r\n"),
        426: await raw(api, head.replace(b"POST /matches", b"GET /ws") + UPGRADE),
        501: await raw(api, head + b"Transfer-Encoding: gzip\r\n\r\n"),
        505: await raw(api, head.replace(b"HTTP/1.1", b"HTTP/1.2") + b"\r\n"),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert_readable(answer)


async def test_a_refused_key_is_readable(start: Start) -> None:
    api = await start("api", ALLOWED_ORIGINS=PAGE, DEV_API_KEY="development")
    async with page(api) as http:
        answer = await http.post("/matches", json=match_body())
    assert answer.status_code == 401
    assert_readable(answer)


async def test_rate_limited_page_can_read_retry_after(start: Start) -> None:
    api = await start("api", ALLOWED_ORIGINS=PAGE, SECURITY_MODE="LIVE", HTTP_LIMIT="2 per minute")
    async with page(api) as http:
        answers = [await http.get("/matches") for _ in range(4)]
        preflight = await http.options("/matches", headers=PREFLIGHT)
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    for answer in answers:
        assert_readable(answer)
    assert int(answers[-1].headers["Retry-After"]) >= 1
    # If a preflight fails, the browser hides the response including Retry-After.
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == PAGE


async def test_preflight_lists_allowed_methods_and_headers(api: Service) -> None:
    async with page(api) as http:
        answer = await http.options("/matches", headers=PREFLIGHT)
        other = await http.options("/matches", headers={**PREFLIGHT, "Origin": "https://evil.example"})
        plain = await http.options("/matches")
    assert (answer.status_code, answer.content) == (204, b"")
    allowed = {name.strip() for name in answer.headers["Access-Control-Allow-Methods"].split(",")}
    assert {"GET", "POST", "PATCH", "DELETE"} <= allowed
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type,if-match"
    assert (other.status_code, other.json()) == (403, {"error": "Origin not allowed"})
    assert "Access-Control-Allow-Origin" not in other.headers
    assert plain.status_code == 405


async def test_other_origins_get_no_cors_headers_and_are_logged(api: Service) -> None:
    async with page(api) as http:
        for origin in ("https://evil.example", "http://app.example", "null"):
            answer = await http.get("/matches", headers={"Origin": origin})
            assert (answer.status_code, answer.headers["Vary"]) == (200, "Origin")
            assert "Access-Control-Allow-Origin" not in answer.headers
    await api.logged("ALLOWED_ORIGINS")
    await api.logged("https://evil.example")


async def test_allowing_all_origins_is_visible_to_caches(start: Start) -> None:
    api = await start("api", ALLOWED_ORIGINS="*")
    async with api.client() as http:
        assert (await http.get("/matches")).headers["Access-Control-Allow-Origin"] == "*"


async def test_sockets_and_requests_accept_the_same_origins(api: Service) -> None:
    async with Listener(api.ws_url, options={"additional_headers": ORIGIN}):
        pass
    async with page(api) as http:
        assert_readable(await http.get("/"))
