"""Upgrading only the operator restarts no pods: it builds the same pod templates for the cases of ``golden``.

``templates.json`` has a digest of each. A changed digest means that an operator upgrade replaces the pods of every such
LiveScore: document it under "What restarts" in ``docs/upgrade.md`` and in ``CHANGELOG.md``, then rewrite the file by
``python -m tools.golden templates``.
"""

import hashlib
import json
from pathlib import Path

import pytest

import livescore_operator
from livescore_operator.components import build
from livescore_operator.resource import Manifest
from tests.operator.test_golden import NAMES, load

DIGESTS = Path(__file__).parent / "templates.json"

Templates = dict[str, str]


def templates(case: str) -> Templates:
    """Return the digest of every pod template by kind and name."""
    return {
        f"{one['kind']}/{one['metadata']['name']}": digest(one["spec"]["template"])
        for one in build(*load(case))
        if "template" in one.get("spec", {})
    }


def digest(template: Manifest) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]


def committed() -> dict[str, Templates]:
    found: dict[str, Templates] = json.loads(DIGESTS.read_text())
    return found


@pytest.mark.parametrize("case", NAMES)
def test_operator_upgrade_restarts_no_pod(case: str) -> None:
    changed = {name for name, one in templates(case).items() if committed()[case].get(name, one) != one}
    assert changed == set(), f"an operator upgrade would replace the pods of these: {__doc__}"


def test_every_template_has_a_digest() -> None:
    assert {case: sorted(templates(case)) for case in NAMES} == {
        case: sorted(found) for case, found in committed().items()
    }


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Job"])
def test_every_pod_template_is_covered(kind: str) -> None:
    assert any(name.startswith(f"{kind}/") for found in committed().values() for name in found)


def test_operator_version_is_in_no_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livescore_operator, "__version__", "99.0.0")
    monkeypatch.setenv("LIVESCORE_COMMIT", "another")
    assert templates("full") == committed()["full"]
