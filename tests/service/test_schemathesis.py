"""Schemathesis reads ``/openapi.json`` and searches for responses that violate the document.

It generates valid and invalid requests for every operation, and sequences of requests. For a longer search::

    SCHEMATHESIS_SECONDS=600 pytest tests/service/test_schemathesis.py
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import Service, Start, instant

ROOT = Path(__file__).parents[2]

EXAMPLES = 15
"""Generated requests per operation and phase, in addition to the boundary values of every parameter."""

SECONDS = int(os.environ.get("SCHEMATHESIS_SECONDS", "0"))
"""Duration of the search in seconds; 0 for :data:`EXAMPLES`."""

# Half of the generated ids exist. Long polls do not wait, because waiting reveals nothing.
CONFIGURATION = """
[dictionaries.ids]
values = [1, 2, 3]

[parameters]
"path.id" = { dictionary = "ids", probability = 0.5 }
"path.commentaryId" = { dictionary = "ids", probability = 0.5 }

[[operations]]
include-operation-id = "list_events"
parameters = { "query.wait" = 0 }
"""

OPTIONS = [
    "--checks=all",
    "--exclude-path-regex=/stream$",  # server-sent events never end; tests/support/validation.py checks them
    "--generation-database=:memory:",
    "--request-timeout=30",
    "--suppress-health-check=all",  # slow generation on a busy machine is not a failure
    "--no-color",
    *(["--max-time", str(SECONDS)] if SECONDS else ["--max-examples", str(EXAMPLES)]),
]


@pytest.mark.timeout(SECONDS + 300)
async def test_responses_conform_to_openapi(start: Start, tmp_path: Path) -> None:
    service = await start("api", LOG_LEVEL="ERROR")
    await populate(service)
    found = search(f"{service.base_url}/openapi.json", tmp_path)
    print(found.stdout)
    assert found.returncode == 0
    assert "Traceback" not in service.log


async def populate(service: Service) -> None:
    """Create matches 1 to 3, live, scheduled and finished, each with a commentary of the same number."""
    for begin, end in ((-3600, 3600), (3600, 7200), (-7200, -3600)):
        match = await service.create_match(startTime=instant(begin), endTime=instant(end))
        await service.comment(match["id"])


def search(document: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run Schemathesis with ``directory`` as its working directory."""
    configuration = directory / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    program = Path(sys.executable).with_name("schemathesis")
    hooks = {"SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [str(program), f"--config-file={configuration}", "run", document, *OPTIONS],
        cwd=directory,
        env=os.environ | hooks,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
