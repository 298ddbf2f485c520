"""As a newcomer: what the README says to type, as printed, in the namespace ``default``."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest

from tests.charts.sources import ROOT
from tests.e2e.entrance import OPEN_SECONDS, PAUSE_SECONDS, Entrance
from tests.e2e.environment import APP_IMAGE, OPERATOR_IMAGE
from tests.e2e.kubectl import Kubectl
from tests.e2e.measures import MEASURES
from tests.e2e.stack import GONE_SECONDS
from tests.install.helm import Helm
from tests.smoke import heard
from tests.support import tools

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        (APP_IMAGE, OPERATOR_IMAGE) != ("livescore:dev", "livescore-operator:dev"),
        reason="the README knows the images by the names that `make images` gives them",
    ),
]

BLOCK_SECONDS = 900.0
"""Longest the block may take; the wait in it is ten minutes long."""

LABELS = "app.kubernetes.io/name=livescore,app.kubernetes.io/instance=demo"


def lines() -> list[str]:
    """What the README says to type."""
    _, _, rest = (ROOT / "README.md").read_text().partition("\n## On Kubernetes\n")
    found = re.search(r"```sh\n(.*?)```", rest, re.DOTALL)
    assert found
    return found[1].splitlines()


async def printed_key(environment: dict[str, str]) -> str:
    """Return what the README's line for the administrator's API key prints."""
    found = re.search(r"```sh\n(kubectl get secret .*)\n```", (ROOT / "README.md").read_text())
    assert found
    shell = ("bash", "-euc", found[1])
    process = await asyncio.create_subprocess_exec(*shell, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, found[1]
    return output.decode()


def row(way: str) -> list[str]:
    """The commands of a row of the table."""
    found = re.search(rf"^\| {re.escape(way)} \| (.*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert found
    return re.findall(r"`([^`]+)`", found[1])


@pytest.fixture
def newcomer(program: Kubectl, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with ``kubectl`` and ``helm`` on its path, and a namespace that is empty afterwards."""
    for name, place in (("kubectl", Path(program.command()[0])), ("helm", tools.helm())):
        (tmp_path / name).symlink_to(place.resolve())
    yield {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    helm = Helm("default", tmp_path)
    for name in helm.releases():
        helm.run("uninstall", name)
    limit = f"--timeout={GONE_SECONDS:g}s"
    program.run("delete", "lsc/demo", "--ignore-not-found", limit, timeout=GONE_SECONDS + 10)
    program.run("delete", "pvc,secret", "-l", LABELS, limit, timeout=GONE_SECONDS + 10)


async def typed(commands: list[str], environment: dict[str, str]) -> None:
    """Run lines in a shell that ends with the first one that fails."""
    shell = ("bash", "-euc", "\n".join(commands))
    process = await asyncio.create_subprocess_exec(*shell, cwd=ROOT, env=environment)
    async with asyncio.timeout(BLOCK_SECONDS):
        assert await process.wait() == 0, commands


@asynccontextmanager
async def running(command: str, environment: dict[str, str]) -> AsyncIterator[None]:
    """Run a line that does not end by itself, and end it."""
    shell = ("bash", "-c", command)
    process = await asyncio.create_subprocess_exec(*shell, cwd=ROOT, env=environment, start_new_session=True)
    try:
        yield
    finally:
        # It ends by itself where what it leads to is gone.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


async def opened(entrance: Entrance) -> None:
    """Wait until somebody answers there."""
    async with asyncio.timeout(OPEN_SECONDS):
        while not await entrance.answers():
            await asyncio.sleep(PAUSE_SECONDS)


async def test_the_block_leads_to_the_first_event(newcomer: dict[str, str]) -> None:
    *commands, forward = lines()
    began = monotonic()
    await typed(commands, newcomer)
    async with running(forward, newcomer):
        entrance = Entrance("127.0.0.1:8000", await printed_key(newcomer))
        await opened(entrance)
        await heard(entrance)
        MEASURES.seconds("README, kubectl: first command to first event", [monotonic() - began])


@pytest.mark.parametrize("way", ["Helm", "make on any cluster"])
async def test_a_row_of_the_table_leads_to_the_first_event(newcomer: dict[str, str], way: str) -> None:
    """The last command of each makes a match and hears of it."""
    began = monotonic()
    await typed(row(way), newcomer)
    MEASURES.seconds(f"README, {way}: first command to first event", [monotonic() - began])
