"""Free TCP ports that are reserved across all tests on this machine."""

import fcntl
import itertools
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

FIRST, LAST = 20_000, 32_000
"""Below the range from which Linux takes the ports of outgoing connections (32768 and up)."""


class Port:
    """A port that is reserved until :meth:`release`, even though nothing listens on it yet.

    Args:
        count: Number of consecutive ports to reserve; ``number`` is the first.
    """

    def __init__(self, count: int = 1) -> None:
        self.number, self._locks = _reserve(count)

    def release(self) -> None:
        """Release the port, and those after it."""
        for lock in self._locks:
            lock.close()


def _reserve(count: int) -> tuple[int, list[IO[str]]]:
    directory = Path(tempfile.gettempdir()) / "livescore-test-ports"
    directory.mkdir(exist_ok=True)
    start = random.randrange(FIRST, LAST)
    for number in itertools.chain(range(start, LAST), range(FIRST, start)):
        locks: list[IO[str]] = [(directory / str(number + offset)).open("w") for offset in range(count)]
        if all(map(_locked, locks)) and all(_free(number + offset) for offset in range(count)):
            return number, locks
        for lock in locks:
            lock.close()
    raise OSError(f"no free port from {FIRST} to {LAST}")


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True
