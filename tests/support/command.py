"""The ``livescore`` command, run as users run it."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from livescore_dev.processes import guarded
from tests.support.forkserver import ForkServer
from tests.support.service import inherited

COMMAND_SECONDS = 60.0
"""Timeout of a command that prints or queries the database once, on two cores shared with other tests."""


class Command(Protocol):
    """Type of :func:`livescore` and of the fixture ``forked``."""

    async def __call__(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, with these settings and without those of the developer's environment."""
        ...


async def livescore(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, with these settings and without those of the developer's environment."""
    return await asyncio.to_thread(
        subprocess.run,
        guarded([sys.executable, "-m", "livescore", *arguments], signal.SIGKILL),
        env=inherited() | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )


def forking(forks: ForkServer, directory: Path) -> Command:
    """Return :func:`livescore` without the cost of its imports; output files are written to ``directory``."""

    async def forked(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        paths = directory / "stdout", directory / "stderr"
        with paths[0].open("wb") as output, paths[1].open("wb") as errors:
            process = forks.run(list(arguments), inherited() | environment, output, errors)
        try:
            code = await asyncio.to_thread(process.wait, COMMAND_SECONDS)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, code, *(path.read_text() for path in paths))

    return forked
