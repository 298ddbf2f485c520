"""A real API server accepts all shipped manifests without Pod Security warnings."""

import re
from pathlib import Path

import pytest
import yaml

from tests.charts.rendering import KUSTOMIZATIONS, SAMPLES, VARIANTS, Variant, kustomized
from tests.support import tools


def dry_run(kubeconfig: Path, text: str, *arguments: str) -> list[str]:
    """Return the objects that would be applied, one line each; fails on warnings."""
    command = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", *arguments)
    done = tools.run("kubectl", *command, given=text, KUBECONFIG=str(kubeconfig))
    assert done.stderr == ""
    return done.stdout.splitlines()


def count(text: str) -> int:
    return len([one for one in yaml.safe_load_all(text) if one])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_server_accepts_every_chart_variant(kubeconfig: Path, variant: Variant) -> None:
    text = variant.text()
    assert len(dry_run(kubeconfig, text)) == count(text)


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_server_accepts_every_kustomization(kubeconfig: Path, name: str) -> None:
    text = kustomized(name)
    assert len(dry_run(kubeconfig, text)) == count(text)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_server_accepts_every_sample(kubeconfig: Path, path: Path) -> None:
    text = path.read_text()
    assert len(dry_run(kubeconfig, text)) == count(text)


def test_unrestricted_pod_is_detected(kubeconfig: Path) -> None:
    spec = {"containers": [{"name": "x", "image": "x"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    with pytest.raises(tools.ToolError, match="violates PodSecurity"):
        dry_run(kubeconfig, yaml.safe_dump(pod), "--namespace", "sports")


def test_unknown_field_is_detected(kubeconfig: Path) -> None:
    (text,) = (path.read_text() for path in SAMPLES if path.stem == "minimal")
    with pytest.raises(tools.ToolError, match=re.escape(".spec.imagine")):
        dry_run(kubeconfig, text.replace("  image:", "  imagine:"), "--namespace", "sports")
