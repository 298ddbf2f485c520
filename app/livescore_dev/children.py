"""Processes that the development stack starts, supervises and stops."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Protocol

from livescore_dev.output import Output
from livescore_dev.processes import guarded
from livescore_dev.servers import Server

LINE_BYTES = 1_000_000
"""Longest log line that is shown; tracebacks with long values stay far below."""

LAST_OUTPUT_SECONDS = 1.0
"""Timeout for the output of a process that has ended: a child of that process may still hold the pipe open."""

POLL_SECONDS = 0.1
"""Interval of checks of a server and its log."""


class Child(Protocol):
    """A process of the stack."""

    @property
    def name(self) -> str:
        """Name in the output."""
        ...

    async def launch(self) -> None:
        """Start the process, or restart it after its end."""
        ...

    async def ended(self) -> int:
        """Wait for the end of the process and return its exit code."""
        ...

    async def stop(self) -> None:
        """Stop the process in an orderly way and in bounded time."""
        ...

    def kill(self) -> None:
        """End the process by SIGKILL."""
        ...


class Program:
    """A ``livescore`` command in its own process.

    Args:
        output: Receives the output of the command.
        name: Name in the output.
        command: Subcommand of ``livescore``.
        environment: All environment variables of the process.
        stop_seconds: Timeout of an orderly stop.
    """

    def __init__(
        self, output: Output, name: str, command: str, environment: Mapping[str, str], stop_seconds: float
    ) -> None:
        self.name = name
        self._output = output
        self._command = command
        self._environment = environment
        self._stop_seconds = stop_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def launch(self) -> None:
        """Start the process and merge its output."""
        process = await asyncio.create_subprocess_exec(
            *guarded([sys.executable, "-m", "livescore", self._command], signal.SIGKILL),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES,
            start_new_session=True,  # Only the stack receives Ctrl-C; it stops all processes in order.
        )
        self._process = process
        if process.stdout is not None:
            self._reader = asyncio.create_task(self._output.merge(self.name, process.stdout))

    async def ended(self) -> int:
        """Wait for the end of the process and of its output."""
        if self._process is None or self._reader is None:
            return 0
        code = await self._process.wait()
        await asyncio.wait([self._reader], timeout=LAST_OUTPUT_SECONDS)
        return code

    async def stop(self) -> None:
        """Send SIGTERM, and SIGKILL after the timeout."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), self._stop_seconds)
        except TimeoutError:
            self._output.write(self.name, f"killed: it did not stop within {self._stop_seconds:g} s")
            self.kill()
        await self.ended()

    def kill(self) -> None:
        """End the process by SIGKILL."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()


class EmbeddedServer:
    """PostgreSQL or Valkey. Notable lines of its log are merged into the output; the rest stays in its log file."""

    def __init__(self, output: Output, server: Server) -> None:
        self.name = server.name
        self._output = output
        self._server = server
        self._log: IO[bytes] | None = None

    async def launch(self) -> None:
        """Start the server and wait until it is ready. Blocking steps run in threads, the start in this thread."""
        await asyncio.to_thread(self._server.prepare)
        if self._log is None:
            self._log = self._server.log_file.open("ab+")
        self._server.launch()
        await asyncio.to_thread(self._server.wait_ready)

    async def ended(self) -> int:
        """Wait for the end of the server; merge its log meanwhile."""
        while self._server.is_running():
            self._merge_log()
            await asyncio.sleep(POLL_SECONDS)
        self._merge_log()
        return self._server.process.returncode if self._server.process else 0

    async def stop(self) -> None:
        """Stop the server, by SIGKILL after ``servers.STOP_SECONDS``."""
        await asyncio.to_thread(self._server.stop)

    def kill(self) -> None:
        """End the server by SIGKILL."""
        self._server.kill()

    def _merge_log(self) -> None:
        for line in self._log or ():
            text = line.decode(errors="replace").rstrip()
            if self._server.is_notable(text):
                self._output.write(self.name, text)
