"""Compatibility with stored resources: versions of the CRD and fields of ``spec`` are never removed.

``stored.json`` has every version that was ever stored, with the type of each field of a release. A release adds to it
by ``python -m tools.golden stored``; nothing may be removed from it without a conversion.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from livescore_operator.crd import crd

STORED = Path(__file__).parent / "stored.json"

Schema = dict[str, Any]


def versions() -> dict[str, Schema]:
    """Return the schema of ``spec`` by version."""
    return {
        one["name"]: one["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for one in crd()["spec"]["versions"]
        if one["served"]
    }


def fields(schema: Schema, path: str = "spec") -> Iterator[tuple[str, str]]:
    """Yield every field below a schema with its type."""
    yield path, schema.get("type", "any")
    for name, field in schema.get("properties", {}).items():
        yield from fields(field, f"{path}.{name}")
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")


def stored() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(STORED.read_text())
    return found


def test_every_stored_version_is_served() -> None:
    assert stored().keys() <= versions().keys()


@pytest.mark.parametrize("version", stored())
def test_every_stored_field_exists_with_its_type(version: str) -> None:
    present = dict(fields(versions()[version]))
    assert {path: present.get(path) for path in stored()[version]} == stored()[version]


@pytest.mark.parametrize("version", stored())
def test_no_field_became_required(version: str) -> None:
    assert versions()[version]["required"] == ["image"]


def test_exactly_one_version_is_stored() -> None:
    assert [one["name"] for one in crd()["spec"]["versions"] if one["storage"]] == list(stored())[-1:]
