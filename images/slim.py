"""Makes an environment small and quick to start: run by its own Python, ``slim.py livescore.server …``.

What nothing imports goes, see :data:`UNUSED`. What the named modules import is compiled; the rest never runs in a usual
process, and would be as large again.
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
    *("**/tests/**/*", "sqlalchemy/testing/**/*", "alembic/testing/**/*"),
    # Help and logs are coloured without knowing any language.
    "pygments/lexers/[!_]*.py",
    # A class for every kind of Kubernetes, twice. The operator sends and reads plain dictionaries.
    *("kubernetes/client/api/[!_]*.py", "kubernetes/aio/client/api/[!_]*.py"),
    *("kubernetes/client/models/[!_]*.py", "kubernetes/aio/client/models/[!_]*.py"),
)
"""Patterns below ``site-packages``."""

USED = (
    # Kopf looks for them.
    "kubernetes/client/models/v1_managed_fields_entry.py",
    "kubernetes/client/models/v1_object_meta.py",
    "kubernetes/client/models/v1_owner_reference.py",
)
"""Exceptions from that."""

PATCHED = "psycopg_binary*"
"""Libraries that were joined to others after they were linked: not to be touched, and without symbols already."""


def unused(packages: Path) -> Iterator[Path]:
    """Every file that goes."""
    kept = {packages / name for name in USED}
    for pattern in UNUSED:
        yield from (path for path in packages.glob(pattern) if path.is_file() and path not in kept)


def libraries(packages: Path) -> list[Path]:
    """Every library whose symbols for debuggers go; they are most of some."""
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
    packages = Path(sysconfig.get_path("purelib"))
    for path in list(unused(packages)):
        path.unlink()
    subprocess.run(["strip", "--strip-debug", *map(str, libraries(packages))], check=True)  # noqa: S607 - of the build image
    for source in loaded(packages, modules):
        compiled(source)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    main(sys.argv[1:])
