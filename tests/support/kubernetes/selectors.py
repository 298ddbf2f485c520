"""Label and field selectors."""

import re
from collections.abc import Callable
from typing import Any

from tests.support.kubernetes.kinds import Json

Test = Callable[[Json], bool]

TERM = re.compile(
    r"""\s*(?:
        (?P<absent>!)\s*(?P<not_there>[\w./-]+)
      | (?P<key>[\w./-]+)\s*(?:
            (?P<operator>==|=|!=)\s*(?P<value>[\w./-]*)
          | (?P<set>in|notin)\s*\((?P<values>[^)]*)\)
        )?
    )\s*(?:,|$)""",
    re.VERBOSE,
)


def labels(text: str) -> Test:
    """Parse a ``labelSelector`` with equality, sets and existence.

    Raises:
        ValueError: the selector is malformed.
    """
    tests: list[Test] = []
    position = 0
    while position < len(text):
        match = TERM.match(text, position)
        if not match:
            raise ValueError(f"unable to parse requirement: {text[position:]!r}")
        tests.append(_label(match))
        position = match.end()
    return lambda body: all(test(body.get("metadata", {}).get("labels") or {}) for test in tests)


def _label(match: re.Match[str]) -> Test:
    if match["absent"]:
        return lambda found: match["not_there"] not in found
    if match["set"]:
        values = {value.strip() for value in match["values"].split(",")}
        wanted = match["set"] == "in"
        return lambda found: (found.get(match["key"]) in values) is wanted
    if match["operator"]:
        equal = match["operator"] != "!="
        return lambda found: (found.get(match["key"]) == match["value"]) is equal
    return lambda found: match["key"] in found


def fields(text: str) -> Test:
    """Parse a ``fieldSelector`` with equality of fields, named by dotted paths."""
    tests = [_field(term) for term in text.split(",") if term]
    return lambda body: all(test(body) for test in tests)


def _field(term: str) -> Test:
    path, value = re.split(r"!=|==|=", term, maxsplit=1)
    equal = "!=" not in term
    return lambda body: (_at(body, path) == value) is equal


def _at(body: Json, path: str) -> str:
    value: Any = body
    for name in path.split("."):
        value = value.get(name, "") if isinstance(value, dict) else ""
    return str(value)
