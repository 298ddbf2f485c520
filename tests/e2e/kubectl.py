"""The ``kubectl`` that people use, and the way to the API server that it opens."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from livescore.dev.servers import guarded
from tests.support.kubernetes.access import Access

COMMAND_SECONDS = 60.0
"""Longest a command may take that waits for nothing, on a busy machine."""

MARGIN_SECONDS = 15.0
"""What a command with a time-out of its own may take more than that."""


class CommandError(Exception):
    """A command failed; the text holds what it wrote."""


class Kubectl:
    """The command, in one namespace.

    Attributes:
        namespace: empty for that of the kubeconfig; only then files may name others.
    """

    def __init__(self, program: str, namespace: str = "") -> None:
        self._program = program
        self.namespace = namespace

    def within(self, namespace: str) -> "Kubectl":
        """The same in another namespace."""
        return Kubectl(self._program, namespace)

    def command(self, *arguments: str) -> list[str]:
        """The whole command line."""
        return [self._program, *(["--namespace", self.namespace] if self.namespace else []), *arguments]

    def run(self, *arguments: str, given: str | None = None, timeout: float = COMMAND_SECONDS) -> str:
        """Run it to its end and return what it printed.

        Raises:
            CommandError: it failed, or took longer than ``timeout`` seconds.
        """
        told = f"kubectl {' '.join(arguments)}"
        try:
            done = subprocess.run(
                self.command(*arguments), input=given or "", capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"{told}: not within {timeout:g} s; {error.stderr!r}") from None
        if done.returncode:
            raise CommandError(f"{told}: {done.stdout}{done.stderr}")
        return done.stdout

    async def __call__(self, *arguments: str, given: str | None = None, timeout: float = COMMAND_SECONDS) -> str:
        """:meth:`run`, while the test goes on."""
        return await asyncio.to_thread(self.run, *arguments, given=given, timeout=timeout)

    async def apply(self, *manifests: dict[str, Any]) -> None:
        """``kubectl apply -f -``."""
        await self("apply", "-f", "-", given=yaml.safe_dump_all(manifests, sort_keys=False))

    async def wait(self, what: str, condition: str, seconds: float) -> None:
        """``kubectl wait --for=CONDITION WHAT``."""
        limit = f"--timeout={seconds:g}s"
        await self("wait", f"--for={condition}", *what.split(), limit, timeout=seconds + MARGIN_SECONDS)


def found() -> Kubectl:
    """The ``kubectl`` of ``PATH``, else that of the virtual environment, else envtest's.

    Raises:
        FileNotFoundError: there is none.
    """
    folders = [os.environ.get("PATH", ""), str(Path(sys.executable).parent), os.environ.get("KUBEBUILDER_ASSETS", "")]
    program = shutil.which("kubectl", path=os.pathsep.join(filter(None, folders)))
    if program is None:
        raise FileNotFoundError("there is no kubectl in PATH, nor in KUBEBUILDER_ASSETS")
    return Kubectl(program)


@contextmanager
def proxied(kubectl: Kubectl) -> Iterator[Access]:
    """The API server by way of ``kubectl proxy``, whatever kind of credentials the kubeconfig has."""
    process = subprocess.Popen(
        guarded(kubectl.command("proxy", "--port=0"), signal.SIGKILL), stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "Starting to serve on" not in line:
                raise CommandError(f"kubectl proxy does not serve: {line}")
            yield Access(f"http://{line.split()[-1]}")
        finally:
            process.terminate()
