"""Processes of a command without the cost of its imports, which are most of what a start costs."""

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

from livescore_dev.servers import guarded
from tests.support.forkserver_program import Request

ROOT = Path(__file__).parents[2]

PROGRAM = "from tests.support.forkserver_program import main; main()"
"""As text, so that the command finds a ``__main__`` without a package, as in its console script."""


class Forked:
    """A process that a :class:`ForkServer` made: what the tests use of :class:`subprocess.Popen`.

    Attributes:
        pid: its number, which is also that of its session and process group.
        returncode: its exit code, negative for the signal that ended it, once somebody has asked.
    """

    def __init__(self, arguments: list[str], report: Connection) -> None:
        self._arguments = arguments
        self._report = report
        self._lock = Lock()
        self.pid: int = report.recv()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit code.

        Raises:
            subprocess.TimeoutExpired: after ``timeout`` seconds.
        """
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing happens when it has ended."""
        with suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        # Several threads may wait, and only one of them gets the report.
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
    """A process that has imported a command once and forks itself, see :func:`running`.

    Each fork has a session, an environment, a directory and outputs of its own and runs the command's ``main()``. It
    dies with the fork server, and that with this process.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def run(
        self, arguments: list[str], environment: Mapping[str, str], output: BinaryIO, errors: BinaryIO | None = None
    ) -> Forked:
        """Start the command; errors go where the output goes unless said otherwise."""
        report, theirs = Pipe()
        with theirs:
            descriptors = [theirs.fileno(), output.fileno(), (errors or output).fileno()]
            socket.send_fds(self._control, [b"\0"], descriptors)
        report.send(Request(arguments, dict(environment), os.getcwd()))
        return Forked(arguments, report)


def started(command: list[str], environment: Mapping[str, str], output: BinaryIO) -> "subprocess.Popen[bytes]":
    """The same without a fork server: an interpreter of its own that dies with this process."""
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
    """A fork server of the command ``name``, whose ``main()`` is in the first of the modules to import."""
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
