"""Real processes of the service: ``livescore api``, ``worker`` and ``scheduler``."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

import httpx

from livescore.settings import Settings
from tests.support.forkserver import Forked, ForkServer, started
from tests.support.ports import Port
from tests.support.validation import check_answer

Kind = Literal["api", "worker", "scheduler"]
Json = dict[str, Any]

START_SECONDS = 60.0
"""Timeout until a process is ready, on two cores that measure coverage for several tests at once."""

STOP_SECONDS = 15.0
"""Timeout until a process has ended after SIGTERM, including its drain and last requests."""


class NotReady(Exception):
    """A process ended or did not become ready; the message has its log."""


class Start(Protocol):
    """Type of the fixture ``start``: ``api = await start("api", DRAIN_SECONDS="1")``."""

    def __call__(self, kind: Kind, *, ready: bool = True, **environment: str) -> Awaitable["Service"]:
        """Start a process with these variables in addition to the test's; ``ready=False`` does not wait for it."""
        ...


class Service:
    """One process. It keeps its ports when it is restarted.

    Attributes:
        kind: the command it runs.
        environment: its variables; change them before :meth:`start`. The developer's variables of settings are not
            inherited.
        port, management_port: ports on 127.0.0.1; worker and scheduler use only the latter.
        process: the process after the last start.

    Parameters:
        forks: creates the process; without it, the command is started as a user starts it, which takes a second or two.
    """

    def __init__(
        self,
        kind: Kind,
        directory: Path,
        name: str,
        environment: Mapping[str, str],
        forks: ForkServer | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self._forks = forks
        self._ports = (Port(), Port())
        self.port, self.management_port = (port.number for port in self._ports)
        ports = {"PORT": str(self.port), "MANAGEMENT_PORT": str(self.management_port)}
        self.environment = {**_defaults(name), **ports, **environment}
        self.log_file = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | Forked | None = None

    # Addresses

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """``ws://127.0.0.1:PORT/ws``."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def management_url(self) -> str:
        """``http://127.0.0.1:MANAGEMENT_PORT``: metrics, probes, connections, drain."""
        return f"http://127.0.0.1:{self.management_port}"

    # Lifecycle

    def launch(self) -> None:
        """Start the process without waiting; call this from the main thread."""
        environment = inherited() | self.environment
        with self.log_file.open("ab") as log:
            if self._forks:
                self.process = self._forks.run([self.kind], environment, log)
            else:
                command = [sys.executable, "-m", "livescore", self.kind]
                self.process = started(command, environment, log)

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Wait until ``/health/ready`` of the management port answers 200.

        Raises:
            NotReady: the process ended, or ``timeout`` seconds have passed; the message has its log.
        """
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if not self.is_running or time.monotonic() > deadline:
                raise NotReady(f"{self.name} is {'not ready' if self.is_running else 'dead'}; its log:\n{self.log}")
            time.sleep(0.02)

    def is_ready(self) -> bool:
        """Return True if the process is ready now and, for an API, reachable."""
        urls = [self.management_url, *([self.base_url] if self.kind == "api" else [])]
        try:
            return all(httpx.get(f"{url}/health/ready", timeout=2, verify=False).status_code == 200 for url in urls)
        except httpx.HTTPError:
            return False

    async def start(self, *, ready: bool = True) -> None:
        """Start or restart the process on the same ports, and wait until it is ready, see :meth:`wait_ready`."""
        self.launch()
        if ready:
            await asyncio.to_thread(self.wait_ready)

    async def terminate(self, timeout: float = STOP_SECONDS) -> int:
        """Send SIGTERM and wait for the end; send SIGKILL after ``timeout`` seconds.

        Returns:
            The exit code, negative for the terminating signal.
        """
        return await asyncio.to_thread(self.close, timeout)

    async def kill(self) -> None:
        """Send SIGKILL: no drain, no closing handshakes."""
        if self.process is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): its sockets stay open, but nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the process (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; no effect if the process is not running."""
        if self.process is not None:
            self.process.send_signal(number)

    def close(self, timeout: float = STOP_SECONDS) -> int:
        """Stop the process as :meth:`terminate` does, but blocking, for fixtures."""
        if self.process is None:
            return 0
        self.resume()
        self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def release(self) -> None:
        """Release the ports, after the last start."""
        for port in self._ports:
            port.release()

    @property
    def is_running(self) -> bool:
        """True while the process is alive."""
        return self.process is not None and self.process.poll() is None

    # Log

    @property
    def log(self) -> str:
        """Output of the process over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    async def logged(self, text: str, timeout: float = 60.0) -> None:
        """Wait until ``text`` appears in the log.

        Raises:
            TimeoutError: after ``timeout`` seconds.
        """
        await eventually(lambda: text in self.log, timeout)

    # Requests

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Return a client of the public port for ``async with``.

        It sends ``DEV_API_KEY`` if set, and fails on responses that OpenAPI does not describe, unless
        ``event_hooks={}``.
        """
        key = self.environment.get("DEV_API_KEY")
        headers = {"X-API-Key": key} if key else {}
        checked: dict[str, Any] = {"event_hooks": {"response": [check_answer]}}
        # There is no TLS here, and loading the system's certificates would take 30 ms per client.
        return httpx.AsyncClient(
            base_url=self.base_url, headers=headers, timeout=60, verify=False, **{**checked, **options}
        )

    async def create_match(self, **fields: Any) -> Json:
        """Create a match, live unless ``startTime`` and ``endTime`` say otherwise.

        Returns:
            The match as returned by the service.
        """
        return await self._post("/matches", match_body(**fields))

    async def comment(self, match_id: int, **fields: Any) -> Json:
        """Add a commentary to a match and return it."""
        return await self._post(f"/matches/{match_id}/commentary", {"minute": 1, "message": "a chance", **fields})

    async def _post(self, path: str, body: Json) -> Json:
        async with self.client() as http:
            answer = await http.post(path, json=body)
        answer.raise_for_status()
        data: Json = answer.json()["data"]
        return data


def match_body(**fields: Any) -> Json:
    """Return the body of a match that started an hour ago and ends in an hour; ``fields`` override it."""
    teams = {"sport": "football", "homeTeam": "Home", "awayTeam": "Away"}
    return {**teams, "startTime": instant(-3600), "endTime": instant(3600), **fields}


def instant(seconds: float) -> str:
    """Return the time ``seconds`` from now in the API's format."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def eventually(condition: Callable[[], object], timeout: float = 60.0, interval: float = 0.02) -> None:
    """Poll until ``condition()`` is true, for cases without an event to await.

    Raises:
        TimeoutError: after ``timeout`` seconds.
    """
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(interval)


def _defaults(name: str) -> dict[str, str]:
    """Return settings for loopback, with a drain short enough for tests that are not about drains."""
    return {
        "ENVIRONMENT": "test",
        "HOST": "127.0.0.1",
        "MANAGEMENT_HOST": "127.0.0.1",
        "INSTANCE": name,
        "LOG_FORMAT": "console",
        "DRAIN_SECONDS": "0.2",
        "RECONNECT_SPREAD_SECONDS": "0.2",
        "PYTHONUNBUFFERED": "1",
    }


def inherited() -> dict[str, str]:
    """Return the developer's environment without the service's settings; coverage of subprocesses needs the rest."""
    settings = {field.upper() for field in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name.upper() not in settings}
