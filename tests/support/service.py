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
"""Longest a process may take to be ready, on two cores that measure coverage for several tests at once."""

STOP_SECONDS = 15.0
"""Longest a process may take to end after SIGTERM: the time of a drain and its last requests."""


class NotReady(Exception):
    """A process ended or did not become ready; the text holds its log."""


class Start(Protocol):
    """Type of the fixture ``start``: ``api = await start("api", DRAIN_SECONDS="1")``."""

    def __call__(self, kind: Kind, *, ready: bool = True, **environment: str) -> Awaitable["Service"]:
        """Start a process with these variables over the test's own; ``ready=False`` does not wait for it."""
        ...


class Service:
    """One process. Its ports stay the same when it is started again.

    Attributes:
        kind: which command it runs.
        environment: the variables set for it; change them before :meth:`start`. Variables of the same names that the
            developer has set do not reach it.
        port, management_port: where it listens on 127.0.0.1; worker and scheduler use the latter only.
        process: the process after the last start.

    Parameters:
        forks: what makes the process; without it the command is started as a user does, which costs a second or two.
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

    # Life

    def launch(self) -> None:
        """Start the process without waiting; call it from the main thread."""
        environment = inherited() | self.environment
        with self.log_file.open("ab") as log:
            if self._forks:
                self.process = self._forks.run([self.kind], environment, log)
            else:
                command = [sys.executable, "-m", "livescore", self.kind]
                self.process = started(command, environment, log)

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Wait until it answers 200 on ``/health/ready`` of its management port.

        Raises:
            NotReady: with the log, when the process ended or ``timeout`` seconds have passed.
        """
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if not self.is_running or time.monotonic() > deadline:
                raise NotReady(f"{self.name} is {'not ready' if self.is_running else 'dead'}; its log:\n{self.log}")
            time.sleep(0.02)

    def is_ready(self) -> bool:
        """Whether it is ready now, and an API reachable too."""
        urls = [self.management_url, *([self.base_url] if self.kind == "api" else [])]
        try:
            return all(httpx.get(f"{url}/health/ready", timeout=2, verify=False).status_code == 200 for url in urls)
        except httpx.HTTPError:
            return False

    async def start(self, *, ready: bool = True) -> None:
        """Start it, again if need be on the same ports, and wait until it is ready, see :meth:`wait_ready`."""
        self.launch()
        if ready:
            await asyncio.to_thread(self.wait_ready)

    async def terminate(self, timeout: float = STOP_SECONDS) -> int:
        """SIGTERM and wait for the end; SIGKILL after ``timeout`` seconds.

        Returns:
            The exit code, negative for the signal that ended it.
        """
        return await asyncio.to_thread(self.close, timeout)

    async def kill(self) -> None:
        """``kill -9``: no drain, no goodbye."""
        if self.process is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its sockets stay open and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send any signal; nothing happens when it is not running."""
        if self.process is not None:
            self.process.send_signal(number)

    def close(self, timeout: float = STOP_SECONDS) -> int:
        """:meth:`terminate`, blocking, for fixtures."""
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
        """Give its ports back, after the last start."""
        for port in self._ports:
            port.release()

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self.process is not None and self.process.poll() is None

    # What it says

    @property
    def log(self) -> str:
        """Everything it has written, over all its starts."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    async def logged(self, text: str, timeout: float = 30.0) -> None:
        """Wait until ``text`` stands in its log.

        Raises:
            TimeoutError: after ``timeout`` seconds.
        """
        await eventually(lambda: text in self.log, timeout)

    # What a test asks of it

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A client of its public port for ``async with``.

        It sends the ``DEV_API_KEY``, if there is one, and fails on answers that OpenAPI does not describe, unless
        ``event_hooks={}``.
        """
        key = self.environment.get("DEV_API_KEY")
        headers = {"X-API-Key": key} if key else {}
        checked: dict[str, Any] = {"event_hooks": {"response": [check_answer]}}
        # There is no TLS here, and reading the system's certificates takes 30 ms of every client.
        return httpx.AsyncClient(
            base_url=self.base_url, headers=headers, timeout=30, verify=False, **{**checked, **options}
        )

    async def create_match(self, **fields: Any) -> Json:
        """Make a match, live unless ``startTime`` and ``endTime`` say otherwise.

        Returns:
            The match as the service answered it.
        """
        return await self._post("/matches", match_body(**fields))

    async def comment(self, match_id: int, **fields: Any) -> Json:
        """Add one commentary to a match and return it."""
        return await self._post(f"/matches/{match_id}/commentary", {"minute": 1, "message": "a chance", **fields})

    async def _post(self, path: str, body: Json) -> Json:
        async with self.client() as http:
            answer = await http.post(path, json=body)
        answer.raise_for_status()
        data: Json = answer.json()["data"]
        return data


def match_body(**fields: Any) -> Json:
    """The body of a new match that began an hour ago and lasts for one more; ``fields`` win."""
    teams = {"sport": "football", "homeTeam": "Home", "awayTeam": "Away"}
    return {**teams, "startTime": instant(-3600), "endTime": instant(3600), **fields}


def instant(seconds: float) -> str:
    """The time ``seconds`` from now, as the API writes it."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def eventually(condition: Callable[[], object], timeout: float = 30.0, interval: float = 0.02) -> None:
    """Wait until ``condition`` holds, where there is no event to wait for.

    Raises:
        TimeoutError: after ``timeout`` seconds.
    """
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(interval)


def _defaults(name: str) -> dict[str, str]:
    """Only loopback, and a drain short enough for a test that is not about drains."""
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
    """The developer's environment without the service's settings; coverage of processes needs the rest."""
    settings = {field.upper() for field in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name.upper() not in settings}
