"""Rendered charts and kustomizations, cached for all tests; treat the objects as read-only."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support import tools
from tools.charts import CHARTS, LIVESCORE, OPERATOR, ROOT

K8S = ROOT / "k8s"

Manifest = dict[str, Any]

PROMETHEUS = "monitoring.coreos.com/v1"
"""API version served by a cluster with the Prometheus operator."""

WITH_PROMETHEUS = ("livescore-operator/production",)

RELEASES = {OPERATOR: ("livescore-operator", "livescore-system"), LIVESCORE: ("demo", "sports")}
"""Name and namespace of each chart's rendered release."""


@dataclass(frozen=True)
class Variant:
    """A chart with one of the values files of its folder ``ci``."""

    chart: Path
    values: Path

    def __str__(self) -> str:
        return f"{self.chart.name}/{self.values.name.removesuffix('-values.yaml')}"

    def text(self) -> str:
        """Return the output of ``helm template``."""
        kinds = ["--api-versions", PROMETHEUS] if str(self) in WITH_PROMETHEUS else []
        return template(self.chart, "--values", str(self.values), *kinds)

    def objects(self) -> list[Manifest]:
        """Return the rendered objects."""
        return parsed(self.text())


@cache
def template(chart: Path, *arguments: str) -> str:
    """Return the output of ``helm template``.

    Raises:
        ToolError: the values are invalid.
    """
    name, namespace = RELEASES[chart]
    return tools.run("helm", "template", name, str(chart), "--namespace", namespace, *arguments).stdout


@cache
def kustomized(name: str) -> str:
    """Return the output of ``kubectl kustomize`` for a folder of ``k8s``."""
    return tools.run("kubectl", "kustomize", str(K8S / name)).stdout


def parsed(text: str) -> list[Manifest]:
    """Return every object of a YAML stream."""
    return [document for document in yaml.safe_load_all(text) if document]


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Yield the spec of every pod, including those in templates."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["spec"]
        elif "template" in manifest.get("spec", {}):
            yield manifest["spec"]["template"]["spec"]


VARIANTS = [Variant(path.parents[1], path) for path in sorted(CHARTS.glob("*/ci/*-values.yaml"))]
KUSTOMIZATIONS = sorted(str(path.parent.relative_to(K8S)) for path in K8S.rglob("kustomization.yaml"))
SAMPLES = sorted((K8S / "samples").glob("*.yaml"))
