"""The images contain everything that is imported; the development reloader restarts changed processes."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from images import slim
from images.reload import LONG_RUNNING, LOOK_SECONDS

PACKAGES = Path(sysconfig.get_path("purelib"))
ROOT = Path(__file__).parents[2]
SECONDS = 60.0

PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("{said}", flush=True)
time.sleep(60)
"""


BLOCKED = """
import importlib.abc, json, sys
arguments = json.load(sys.stdin)
gone = set(arguments["gone"])
class Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in gone:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Gone())
for statement in arguments["statements"]:
    exec(statement)
"""

SOURCES = {
    # The program of the chart's test runs in this image too.
    "app": [ROOT / "app" / "livescore", ROOT / "charts" / "livescore" / "files"],
    "operator": [ROOT / "operator" / "livescore_operator"],
}
BY_NAME = {"app": ["alembic.ddl", "sqlalchemy.dialects.postgresql.psycopg"], "operator": []}
"""Modules that are imported by name in settings of Alembic or SQLAlchemy."""


def imports(image: str) -> list[str]:
    """Return all import statements of the sources, including deferred ones."""
    files = [file for folder in SOURCES[image] for file in folder.rglob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    return sorted({ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)})


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGES).with_suffix("").parts)


def without(gone: list[str], statements: list[str]) -> str:
    """Run the import statements without the modules in ``gone``, and return the error; empty if they succeed."""
    arguments = json.dumps({"gone": gone, "statements": statements})
    command = [sys.executable, "-c", BLOCKED]
    return subprocess.run(command, input=arguments, capture_output=True, text=True, timeout=SECONDS).stderr


def compiled(image: str) -> list[str]:
    """Return the modules that the Dockerfile compiles for an image."""
    _, _, rest = (ROOT / "Dockerfile").read_text().partition(f"/opt/{image}/bin/python images/slim.py ")
    return rest.split("\n\n")[0].split(";")[0].replace("\\\n", " ").split()


@pytest.mark.parametrize("image", ["app", "operator"])
def test_removed_modules_are_not_imported(image: str) -> None:
    gone = [module(path) for path in slim.unused(PACKAGES) if path.suffix == ".py"]
    statements = [f"import {name}" for name in [*compiled(image), *BY_NAME[image]]]

    assert without(gone, [*statements, *imports(image)]) == ""


def test_missing_module_is_detected() -> None:
    assert "ModuleNotFoundError: kubernetes.aio.client.rest" in without(
        ["kubernetes.aio.client.rest"], imports("operator")
    )


def test_deferred_and_script_imports_are_checked() -> None:
    # In a function, in a file that Alembic runs, and in the program of the chart's test.
    late = {
        "from alembic import command",
        "from livescore.scores.models import Match",
        "from sqlmodel import Field, SQLModel",
        "from websockets.sync.client import connect",
    }
    assert late - set(imports("app")) == set()


@pytest.mark.parametrize(
    ("image", "run", "other"),
    [("app", "livescore", "livescore_operator"), ("operator", "livescore_operator", "livescore")],
)
def test_image_contains_only_its_own_program(tmp_path: Path, image: str, run: str, other: str) -> None:
    packages, scripts = tmp_path / "packages", tmp_path / "bin"
    files = {name: (packages / name / "parts" / "one.py", scripts / name.replace("_", "-")) for name in slim.PROGRAMS}
    for file in chain.from_iterable(files.values()):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    slim.take_out(slim.others(packages, scripts, compiled(image)))

    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(files[run])
    assert not (packages / other).exists()


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("livescore:dev", "docker.io/library/livescore:dev"),
        ("team/livescore:1", "team/livescore:1"),
        ("registry.example.com/team/livescore:1", "registry.example.com/team/livescore:1"),
    ],
)
def test_buildah_image_name_resolves_on_a_node(image: str, name: str) -> None:
    commands = subprocess.run(
        ["make", "--dry-run", "image", "TARGET=app", "CONTAINER=buildah", f"IMAGE={image}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    ).stdout

    assert f"--tag {name} --target app" in commands


def test_the_base_of_both_images_is_pinned_by_digest() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()

    assert re.search(r"^ARG PYTHON_IMAGE=\S+@sha256:[0-9a-f]{64}$", dockerfile, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert set(stages) == {"${PYTHON_IMAGE}", "runtime", "operator", "app"}


def test_folder_is_removed_with_its_last_file(tmp_path: Path) -> None:
    for name in ("gone/deep/a.py", "kept/a.py", "kept/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    slim.take_out([tmp_path / "gone/deep/a.py", tmp_path / "kept/a.py", tmp_path / "kept/a.py"])

    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["kept", "kept/b.py"]


def test_removed_files_exist_before() -> None:
    assert [name for name in slim.USED if not (PACKAGES / name).exists()] == []
    assert len(list(slim.unused(PACKAGES))) > 1000


def test_patched_libraries_are_kept() -> None:
    names = {path.relative_to(PACKAGES).parts[0] for path in slim.libraries(PACKAGES)}
    assert "uvloop" in names
    assert not {name for name in names if name.startswith("psycopg_binary")}


def test_replaced_source_is_recompiled(tmp_path: Path) -> None:
    source = tmp_path / "fresh.py"
    source.write_text("print('old')")
    slim.compiled(source)
    times = source.stat()
    source.write_text("print('new')")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))

    done = subprocess.run(
        [sys.executable, "-c", "import fresh"], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.stdout == "new\n"


def test_the_same_source_compiles_to_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "same.py"
    source.write_text("NAMES = {'a', 'b'}\nprint('x' in {'x', 'y', 'z'})\n")
    made = []
    for seconds in (1, 2):
        os.utime(source, (seconds, seconds))
        slim.compiled(source)
        made.append(next((tmp_path / "__pycache__").iterdir()).read_bytes())
    assert made[0] == made[1]


# Development


class ReloaderProcess:
    """The reloader on its own folder, which stands in for the installed sources."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "program.py"
        self.log = folder / "log"
        self.write_source("one")
        code = (
            "import signal, sys; from pathlib import Path; from images.reload import Reloader\n"
            f"r = Reloader([sys.executable, {str(self.source)!r}], Path({str(folder)!r}))\n"
            "signal.signal(signal.SIGTERM, r.stop); sys.exit(r.run())"
        )
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=log, stderr=log)

    def write_source(self, text: str) -> None:
        self.source.write_text(PROGRAM.format(said=text))

    def wait_for_output(self, text: str) -> None:
        deadline = time.monotonic() + SECONDS
        while text not in self.log.read_text().split("\n"):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(LOOK_SECONDS / 5)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[ReloaderProcess]:
    found = ReloaderProcess(tmp_path)
    yield found
    found.process.send_signal(signal.SIGTERM)
    found.process.wait(SECONDS)


def test_changed_source_restarts_the_process(watched: ReloaderProcess) -> None:
    watched.wait_for_output("one")
    watched.write_source("two")
    watched.wait_for_output("two")


def test_restart_waits_until_a_syntax_error_is_fixed(watched: ReloaderProcess) -> None:
    watched.wait_for_output("one")
    watched.source.write_text("no python")
    watched.wait_for_output("SyntaxError: invalid syntax")
    watched.write_source("three")
    watched.wait_for_output("three")


def test_a_signal_ends_the_process_and_the_reloader(watched: ReloaderProcess) -> None:
    watched.wait_for_output("one")
    watched.process.send_signal(signal.SIGTERM)
    assert watched.process.wait(SECONDS) == 0


def test_only_long_running_commands_are_restarted() -> None:
    assert sorted(LONG_RUNNING) == ["api", "run", "scheduler", "worker"]
