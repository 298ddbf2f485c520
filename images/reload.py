#!/usr/bin/env python3
"""Stands for ``livescore`` and ``livescore-operator`` in images for development: a changed source starts them anew.

``skaffold dev`` copies changed sources into running pods, whose root is read-only: the sources are in ``/tmp/src``, and
``PYTHONPATH`` puts them before the installed ones.
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
"""Between two looks at the sources."""

LASTING = {"api", "worker", "scheduler", "run"}
"""Commands that do not end by themselves."""


class Reloader:
    """A command that is started anew when a file below a folder changes."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def run(self) -> int:
        """Until the command ends by itself or is told to; returns its exit code."""
        while True:
            state = self._state()
            self._process = subprocess.Popen(self._command)
            if self._changed(self._process, state):
                sys.stderr.write(f"sources changed: {' '.join(self._command)} starts anew\n")
            elif self._process.returncode == 0 or self._stopping:
                return self._process.returncode
            else:
                # A source with a fault in it: the next one mends it.
                self._wait_for_change(state)

    def stop(self, number: int, _: object) -> None:
        """Pass a signal on, and end with the command."""
        self._stopping = True
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
        else:
            sys.exit(0)

    def _changed(self, process: "subprocess.Popen[bytes]", state: dict[Path, int]) -> bool:
        """Wait until the process has ended: True if a change was the reason."""
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
    """Run the installed program of this name on the copied sources."""
    # A container that starts again finds what was copied into the one before.
    if not WATCHED.exists():
        shutil.copytree(INSTALLED, WATCHED)
    os.environ["PYTHONPATH"] = str(WATCHED)
    command = [sys.executable, "-m", program.replace("-", "_"), *arguments]
    if not LASTING & set(arguments[:1]):
        return subprocess.run(command).returncode
    reloader = Reloader(command, WATCHED)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, reloader.stop)
    return reloader.run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]).name, sys.argv[1:]))
