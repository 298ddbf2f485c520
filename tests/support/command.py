"""The ``livescore`` command as a user runs it."""

import asyncio
import subprocess
import sys

from tests.support.service import inherited

COMMAND_SECONDS = 30.0
"""Longest a command may take that only prints or asks the database once, on two cores with other tests."""


async def livescore(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with these settings and none that the developer has set."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "livescore", *arguments],
        env=inherited() | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
