"""Processes of a command without the cost of its imports, which dominate its start."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from livescore_dev.processes import guarded
from tests.support.forkserver_program import Request

ROOT = Path(__file__).parents[2]

PROGRAM = "from tests.support.forkserver_program import main; main()"
"""Passed as text, so that ``__main__`` belongs to no package, as in the command's console script."""


class Forked:
    """A process created by a :class:`ForkServer`, with the part of the :class:`subprocess.Popen` interface tests use.

    Attributes:
        pid: process id, which is also the id of its session and process group.
        returncode: exit code, negative for the terminating signal; None until :meth:`poll` or :meth:`wait` reads it.
    """

    def __init__(self, arguments: list[str], report: Connection) -> None:
        self._arguments = arguments
        self._report = report
        self._lock = Lock()
        self.pid: int = report.recv()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code if the process has ended."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended and return its exit code.

        Raises:
            subprocess.TimeoutExpired: after ``timeout`` seconds.
        """
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal; no effect after the process has ended."""
        with suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        # Several threads may wait, but only one of them receives the report.
        if self.returncode is None and self._report.poll(timeout):
            with self._lock:
                if self.returncode is None:
                    self.returncode = self._received()
        return self.returncode

    def _received(self) -> int:
        try:
            code: int = self._report.recv()
        except EOFError:  # the fork server is gone, and all its processes with it
            code = -signal.SIGKILL
        return code


class ForkServer:
    """A process that imports a command once and forks itself on request, see :func:`running`.

    Each fork has its own session, environment, working directory and output and runs the command's ``main()``. It
    dies with the fork server, which dies with this process.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def run(
        self, arguments: list[str], environment: Mapping[str, str], output: BinaryIO, errors: BinaryIO | None = None
    ) -> Forked:
        """Start the command. Standard error goes to ``output`` unless ``errors`` is given."""
        report, theirs = Pipe()
        with theirs:
            descriptors = [theirs.fileno(), output.fileno(), (errors or output).fileno()]
            socket.send_fds(self._control, [b"\0"], descriptors)
        report.send(Request(arguments, dict(environment), os.getcwd()))
        return Forked(arguments, report)


def started(command: list[str], environment: Mapping[str, str], output: BinaryIO) -> "subprocess.Popen[bytes]":
    """Start a command in a new interpreter, without a fork server. It dies with this process."""
    return subprocess.Popen(
        guarded(command, signal.SIGKILL),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@contextmanager
def running(name: str, *modules: str) -> Iterator[ForkServer]:
    """Run a fork server of the command ``name``; the first of the modules to import has its ``main()``."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            command = [sys.executable, "-c", PROGRAM, str(theirs.fileno()), name, *modules]
            process = subprocess.Popen(
                guarded(command, signal.SIGKILL),
                cwd=ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        with process:
            try:
                assert ours.recv(1), f"the fork server of {name} could not import {modules}"
                yield ForkServer(ours)
            finally:
                ours.shutdown(socket.SHUT_RDWR)
