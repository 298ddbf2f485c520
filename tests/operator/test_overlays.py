"""The overlays and samples of ``k8s``: golden files, and acceptance by a server.

``golden-overlays/NAME.yaml`` is the output of ``kubectl kustomize`` for each kustomization, without the CRD, which
another test compares. ``make golden`` rewrites them; review the diff before you commit it.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from livescore_operator.components.common import to_yaml
from livescore_operator.resource import KIND
from tests.charts.rendering import KUSTOMIZATIONS, PROMETHEUS, SAMPLES, kustomized, parsed, template
from tests.charts.test_drift import Pair, by_key
from tests.support.kubernetes.kinds import KINDS
from tests.support.kubernetes.kube import Kube
from tools.charts import OPERATOR, ROOT

GOLDEN = Path(__file__).parent / "golden-overlays"

PRODUCTION = Pair(
    "overlays/production",
    ("--set", "image.tag=dev", "--set", "monitoring.dashboard.enabled=false", "--api-versions", PROMETHEUS),
)
"""Values of the chart for the comparison; a kustomization has no dashboard."""

WHOLE = [name for name in KUSTOMIZATIONS if name in {"default", "namespaced"} or name.startswith("overlays/")]
"""Kustomizations that users apply; the others are components of these."""

Manifest = dict[str, Any]


def shown(name: str) -> str:
    return to_yaml(one for one in parsed(kustomized(name)) if one["kind"] != "CustomResourceDefinition")


def golden(name: str) -> Path:
    return GOLDEN / f"{name.removeprefix('overlays/')}.yaml"


def only(name: str, kind: str) -> Manifest:
    (found,) = (one for one in parsed(kustomized(name)) if one["kind"] == kind)
    return found


@pytest.mark.parametrize("name", WHOLE)
def test_built_manifests_match_the_golden_file(name: str) -> None:
    assert shown(name) == golden(name).read_text(), "run `make golden` and review the diff"


def test_every_golden_file_has_its_kustomization() -> None:
    assert sorted(GOLDEN.iterdir()) == sorted(map(golden, WHOLE))


def test_production_overlay_matches_the_chart() -> None:
    rendered = by_key(parsed(template(OPERATOR, *PRODUCTION.values)), PRODUCTION)
    built = by_key(parsed(kustomized(PRODUCTION.folder)), PRODUCTION)

    assert rendered.keys() == built.keys()
    for key, manifest in built.items():
        assert rendered[key] == manifest, key


def test_alerts_match_the_documentation() -> None:
    rows = re.findall(
        r"^\| (\w+) \| `([^`]+)` \| (\d+) m \|", (ROOT / "docs" / "operator.md").read_text(), re.MULTILINE
    )
    (group,) = only("overlays/production", "PrometheusRule")["spec"]["groups"]

    assert [(one["alert"], one["expr"], one["for"]) for one in group["rules"]] == [
        (name, expression.replace("&#124;", "|"), f"{minutes}m") for name, expression, minutes in rows
    ]


def test_production_replicas_are_spread_and_one_stays_available() -> None:
    deployment = only("overlays/production", "Deployment")["spec"]
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    budget = only("overlays/production", "PodDisruptionBudget")["spec"]

    assert deployment["replicas"] - budget["maxUnavailable"] == 1
    assert budget["selector"] == spread["labelSelector"] == deployment["selector"]


@pytest.mark.parametrize("text", [path.read_text() for path in SAMPLES], ids=[path.stem for path in SAMPLES])
async def test_sample_is_accepted_by_the_server(kube: Kube, text: str) -> None:
    """Accepted by any available server; ``tests/charts`` checks objects of other operators on a real one."""
    (sample,) = (one for one in parsed(text) if one["kind"] == KIND)
    made = await kube.apply(sample, manager="kubectl")

    assert made["metadata"]["namespace"] == kube.namespace
    assert made["spec"]["image"] == sample["spec"]["image"]


@pytest.mark.parametrize("name", WHOLE)
async def test_overlay_is_accepted_by_the_server(kube: Kube, name: str) -> None:
    """Only namespaced objects of kinds that every server knows."""
    found = [one for one in parsed(kustomized(name)) if one["kind"] in KINDS and KINDS[one["kind"]].namespaced]
    assert "Deployment" in {one["kind"] for one in found}
    for manifest in found:
        await kube.apply(in_namespace(manifest, kube.namespace), manager="kubectl")


def in_namespace(manifest: Manifest, namespace: str) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
