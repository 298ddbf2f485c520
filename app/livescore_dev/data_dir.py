"""The directory with the data of the embedded servers: its lock, its owner and its sockets."""

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from livescore_dev.errors import BrokenDataDir, DataDirInUse
from livescore_dev.processes import UNPRIVILEGED_ID, is_root

LEFTOVER_SECONDS = 10.0
"""Timeout for processes of a killed run; they end on their own, see :func:`livescore_dev.processes.guarded`."""

LEFTOVER_POLL_SECONDS = 0.01
"""Interval of checks for processes of a killed run."""

SOCKET_PATH_BYTES = 100
"""Maximum length of a Unix socket's path: the kernel admits 107 on Linux and 103 on macOS."""


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Lock ``data_dir`` against other runs until the block ends. Creates the directory if necessary.

    Raises:
        DataDirInUse: Another process holds the lock; the text names it.
        BrokenDataDir: The directory cannot be created or written.
    """
    with os_errors_reported(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("a+")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise DataDirInUse(
                f"DATA_DIR {data_dir} is in use by process {holder}: stop it or set another DATA_DIR"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def os_errors_reported(path: Path) -> Iterator[None]:
    """Convert an OSError, for example of a full or read-only disk, to a BrokenDataDir."""
    try:
        yield
    except OSError as error:
        raise BrokenDataDir(
            f"DATA_DIR is not usable: {error.filename or path}: {error.strerror or error}; set another one"
        ) from error


def await_leftovers(directory: Path) -> None:
    """Wait until no process has ``directory`` as its working directory.

    Both servers run in their data directory, so such a process belongs to a run that was killed.

    Raises:
        DataDirInUse: A process is still there after ``LEFTOVER_SECONDS``; the text names it.
    """
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while directory.exists() and (users := _working_in(directory)):
        if time.monotonic() > deadline:
            raise DataDirInUse(f"{directory} is in use by process {users[0]}: stop it or set another DATA_DIR")
        time.sleep(LEFTOVER_POLL_SECONDS)


def _working_in(directory: Path) -> list[int]:
    path = str(directory.resolve())
    return [process.pid for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == path]


def socket_directory(directory: Path, name: str) -> Path:
    """Return a directory for a Unix socket: ``directory``, or a private one with a shorter path.

    The shorter path is always the same for the same ``directory``.

    Raises:
        DataDirInUse: Another user owns the shorter path.
    """
    if len(os.fsencode(directory / name)) <= SOCKET_PATH_BYTES:
        return directory
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"livescore-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    status = short.lstat()
    owners = {os.geteuid(), owner_of(directory)[0]}
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners:
        raise DataDirInUse(f"{short} belongs to another user: set a shorter DATA_DIR")
    return short


def owner_of(directory: Path) -> tuple[int, int]:
    """Return user and group of ``directory``; of this process if the directory does not exist."""
    if not directory.exists():
        return os.geteuid(), os.getegid()
    status = directory.stat()
    return status.st_uid, status.st_gid


def give(path: Path, user: int = UNPRIVILEGED_ID, group: int = UNPRIVILEGED_ID) -> None:
    """Change the owner of ``path`` if this process runs as root."""
    if is_root():
        os.chown(path, user, group, follow_symlinks=False)


def give_all(directory: Path) -> None:
    """Change the owner of a directory and everything in it to the unprivileged user."""
    for folder, _, files in os.walk(directory, topdown=False):
        for name in files:
            give(Path(folder, name))
        give(Path(folder))


def replace(path: Path, text: str) -> None:
    """Write a file atomically, without following links: its directory may belong to a less privileged user."""
    fresh = path.with_name(f"{path.name}.livescore")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        if is_root():
            os.fchown(descriptor, *owner_of(path.parent))
        file.write(text)
    fresh.rename(path)
