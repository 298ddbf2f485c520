"""The real ``helm``, bound to one namespace."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.environment import OPERATOR_IMAGE
from tests.e2e.kubectl import CommandError
from tests.e2e.stack import READY_SECONDS, manifest
from tests.e2e.system import INSTALL_SECONDS
from tests.support import tools
from tools.charts import LIVESCORE, OPERATOR

LIMIT_SECONDS = max(READY_SECONDS, INSTALL_SECONDS)
"""Timeout of a command that waits for pods."""


class Helm:
    """The command, with the kubeconfig of the environment."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self.namespace = namespace
        self._folder = folder

    async def __call__(self, *arguments: str) -> str:
        """Run the command without blocking the event loop, and return its output.

        Raises:
            CommandError: the command failed, or timed out.
        """
        return await asyncio.to_thread(self.run, *arguments)

    def run(self, *arguments: str) -> str:
        """Run the command and return its output."""
        command = [str(tools.helm()), "--namespace", self.namespace, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS + 30)
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"helm {' '.join(arguments)}: {error}") from None
        if done.returncode:
            raise CommandError(f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def releases(self) -> list[str]:
        """Return the names of the releases in the namespace."""
        return [one["name"] for one in json.loads(self.run("list", "--output", "json"))]

    # Both charts

    async def operator(self, verb: str, name: str = "livescore-operator", **values: Any) -> None:
        """``install`` or ``upgrade`` the operator with the cluster's image, and wait for it."""
        repository, _, tag = OPERATOR_IMAGE.rpartition(":")
        given = {"image": {"repository": repository, "tag": tag}, **values}
        await self._release(verb, name, OPERATOR, given, "--wait", "--create-namespace")

    async def livescore(self, verb: str, name: str = "demo", **spec: Any) -> None:
        """``install`` or ``upgrade`` a LiveScore, see :func:`tests.e2e.stack.manifest`."""
        await self._release(verb, name, LIVESCORE, {"spec": manifest(name, **spec)["spec"]})

    async def _release(self, verb: str, name: str, chart: Path, values: dict[str, Any], *flags: str) -> None:
        file = self._folder / f"{self.namespace}-{name}.json"
        file.write_text(json.dumps(values))
        wanted = [flag for flag in flags if verb == "install" or flag != "--create-namespace"]
        limit = f"--timeout={LIMIT_SECONDS:g}s"
        await self(verb, name, str(chart), "--values", str(file), limit, *wanted)
