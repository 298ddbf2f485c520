"""Rules of the repository: forbidden contents of files, and locks that match the dependencies."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS: dict[str, list[str]] = {
    "app": ["app"],
    "operator": ["operator"],
    "development": ["app", "operator", "embedded", "dev"],
    "build": [],
    "tools": [],
}
"""The extras in each lock; `build` and `tools` are dependency groups."""

# Split, so that this file does not violate its own rule.
REGISTRIES = [
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("registry", "npmjs", "org"),
    ("registry", "yarnpkg", "com"),
    ("deb", "debian", "org"),
    ("security", "debian", "org"),
    ("archive", "ubuntu", "com"),
    ("proxy", "golang", "org"),
]
MACHINE_FOLDERS = ["work", "root", "home"]

Pins = dict[str, list[Requirement]]


def names() -> list[str]:
    """Return every file that is, or may become, part of a commit."""
    if not (ROOT / ".git").exists():  # a source archive; names of generated files contain a dot
        paths = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
        return [str(path) for path in paths if not any(part.startswith((".", "__")) for part in path.parts)]
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip("\0").split("\0")


def texts() -> Iterator[tuple[str, str]]:
    """Yield name and content of every text file."""
    for path in (ROOT / name for name in names()):
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            yield str(path.relative_to(ROOT)), content.decode()


def places(pattern: str) -> list[str]:
    """Return every ``file:line`` of the project that matches."""
    compiled = re.compile(pattern)
    return [
        f"{name}:{number}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if compiled.search(line)
    ]


def lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.lock").read_text()


def pins(name: str) -> Pins:
    """Return the requirements of a lock by project; several if versions differ between Pythons."""
    found: Pins = {}
    for line in lock(name).splitlines():
        if not line.startswith((" ", "#")):
            requirement = Requirement(line.removesuffix("\\").strip())
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def version(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    return specifier.version


def satisfied(wanted: Requirement, locked: Pins) -> bool:
    return any(wanted.specifier.contains(version(pin)) for pin in locked.get(canonicalize_name(wanted.name), []))


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def declared(name: str) -> list[Requirement]:
    """Return the project's requirements for this lock."""
    project, groups = pyproject()["project"], pyproject()["dependency-groups"]
    if name in groups:
        lines = groups[name] + (pyproject()["build-system"]["requires"] if name == "build" else [])
    else:
        lines = project["dependencies"] + [
            line for extra in LOCKS[name] for line in project["optional-dependencies"][extra]
        ]
    return [Requirement(line) for line in lines]


def test_no_file_contains_a_package_registry_host() -> None:
    assert places("|".join(r"\.".join(parts) for parts in REGISTRIES)) == []


def test_no_file_contains_a_machine_path() -> None:
    assert places(rf"(?<![\w.~}}-])/({'|'.join(MACHINE_FOLDERS)})/") == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_contains_only_pins_and_hashes(name: str) -> None:
    allowed = re.compile(r"[a-z0-9-]+(\[[a-z,-]+\])?==[^ ]+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert [line for line in lock(name).splitlines() if not allowed.fullmatch(line)] == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_satisfies_the_declared_dependencies(name: str) -> None:
    locked = pins(name)
    assert [str(wanted) for wanted in declared(name) if not satisfied(wanted, locked)] == [], "run `make lock`"


@pytest.mark.parametrize("name", ["app", "operator", "build"])
def test_image_locks_match_the_tested_versions(name: str) -> None:
    tested = pins("development")
    shared = pins(name).keys() & tested.keys()
    assert {project: pins(name)[project] for project in shared} == {project: tested[project] for project in shared}


@pytest.mark.parametrize(("name", "other"), [("app", "operator"), ("operator", "app")])
def test_image_lock_has_no_development_packages_or_those_of_the_other_image(name: str, other: str) -> None:
    optional = pyproject()["project"]["optional-dependencies"]
    lines = [*optional["embedded"], *optional["dev"], *optional[other]]
    mine = {canonicalize_name(Requirement(line).name) for line in optional[name]}
    unwanted = {canonicalize_name(Requirement(line).name) for line in lines} - mine
    # Dependencies of httpx and typer are in both.
    assert unwanted & pins(name).keys() <= {"sniffio"}


def test_the_wheel_leaves_out_the_development_tools() -> None:
    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}

    assert {"livescore/__main__.py", "livescore_operator/__main__.py"} <= files
    assert {path.partition("/")[0] for path in files} == {"livescore", "livescore_operator"}


def test_the_source_archive_keeps_the_development_tools() -> None:
    files = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}

    assert "app/livescore_dev/stack.py" in files


def test_every_make_target_has_a_description() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    targets = {line.split(":")[0] for line in lines if re.match(r"[a-z0-9-]+:.* ## ", line)}
    phony = next(line for line in lines if line.startswith(".PHONY:")).split()[1:]
    assert sorted(phony) == sorted(targets)
