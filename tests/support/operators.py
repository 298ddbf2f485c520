"""Real processes of the operator: ``livescore-operator run``."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from livescore_operator.settings import Settings
from tests.support.forkserver import Forked, ForkServer, started
from tests.support.ports import Port

START_SECONDS = 60.0
"""Timeout until the operator has listed the objects it watches, on two busy cores."""

LEASE_SECONDS = 6.0
"""Short enough to wait for its expiry; a third of it is enough for a request on two busy cores."""

STOP_SECONDS = 10.0
"""Timeout after SIGTERM; the process is then killed and the test fails."""


class Operator:
    """One process that serves one namespace, which also holds its Lease.

    Attributes:
        environment: its variables, in addition to those of the developer.
        process: the process after the last start.

    Parameters:
        forks: creates the process; without it, the command is started as a user starts it.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        namespace: str,
        kubeconfig: Path,
        forks: ForkServer | None = None,
        **environment: str,
    ) -> None:
        self._forks = forks
        self._port = Port()
        self.name = name
        self.namespace = namespace
        self.log_file = directory / f"{name}.log"
        self.environment = {
            "KUBECONFIG": str(kubeconfig),
            "HOST": "127.0.0.1",
            "PORT": str(self._port.number),
            "POD_NAME": name,
            "POD_NAMESPACE": namespace,
            "LOG_FORMAT": "console",
            "REQUEST_TIMEOUT_SECONDS": f"{LEASE_SECONDS / 3:g}",
            "LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def url(self) -> str:
        """Base URL of the probes and metrics."""
        return f"http://127.0.0.1:{self._port.number}"

    @property
    def log(self) -> str:
        """Everything the process has written."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def launch(self, *arguments: str) -> None:
        """Start the process without waiting until it is ready."""
        command = ["run", *(arguments or ("--namespace", self.namespace))]
        environment = {**_inherited(), **self.environment}
        with self.log_file.open("ab") as log:
            if self._forks:
                self.process = self._forks.run(command, environment, log)
            else:
                self.process = started([sys.executable, "-m", "livescore_operator", *command], environment, log)

    async def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            AssertionError: the process did not become ready; the message has its log.
        """
        self.launch()
        await self.until("/readyz", lambda answer: answer.status_code == 200, START_SECONDS)

    async def until(self, path: str, condition: Any, timeout: float = 15.0) -> httpx.Response:
        """Poll ``path`` until its response satisfies ``condition``, and return the response."""
        deadline = time.monotonic() + timeout
        async with httpx.AsyncClient(base_url=self.url, verify=False, timeout=2) as http:
            while time.monotonic() < deadline and self.is_running:
                try:
                    answer = await http.get(path)
                except httpx.HTTPError:
                    answer = None
                if answer is not None and condition(answer):
                    return answer
                await asyncio.sleep(0.05)
        raise AssertionError(f"{self.name} did not answer {path} as wanted; its log:\n{self.log}")

    async def leads(self) -> None:
        """Wait until the process holds the Lease."""
        await self.until("/readyz", lambda answer: answer.json()["leader"])

    async def metrics(self) -> dict[str, float]:
        """Return the metrics by name and labels."""
        answer = await self.until("/metrics", lambda answer: answer.status_code == 200)
        lines = (line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    @property
    def is_running(self) -> bool:
        """True while the process is alive."""
        return self.process is not None and self.process.poll() is None

    async def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit code."""
        return await asyncio.to_thread(self.close)

    async def kill(self) -> None:
        """``kill -9``."""
        if self.process is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)

    async def ended(self, timeout: float = START_SECONDS) -> int:
        """Wait until the process ends by itself, and return the exit code."""
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, timeout)

    @property
    def resident(self) -> int:
        """Return the resident memory of the process in bytes."""
        assert self.process is not None
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def close(self) -> int:
        """Stop the process as :meth:`stop` does, but blocking, for fixtures."""
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def release(self) -> None:
        """Release the reserved port."""
        self._port.release()


def _inherited() -> dict[str, str]:
    settings = {field.upper() for field in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name.upper() not in settings}
