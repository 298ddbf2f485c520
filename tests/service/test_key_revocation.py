"""Connections of a revoked API key: sockets, event streams and long polls end within the refresh interval."""

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from livescore.security.keys import ApiKey, generate
from tests.support.clients import Listener
from tests.support.servers import OwnPostgres
from tests.support.service import Service, Start, eventually, match_body

REVOKED_SECONDS = 20.0
"""Timeout until the connections of a revoked key have ended: 5 s plus tolerance for a busy machine."""


class KeyFile:
    """An ``API_KEYS_FILE`` and the texts of its keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys: dict[str, ApiKey] = {}
        self._write()

    def create(self, scope: str = "read") -> str:
        """Add a key and return its text."""
        text, key = generate("test", [scope])
        self._keys[text] = key
        self._write()
        return text

    def revoke(self, text: str) -> None:
        """Remove a key."""
        del self._keys[text]
        self._write()

    def _write(self) -> None:
        replacement = self.path.with_suffix(".new")
        replacement.write_text(json.dumps([asdict(key) for key in self._keys.values()]))
        replacement.rename(self.path)


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def read_to_end(api: Service, path: str, text: str, opened: asyncio.Event) -> int:
    """Open a stream, wait until the server has ended it cleanly, and return its status."""
    async with (
        httpx.AsyncClient(base_url=api.base_url, verify=False, timeout=60) as http,
        http.stream("GET", path, headers=bearer(text)) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                opened.set()
        return answer.status_code


async def test_revoked_key_closes_only_its_own_connections(start: Start, keys: KeyFile) -> None:
    revoked, kept = keys.create("write"), keys.create()
    api = await start("api", API_KEYS_FILE=str(keys.path), READ_KEYS_REQUIRED="true")
    async with httpx.AsyncClient(base_url=api.base_url, verify=False, timeout=60) as http, AsyncExitStack() as stack:
        match = (await http.post("/matches", json=match_body(), headers=bearer(revoked))).json()["data"]["id"]

        def listen(url: str, **headers: str) -> Listener:
            return Listener(url, options={"additional_headers": headers})

        by_header = await stack.enter_async_context(listen(api.ws_url, **bearer(revoked)))
        by_query = await stack.enter_async_context(listen(f"{api.ws_url}?apiKey={revoked}&matchId={match}"))
        other = await stack.enter_async_context(listen(f"{api.ws_url}?all=1", **bearer(kept)))
        paths = (f"/matches/{match}/events/stream", "/events/stream")
        opened = [asyncio.Event() for _ in paths]
        streams = [
            asyncio.create_task(read_to_end(api, path, revoked, event))
            for path, event in zip(paths, opened, strict=True)
        ]
        await asyncio.gather(*(event.wait() for event in opened))
        poll = asyncio.create_task(
            http.get(f"/matches/{match}/events", params={"since": 1, "wait": 25}, headers=bearer(revoked))
        )
        await asyncio.sleep(0.5)

        keys.revoke(revoked)

        assert await by_header.until_closed(REVOKED_SECONDS) == 4401
        assert await by_query.until_closed(REVOKED_SECONDS) == 4401
        async with asyncio.timeout(REVOKED_SECONDS):
            assert await asyncio.gather(*streams) == [200, 200]
            answer = await poll
        assert (answer.status_code, answer.json()) == (401, {"error": "Invalid API key"})
        assert await other.ask({"type": "ping"}, "pong")
        assert not other.closes
    assert "without completing response" not in api.log


async def test_revoked_stream_waiting_for_the_database_is_refused(
    start: Start, keys: KeyFile, own_postgres: OwnPostgres
) -> None:
    text = keys.create()
    api = await start(
        "api",
        API_KEYS_FILE=str(keys.path),
        READ_KEYS_REQUIRED="true",
        DATABASE_URL=own_postgres.url,
        DATABASE_TIMEOUT_SECONDS="30",
    )
    async with httpx.AsyncClient(base_url=api.base_url, verify=False, timeout=60) as http:
        own_postgres.pause()
        try:
            waiting = asyncio.create_task(http.get("/matches/1/events/stream", headers=bearer(text)))
            await asyncio.sleep(0.5)
            assert not waiting.done()
            keys.revoke(text)
            async with asyncio.timeout(REVOKED_SECONDS * 2):
                assert (await waiting).status_code == 401
        finally:
            own_postgres.resume()


async def test_reads_are_refused_until_a_key_exists(start: Start, keys: KeyFile) -> None:
    api = await start("api", ready=False, API_KEYS_FILE=str(keys.path), READ_KEYS_REQUIRED="true")
    await api.logged("requests are refused because no API key exists")
    async with httpx.AsyncClient(base_url=api.base_url, verify=False) as http:
        for path in ("/matches", "/matches/1", "/matches/1/events", "/matches/1/events/stream", "/events/stream"):
            answer = await http.get(path)
            assert answer.status_code == 401, path
            assert "`livescore keys create NAME --scope read`" in answer.json()["error"]
        with pytest.raises(InvalidStatus) as refused:
            await connect(api.ws_url, proxy=None)
        assert refused.value.response.status_code == 401
        readiness = await http.get("/health/ready")
        assert readiness.status_code == 503
        assert readiness.json()["reason"].startswith("READ_KEYS_REQUIRED is set and no valid API key exists")

        text = keys.create()

        await eventually(api.is_ready)
        assert (await http.get("/matches", headers=bearer(text))).status_code == 200
        assert (await http.get("/matches")).status_code == 401


async def test_reads_are_refused_while_the_keys_cannot_be_read(start: Start, own_postgres: OwnPostgres) -> None:
    await own_postgres.stop()
    api = await start("api", ready=False, DATABASE_URL=own_postgres.url, READ_KEYS_REQUIRED="true")
    async with httpx.AsyncClient(base_url=api.base_url, verify=False, timeout=10) as http:
        async with asyncio.timeout(60):
            while True:
                with suppress(httpx.ConnectError):
                    answer = await http.get("/matches")
                    break
                await asyncio.sleep(0.05)
    assert (answer.status_code, answer.json()["error"]) == (503, "API keys cannot be read yet: try again in a moment")


@pytest.mark.parametrize("environment", ["production", "Production", " PRODUCTION ", "prod"])
async def test_writes_in_production_are_refused_until_a_key_exists(
    start: Start, keys: KeyFile, environment: str
) -> None:
    api = await start("api", ENVIRONMENT=environment, API_KEYS_FILE=str(keys.path))
    async with httpx.AsyncClient(base_url=api.base_url, verify=False) as http:
        refused = await http.post("/matches", json=match_body())
        assert refused.status_code == 401
        assert "`livescore keys create NAME --scope write`" in refused.json()["error"]
        assert "ALLOW_ANONYMOUS_WRITES=true" in refused.json()["error"]
        assert (await http.get("/matches")).status_code == 200
    await api.logged("requests are refused because no API key exists")


async def test_anonymous_writes_can_be_allowed_in_production(start: Start, tmp_path: Path) -> None:
    admin = tmp_path / "admin-key"
    admin.write_text("lsk_admin_0123456789abcdef\n")
    api = await start(
        "api", ENVIRONMENT="production", ALLOW_ANONYMOUS_WRITES="true", ADMIN_KEY_FILE=str(admin), LOG_LEVEL="DEBUG"
    )
    async with httpx.AsyncClient(base_url=api.base_url, verify=False) as http:
        assert (await http.post("/matches", json=match_body())).status_code == 201
        wrong = await http.post("/matches", json=match_body(), headers=bearer("lsk_admin_fedcba9876543210"))
        assert wrong.status_code == 401
    assert "0123456789abcdef" not in api.log


async def test_admin_key_of_a_file_is_valid_until_the_file_changes(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "admin-key"
    file.write_text("lsk_admin_first-0123456789\n")
    api = await start("api", ENVIRONMENT="production", ADMIN_KEY_FILE=str(file))

    async def status(text: str) -> int:
        async with httpx.AsyncClient(base_url=api.base_url, verify=False) as http:
            return (await http.post("/matches", json=match_body(), headers=bearer(text))).status_code

    assert await status("lsk_admin_first-0123456789") == 201
    replacement = file.with_suffix(".new")
    replacement.write_text("lsk_admin_second-0123456789")
    replacement.rename(file)
    async with asyncio.timeout(REVOKED_SECONDS):
        while await status("lsk_admin_first-0123456789") != 401:
            await asyncio.sleep(0.1)
    assert await status("lsk_admin_second-0123456789") == 201
    assert "0123456789" not in api.log
