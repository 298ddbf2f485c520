"""Fixture with a real API server; tests that need it are skipped where its binaries are missing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from livescore_operator.crd import crd
from tests.support.kubernetes import apiserver, choice
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube
from tests.support.kubernetes.server import Server

NAMESPACES = ("livescore-system", "livescore", "sports", "esports", "monitoring")

FOREIGN = [
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
]
"""Kinds of other operators, replaced by definitions without a schema."""

SECURITY = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Admin kubeconfig of a server with the CRDs, and with namespaces that enforce the ``restricted`` standard."""
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
        for definition in (crd(), *(_foreign(*names) for names in FOREIGN)):
            await kube.define(definition)
        for name in NAMESPACES:
            metadata = {"name": name, "labels": SECURITY}
            await kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def _foreign(group: str, version: str, kind: str, plural: str) -> Json:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    versions = [{"name": version, "served": True, "storage": True, "schema": schema}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": versions},
    }
