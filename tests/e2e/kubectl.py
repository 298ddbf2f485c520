"""The real ``kubectl``, and access to the API server through ``kubectl proxy``."""

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

from livescore_dev.processes import guarded
from tests.support.kubernetes.access import Access

COMMAND_SECONDS = 60.0
"""Timeout of a command that does not wait for anything, on a busy machine."""

MARGIN_SECONDS = 15.0
"""Extra time for a command that has its own timeout."""


class CommandError(Exception):
    """A command failed; the message contains its output."""


class Kubectl:
    """``kubectl`` bound to one namespace.

    Attributes:
        namespace: empty for the kubeconfig's namespace, in which case manifests may name others.
    """

    def __init__(self, program: str, namespace: str = "") -> None:
        self._program = program
        self.namespace = namespace

    def within(self, namespace: str) -> "Kubectl":
        """Return the same command bound to another namespace."""
        return Kubectl(self._program, namespace)

    def command(self, *arguments: str) -> list[str]:
        """Return the full command line."""
        return [self._program, *(["--namespace", self.namespace] if self.namespace else []), *arguments]

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = COMMAND_SECONDS) -> str:
        """Run the command and return its standard output.

        Raises:
            CommandError: the command failed, or took longer than ``timeout`` seconds.
        """
        command = f"kubectl {' '.join(arguments)}"
        try:
            done = subprocess.run(
                self.command(*arguments), input=stdin or "", capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"{command}: timed out after {timeout:g} s; {error.stderr!r}") from None
        if done.returncode:
            raise CommandError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    async def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = COMMAND_SECONDS) -> str:
        """Call :meth:`run` without blocking the event loop."""
        return await asyncio.to_thread(self.run, *arguments, stdin=stdin, timeout=timeout)

    async def apply(self, *manifests: dict[str, Any]) -> None:
        """Run ``kubectl apply -f -``."""
        await self("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests, sort_keys=False))

    async def wait(self, what: str, condition: str, seconds: float) -> None:
        """Run ``kubectl wait --for=CONDITION WHAT``."""
        limit = f"--timeout={seconds:g}s"
        await self("wait", f"--for={condition}", *what.split(), limit, timeout=seconds + MARGIN_SECONDS)


def find_kubectl() -> Kubectl:
    """Find ``kubectl`` in ``PATH``, the virtual environment, or the envtest assets, in this order.

    Raises:
        FileNotFoundError: no ``kubectl`` was found.
    """
    folders = [os.environ.get("PATH", ""), str(Path(sys.executable).parent), os.environ.get("KUBEBUILDER_ASSETS", "")]
    program = shutil.which("kubectl", path=os.pathsep.join(filter(None, folders)))
    if program is None:
        raise FileNotFoundError("kubectl was found neither in PATH nor in KUBEBUILDER_ASSETS")
    return Kubectl(program)


@contextmanager
def kubectl_proxy(kubectl: Kubectl) -> Iterator[Access]:
    """Proxy the API server by ``kubectl proxy``, so that any credentials of the kubeconfig work."""
    process = subprocess.Popen(
        guarded(kubectl.command("proxy", "--port=0"), signal.SIGKILL), stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "Starting to serve on" not in line:
                raise CommandError(f"kubectl proxy did not start: {line}")
            yield Access(f"http://{line.split()[-1]}")
        finally:
            process.terminate()
