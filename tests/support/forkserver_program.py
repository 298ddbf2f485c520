"""The process of a :class:`tests.support.forkserver.ForkServer`, which imports a command and forks itself.

It imports nothing from the tests, so that a fork holds only what the command itself would import.
"""

import ctypes
import gc
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection

PR_SET_PDEATHSIG = 1
"""Constant of prctl(2)."""


@dataclass(frozen=True, slots=True)
class Request:
    """Parameters of a fork. Its two output descriptors are sent along with the request."""

    arguments: list[str]
    environment: dict[str, str]
    directory: str


class Forker:
    """Forks on request, and reports the pid and exit code of each process on a connection of its own."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._reports: dict[int, Connection] = {}
        self._own = os.getpid()
        self._ended, self._ending = os.pipe()
        self._libc = ctypes.CDLL(None)

    def serve(self) -> Request | None:
        """Return the request in every fork; return None in the fork server once its client is gone."""
        self._handle_sigchld()
        control = self._control.fileno()
        self._control.sendall(b"\0")
        while True:
            asked, _, _ = select.select([control, self._ended], [], [])
            if self._ended in asked:
                self._reap()
            if control in asked:
                if not (descriptors := socket.recv_fds(self._control, 1, 3)[1]):
                    return None
                if request := self._fork(*descriptors):
                    return request

    def _handle_sigchld(self) -> None:
        """Report exits through a pipe: a signal handler could be interrupted between a poll and its result."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for end in (self._ended, self._ending):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._ending)

    def _fork(self, reporting: int, *outputs: int) -> Request | None:
        assert threading.active_count() == 1, "forking is unsafe while other threads run"
        report = Connection(reporting)
        request: Request = report.recv()
        child = os.fork()
        if child:
            self._reports[child] = report
        else:
            self._detach(report)
            _redirect(*outputs)
        for descriptor in outputs:
            os.close(descriptor)
        return None if child else request

    def _reap(self) -> None:
        os.read(self._ended, 65536)
        while self._reports:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                break
            with suppress(OSError), self._reports.pop(child) as report:
                report.send(os.waitstatus_to_exitcode(status))

    def _detach(self, report: Connection) -> None:
        """Close the descriptors of the fork server, and die with it."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        if sys.platform == "linux":
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self._own:
                os.kill(os.getpid(), signal.SIGKILL)
        # Not before the process leads its session: the recipient of the pid may signal the whole process group.
        report.send(os.getpid())
        for connection in (report, *self._reports.values()):
            connection.close()
        self._control.close()
        os.close(self._ended)
        os.close(self._ending)


def main() -> None:
    """Serve ``FD NAME MODULE…``: fork the command ``NAME``, with ``main()`` in the first module, on request at FD."""
    descriptor, name, *modules = sys.argv[1:]
    command: Callable[[], None] = import_module(modules[0]).main
    for module in modules[1:]:
        import_module(module)
    # Imported objects are permanent: freezing them saves collections and copies of their pages in the forks.
    gc.collect()
    gc.freeze()
    if request := Forker(socket.socket(fileno=int(descriptor))).serve():
        _run_command(name, request)
        command()


def _redirect(output: int, errors: int) -> None:
    os.dup2(output, 1)
    os.dup2(errors, 2)


def _run_command(name: str, request: Request) -> None:
    os.chdir(request.directory)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    sys.argv = [name, *request.arguments]
