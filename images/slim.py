"""Shrinks the environment of an image and compiles what it runs: ``python slim.py livescore.server …``.

Runs in the environment's own Python. Deletes files that nothing imports, see :data:`UNUSED`, and compiles the named
modules with everything they import. Other modules stay uncompiled: no long-running process loads them, and compiling
them would double their size.
"""

import importlib
import py_compile
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

UNUSED = (
    # Sources of compiled modules, and type stubs.
    *("**/*.c", "**/*.h", "**/*.pxd", "**/*.pxi", "**/*.pyi", "**/*.pyx"),
    *("pydantic/mypy.py", "pydantic/v1/mypy.py"),
    # Test helpers; rq-scheduler depends on freezegun only for its own tests.
    *("**/tests/**/*", "sqlalchemy/testing/**/*", "alembic/testing/**/*", "mako/testing/**/*", "freezegun/**/*"),
    # Rich highlights help and logs without a lexer.
    "pygments/lexers/*.py",
    # The only database is PostgreSQL, and migrations use it synchronously.
    *("sqlalchemy/dialects/mssql/*", "sqlalchemy/dialects/mysql/*", "sqlalchemy/dialects/oracle/*"),
    *("sqlalchemy/dialects/sqlite/*", "sqlalchemy/ext/asyncio/*"),
    # Commands of Redis modules, and clients of active-active databases.
    *("redis/commands/bf/*", "redis/commands/json/*", "redis/commands/search/*", "redis/commands/timeseries/*"),
    *("redis/commands/vectorset/*", "redis/multidb/**/*", "redis/asyncio/multidb/**/*"),
    # uvicorn uses the sans-I/O protocol of websockets; Trio is not installed.
    *("websockets/legacy/*", "websockets/trio/*", "anyio/_backends/_trio.py"),
    # A class for every kind of Kubernetes, twice. The operator sends and receives plain dictionaries.
    *("kubernetes/client/api/[!_]*.py", "kubernetes/aio/client/api/[!_]*.py"),
    *("kubernetes/client/models/[!_]*.py", "kubernetes/aio/client/models/[!_]*.py"),
)
"""Patterns of files to delete, relative to ``site-packages``."""

USED = (
    # Rich imports these before it falls back to plain text.
    "pygments/lexers/__init__.py",
    "pygments/lexers/_mapping.py",
    # Kopf imports these.
    "kubernetes/client/models/v1_managed_fields_entry.py",
    "kubernetes/client/models/v1_object_meta.py",
    "kubernetes/client/models/v1_owner_reference.py",
)
"""Files that match :data:`UNUSED` and stay."""

PROGRAMS = ("livescore", "livescore_operator")
"""Packages of the wheel; each image keeps only the one it runs."""

PATCHED = "psycopg_binary*"
"""Libraries that auditwheel patched: ``strip`` would break them, and they contain no symbols."""


def unused(packages: Path) -> Iterator[Path]:
    """Yield every file that nothing imports."""
    kept = {packages / name for name in USED}
    for pattern in UNUSED:
        yield from (path for path in packages.glob(pattern) if path.is_file() and path not in kept)


def others(packages: Path, scripts: Path, modules: Iterable[str]) -> Iterator[Path]:
    """Yield the files of the programs that none of these modules belongs to, and their scripts."""
    run = {name.partition(".")[0] for name in modules}
    for program in PROGRAMS:
        if program not in run:
            yield from (path for path in (packages / program).rglob("*") if path.is_file())
            yield scripts / program.replace("_", "-")


def take_out(files: Iterable[Path]) -> None:
    """Delete files and then empty folders, which Python would import as namespace packages."""
    folders: set[Path] = set()
    for file in set(files):
        file.unlink()
        folders |= set(file.parents)
    for folder in sorted(folders, reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def libraries(packages: Path) -> list[Path]:
    """Return every shared library to strip of all symbols that the dynamic loader does not need."""
    return sorted(path for path in packages.rglob("*.so") if not path.relative_to(packages).match(f"{PATCHED}/*"))


def loaded(packages: Path, modules: Iterable[str]) -> list[Path]:
    """Import modules and return the source files loaded by that."""
    for name in modules:
        importlib.import_module(name)
    files = {Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    return sorted(file for file in files if file.suffix == ".py" and file.is_relative_to(packages))


def compiled(source: Path) -> None:
    """Compile one file. Validated by hash instead of time, so builds are reproducible and replaced sources are read."""
    py_compile.compile(str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def main(modules: list[str]) -> None:
    """Shrink and compile the environment of the running interpreter."""
    packages, scripts = Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("scripts"))
    take_out([*unused(packages), *others(packages, scripts, modules)])
    subprocess.run(["strip", "--strip-unneeded", *map(str, libraries(packages))], check=True)  # noqa: S607 - on PATH in the build image
    for source in loaded(packages, modules):
        compiled(source)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main(sys.argv[1:])
