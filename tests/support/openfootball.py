"""Files of the openfootball project, which a test reads if ``OPENFOOTBALL_DATA`` names a folder with its repositories.

The folder has checkouts of https://github.com/openfootball/worldcup.json and https://github.com/openfootball/football.json,
which are in the public domain, under the names ``worldcup.json`` and ``football.json``.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

FINALS = Path(__file__).parent.parent / "data" / "finals.json"
"""Three finals that were decided by penalties, in the format of openfootball."""


def world_cup(year: int) -> Path:
    """Return the file of a World Cup, or skip the test."""
    return _file(Path("worldcup.json", str(year), "worldcup.json"))


def league(season: str, name: str) -> Path:
    """Return the file of a league's season, or skip the test."""
    return _file(Path("football.json", season, f"{name}.json"))


def final(year: int) -> dict[str, Any]:
    """Return a World Cup of which only the final is left."""
    matches = json.loads(FINALS.read_text())["matches"]
    return {"name": f"World Cup {year}", "matches": [found for found in matches if found["date"].startswith(str(year))]}


def _file(path: Path) -> Path:
    folder = os.environ.get("OPENFOOTBALL_DATA")
    if not folder:
        pytest.skip("OPENFOOTBALL_DATA is not set; it must name the folder of worldcup.json and football.json")
    file = Path(folder, path)
    if not file.exists():
        pytest.skip(f"OPENFOOTBALL_DATA has no {path}")
    return file
