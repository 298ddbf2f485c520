"""The README's quick start on a laptop, run as printed except for the port."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.support.service import Service, Start

ROOT = Path(__file__).parents[2]
ENVIRONMENT = Path(sys.executable).parents[1]

SECONDS = 60.0
"""Timeout of a command, and until it prints what it should."""


def readme_commands() -> list[str]:
    """Return the commands to run while the service is running."""
    block = re.search(r"```sh\n(\.venv/bin/livescore replay .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block
    return [line.partition("  #")[0].strip() for line in block[1].splitlines()]


def prepare_folder(folder: Path) -> Path:
    """Create the folder of a new user: the environment, and a file to replay."""
    (folder / ".venv").symlink_to(ENVIRONMENT)
    (folder / "worldcup.json").symlink_to(ROOT / "tests" / "data" / "tournament-today.json")
    return folder


@asynccontextmanager
async def run_command(line: str, api: Service, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command until the block ends, with its output."""
    command = line.replace("localhost:8000", f"127.0.0.1:{api.port}")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        cwd=folder,
        # As in a terminal, where every line is shown at once.
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # The process may be about to end by itself.
        with suppress(ProcessLookupError):
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def wait_for_output(process: asyncio.subprocess.Process, text: bytes) -> None:
    """Wait until the process has printed this text."""
    assert process.stdout
    said = b""
    async with asyncio.timeout(SECONDS):
        while text not in said:
            more = await process.stdout.read(65536)
            assert more, said
            said += more


async def test_readme_commands_replay_and_show_a_tournament(start: Start, tmp_path: Path) -> None:
    api, folder = await start("api"), prepare_folder(tmp_path)
    replay, everything, matches, stream = readme_commands()
    async with run_command(everything, api, folder) as watching:
        await wait_for_output(watching, b"welcome")
        async with run_command(f"{replay} --base-url {api.base_url}", api, folder) as playing:
            async with asyncio.timeout(SECONDS):
                await playing.communicate()
            assert playing.returncode == 0
        await wait_for_output(watching, b"match_status_changed")
    async with run_command(matches, api, folder) as listing:
        await wait_for_output(listing, b'"homeTeam"')
    async with run_command(stream, api, folder) as following:
        await wait_for_output(following, b'"subscribed"')
        await api.comment(1)
        await wait_for_output(following, b'"commentary"')
