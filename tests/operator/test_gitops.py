"""Files for Argo CD and kustomize work as docs/operator.md describes."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from livescore_operator.crd import crd
from livescore_operator.observation import secret_uses
from livescore_operator.resource import LiveScore
from tests.operator.test_components import children
from tests.support import tools

K8S = Path(__file__).parents[2] / "k8s"
HEALTH_KEY = "resource.customizations.health.livescore.dev_LiveScore"

Body = dict[str, Any]


# Argo CD


def health(spec: Body | None = None, status: Body | None = None, **metadata: Any) -> tuple[str, str]:
    """Evaluate Argo CD's health check, which runs the text as a function of `obj`, for a LiveScore."""
    lupa = pytest.importorskip("lupa", reason="the Lua interpreter lupa is not installed")
    lua = lupa.LuaRuntime()
    text = yaml.safe_load((K8S / "argocd/argocd-cm.yaml").read_text())["data"][HEALTH_KEY]
    check = lua.eval(f"function(obj) {text} end")
    body = {"metadata": {"generation": 2, **metadata}, "spec": spec or {}, **({"status": status} if status else {})}
    found = check(lua.table_from(body, recursive=True))
    return found["status"], found["message"]


def status(observed: int = 2, **conditions: str) -> Body:
    found = [{"type": type, "status": value, "message": f"why {type}"} for type, value in conditions.items()]
    return {"observedGeneration": observed, "conditions": found}


@pytest.mark.parametrize(
    ("spec", "current", "metadata", "expected"),
    [
        ({}, None, {}, ("Progressing", "waiting for the operator")),
        ({}, {"observedGeneration": -1}, {}, ("Progressing", "waiting for the operator")),
        ({}, status(1, Ready="True"), {}, ("Progressing", "waiting for the operator")),
        ({}, status(Ready="True", Reconciling="False", Stalled="False"), {}, ("Healthy", "why Ready")),
        ({}, status(Ready="False", Reconciling="True", Stalled="False"), {}, ("Progressing", "why Reconciling")),
        ({}, status(Ready="True", Reconciling="True", Stalled="False"), {}, ("Progressing", "why Reconciling")),
        ({}, status(Ready="False", Reconciling="False", Stalled="True"), {}, ("Degraded", "why Stalled")),
        ({}, status(Ready="False", Reconciling="False", Stalled="False"), {}, ("Degraded", "why Ready")),
        ({}, status(Ready="Unknown"), {}, ("Progressing", "why Ready")),
        (
            {"suspend": True},
            status(Ready="True"),
            {},
            ("Suspended", "spec.suspend is true: nothing is changed or repaired"),
        ),
        (
            {"reconcilePolicy": "Plan"},
            {**status(Ready="True"), "plan": {"summary": "1 to create"}},
            {},
            ("Suspended", "a plan waits for approval: 1 to create"),
        ),
        ({"reconcilePolicy": "Plan"}, status(Stalled="True"), {}, ("Degraded", "why Stalled")),
        (
            {},
            status(Ready="True"),
            {"deletionTimestamp": "2026-06-11T17:00:00Z"},
            ("Progressing", "the LiveScore is being deleted"),
        ),
    ],
)
def test_argo_cd_health_check_reflects_the_conditions(
    spec: Body, current: Body | None, metadata: Body, expected: tuple[str, str]
) -> None:
    assert health(spec, current, **metadata) == expected


def test_objects_visible_to_argo_cd_have_an_owner_or_are_not_pruned() -> None:
    """With label tracking, Argo CD manages objects with its application's name as instance label and no owner."""
    for one in children():
        metadata = one["metadata"]
        if "ownerReferences" not in metadata:
            assert metadata["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"
            assert metadata["annotations"]["argocd.argoproj.io/compare-options"] == "IgnoreExtraneous"


# kustomize

RESOURCES = """
apiVersion: v1
kind: Secret
metadata: {name: own}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
---
apiVersion: livescore.dev/v1
kind: LiveScore
metadata: {name: demo}
spec:
  image: livescore:dev
  imagePullSecrets: [{name: own}]
  api:
    apiKeysSecret: {name: own, key: keys}
    ingress: {host: scores.example, tlsSecretName: own}
    env: &env
      - {name: A, valueFrom: {secretKeyRef: {name: own, key: a}}}
      - {name: B, valueFrom: {configMapKeyRef: {name: settings, key: b}}}
  worker: {env: *env}
  scheduler: {env: *env}
  postgres: {image: "postgres:17", mode: external, external: {secretRef: {name: own, key: database}}}
  redis: {image: "valkey/valkey:8", mode: external, external: {secretRef: {name: own, key: redis}}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: demo}
spec: {scaleTargetRef: {apiVersion: livescore.dev/v1, kind: LiveScore, name: demo}}
"""

KUSTOMIZATION = """
resources: [resources.yaml]
configurations: [livescore.yaml]
namePrefix: eu-
images:
  - {name: livescore, newName: registry.example/livescore, newTag: 1.2.3}
  - {name: postgres, newName: registry.example/postgres}
  - {name: valkey/valkey, digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
"""


@pytest.fixture
def built(tmp_path: Path) -> dict[str, Body]:
    """Build the above with kustomize, and return the objects by kind."""
    shutil.copy(K8S / "kustomize/livescore.yaml", tmp_path)
    (tmp_path / "resources.yaml").write_text(RESOURCES)
    (tmp_path / "kustomization.yaml").write_text(KUSTOMIZATION)
    return {one["kind"]: one for one in yaml.safe_load_all(tools.run("kubectl", "kustomize", str(tmp_path)).stdout)}


def test_kustomize_replaces_images_of_a_livescore(built: dict[str, Body]) -> None:
    spec = built["LiveScore"]["spec"]
    assert spec["image"] == "registry.example/livescore:1.2.3"
    assert spec["postgres"]["image"] == "registry.example/postgres:17"
    assert spec["redis"]["image"] == f"valkey/valkey@sha256:{'0' * 64}"


def test_kustomize_renames_references_of_a_livescore(built: dict[str, Body]) -> None:
    resource = LiveScore.parse(built["LiveScore"])
    assert {use.reference.name for use in secret_uses(resource)} == {"eu-own"}
    maps = [one.value_from.config_map_key_ref for one in resource.spec.api.env if one.value_from]
    assert [one.name for one in maps if one] == ["eu-settings"]
    assert [one.name for one in resource.spec.image_pull_secrets] == ["eu-own"]
    assert resource.spec.api.ingress is not None
    assert resource.spec.api.ingress.tls_secret_name == "eu-own"
    assert built["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == "eu-demo"


def test_kustomize_configuration_covers_every_image_and_reference() -> None:
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    paths = set(_paths(schema, "spec"))
    configuration = yaml.safe_load((K8S / "kustomize/livescore.yaml").read_text())
    fields = [one for part in configuration["nameReference"] for one in part["fieldSpecs"]]

    images = {one["path"] for one in configuration["images"]}
    names = {one["path"] for one in fields if one["kind"] == "LiveScore"}

    assert images == {path for path in paths if path.endswith("/image")}
    assert names == {path for path in paths if path.endswith(("Ref/name", "Secret/name", "Secrets/name", "SecretName"))}


def _paths(schema: Body, path: str) -> list[str]:
    """Return every field, skipping lists as kustomize does."""
    inner = schema.get("items", schema)
    fields = inner.get("properties", {})
    return [path, *(found for name, field in fields.items() for found in _paths(field, f"{path}/{name}"))]
