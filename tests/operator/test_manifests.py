"""The manifests in k8s/ are complete, request only needed permissions, and have consistent names."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from livescore_operator.resource import API_VERSION, KIND, METRIC, LiveScore, Postgres, Redis
from livescore_operator.settings import Settings

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
KUSTOMIZATIONS = sorted(path.parent.relative_to(K8S).as_posix() for path in K8S.rglob("kustomization.yaml"))
VARIANTS = ["default", "namespaced"]
SAMPLES = sorted((K8S / "samples").glob("*.yaml"))

# Cluster-scoped kinds: users without permission to write them can still install the namespaced variant.
CLUSTER_SCOPED = {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}

Manifest = dict[str, Any]


def documents(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def kustomization(folder: Path) -> Manifest:
    (only,) = documents(folder / "kustomization.yaml")
    return only


def built(folder: Path) -> Iterator[Manifest]:
    """Yield the objects of a kustomization, before its patches."""
    for name in kustomization(folder)["resources"]:
        target = (folder / name).resolve()
        if target.is_dir():
            yield from built(target)
        else:
            yield from documents(target)


def only(variant: str, kind: str) -> Manifest:
    (found,) = (manifest for manifest in built(K8S / variant) if manifest["kind"] == kind)
    return found


def patch() -> Manifest:
    """Return the patch of the namespaced variant."""
    (found,) = documents(K8S / "namespaced" / "scope.yaml")
    return found


def container(deployment: Manifest) -> Manifest:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def rules() -> Iterator[Manifest]:
    """Yield every rule of every role."""
    for path in K8S.glob("*/*role.yaml"):
        for role in documents(path):
            yield from role["rules"]


def verbs(resource: str) -> set[str]:
    """Return the verbs that are allowed on a resource anywhere."""
    (role,) = documents(K8S / "rbac" / "clusterrole.yaml")
    return {verb for rule in role["rules"] if resource in rule["resources"] for verb in rule["verbs"]}


def makefile(variable: str) -> str:
    found = re.search(rf"^{variable} \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found, f"the Makefile has no {variable}"
    return found[1]


# Completeness


def test_every_manifest_folder_is_a_kustomization() -> None:
    paths = [path for path in K8S.iterdir() if path.name != "overlays"] + list(K8S.glob("overlays/*"))
    known = [*KUSTOMIZATIONS, "argocd", "kustomize", "samples", "kind.yaml"]
    assert sorted(path.relative_to(K8S).as_posix() for path in paths) == sorted(known)


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_kustomization_lists_exactly_the_existing_files(name: str) -> None:
    folder, listed = K8S / name, kustomization(K8S / name)
    names = [*listed["resources"], *(patch["path"] for patch in listed.get("patches", []))]

    assert [entry for entry in names if not (folder / entry).exists()] == []
    files = {path.name for path in folder.iterdir()} - {"kustomization.yaml"}
    assert files == {entry for entry in names if not entry.startswith("../")}


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_object_is_included_twice(variant: str) -> None:
    keys = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in built(K8S / variant)]
    assert len(keys) == len(set(keys))


def test_cluster_wide_variant_has_the_crd_and_a_restricted_namespace() -> None:
    namespace = only("default", "Namespace")

    assert only("default", "CustomResourceDefinition")["metadata"]["name"] == "livescores.livescore.dev"
    assert namespace["metadata"]["name"] == Settings.model_fields["pod_namespace"].default
    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


# Permissions


def test_namespaced_variant_needs_no_cluster_wide_permission() -> None:
    assert [manifest["kind"] for manifest in built(K8S / "namespaced") if manifest["kind"] in CLUSTER_SCOPED] == []


def test_both_variants_have_the_same_permissions() -> None:
    (cluster,) = documents(K8S / "rbac" / "clusterrole.yaml")
    (namespaced,) = documents(K8S / "namespaced" / "role.yaml")
    assert cluster["rules"] == namespaced["rules"]


def test_no_rule_has_a_wildcard() -> None:
    assert [rule for rule in rules() if any("*" in item for items in rule.values() for item in items)] == []


def test_no_rule_repeats_a_permission() -> None:
    (role,) = documents(K8S / "rbac" / "clusterrole.yaml")
    rights = [
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert len(rights) == len(set(rights))


@pytest.mark.parametrize("resource", ["secrets", "clusters", "pods", "livescores"])
def test_resources_with_data_cannot_be_deleted(resource: str) -> None:
    assert verbs(resource).isdisjoint({"delete", "deletecollection"})


def test_claims_cannot_be_deleted_as_a_collection() -> None:
    """The operator deletes only claims without a volume, see test_volumes.py; no rule can express that."""
    assert verbs("persistentvolumeclaims") == {"list", "patch", "delete"}


def test_no_rule_permits_escalation_or_exec() -> None:
    groups = {group for rule in rules() for group in rule["apiGroups"]}
    resources = {resource for rule in rules() for resource in rule["resources"]}
    assert "rbac.authorization.k8s.io" not in groups
    assert resources.isdisjoint({"pods/exec", "pods/attach", "pods/portforward", "serviceaccounts/token", "nodes"})
    assert {verb for rule in rules() for verb in rule["verbs"]}.isdisjoint({"escalate", "bind", "impersonate"})


def test_writable_lease_is_the_one_in_use() -> None:
    (role,) = documents(K8S / "operator" / "role.yaml")
    named = [name for rule in role["rules"] for name in rule.get("resourceNames", [])]
    assert named == [Settings.model_fields["lease_name"].default]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_binding_grants_a_role_only_to_the_operator(variant: str) -> None:
    manifests = list(built(K8S / variant))
    roles = {(one["kind"], one["metadata"]["name"]) for one in manifests if one["kind"].endswith("Role")}
    bindings = [one for one in manifests if one["kind"].endswith("RoleBinding")]
    account = only(variant, "ServiceAccount")["metadata"]

    assert {(one["roleRef"]["kind"], one["roleRef"]["name"]) for one in bindings} == roles
    assert [one["subjects"] for one in bindings] == [[{"kind": "ServiceAccount", **account}]] * len(bindings)


# The operator's pods


def test_the_pods_meet_the_restricted_standard() -> None:
    deployment = only("default", "Deployment")
    spec, one = deployment["spec"]["template"]["spec"], container(deployment)

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {volume.keys() - {"name"} == {"emptyDir"} for volume in spec["volumes"]} == {True}
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}


def test_probes_use_the_operator_s_port() -> None:
    one = container(only("default", "Deployment"))
    (port,) = one["ports"]

    assert port["containerPort"] == Settings.model_fields["port"].default
    assert one["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    assert one["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}


def test_pods_have_their_name_and_namespace() -> None:
    fields = {
        variable["name"]: variable["valueFrom"]["fieldRef"]["fieldPath"]
        for variable in container(only("default", "Deployment"))["env"]
    }
    assert fields == {"POD_NAMESPACE": "metadata.namespace", "POD_NAME": "metadata.name"}


def test_pods_have_resource_requests_and_limits() -> None:
    resources = container(only("default", "Deployment"))["resources"]
    assert (resources["requests"].keys(), resources["limits"].keys()) == ({"cpu", "memory"}, {"memory"})


def test_each_variant_serves_its_own_namespaces() -> None:
    whole, patched = container(only("default", "Deployment")), container(patch())

    assert [*whole["command"], *whole["args"]] == ["livescore-operator", "run", "--all-namespaces"]
    assert patched == {"name": whole["name"], "args": ["run", "--namespace", "$(POD_NAMESPACE)"]}
    assert patch()["metadata"] == only("default", "Deployment")["metadata"]


# Images


def test_images_match_those_built_by_make() -> None:
    (minimal,) = documents(K8S / "samples" / "minimal.yaml")
    assert container(only("default", "Deployment"))["image"] == makefile("OPERATOR_IMAGE")
    assert minimal["spec"]["image"] == makefile("APP_IMAGE")


def test_dockerfile_has_a_target_per_image_and_the_pods_user() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    context = only("default", "Deployment")["spec"]["template"]["spec"]["securityContext"]

    assert re.findall(r"^FROM runtime AS (\w+)$", dockerfile, re.MULTILINE) == ["operator", "app"]
    assert re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE) == [f"{context['runAsUser']}:{context['runAsGroup']}"]


@pytest.mark.parametrize(("image", "expected"), [("postgres", Postgres), ("valkey", Redis)])
def test_images_without_a_registry_run_as_the_expected_user(image: str, expected: type[Postgres | Redis]) -> None:
    folder, user = ROOT / "tests" / "e2e" / "images" / image, expected().run_as_user

    assert f"\nUSER {user}:{user}\n" in (folder / "Dockerfile").read_text()
    assert (folder / "entrypoint.sh").stat().st_mode & 0o111 == 0o111


# Samples


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample_has_only_known_fields(path: Path) -> None:
    sample, *_ = documents(path)
    read = LiveScore.parse(sample)

    assert (sample["apiVersion"], sample["kind"]) == (API_VERSION, KIND)
    assert read.spec.model_dump(by_alias=True, exclude_unset=True) == sample["spec"]


@pytest.mark.parametrize("name", ["hpa-prometheus-adapter", "keda"])
def test_external_scaler_sample_uses_the_pods_metric(name: str) -> None:
    sample, other = documents(K8S / "samples" / f"{name}.yaml")

    assert METRIC in yaml.safe_dump(other)
    assert sample["spec"]["monitoring"]["enabled"]
    assert (sample["spec"]["autoscaling"]["mode"] == "hpa") == (other["kind"] == "ConfigMap")


def test_keda_scales_the_livescore_itself() -> None:
    sample, scaled = documents(K8S / "samples" / "keda.yaml")
    target = {"apiVersion": API_VERSION, "kind": KIND, "name": sample["metadata"]["name"]}
    assert scaled["spec"]["scaleTargetRef"] == target


def test_minimal_sample_matches_the_documentation() -> None:
    (minimal,) = documents(K8S / "samples" / "minimal.yaml")
    assert (minimal["metadata"], minimal["spec"].keys()) == ({"name": "demo"}, {"image"})
