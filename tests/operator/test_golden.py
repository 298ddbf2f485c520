"""Golden files of built manifests: ``golden/NAME/input.yaml`` and the result, ``output.yaml``.

An input is a LiveScore and, where it differs from that of a healthy cluster, the context.
``make golden`` rewrites the outputs; review the diff before you commit it.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from livescore_operator.components import BuildContext, Credentials, Scale, build
from livescore_operator.components.common import ClaimTemplate, to_yaml
from livescore_operator.resource import LiveScore, Manifest
from livescore_operator.scaling import modes

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.name for path in GOLDEN.iterdir())


def load(name: str) -> tuple[LiveScore, BuildContext]:
    """Return the input of a golden case."""
    body, *context = yaml.safe_load_all((GOLDEN / name / "input.yaml").read_text())
    resource = LiveScore.parse(body)
    return resource, context_of(resource, **(context[0] if context else {}))


def context_of(resource: LiveScore, **given: Any) -> BuildContext:
    """Return the context of a cluster that serves the image, with some members replaced."""
    usual: dict[str, Any] = {
        "operator_namespace": "livescore-system",
        "credentials": Credentials("postgres-password", "redis-password", "lsk_admin_key", "checksum-key"),
        "checksums": {},
        "serving_image": resource.spec.image,
        "database_ready": True,
        "claimed": {},
        "claims": {},
        "scale": Scale(modes.of(resource).initial_replicas(resource), resource.spec.autoscaling.min_replicas),
    }
    if isinstance(given.get("scale"), dict):
        given["scale"] = Scale(given["scale"].get("replicas"), given["scale"]["minimum"])
    given["claimed"] = {name: ClaimTemplate(size) for name, size in given.get("claimed", {}).items()}
    return BuildContext(**{**usual, **given, "kinds": frozenset(given.get("kinds", ()))})


@cache
def built(name: str) -> list[Manifest]:
    """Return the manifests of a golden case, cached for all tests; treat them as read-only."""
    return build(*load(name))


def output(name: str) -> Path:
    return GOLDEN / name / "output.yaml"


@pytest.mark.parametrize("name", NAMES)
def test_built_manifests_match_the_golden_file(name: str) -> None:
    assert to_yaml(built(name)) == output(name).read_text(), "run `make golden`"


@pytest.mark.parametrize("name", NAMES)
def test_golden_output_is_complete(name: str) -> None:
    assert list(yaml.safe_load_all(output(name).read_text())) == built(name)
