"""The process of a :class:`tests.support.forkserver.ForkServer`: it has imported a command and forks itself.

It imports nothing of the tests, so that a fork holds what the command itself would have imported.
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
"""See prctl(2)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a fork shall become; its output goes to the two descriptors that are sent beside it."""

    arguments: list[str]
    environment: dict[str, str]
    directory: str


class Forker:
    """Forks at every request, and reports the number of each process and its exit code on a connection of its own."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._reports: dict[int, Connection] = {}
        self._own = os.getpid()
        self._ended, self._ending = os.pipe()
        self._libc = ctypes.CDLL(None)

    def serve(self) -> Request | None:
        """Return in every fork what it shall become, and at last, when nobody can ask any more, nothing."""
        self._hear_of_ends()
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

    def _hear_of_ends(self) -> None:
        """By a pipe: a handler could be interrupted by the next one, between a question and its answer."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for end in (self._ended, self._ending):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._ending)

    def _fork(self, reporting: int, *outputs: int) -> Request | None:
        assert threading.active_count() == 1, "no fork is safe beside threads"
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
        """Keep nothing of the fork server, and die with it."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        if sys.platform == "linux":
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self._own:
                os.kill(os.getpid(), signal.SIGKILL)
        # Not before it leads its session: whoever knows the number may signal the whole group.
        report.send(os.getpid())
        for connection in (report, *self._reports.values()):
            connection.close()
        self._control.close()
        os.close(self._ended)
        os.close(self._ending)


def main() -> None:
    """``FD NAME MODULE…``: be the command ``NAME``, whose ``main()`` is in the first module, for whoever asks at FD."""
    descriptor, name, *modules = sys.argv[1:]
    command: Callable[[], None] = import_module(modules[0]).main
    for module in modules[1:]:
        import_module(module)
    # What was imported stays for good: it needs neither a look nor, in every fork, a copy.
    gc.collect()
    gc.freeze()
    if request := Forker(socket.socket(fileno=int(descriptor))).serve():
        _become(name, request)
        command()


def _redirect(output: int, errors: int) -> None:
    os.dup2(output, 1)
    os.dup2(errors, 2)


def _become(name: str, request: Request) -> None:
    os.chdir(request.directory)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    sys.argv = [name, *request.arguments]
