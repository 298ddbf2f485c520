"""The chart of the operator and the kustomizations of ``k8s`` produce the same objects."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.charts.rendering import Manifest, kustomized, parsed, template
from tools.charts import OPERATOR

INSTANCE = "app.kubernetes.io/instance"
"""Label that Helm adds to labels and selectors to keep releases apart."""

COMMON = ("--set", "replicas=1", "--set", "image.tag=dev", "--set", "networkPolicy.enabled=false")
"""A kustomization has one operator of the image that `make images` builds, and no NetworkPolicy."""

NAMESPACED = ("--namespace", "livescore", "--set", "watch.namespaces={livescore}", "--set", "crds.install=false")
ADAPTER = ("--set", "metricsAdapter.enabled=true")


@dataclass(frozen=True)
class Pair:
    """A folder of ``k8s``, the values that produce the same, and the namespace of both."""

    folder: str
    values: tuple[str, ...]
    namespace: str = "livescore-system"

    def __str__(self) -> str:
        return self.folder

    @property
    def own(self) -> tuple[str, str, str]:
        """Key of the object that only the chart has: the Service for scrapers."""
        return "Service", self.namespace, "livescore-operator"


PAIRS = [
    Pair("default", COMMON),
    Pair("namespaced", (*COMMON, *NAMESPACED), "livescore"),
    Pair("overlays/metrics-adapter", (*COMMON, *ADAPTER)),
]


def by_key(manifests: Iterable[Manifest], pair: Pair) -> dict[tuple[str, str, str], Manifest]:
    return {
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): comparable(one, pair)
        for one in manifests
        if one["kind"] != "Namespace"
    }


def comparable(manifest: Manifest, pair: Pair) -> Manifest:
    """Return a manifest without its own labels and annotations, and without what distinguishes releases."""
    found: Manifest = without_instance({key: value for key, value in manifest.items() if key != "metadata"}, pair)
    return found


def without_instance(value: Any, pair: Pair) -> Any:
    if isinstance(value, dict):
        return {key: without_instance(item, pair) for key, item in value.items() if key != INSTANCE}
    if isinstance(value, list):
        return in_order([without_instance(item, pair) for item in value])
    return pair.namespace if value == "$(POD_NAMESPACE)" else value


def in_order(items: list[Any]) -> list[Any]:
    """Sort lists in which kustomize patches insert variables and ports at the front: the order has no meaning."""
    named = all(isinstance(item, dict) and "name" in item for item in items)
    return sorted(items, key=lambda item: str(item["name"])) if named else items


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_chart_and_kustomization_produce_the_same_objects(pair: Pair) -> None:
    rendered = by_key(parsed(template(OPERATOR, *pair.values)), pair)
    built = by_key(parsed(kustomized(pair.folder)), pair)

    assert rendered.keys() ^ built.keys() == {pair.own}
    for key, manifest in built.items():
        assert rendered[key] == manifest, key
