"""A real API server takes everything that is shipped, and its Pod Security admission has no word to say about it."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from livescore_operator.crd import crd
from tests.charts.rendering import KUSTOMIZATIONS, PROMETHEUS, SAMPLES, VARIANTS, Variant, kustomized
from tests.support import tools
from tests.support.kubernetes import apiserver, choice
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube
from tests.support.kubernetes.server import Server

NAMESPACES = ("livescore-system", "livescore", "sports", "esports")
FOREIGN = {"ServiceMonitor": "servicemonitors", "PrometheusRule": "prometheusrules"}
SECURITY = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with the CRDs, and with namespaces that admit restricted pods alone."""
    if why := apiserver.missing():
        pytest.skip(why)
    directory = tmp_path_factory.mktemp("charts")
    server = choice.start(choice.REAL, directory)
    try:
        asyncio.run(_prepare(server))
        yield server.access.write(directory / "kubeconfig.yaml")
    finally:
        server.close()


async def _prepare(server: Server) -> None:
    async with Kube(server.access) as kube:
        for definition in (crd(), *(_foreign(*names) for names in FOREIGN.items())):
            await kube.define(definition)
        for name in NAMESPACES:
            metadata = {"name": name, "labels": SECURITY}
            await kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def _foreign(kind: str, plural: str) -> Json:
    """The kind of another operator, whose schema is not at hand."""
    group, version = PROMETHEUS.split("/")
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    versions = [{"name": version, "served": True, "storage": True, "schema": schema}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": versions},
    }


def dry_run(kubeconfig: Path, text: str, *arguments: str) -> list[str]:
    """What would be applied, one line an object; warnings fail."""
    command = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", *arguments)
    done = tools.run("kubectl", *command, given=text, KUBECONFIG=str(kubeconfig))
    assert done.stderr == ""
    return done.stdout.splitlines()


def count(text: str) -> int:
    return len([one for one in yaml.safe_load_all(text) if one])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_variant_of_a_chart(kubeconfig: Path, variant: Variant) -> None:
    text = variant.text()
    assert len(dry_run(kubeconfig, text)) == count(text)


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_every_kustomization(kubeconfig: Path, name: str) -> None:
    text = kustomized(name)
    assert len(dry_run(kubeconfig, text)) == count(text)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_sample(kubeconfig: Path, path: Path) -> None:
    text = path.read_text()
    assert len(dry_run(kubeconfig, text, "--namespace", "sports")) == count(text)


def test_a_pod_that_is_not_restricted_would_be_noticed(kubeconfig: Path) -> None:
    spec = {"containers": [{"name": "x", "image": "x"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    with pytest.raises(tools.ToolError, match="violates PodSecurity"):
        dry_run(kubeconfig, yaml.safe_dump(pod), "--namespace", "sports")


def test_a_field_that_does_not_exist_would_be_noticed(kubeconfig: Path) -> None:
    (text,) = (path.read_text() for path in SAMPLES if path.stem == "minimal")
    with pytest.raises(tools.ToolError, match=re.escape(".spec.imagine")):
        dry_run(kubeconfig, text.replace("  image:", "  imagine:"), "--namespace", "sports")
