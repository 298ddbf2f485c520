"""API keys from the command line to the requests: created, shown once, required, revoked."""

import asyncio
from pathlib import Path

import httpx
import psycopg
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.clients import Listener
from tests.support.command import Command
from tests.support.servers import OwnPostgres, Postgres
from tests.support.service import Service, Start, match_body

REVOKED_SECONDS = 10.0
"""A process reads the keys every five seconds; the rest is tolerance for a busy machine."""

SECRET = "a-key-for-this-test-alone"


class Keys:
    """``livescore keys`` for one database."""

    def __init__(self, livescore: Command, database_url: str, redis_url: str) -> None:
        self._livescore = livescore
        self.environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}

    async def create(self, name: str, scope: str) -> str:
        """Create a key and return its text."""
        done = await self._livescore("keys", "create", name, "--scope", scope, **self.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    async def list(self) -> str:
        done = await self._livescore("keys", "list", **self.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def revoke(self, text: str) -> None:
        done = await self._livescore("keys", "revoke", text.split("_")[1], **self.environment)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def keys(forked: Command, database_url: str, redis_url: str) -> Keys:
    return Keys(forked, database_url, redis_url)


async def status(api: Service, **headers: str) -> int:
    # Longer than DATABASE_TIMEOUT_SECONDS, which the service may use up before it answers 503.
    async with httpx.AsyncClient(base_url=api.base_url, verify=False, timeout=10) as http:
        return (await http.post("/matches", json=match_body(), headers=headers)).status_code


async def wait_for_status(wanted: int, api: Service, **headers: str) -> None:
    """Wait until a write gets this status."""
    async with asyncio.timeout(REVOKED_SECONDS):
        while await status(api, **headers) != wanted:
            await asyncio.sleep(0.1)


async def test_writes_are_public_without_any_key(start: Start) -> None:
    api = await start("api")

    assert await status(api) == 201
    assert await status(api, Authorization="Bearer unknown") == 201


async def test_key_grants_its_scope_in_either_header(start: Start, keys: Keys) -> None:
    reader, writer, admin = [await keys.create(scope, scope) for scope in ("read", "write", "admin")]
    api = await start("api")

    assert await status(api) == 401
    assert await status(api, **{"X-API-Key": f"{writer}x"}) == 401
    assert await status(api, **{"X-API-Key": reader}) == 403
    assert await status(api, **{"X-API-Key": writer}) == 201
    assert await status(api, Authorization=f"Bearer {writer}") == 201
    assert await status(api, Authorization=f"bearer {admin}") == 201
    assert await status(api, Authorization=f"Basic {writer}") == 401


async def test_every_write_requires_a_key_and_no_read_does(start: Start, keys: Keys) -> None:
    writer = await keys.create("desk", "write")
    api = await start("api")

    async with httpx.AsyncClient(base_url=api.base_url, verify=False) as http:
        made = await http.post("/matches", json=match_body(), headers={"X-API-Key": writer})
        match = f"/matches/{made.json()['data']['id']}"
        writes = [
            ("POST", "/matches"),
            ("POST", "/api/matches"),
            ("PATCH", match),
            ("PATCH", f"{match}/score"),
            ("PATCH", f"{match}/end"),
            ("POST", f"{match}/commentary"),
            ("PATCH", f"{match}/commentary/1"),
            ("DELETE", f"{match}/commentary/1"),
        ]
        assert {path: (await http.request(method, path, json={})).status_code for method, path in writes} == {
            path: 401 for _, path in writes
        }
        for path in ("/matches", match, f"{match}/commentary", f"{match}/events", "/health", "/openapi.json"):
            assert (await http.get(path)).status_code == 200, path


async def test_refusal_names_the_missing_key_in_the_envelope(start: Start) -> None:
    api = await start("api", DEV_API_KEY=SECRET)

    async with httpx.AsyncClient(base_url=api.base_url, verify=False) as http:
        answer = await http.post("/matches", json=match_body())

    assert answer.json() == {"error": "API key required"}
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="livescore"'


async def test_created_or_revoked_key_takes_effect_within_seconds(start: Start, keys: Keys) -> None:
    api = await start("api")

    text = await keys.create("desk", "write")
    await wait_for_status(401, api)
    assert await status(api, **{"X-API-Key": text}) == 201

    await keys.revoke(text)
    await wait_for_status(401, api, **{"X-API-Key": text})
    assert await status(api) == 401  # revoking the last key does not make writes public


async def test_keys_survive_an_outage_of_postgresql(
    forked: Command, start: Start, own_postgres: OwnPostgres, redis_url: str
) -> None:
    text = await Keys(forked, own_postgres.url, redis_url).create("desk", "write")
    api = await start("api", DATABASE_URL=own_postgres.url, READ_KEYS_REQUIRED="true")

    await own_postgres.stop()

    assert await status(api) == 401
    assert await status(api, **{"X-API-Key": text}) == 503


async def test_key_file_grants_access_and_is_reloaded(
    forked: Command, start: Start, own_postgres: OwnPostgres, redis_url: str, tmp_path: Path
) -> None:
    elsewhere = Keys(forked, own_postgres.url, redis_url).environment
    made = await forked("keys", "create", "desk", "--json", **elsewhere)
    text = made.stderr.split()[0]
    file = tmp_path / "keys.json"
    file.write_text("[]")
    api = await start("api", API_KEYS_FILE=str(file))
    assert await status(api, **{"X-API-Key": text}) == 401

    file.write_text(made.stdout)

    await wait_for_status(201, api, **{"X-API-Key": text})
    assert text.split("_", 2)[2] not in made.stdout


async def test_development_key_may_write(start: Start) -> None:
    api = await start("api", DEV_API_KEY=SECRET)

    assert await status(api) == 401
    assert await status(api, **{"X-API-Key": SECRET}) == 201


async def test_reads_and_sockets_need_a_key_if_required(start: Start) -> None:
    api = await start("api", DEV_API_KEY=SECRET, READ_KEYS_REQUIRED="true")
    headers = {"X-API-Key": SECRET}

    async with httpx.AsyncClient(base_url=api.base_url, verify=False) as http:
        match = (await http.post("/matches", json=match_body(), headers=headers)).json()["data"]["id"]
        for path in ("/matches", f"/matches/{match}", f"/matches/{match}/commentary", f"/matches/{match}/events"):
            assert (await http.get(path)).status_code == 401, path
            assert (await http.get(path, headers=headers)).status_code == 200, path
        assert (await http.get("/health/ready")).status_code == 200
    with pytest.raises(InvalidStatus) as refused:
        await connect(api.ws_url, proxy=None)
    assert refused.value.response.status_code == 401
    for url, options in ((api.ws_url, {"additional_headers": headers}), (f"{api.ws_url}?apiKey={SECRET}", {})):
        async with Listener(url, options=options) as listener:
            assert listener.log[0]["type"] == "welcome"


async def test_only_the_digest_is_stored_and_no_key_is_logged(start: Start, keys: Keys, database_url: str) -> None:
    text = await keys.create("desk", "write")
    api = await start("api", LOG_LEVEL="DEBUG")
    await status(api, Authorization=f"Bearer {text}")
    await status(api, Authorization=f"Bearer {text}x")

    secret = text.split("_", 2)[2]
    with psycopg.connect(database_url) as connection:
        stored = connection.execute("SELECT api_key::text FROM api_key").fetchall()
    assert secret not in str(stored)
    assert secret not in api.log


async def test_list_shows_every_key_and_no_secret(keys: Keys) -> None:
    desk, screen = await keys.create("desk [red]", "write"), await keys.create("screen", "read")
    await keys.revoke(screen)

    shown = await keys.list()

    assert "desk [red]" in shown
    assert all(text.split("_")[1] in shown and text.split("_", 2)[2] not in shown for text in (desk, screen))
    assert [line.count(":") for line in shown.splitlines() if line.startswith("│")] == [1, 2]


async def test_revoking_twice_succeeds_and_revoking_an_unknown_key_fails(forked: Command, keys: Keys) -> None:
    text = await keys.create("desk", "write")
    await keys.revoke(text)
    await keys.revoke(text)

    done = await forked("keys", "revoke", "000000000000", **keys.environment)

    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no key 000000000000" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("create", ""), ("create", "two\nlines"), ("create", "desk", "--scope", "all"), ("create",)]
)
async def test_invalid_arguments_are_refused(forked: Command, keys: Keys, arguments: tuple[str, ...]) -> None:
    done = await forked("keys", *arguments, **keys.environment)

    assert (done.returncode, done.stdout) == (2, "")


async def test_unreachable_database_is_reported_in_one_line_without_password(forked: Command) -> None:
    url = "postgresql://desk:tr0ub4dor@127.0.0.1:1/x"

    done = await forked("keys", "list", DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "Connection refused" in done.stderr
    assert "tr0ub4dor" not in done.stderr


async def test_missing_schema_is_reported_with_the_command_to_create_it(
    forked: Command, postgres_server: Postgres
) -> None:
    url = postgres_server.url_of("postgres")

    done = await forked("keys", "list", DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1")

    assert (done.returncode, done.stderr) == (
        1,
        "livescore keys: the database has no schema yet: run `livescore migrate`\n",
    )
