"""The version is defined in ``pyproject.toml`` and nowhere else in the code."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import livescore
import livescore_operator

ROOT = Path(__file__).parents[2]


def written() -> str:
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return found


def test_both_programs_report_the_project_version() -> None:
    assert (livescore.__version__, livescore_operator.__version__) == (written(), written())
    assert version("livescore") == written()


def test_no_module_repeats_the_version() -> None:
    sources = [path for folder in ("app", "operator", "images") for path in (ROOT / folder).rglob("*.py")]
    assert sources
    assert [path for path in sources if re.search(r"^__version__ = [\"']", path.read_text(), re.MULTILINE)] == []
