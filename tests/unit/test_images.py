"""What is taken out of the images is what nobody imports, and what is there for development starts anew."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import slim
from images.reload import LASTING, LOOK_SECONDS

PACKAGES = Path(sysconfig.get_path("purelib"))
ROOT = Path(__file__).parents[2]
SECONDS = 30.0

PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("{said}", flush=True)
time.sleep(60)
"""


BLOCKED = """
import importlib, importlib.abc, json, sys
gone = set(json.load(sys.stdin))
class Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in gone:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Gone())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGES).with_suffix("").parts)


def without(gone: list[str], modules: list[str]) -> str:
    """What a process says that imports the second without the first; nothing if it can."""
    command = [sys.executable, "-c", BLOCKED, *modules]
    done = subprocess.run(command, input=json.dumps(gone), capture_output=True, text=True, timeout=SECONDS)
    return done.stderr


def compiled(image: str) -> list[str]:
    """The modules that the Dockerfile compiles for an image."""
    _, _, rest = (ROOT / "Dockerfile").read_text().partition(f"/opt/{image}/bin/python images/slim.py ")
    return rest.split("\n\n")[0].split(";")[0].replace("\\\n", " ").split()


@pytest.mark.parametrize("image", ["app", "operator"])
def test_nothing_that_is_needed_is_taken_out(image: str) -> None:
    gone = [module(path) for path in slim.unused(PACKAGES) if path.suffix == ".py"]

    assert without(gone, compiled(image)) == ""


def test_something_that_is_needed_would_be_missed() -> None:
    assert "ModuleNotFoundError: kubernetes.aio.client.rest" in without(
        ["kubernetes.aio.client.rest"], compiled("operator")
    )


def test_what_is_taken_out_is_there() -> None:
    assert [name for name in slim.USED if not (PACKAGES / name).exists()] == []
    assert len(list(slim.unused(PACKAGES))) > 1000


def test_libraries_that_were_patched_are_left_alone() -> None:
    names = {path.relative_to(PACKAGES).parts[0] for path in slim.libraries(PACKAGES)}
    assert "uvloop" in names
    assert not {name for name in names if name.startswith("psycopg_binary")}


def test_a_compiled_source_that_is_replaced_counts(tmp_path: Path) -> None:
    source = tmp_path / "told.py"
    source.write_text("print('old')")
    slim.compiled(source)
    times = source.stat()
    source.write_text("print('new')")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))

    done = subprocess.run(
        [sys.executable, "-c", "import told"], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
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


class Watched:
    """The reloader on a folder of its own, where the installed sources would be copied to."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "program.py"
        self.log = folder / "log"
        self.say("one")
        code = (
            "import signal, sys; from pathlib import Path; from images.reload import Reloader\n"
            f"r = Reloader([sys.executable, {str(self.source)!r}], Path({str(folder)!r}))\n"
            "signal.signal(signal.SIGTERM, r.stop); sys.exit(r.run())"
        )
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=log, stderr=log)

    def say(self, text: str) -> None:
        self.source.write_text(PROGRAM.format(said=text))

    def heard(self, text: str) -> None:
        deadline = time.monotonic() + SECONDS
        while text not in self.log.read_text().split("\n"):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(LOOK_SECONDS / 5)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    found = Watched(tmp_path)
    yield found
    found.process.send_signal(signal.SIGTERM)
    found.process.wait(SECONDS)


def test_a_changed_source_starts_the_process_anew(watched: Watched) -> None:
    watched.heard("one")
    watched.say("two")
    watched.heard("two")


def test_a_source_with_a_fault_is_waited_out(watched: Watched) -> None:
    watched.heard("one")
    watched.source.write_text("no python")
    watched.heard("SyntaxError: invalid syntax")
    watched.say("three")
    watched.heard("three")


def test_a_signal_ends_the_process_and_the_reloader(watched: Watched) -> None:
    watched.heard("one")
    watched.process.send_signal(signal.SIGTERM)
    assert watched.process.wait(SECONDS) == 0


def test_only_commands_that_last_are_started_anew() -> None:
    assert sorted(LASTING) == ["api", "run", "scheduler", "worker"]
