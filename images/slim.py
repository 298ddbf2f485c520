"""Makes an environment small and quick to start: run by its own Python, ``slim.py livescore.server …``.

What nothing imports goes, see :data:`UNUSED`. What the named modules import is compiled; the rest never runs in a
process that lasts, and would be as large again.
"""

import importlib
import py_compile
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

UNUSED = (
    # Sources of what is compiled, and types.
    *("**/*.c", "**/*.h", "**/*.pxd", "**/*.pxi", "**/*.pyi", "**/*.pyx"),
    *("pydantic/mypy.py", "pydantic/v1/mypy.py"),
    # Help for tests: rq-scheduler states the last one as needed, for its own.
    *("**/tests/**/*", "sqlalchemy/testing/**/*", "alembic/testing/**/*", "mako/testing/**/*", "freezegun/**/*"),
    # Help and logs are coloured without knowing any language.
    "pygments/lexers/*.py",
    # The database is PostgreSQL, and migrations wait for it.
    *("sqlalchemy/dialects/mssql/*", "sqlalchemy/dialects/mysql/*", "sqlalchemy/dialects/oracle/*"),
    *("sqlalchemy/dialects/sqlite/*", "sqlalchemy/ext/asyncio/*"),
    # Commands of modules that Redis and Valkey are used without, and clients of servers that replicate each other.
    *("redis/commands/bf/*", "redis/commands/json/*", "redis/commands/search/*", "redis/commands/timeseries/*"),
    *("redis/commands/vectorset/*", "redis/multidb/**/*", "redis/asyncio/multidb/**/*"),
    # uvicorn speaks WebSocket by the protocol alone; Trio is not installed.
    *("websockets/legacy/*", "websockets/trio/*", "anyio/_backends/_trio.py"),
    # A class for every kind of Kubernetes, twice. The operator sends and reads plain dictionaries.
    *("kubernetes/client/api/[!_]*.py", "kubernetes/aio/client/api/[!_]*.py"),
    *("kubernetes/client/models/[!_]*.py", "kubernetes/aio/client/models/[!_]*.py"),
)
"""Patterns below ``site-packages``."""

USED = (
    # Rich looks for a language before it does without.
    "pygments/lexers/__init__.py",
    "pygments/lexers/_mapping.py",
    # Kopf looks for them.
    "kubernetes/client/models/v1_managed_fields_entry.py",
    "kubernetes/client/models/v1_object_meta.py",
    "kubernetes/client/models/v1_owner_reference.py",
)
"""Exceptions from that."""

PROGRAMS = ("livescore", "livescore_operator")
"""Both are in one wheel, and each image runs one."""

PATCHED = "psycopg_binary*"
"""Libraries that were joined to others after they were linked: not to be touched, and without symbols already."""


def unused(packages: Path) -> Iterator[Path]:
    """Every file that goes."""
    kept = {packages / name for name in USED}
    for pattern in UNUSED:
        yield from (path for path in packages.glob(pattern) if path.is_file() and path not in kept)


def others(packages: Path, scripts: Path, modules: Iterable[str]) -> Iterator[Path]:
    """The files of the program that these modules are not of, with its script."""
    run = {name.partition(".")[0] for name in modules}
    for program in PROGRAMS:
        if program not in run:
            yield from (path for path in (packages / program).rglob("*") if path.is_file())
            yield scripts / program.replace("_", "-")


def take_out(files: Iterable[Path]) -> None:
    """Delete files, and the folders that are empty then: Python would import these, as packages."""
    folders: set[Path] = set()
    for file in set(files):
        file.unlink()
        folders |= set(file.parents)
    for folder in sorted(folders, reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def libraries(packages: Path) -> list[Path]:
    """Every library whose symbols go but for those that loading needs; they are most of some."""
    return sorted(path for path in packages.rglob("*.so") if not path.relative_to(packages).match(f"{PATCHED}/*"))


def loaded(packages: Path, modules: Iterable[str]) -> list[Path]:
    """The sources of these modules, and of all that they import."""
    for name in modules:
        importlib.import_module(name)
    files = {Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    return sorted(file for file in files if file.suffix == ".py" and file.is_relative_to(packages))


def compiled(source: Path) -> None:
    """Compile one file. No time counts: what is built again is the same, and a source that is replaced is read."""
    py_compile.compile(str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def main(modules: list[str]) -> None:
    """Do all of it in the environment that runs this."""
    packages, scripts = Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("scripts"))
    take_out([*unused(packages), *others(packages, scripts, modules)])
    subprocess.run(["strip", "--strip-unneeded", *map(str, libraries(packages))], check=True)  # noqa: S607 - of the build image
    for source in loaded(packages, modules):
        compiled(source)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main(sys.argv[1:])
