"""Golden files of the rendered charts: ``golden/CHART/VARIANT.yaml`` for ``charts/CHART/ci/VARIANT-values.yaml``.

``make charts`` rewrites them; review the diff before you commit it.
"""

from pathlib import Path

import pytest

from livescore_operator.components.common import to_yaml
from tests.charts.rendering import VARIANTS, Manifest, Variant

GOLDEN = Path(__file__).parent / "golden"


def golden(variant: Variant) -> Path:
    return GOLDEN / f"{variant}.yaml"


def shown(variant: Variant) -> str:
    """Return the objects without the CRD, which another test compares, with names in place of embedded files."""
    files = {path.read_text().strip(): f"files/{path.name}" for path in (variant.chart / "files").iterdir()}
    objects = [one for one in variant.objects() if one["kind"] != "CustomResourceDefinition"]
    return to_yaml(with_names(one, files) for one in objects)


def with_names(manifest: Manifest, files: dict[str, str]) -> Manifest:
    if manifest["kind"] != "ConfigMap":
        return manifest
    return {**manifest, "data": {key: files.get(text.strip(), text) for key, text in manifest["data"].items()}}


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_rendered_chart_matches_the_golden_file(variant: Variant) -> None:
    assert shown(variant) == golden(variant).read_text(), "run `make charts` and review the diff"


def test_every_golden_file_has_a_variant() -> None:
    assert sorted(GOLDEN.rglob("*.yaml")) == sorted(map(golden, VARIANTS))
