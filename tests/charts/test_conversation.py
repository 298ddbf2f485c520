"""Tests of the ``helm test`` program, run against a real service as in the Pod."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.charts.rendering import parsed, template
from tests.support.command import livescore
from tests.support.ports import Port
from tests.support.service import Service, Start, inherited
from tools.charts import LIVESCORE

PROGRAM = LIVESCORE / "files" / "conversation.py"


async def conversation(url: str, program: Path = PROGRAM, **environment: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", str(program)],
        env=inherited() | {"URL": url, "SECONDS": "0"} | environment,
        capture_output=True,
        text=True,
        timeout=30,
    )


async def test_program_receives_the_match_it_creates_and_cancels_it(service: Service) -> None:
    done = await conversation(service.base_url)

    assert done.returncode == 0, done.stdout + done.stderr
    match = done.stdout.split()[1]
    async with service.client() as client:
        found = (await client.get(f"/matches/{match}")).json()["data"]
    assert (found["sport"], found["status"]) == ("test", "cancelled")


async def test_release_contains_this_program(service: Service, tmp_path: Path) -> None:
    (config,) = (one for one in parsed(template(LIVESCORE)) if one["kind"] == "ConfigMap")
    program = tmp_path / "conversation.py"
    program.write_text(config["data"]["conversation.py"])

    assert (await conversation(service.base_url, program)).returncode == 0


async def test_program_uses_a_key_where_one_is_required(start: Start, database_url: str, redis_url: str) -> None:
    keys = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    made = await livescore("keys", "create", "helm", "--scope", "write", **keys)
    api = await start("api", SECURITY_MODE="LIVE", READ_KEYS_REQUIRED="true")

    refused = await conversation(api.base_url, SECONDS="30")
    admitted = await conversation(api.base_url, API_KEY=made.stdout.strip())

    assert (refused.returncode, "401" in refused.stdout) == (1, True)
    assert admitted.returncode == 0, admitted.stdout


async def test_program_fails_when_no_server_answers() -> None:
    port = Port()
    try:
        done = await conversation(f"http://127.0.0.1:{port.number}")
    finally:
        port.release()
    assert (done.returncode, "ConnectionRefusedError" in done.stdout) == (1, True)


@pytest.mark.parametrize("library", ["httpx", "websockets"])
def test_image_contains_the_program_s_imports(library: str) -> None:
    lock = (LIVESCORE.parents[1] / "requirements" / "app.lock").read_text()
    assert f"\n{library}==" in lock
