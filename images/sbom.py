"""Writes the SBOMs of both images: ``python -m images.sbom FOLDER`` makes ``sbom-app.json`` and ``sbom-operator.json``.

A CycloneDX document lists every package of the image's lock with its version, its marker and the hashes of all files
that pip may install. The base image is not included.
"""

import os
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
IMAGES = {"app": "livescore", "operator": "livescore-operator"}
"""Lock → name of the image that is installed from it."""

MARKER = "livescore:marker"
"""Property of packages for certain platforms or Python versions: the environment marker of the lock."""


def packages(lock: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Yield each requirement of a lock with its SHA-256 hashes in hexadecimal."""
    for block in lock.replace("\\\n", " ").splitlines():
        pin, *hashes = block.split(" --hash=sha256:")
        yield Requirement(pin.strip()), [text.strip() for text in hashes]


def component(pin: Requirement, hashes: list[str]) -> Component:
    """Return the component of a package."""
    (specifier,) = pin.specifier
    purl = PackageURL("pypi", name=pin.name, version=specifier.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=specifier.version,
        purl=purl,
        bom_ref=purl.to_string() + (f"#{pin.marker}" if pin.marker else ""),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=text) for text in hashes],
        properties=[Property(name=MARKER, value=str(pin.marker))] if pin.marker else [],
    )


def image(name: str) -> Component:
    """Return the component of the image itself, with the version of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return Component(
        type=ComponentType.CONTAINER,
        name=name,
        version=project["version"],
        bom_ref=f"{name}@{project['version']}",
        licenses=[LicenseExpression(project["license"])],
    )


def document(lock: str, name: str, built: datetime) -> str:
    """Return the SBOM of an image. The same lock and time give the same document."""
    bom = Bom(components=[component(*package) for package in packages(lock)])
    bom.metadata.component = image(name)
    bom.metadata.timestamp = built
    bom.serial_number = uuid5(NAMESPACE_URL, f"{name} {built.isoformat()} {lock}")
    bom.register_dependency(bom.metadata.component, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def main(folder: Path) -> None:
    """Write the SBOMs of both images."""
    built = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    folder.mkdir(parents=True, exist_ok=True)
    for lock, name in IMAGES.items():
        text = (ROOT / "requirements" / f"{lock}.lock").read_text()
        (folder / f"sbom-{lock}.json").write_text(document(text, name, built))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
