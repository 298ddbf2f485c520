"""The README's quick starts, run exactly as printed, in the namespace ``default``."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest

from tests.e2e.environment import APP_IMAGE, OPERATOR_IMAGE
from tests.e2e.kubectl import Kubectl
from tests.e2e.measurements import MEASUREMENTS
from tests.e2e.service_endpoint import OPEN_SECONDS, PAUSE_SECONDS, ServiceEndpoint
from tests.e2e.stack import GONE_SECONDS
from tests.install.helm import Helm
from tests.smoke import measure_delivery
from tests.support import tools
from tools.charts import ROOT

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        (APP_IMAGE, OPERATOR_IMAGE) != ("livescore:dev", "livescore-operator:dev"),
        reason="the README uses the image names that `make images` assigns",
    ),
]

BLOCK_SECONDS = 900.0
"""Timeout of the block; its wait alone may take ten minutes."""

LABELS = "app.kubernetes.io/name=livescore,app.kubernetes.io/instance=demo"


def readme_commands() -> list[str]:
    """Return the commands of the README's section on Kubernetes."""
    _, _, rest = (ROOT / "README.md").read_text().partition("\n## On Kubernetes\n")
    found = re.search(r"```sh\n(.*?)```", rest, re.DOTALL)
    assert found
    return found[1].splitlines()


async def printed_key(environment: dict[str, str]) -> str:
    """Return the output of the README's command that prints the admin API key."""
    found = re.search(r"```sh\n(kubectl get secret .*)\n```", (ROOT / "README.md").read_text())
    assert found
    shell = ("bash", "-euc", found[1])
    process = await asyncio.create_subprocess_exec(*shell, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, found[1]
    return output.decode()


def row(way: str) -> list[str]:
    """Return the commands of a row of the table."""
    found = re.search(rf"^\| {re.escape(way)} \| (.*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert found
    return re.findall(r"`([^`]+)`", found[1])


@pytest.fixture
def readme_environment(program: Kubectl, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment with ``kubectl`` and ``helm`` on its path; afterwards, empty the namespace."""
    for name, place in (("kubectl", Path(program.command()[0])), ("helm", tools.helm())):
        (tmp_path / name).symlink_to(place.resolve())
    yield {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    helm = Helm("default", tmp_path)
    for name in helm.releases():
        helm.run("uninstall", name)
    limit = f"--timeout={GONE_SECONDS:g}s"
    program.run("delete", "lsc/demo", "--ignore-not-found", limit, timeout=GONE_SECONDS + 10)
    program.run("delete", "pvc,secret", "-l", LABELS, limit, timeout=GONE_SECONDS + 10)


async def run_commands(commands: list[str], environment: dict[str, str]) -> None:
    """Run lines in a shell that stops at the first failure."""
    shell = ("bash", "-euc", "\n".join(commands))
    process = await asyncio.create_subprocess_exec(*shell, cwd=ROOT, env=environment)
    async with asyncio.timeout(BLOCK_SECONDS):
        assert await process.wait() == 0, commands


@asynccontextmanager
async def running(command: str, environment: dict[str, str]) -> AsyncIterator[None]:
    """Run a command that does not end by itself, and terminate it at the end of the block."""
    shell = ("bash", "-c", command)
    process = await asyncio.create_subprocess_exec(*shell, cwd=ROOT, env=environment, start_new_session=True)
    try:
        yield
    finally:
        # The command ends by itself once its target is gone.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


async def opened(endpoint: ServiceEndpoint) -> None:
    """Wait until the service answers."""
    async with asyncio.timeout(OPEN_SECONDS):
        while not await endpoint.is_up():
            await asyncio.sleep(PAUSE_SECONDS)


async def test_readme_block_leads_to_the_first_event(readme_environment: dict[str, str]) -> None:
    *commands, forward = readme_commands()
    began = monotonic()
    await run_commands(commands, readme_environment)
    async with running(forward, readme_environment):
        endpoint = ServiceEndpoint("127.0.0.1:8000", await printed_key(readme_environment))
        await opened(endpoint)
        await measure_delivery(endpoint)
        MEASUREMENTS.record_seconds("README, kubectl: first command to first event", [monotonic() - began])


@pytest.mark.parametrize("way", ["Helm", "make on any cluster"])
async def test_readme_table_row_leads_to_the_first_event(readme_environment: dict[str, str], way: str) -> None:
    """The last command of each row creates a match and receives its event."""
    began = monotonic()
    await run_commands(row(way), readme_environment)
    MEASUREMENTS.record_seconds(f"README, {way}: first command to first event", [monotonic() - began])
