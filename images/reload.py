#!/usr/bin/env python3
"""Replaces ``livescore`` and ``livescore-operator`` in development images: restarts the command on source changes.

``skaffold dev`` copies changed sources into running pods. Their root file system is read-only, so the sources are in
``/tmp/src``, which ``PYTHONPATH`` puts before the installed packages.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

INSTALLED = Path("/src")
WATCHED = Path("/tmp/src")  # noqa: S108 - a volume of this container alone

LOOK_SECONDS = 0.5
"""Interval of checks for changed sources."""

LONG_RUNNING = {"api", "worker", "scheduler", "run"}
"""Commands that run until they are stopped; all others run once."""


class Reloader:
    """Runs a command and restarts it whenever a Python file in a folder changes."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def run(self) -> int:
        """Run until the command succeeds or is stopped, and return its exit code."""
        while True:
            state = self._state()
            self._process = subprocess.Popen(self._command)
            if self._changed(self._process, state):
                sys.stderr.write(f"sources changed: restarting {' '.join(self._command)}\n")
            elif self._process.returncode == 0 or self._stopping:
                return self._process.returncode
            else:
                # The command failed, probably because of an error in the sources: wait for the next version.
                self._wait_for_change(state)

    def stop(self, number: int, _: object) -> None:
        """Forward a signal to the command and exit when the command exits."""
        self._stopping = True
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
        else:
            sys.exit(0)

    def _changed(self, process: "subprocess.Popen[bytes]", state: dict[Path, int]) -> bool:
        """Wait until the process has ended. Return True if it was stopped because of a change."""
        while process.poll() is None:
            if not self._stopping and self._state() != state:
                process.terminate()
                process.wait()
                return not self._stopping
            time.sleep(LOOK_SECONDS)
        return False

    def _wait_for_change(self, state: dict[Path, int]) -> None:
        while self._state() == state:
            time.sleep(LOOK_SECONDS)

    def _state(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self._folder.rglob("*.py") if path.exists()}


def main(program: str, arguments: list[str]) -> int:
    """Run an installed program with the copied sources."""
    # After a restart of the container the folder still holds the sources copied before.
    if not WATCHED.exists():
        shutil.copytree(INSTALLED, WATCHED)
    os.environ["PYTHONPATH"] = str(WATCHED)
    command = [sys.executable, "-m", program.replace("-", "_"), *arguments]
    if not LONG_RUNNING & set(arguments[:1]):
        return subprocess.run(command).returncode
    reloader = Reloader(command, WATCHED)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, reloader.stop)
    return reloader.run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]).name, sys.argv[1:]))
