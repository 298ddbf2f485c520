"""The SBOMs contain every package of the locks with its hashes, and are reproducible."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from images.sbom import IMAGES, MARKER, document
from tests.unit.test_repository import lock, pins, version

BUILT = datetime(2026, 11, 25, tzinfo=UTC)


def sbom(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document(lock(name), IMAGES[name], BUILT))
    return found


@pytest.mark.parametrize("name", IMAGES)
def test_sbom_contains_every_locked_package(name: str) -> None:
    locked = [(project, version(pin), str(pin.marker or "")) for project, found in pins(name).items() for pin in found]
    listed = [(one["name"], one["version"], marker(one)) for one in sbom(name)["components"]]

    assert sorted(listed) == sorted(locked)
    assert len({one["bom-ref"] for one in sbom(name)["components"]}) == len(locked)


def marker(component: dict[str, Any]) -> str:
    return next((one["value"] for one in component.get("properties", []) if one["name"] == MARKER), "")


@pytest.mark.parametrize("name", IMAGES)
def test_sbom_contains_every_hash(name: str) -> None:
    hashes = [one["content"] for component in sbom(name)["components"] for one in component["hashes"]]

    assert hashes
    assert len(hashes) == lock(name).count("--hash=sha256:")
    assert [text for text in hashes if f"--hash=sha256:{text}" not in lock(name)] == []


@pytest.mark.parametrize("name", IMAGES)
def test_sbom_describes_the_image(name: str) -> None:
    found = sbom(name)

    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["component"]["name"] == IMAGES[name]
    assert found["metadata"]["timestamp"] == BUILT.isoformat()
    (of_image,) = (one for one in found["dependencies"] if one["ref"] == found["metadata"]["component"]["bom-ref"])
    assert len(of_image["dependsOn"]) == len(found["components"])


def test_sbom_is_reproducible_and_its_serial_depends_on_the_lock() -> None:
    assert document(lock("app"), "livescore", BUILT) == document(lock("app"), "livescore", BUILT)
    assert sbom("app")["serialNumber"] != sbom("operator")["serialNumber"]
