"""Every fault in docs/faults.md has a test with its number."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_fault_has_a_test() -> None:
    documented = set(re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "faults.md").read_text(), re.MULTILINE))
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    tested = {number for source in sources for number in re.findall(r"def test_fault_(\d+)_", source)}
    assert documented == {str(number) for number in range(1, 19)}
    assert documented == tested
