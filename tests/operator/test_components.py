"""Properties of all built manifests, checked on every golden case."""

import copy
import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from livescore_operator.components import (
    BuildContext,
    Credentials,
    Scale,
    build,
    config,
    credentials,
    migration,
    process,
    references,
)
from livescore_operator.components.common import RETAINED, digest, pruned, to_yaml
from livescore_operator.errors import Terminal, Waiting
from livescore_operator.quantities import canonical
from livescore_operator.resource import MANAGEMENT_PORT, MAX_NAME, RESERVED_ENV, LiveScore, Manifest
from tests.operator.test_golden import NAMES, built, context_of, load

OWN_LABELS = {
    "app.kubernetes.io/name": "livescore",
    "app.kubernetes.io/instance": "demo",
    "app.kubernetes.io/managed-by": "livescore-operator",
    "app.kubernetes.io/part-of": "livescore",
}
COMPONENTS = {"api", "worker", "scheduler", "postgres", "redis", "migration", "config", "network", "monitoring"}
WORKLOADS = {"Deployment", "StatefulSet", "Job"}

# Volume types permitted by https://kubernetes.io/docs/concepts/security/pod-security-standards/
ALLOWED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}
ALLOWED_VOLUMES |= {"secret"}

# An empty selector selects everything, so it has a meaning.
SELECTORS = {"podSelector", "namespaceSelector", "labelSelector"}


def resource(spec: dict[str, Any] | None = None, name: str = "demo") -> LiveScore:
    """Return a LiveScore with the image `livescore:1` and the given fields."""
    metadata = {"name": name, "namespace": "scores", "uid": "6f1f"}
    return LiveScore.parse({"metadata": metadata, "spec": {"image": "livescore:1", **(spec or {})}})


def children(spec: dict[str, Any] | None = None, **context: Any) -> list[Manifest]:
    wanted = resource(spec)
    return build(wanted, context_of(wanted, **context))


def find(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def templates(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the pod templates by component."""
    found = [one["spec"]["template"] for one in of_kind(manifests, *WORKLOADS)]
    return {template["metadata"]["labels"]["app.kubernetes.io/component"]: template for template in found}


def container(manifests: list[Manifest], component: str) -> Manifest:
    (found,) = templates(manifests)[component]["spec"]["containers"]
    only: Manifest = found
    return only


def walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value with the keys that lead to it."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, (*path, key))
    if isinstance(value, list):
        for item in value:
            yield from walk(item, path)


every_case = pytest.mark.parametrize("name", NAMES)

# The restricted Pod Security Standard, control by control


@every_case
def test_a_pod_shares_nothing_with_its_node(name: str) -> None:
    for template in templates(built(name)).values():
        spec = template["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
        assert not [port for one in spec["containers"] for port in one.get("ports", []) if "hostPort" in port]
        assert not {"initContainers", "ephemeralContainers"} & spec.keys()


@every_case
def test_pod_has_only_allowed_volume_types(name: str) -> None:
    for template in templates(built(name)).values():
        types = {key for volume in template["spec"]["volumes"] for key in volume.keys() - {"name"}}
        assert types <= ALLOWED_VOLUMES


@every_case
def test_pod_runs_as_non_root(name: str) -> None:
    for template in templates(built(name)).values():
        security = template["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["runAsGroup"] > 0
        for one in template["spec"]["containers"]:
            assert not {"runAsUser", "runAsGroup", "runAsNonRoot"} & one["securityContext"].keys()


@every_case
def test_container_has_no_privileges_and_cannot_gain_any(name: str) -> None:
    for template in templates(built(name)).values():
        for one in template["spec"]["containers"]:
            security = one["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not {"privileged", "procMount"} & security.keys()


@every_case
def test_pod_uses_the_runtime_s_default_profiles(name: str) -> None:
    for template in templates(built(name)).values():
        assert template["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for security in [template["spec"], *template["spec"]["containers"]]:
            assert (
                not {"seLinuxOptions", "sysctls", "windowsOptions", "appArmorProfile"}
                & security["securityContext"].keys()
            )
        for one in template["spec"]["containers"]:
            assert "seccompProfile" not in one["securityContext"]


# Requirements beyond the standard


@every_case
def test_pod_writes_only_to_its_volumes(name: str) -> None:
    for template in templates(built(name)).values():
        volumes = {volume["name"] for volume in template["spec"]["volumes"]} | {"data"}
        for one in template["spec"]["containers"]:
            mounts = {mount["mountPath"]: mount["name"] for mount in one["volumeMounts"]}
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
            assert mounts["/tmp"] == "tmp"
            assert set(mounts.values()) <= volumes


@every_case
def test_a_pod_has_no_token_and_no_service_links(name: str) -> None:
    for template in templates(built(name)).values():
        assert template["spec"]["automountServiceAccountToken"] is False
        assert template["spec"]["enableServiceLinks"] is False


@every_case
def test_container_has_resource_requests_and_limits(name: str) -> None:
    for template in templates(built(name)).values():
        for one in template["spec"]["containers"]:
            resources = one["resources"]
            assert resources["requests"].keys() >= {"cpu", "memory"}
            assert "memory" in resources["limits"]


@every_case
def test_probes_use_existing_ports_and_liveness_is_local(name: str) -> None:
    for template in templates(built(name)).values():
        for one in template["spec"]["containers"]:
            ports = {port["name"] for port in one.get("ports", [])}
            probes = {key: probe for key, probe in one.items() if key.endswith("Probe")}
            asked = [probe.get("httpGet", probe.get("tcpSocket", {"port": None}))["port"] for probe in probes.values()]
            assert set(asked) <= {*ports, None}
            assert "/health/ready" not in str(probes.get("livenessProbe"))
            assert probes.keys() in ({"startupProbe", "readinessProbe", "livenessProbe"}, set())


@every_case
def test_every_long_running_container_has_probes(name: str) -> None:
    for part, template in templates(built(name)).items():
        for one in template["spec"]["containers"]:
            assert ("livenessProbe" in one) == (part != "migration")


# Properties of every manifest


@every_case
def test_every_owned_resource_has_its_labels(name: str) -> None:
    wanted, _ = load(name)
    for one in built(name):
        if one["kind"] != "PersistentVolumeClaim":
            labels = one["metadata"]["labels"]
            assert labels.items() >= {**OWN_LABELS, "app.kubernetes.io/instance": wanted.name}.items()
            assert labels["app.kubernetes.io/component"] in COMPONENTS


@every_case
def test_every_resource_but_data_and_credentials_has_an_owner(name: str) -> None:
    wanted, _ = load(name)
    owner = {"apiVersion": "livescore.dev/v1", "kind": "LiveScore", "name": wanted.name, "uid": wanted.metadata.uid}
    for one in built(name):
        data = one["kind"] in ("Secret", "PersistentVolumeClaim", "Cluster")
        assert one["metadata"].get("ownerReferences") == (
            None if data else [{**owner, "controller": True, "blockOwnerDeletion": True}]
        )
        assert one["metadata"]["namespace"] == "scores"


@every_case
def test_manifests_have_no_empty_values_the_api_server_would_drop(name: str) -> None:
    for one in built(name):
        for path, value in walk(one):
            assert value is not None, path
            assert value != [], path
            assert value != {} or path[-1] in SELECTORS, path
            # In maps of strings, and as an argument, an empty text has a meaning.
            assert value != "" or path[-2] in ("annotations", "labels") or path[-1] == "args", path


@every_case
def test_quantities_are_in_canonical_form(name: str) -> None:
    fields = {"requests", "limits"}
    for one in built(name):
        for path, value in walk(one):
            if isinstance(value, str) and len(path) > 1 and (path[-2] in fields or path[-1] == "sizeLimit"):
                assert canonical(value) == value, path


@every_case
def test_every_name_is_short_enough_for_derived_names(name: str) -> None:
    for one in built(name):
        made = one["metadata"]["name"]
        # Pods get the hash of their revision or template, and a random suffix, into a label.
        longest = made + "-" + "x" * 10 if one["kind"] in ("StatefulSet", "Deployment") else made
        assert len(longest) <= 63
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made)


def test_the_longest_name_is_among_the_cases() -> None:
    assert len(load("long-name")[0].name) == MAX_NAME


@every_case
def test_owned_resources_are_unique(name: str) -> None:
    keys = [(one["kind"], one["metadata"]["name"]) for one in built(name)]
    assert len(keys) == len(set(keys))


@every_case
def test_building_is_deterministic(name: str) -> None:
    wanted, context = load(name)
    before = copy.deepcopy((wanted, context))
    assert build(wanted, context) == build(wanted, context) == built(name)
    assert (wanted, context) == before


@every_case
def test_dependencies_of_pods_are_applied_first(name: str) -> None:
    kinds = [one["kind"] for one in built(name)]
    first_pod = min(kinds.index(kind) for kind in WORKLOADS if kind in kinds)
    for kind in ("ConfigMap", "Secret", "ServiceAccount", "NetworkPolicy"):
        assert [at for at, one in enumerate(kinds) if one == kind and at > first_pod] == []


@every_case
def test_pods_reference_only_existing_objects(name: str) -> None:
    wanted, manifests = load(name)[0], built(name)
    there = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    foreign = references(wanted)
    for template in templates(manifests).values():
        assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in there
        for path, value in walk(template):
            if path[-1:] == ("name",) and path[-2] in ("secretKeyRef", "configMapRef", "configMapKeyRef"):
                kind = "Secret" if path[-2] == "secretKeyRef" else "ConfigMap"
                assert (kind, value) in there or f"{kind}/{value}" in foreign


# Selectors


@every_case
def test_workload_selects_its_pods_by_three_labels(name: str) -> None:
    for one in of_kind(built(name), "Deployment", "StatefulSet"):
        selected = one["spec"]["selector"]["matchLabels"]
        assert selected.keys() == {f"app.kubernetes.io/{label}" for label in ("name", "instance", "component")}
        assert one["spec"]["template"]["metadata"]["labels"].items() >= selected.items()


@every_case
def test_every_service_targets_a_component_port_other_than_management(name: str) -> None:
    manifests = built(name)
    for one in of_kind(manifests, "Service"):
        for port in one["spec"]["ports"]:
            assert "management" not in (port["name"], port["targetPort"])
            assert port["port"] != MANAGEMENT_PORT
            template = templates(manifests).get(one["spec"]["selector"]["app.kubernetes.io/component"])
            if template:
                ports = {known["name"]: known["containerPort"] for known in template["spec"]["containers"][0]["ports"]}
                assert ports[port["targetPort"]] == port["port"]


def test_user_labels_are_added_but_never_override() -> None:
    mine = {"team": "sports", "app.kubernetes.io/component": "redis", "app.kubernetes.io/instance": "other"}
    spec = {"template": {"labels": mine, "annotations": {"livescore.dev/checksum": "none", "note": "x"}}}
    found = templates(children({"api": spec, "worker": spec, "scheduler": spec}))
    for part in ("api", "worker", "scheduler", "migration"):
        metadata = found[part]["metadata"]
        assert metadata["labels"] == {"team": "sports", **OWN_LABELS, "app.kubernetes.io/component": part}
        assert metadata["annotations"]["note"] == "x"
        assert metadata["annotations"].get("livescore.dev/checksum") != "none"


def test_monitor_labels_never_override() -> None:
    spec = {"monitoring": {"enabled": True, "labels": {"release": "prometheus", "app.kubernetes.io/name": "other"}}}
    labels = find(children(spec, kinds=["PodMonitor.monitoring.coreos.com"]), "PodMonitor", "demo")["metadata"][
        "labels"
    ]
    assert (labels["release"], labels["app.kubernetes.io/name"]) == ("prometheus", "livescore")


# Checksums


def checksums(manifests: list[Manifest]) -> dict[str, str]:
    found = {part: template["metadata"].get("annotations", {}) for part, template in templates(manifests).items()}
    return {part: annotations["livescore.dev/checksum"] for part, annotations in found.items() if annotations}


def changed(before: list[Manifest], after: list[Manifest]) -> set[str]:
    """Return the components with changed pod templates."""
    old, new = templates(before), templates(after)
    return {part for part in old if old[part] != new[part]}


PROCESSES = {"api", "worker", "scheduler"}
EXTERNAL = {
    "postgres": {"mode": "external", "external": {"secretRef": {"name": "database", "key": "url"}}},
    "redis": {"mode": "external", "external": {"secretRef": {"name": "hints", "key": "url"}}},
    "api": {"apiKeysSecret": {"name": "keys", "key": "hashes"}},
    "worker": {"env": [{"name": "PROXY", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "url"}}}]},
    "scheduler": {"env": [{"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "levels", "key": "level"}}}]},
}


@pytest.mark.parametrize(
    ("reference", "readers"),
    [
        ("Secret/database", PROCESSES),
        ("Secret/hints", PROCESSES),
        ("Secret/keys", {"api"}),
        ("Secret/proxy", {"worker"}),
        ("ConfigMap/levels", {"scheduler"}),
        ("Secret/levels", set()),
    ],
)
def test_changed_secret_rolls_only_its_readers(reference: str, readers: set[str]) -> None:
    before = children(EXTERNAL, checksums={reference: "old"})
    assert changed(before, children(EXTERNAL, checksums={reference: "new"})) == readers
    assert changed(before, children(EXTERNAL, checksums={})) == readers


@pytest.mark.parametrize(
    ("new", "readers"),
    [
        (Credentials("other", "redis-password", "lsk_admin_key", "checksum-key"), PROCESSES | {"postgres"}),
        (Credentials("postgres-password", "other", "lsk_admin_key", "checksum-key"), PROCESSES | {"redis"}),
    ],
)
def test_changed_password_rolls_only_its_readers(new: Credentials, readers: set[str]) -> None:
    assert changed(children(), children(credentials=new)) == readers


def test_unused_passwords_roll_nothing() -> None:
    assert (
        changed(children(EXTERNAL), children(EXTERNAL, credentials=Credentials("a", "b", "c", "checksum-key"))) == set()
    )


def test_a_changed_setting_rolls_the_processes() -> None:
    assert changed(children(), children({"api": {"allowedOrigins": ["*"]}})) == PROCESSES


def test_every_long_running_workload_has_a_checksum() -> None:
    assert checksums(children()).keys() == PROCESSES | {"postgres", "redis"}


def test_digests_cover_only_user_provided_objects() -> None:
    secrets = {f"Secret/{name}" for name in ("database", "hints", "keys", "proxy")}
    assert references(resource(EXTERNAL)) == {*secrets, "ConfigMap/levels"}
    assert references(resource()) == set()
    assert references(resource({"postgres": {"mode": "cloudnative-pg"}})) == {"Secret/demo-postgres-app"}


# The migration


def job_name(spec: dict[str, Any] | None = None) -> str:
    return migration.name(resource(spec))


def test_new_image_gets_a_new_job() -> None:
    assert re.fullmatch(r"demo-migrate-[0-9a-f]{8}", job_name())
    assert job_name({"image": "livescore:2"}) != job_name()


@pytest.mark.parametrize(
    "spec",
    [
        {"api": {"replicas": 9, "env": [{"name": "LOG_LEVEL", "value": "DEBUG"}]}},
        {"worker": {"replicas": 9, "env": [{"name": "LOG_LEVEL", "value": "DEBUG"}]}},
        {"worker": {"template": {"topologySpreadConstraints": []}}},
        {"postgres": {"storage": {"size": "20Gi"}}},
        {"scheduler": {"template": {"labels": {"team": "sports"}}}},
        {"monitoring": {"enabled": True}},
    ],
)
def test_changes_outside_the_template_do_not_repeat_the_migration(spec: dict[str, Any]) -> None:
    assert job_name(spec) == job_name()


@pytest.mark.parametrize(
    "spec",
    [
        {"imagePullPolicy": "Always"},
        {"imagePullSecrets": [{"name": "registry"}]},
        {"worker": {"template": {"nodeSelector": {"pool": "jobs"}}}},
        {"worker": {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}},
    ],
)
def test_changed_template_gets_a_new_job(spec: dict[str, Any]) -> None:
    assert job_name(spec) != job_name()


def test_changed_secret_does_not_affect_the_job() -> None:
    before, after = children(EXTERNAL, checksums={}), children(EXTERNAL, checksums={"Secret/database": "new"})
    assert of_kind(before, "Job") == of_kind(after, "Job")


def test_job_runs_the_new_image_while_the_old_one_serves() -> None:
    manifests = children({"image": "livescore:2"}, serving_image="livescore:1")
    images = {part: container(manifests, part)["image"] for part in (*PROCESSES, "migration")}
    assert images == {**dict.fromkeys(PROCESSES, "livescore:1"), "migration": "livescore:2"}


def test_processes_wait_for_the_migration_and_the_migration_for_the_database() -> None:
    assert of_kind(children(serving_image=None), "Deployment", "PodDisruptionBudget") == []
    assert of_kind(children(serving_image=None, database_ready=False), "Job") == []


NOON = datetime(2026, 6, 11, 12, tzinfo=UTC)


def finished(type: str, status: str = "True") -> Manifest:
    condition = {"type": type, "status": status, "lastTransitionTime": "2026-06-11T12:00:00Z"}
    return {"status": {"conditions": [condition]}}


@pytest.mark.parametrize(
    ("job", "succeeded", "failed"),
    [
        (finished("Complete"), True, False),
        (finished("Failed"), False, True),
        (finished("Failed", "False"), False, False),
        (finished("FailureTarget"), False, False),
        ({"status": {}}, False, False),
        ({}, False, False),
    ],
)
def test_job_status_is_read(job: Manifest, succeeded: bool, failed: bool) -> None:
    assert (migration.succeeded(job), migration.failed(job)) == (succeeded, failed)


def test_failed_job_is_recreated_after_a_delay() -> None:
    job, soon, later = finished("Failed"), NOON + timedelta(seconds=60), NOON + timedelta(seconds=300)
    assert (migration.may_retry(job, soon), migration.retry_after(job, soon)) == (False, 240)
    assert (migration.may_retry(job, later), migration.retry_after(job, later)) == (True, 0)
    assert migration.may_retry(finished("Complete"), later) is False
    assert migration.retry_after({}, later) == migration.RETRY_SECONDS


# Volumes


def claim_template(manifests: list[Manifest], component: str) -> Manifest:
    (found,) = find(manifests, "StatefulSet", f"demo-{component}")["spec"]["volumeClaimTemplates"]
    spec: Manifest = found["spec"]
    return spec


GROWN = {"postgres": {"storage": {"size": "40Gi"}}, "redis": {"storage": {"size": "4Gi", "storageClassName": "fast"}}}


def test_new_volume_has_the_size_and_class_of_the_spec() -> None:
    manifests = children(GROWN)
    assert claim_template(manifests, "postgres") == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "40Gi"}},
    }
    assert claim_template(manifests, "redis")["storageClassName"] == "fast"
    assert of_kind(manifests, "PersistentVolumeClaim") == []


def test_volume_grows_through_its_claim_and_the_template_is_unchanged() -> None:
    context = {
        "claimed": {"demo-postgres": "10Gi"},
        "claims": {"data-demo-postgres-0": "40Gi", "data-other-postgres-0": "1Gi"},
    }
    manifests = children(GROWN, **context)
    assert claim_template(manifests, "postgres")["resources"] == {"requests": {"storage": "10Gi"}}
    assert of_kind(manifests, "PersistentVolumeClaim") == [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data-demo-postgres-0", "namespace": "scores", "annotations": RETAINED},
            "spec": {"resources": {"requests": {"storage": "40Gi"}}},
        }
    ]


@pytest.mark.parametrize("name", NAMES)
def test_retained_objects_are_protected_from_pruning_tools(name: str) -> None:
    """These tools consider an object theirs by its instance label, unless it has an owner."""
    for one in built(name):
        metadata = one["metadata"]
        protected = RETAINED.items() <= metadata.get("annotations", {}).items()
        assert protected == ("ownerReferences" not in metadata), metadata["name"]


# IPv4 and IPv6


def test_processes_and_services_support_ipv4_and_ipv6() -> None:
    """By the service's default; `HOST` is reserved, so that users cannot disable a protocol."""
    manifests = children()
    assert not {"HOST", "MANAGEMENT_HOST"} & find(manifests, "ConfigMap", "demo-config")["data"].keys()
    assert {"HOST", "MANAGEMENT_HOST"} <= set(RESERVED_ENV)
    assert {one["spec"]["ipFamilyPolicy"] for one in of_kind(manifests, "Service")} == {"PreferDualStack"}
    assert "127.0.0.1" not in to_yaml(manifests)


# Environment


def test_reserved_variables_cannot_be_overridden() -> None:
    env = [{"name": name, "value": "mine"} for name in RESERVED_ENV]
    manifests = children({part: {"env": env} for part in PROCESSES})
    for part in PROCESSES:
        variables = container(manifests, part)["env"]
        assert [one["name"] for one in variables] == ["DATABASE_URL", "REDIS_URL"]


def test_variables_set_by_the_operator_are_reserved() -> None:
    free = {"ENVIRONMENT", "LOG_FORMAT"}
    set_here = set(config.data(load("full")[0])) | {one["name"] for one in container(children(), "api")["env"]}
    assert set_here - free <= set(RESERVED_ENV)


def test_user_variables_override_settings() -> None:
    manifests = children({"api": {"env": [{"name": "LOG_FORMAT", "value": "console"}, {"name": "EMPTY", "value": ""}]}})
    own = container(manifests, "api")["env"][2:]
    assert own == [{"name": "LOG_FORMAT", "value": "console"}, {"name": "EMPTY"}]


@pytest.mark.parametrize("part", [*sorted(PROCESSES), "migration"])
def test_every_process_has_the_same_settings_and_servers(part: str) -> None:
    one = container(children(), part)
    assert one["envFrom"] == [{"configMapRef": {"name": "demo-config"}}]
    assert [variable["valueFrom"]["secretKeyRef"]["key"] for variable in one["env"]] == ["database-url", "redis-url"]


# Credentials


def decoded(secret: Manifest) -> dict[str, str]:
    return {key: b64decode(text).decode() for key, text in secret["data"].items()}


def test_secret_contains_passwords_and_urls_of_managed_servers() -> None:
    assert decoded(find(children(), "Secret", "demo-credentials")) == {
        "postgres-password": "postgres-password",
        "redis-password": "redis-password",
        "admin-key": "lsk_admin_key",
        "checksum-key": "checksum-key",
        "redis-password-sha256": hashlib.sha256(b"redis-password").hexdigest(),
        "database-url": "postgresql://livescore:postgres-password@demo-postgres.scores.svc:5432/livescore",
        "redis-url": "redis://:redis-password@demo-redis.scores.svc:6379/0",
    }
    assert decoded(find(children(EXTERNAL), "Secret", "demo-credentials")).keys() == {
        "postgres-password",
        "redis-password",
        "admin-key",
        "checksum-key",
    }


def test_passwords_are_generated_once_and_are_url_safe() -> None:
    made = credentials.kept(resource(), None, frozenset())
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", made.postgres_password)
    assert made.redis_password != made.postgres_password
    assert credentials.kept(resource(), credentials.secret(resource(), made), {"data-demo-postgres-0"}) == made


def test_admin_key_is_generated_once_and_edits_are_kept() -> None:
    made = credentials.kept(resource(), None, frozenset())
    assert re.fullmatch(r"lsk_admin_[A-Za-z0-9_-]{32}", made.admin_key)
    secret = credentials.secret(resource(), made)
    secret["data"]["admin-key"] = b64encode(b"an-administrator's-own-key").decode()
    assert credentials.kept(resource(), secret, frozenset()).admin_key == "an-administrator's-own-key"
    del secret["data"]["admin-key"]
    assert credentials.kept(resource(), secret, frozenset()).admin_key != made.admin_key


def test_checksum_key_is_generated_once_and_again_if_emptied() -> None:
    made = credentials.kept(resource(), None, frozenset())
    assert len(made.checksum_key) == 32
    assert made.checksum_key not in (made.postgres_password, made.redis_password, made.admin_key)
    secret = credentials.secret(resource(), made)
    assert credentials.kept(resource(), secret, frozenset()).checksum_key == made.checksum_key
    secret["data"]["checksum-key"] = ""
    assert len(credentials.kept(resource(), secret, frozenset()).checksum_key) == 32


@pytest.mark.parametrize("spec", [{}, EXTERNAL])
def test_password_checksums_are_keyed(spec: Manifest) -> None:
    other = Credentials("postgres-password", "redis-password", "lsk_admin_key", "another")
    mine, theirs = checksums(children(spec)), checksums(children(spec, credentials=other))
    assert mine.keys() == theirs.keys() >= PROCESSES
    assert not set(mine.values()) & set(theirs.values())


@pytest.mark.parametrize("spec", [{}, {"api": {"apiKeysSecret": {"name": "own", "key": "keys.json"}}}, EXTERNAL])
def test_only_the_api_mounts_the_admin_key(spec: Manifest) -> None:
    manifests = children(spec)
    file = find(manifests, "ConfigMap", "demo-config")["data"]["ADMIN_KEY_FILE"]
    pod = find(manifests, "Deployment", "demo-api")["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "admin-key")
    assert volume["secret"] == {
        "secretName": "demo-credentials",
        "items": [{"key": "admin-key", "path": "admin-key"}],
    }
    assert f"{mounts['admin-key']['mountPath']}/admin-key" == file
    assert "subPath" not in mounts["admin-key"]
    workloads = [one for one in manifests if one["kind"] in ("Deployment", "Job")]
    others = [one for one in workloads if one["metadata"]["name"] != "demo-api"]
    assert others
    assert "admin-key" not in str(others)


def test_unacceptable_admin_key_is_invalid_and_not_shown() -> None:
    secret = credentials.secret(resource(), Credentials("p", "r", " tooshort\n", "checksum-key"))
    with pytest.raises(Terminal, match="key admin-key of Secret demo-credentials has fewer than 16") as caught:
        credentials.kept(resource(), secret, frozenset())
    assert "tooshort" not in str(caught.value)


def test_a_rotated_admin_key_rolls_no_pods() -> None:
    other = Credentials("postgres-password", "redis-password", "lsk_admin_other", "checksum-key")
    assert changed(children(), children(credentials=other)) == set()


def test_lost_redis_password_is_regenerated() -> None:
    secret = credentials.secret(resource(), Credentials("kept", "lost", "lsk_admin_0123456789", "checksum-key"))
    del secret["data"]["redis-password"]
    found = credentials.kept(resource(), secret, {"data-demo-postgres-0", "data-demo-redis-0"})
    assert found.postgres_password == "kept"
    assert found.redis_password != "lost"


@pytest.mark.parametrize("secret", [None, {}, {"data": None}, {"data": {"redis-password": "eA=="}}])
def test_lost_database_password_is_not_regenerated(secret: Manifest | None) -> None:
    with pytest.raises(Waiting, match="CredentialsLost: volume data-demo-postgres-0"):
        credentials.kept(resource(), secret, {"data-demo-postgres-0"})
    assert credentials.kept(resource(EXTERNAL), secret, {"data-demo-postgres-0"}).postgres_password


# Single components


@pytest.mark.parametrize("replicas", [4, 0, None])
def test_replicas_have_one_owner(replicas: int | None) -> None:
    manifests = children({"api": {"replicas": 9}}, scale=Scale(replicas, 2))
    assert find(manifests, "Deployment", "demo-api")["spec"].get("replicas") == replicas


@pytest.mark.parametrize("mode", ["none", "connections"])
def test_autoscaler_is_built_only_in_mode_hpa(mode: str) -> None:
    assert not of_kind(children({"autoscaling": {"mode": mode}}), "HorizontalPodAutoscaler")


def test_hpa_scales_on_connections_per_pod() -> None:
    autoscaling = {"mode": "hpa", "maxReplicas": 7, "targetConnectionsPerPod": 40, "scaleUp": {"selectPolicy": "Min"}}
    spec = find(children({"autoscaling": autoscaling}, scale=Scale(None, 3)), "HorizontalPodAutoscaler", "demo-api")[
        "spec"
    ]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "demo-api"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 7)
    (metric,) = spec["metrics"]
    assert metric["pods"] == {
        "metric": {"name": "livescore_websocket_connections"},
        "target": {"type": "AverageValue", "averageValue": "40"},
    }
    assert spec["behavior"]["scaleUp"]["selectPolicy"] == "Min"
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300


def test_zero_replicas_are_explicit() -> None:
    manifests = children({part: {"replicas": 0} for part in PROCESSES})
    assert [one["spec"]["replicas"] for one in of_kind(manifests, "Deployment")] == [0, 0, 0]


def test_api_pod_has_time_for_a_full_drain() -> None:
    manifests = children({"api": {"drain": {"deadlineSeconds": 100}}})
    settings = find(manifests, "ConfigMap", "demo-config")["data"]
    assert templates(manifests)["api"]["spec"]["terminationGracePeriodSeconds"] == 5 + 100 + 15
    assert (settings["DRAIN_GRACE_SECONDS"], settings["DRAIN_SECONDS"]) == ("5", "100")
    assert "lifecycle" not in container(manifests, "api")


def test_api_rollout_adds_pods_before_removing_any() -> None:
    spec = find(children(), "Deployment", "demo-api")["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}


def test_there_is_never_a_second_scheduler() -> None:
    assert find(children(), "Deployment", "demo-scheduler")["spec"]["strategy"] == {"type": "Recreate"}


def test_keys_are_mounted_as_a_folder_to_receive_updates() -> None:
    manifests = children({"api": {"apiKeysSecret": {"name": "keys", "key": "hashes"}}})
    (mount,) = [one for one in container(manifests, "api")["volumeMounts"] if one["name"] == "api-keys"]
    assert mount == {"name": "api-keys", "mountPath": "/etc/livescore", "readOnly": True}
    assert find(manifests, "ConfigMap", "demo-config")["data"]["API_KEYS_FILE"] == "/etc/livescore/keys.json"
    assert "api-keys" not in str(templates(manifests)["worker"])


@pytest.mark.parametrize(
    ("chosen", "keys"),
    [
        ({}, ["kubernetes.io/hostname"]),
        ({"topologySpreadConstraints": []}, []),
        ({"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1}]}, ["zone"]),
    ],
)
def test_pods_are_spread_over_nodes_by_default(chosen: dict[str, Any], keys: list[str]) -> None:
    spec = templates(children({"api": {"template": chosen}}))["api"]["spec"]
    assert [one["topologyKey"] for one in spec.get("topologySpreadConstraints", [])] == keys


def test_passthrough_fields_are_copied_completely() -> None:
    affinity: Manifest = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}}]}
    }
    spec = templates(children({"api": {"template": {"affinity": affinity}}}))["api"]["spec"]
    assert spec["affinity"] == affinity


def test_disruption_budget_can_be_disabled() -> None:
    assert of_kind(children({"api": {"podDisruptionBudget": {"enabled": False}}}), "PodDisruptionBudget") == []


def test_servers_run_as_the_user_of_their_image_and_own_their_volume() -> None:
    found = templates(children({"postgres": {"runAsUser": 70}, "redis": {"runAsUser": 1000}}))
    for part, user in (("postgres", 70), ("redis", 1000)):
        security = found[part]["spec"]["securityContext"]
        assert {security[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {user}


def test_redis_keeps_jobs_and_requires_its_password() -> None:
    one = container(children(), "redis")
    assert " ".join(one["args"]) == (
        "--appendonly yes --save  --maxmemory-policy noeviction "
        "--user default on #$(REDIS_PASSWORD_SHA256) allkeys allchannels allcommands --dir /data"
    )
    assert "command" not in one


@pytest.mark.parametrize("kinds", [[], ["Cluster.postgresql.cnpg.io"]])
def test_optional_kinds_are_used_only_if_available(kinds: list[str]) -> None:
    spec = {"postgres": {"mode": "cloudnative-pg"}, "monitoring": {"enabled": True}}
    manifests = children(spec, kinds=kinds)
    assert [one["kind"] for one in of_kind(manifests, "Cluster", "PodMonitor")] == (["Cluster"] if kinds else [])
    assert [one["metadata"]["name"] for one in of_kind(manifests, "StatefulSet")] == ["demo-redis"]


def test_ingress_without_a_certificate_uses_plain_http() -> None:
    spec = find(children({"api": {"ingress": {"host": "scores.example"}}}), "Ingress", "demo")["spec"]
    assert spec.keys() == {"rules"}


# Network policies


def policies(manifests: list[Manifest]) -> dict[str, Manifest]:
    found = of_kind(manifests, "NetworkPolicy")
    return {one["metadata"]["name"].removeprefix("demo-"): one["spec"] for one in found}


def test_network_policies_deny_unneeded_traffic() -> None:
    manifests = children()
    deny = policies(manifests)["default-deny"]
    assert deny.keys() == {"podSelector", "policyTypes"}
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    for template in templates(manifests).values():
        assert template["metadata"]["labels"].items() >= deny["podSelector"]["matchLabels"].items()
    assert policies(manifests).keys() == {"default-deny", *templates(manifests)}


def test_clients_reach_only_the_api_and_managers_the_management_ports() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"team": "web"}}}
    prometheus: Manifest = {"podSelector": {}}
    found = policies(children({"networkPolicy": {"clients": [peer], "management": [prometheus]}}))
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "livescore-system"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "livescore-operator"}},
    }
    management = {"from": [operator, prometheus], "ports": [{"protocol": "TCP", "port": "management"}]}
    assert found["api"]["ingress"] == [{"from": [peer], "ports": [{"protocol": "TCP", "port": "http"}]}, management]
    assert found["worker"]["ingress"] == found["scheduler"]["ingress"] == [management]
    assert "ingress" not in found["migration"]


def test_all_peers_are_clients_by_default() -> None:
    assert policies(children())["api"]["ingress"][0] == {"ports": [{"protocol": "TCP", "port": "http"}]}


@pytest.mark.parametrize(("part", "port"), [("postgres", 5432), ("redis", 6379)])
def test_servers_accept_only_the_processes_and_have_no_egress(part: str, port: int) -> None:
    found = policies(children())[part]
    ((rule,), egress) = (found["ingress"], found.get("egress"))
    ((expression,),) = [peer["podSelector"]["matchExpressions"] for peer in rule["from"]]
    assert set(expression["values"]) == PROCESSES | {"migration"}
    assert rule["ports"] == [{"protocol": "TCP", "port": port}]
    assert egress is None


@pytest.mark.parametrize("part", [*sorted(PROCESSES), "migration"])
def test_processes_reach_dns_and_servers(part: str) -> None:
    ours, foreign = policies(children())[part]["egress"], policies(children(EXTERNAL))[part]["egress"]
    anywhere = [{"ports": [{"protocol": "TCP"}]}]
    assert foreign[1:] == anywhere
    if part == "worker":
        # The receivers of webhooks may be anywhere.
        assert ours == foreign
        return
    assert [port["port"] for rule in ours for port in rule["ports"]] == [53, 53, 5353, 5353, 5432, 6379]
    assert all("to" in rule for rule in ours)


def test_no_peer_is_a_complete_namespace_by_default() -> None:
    for policy in policies(children()).values():
        rules = [*policy.get("ingress", []), *policy.get("egress", [])]
        peers = [peer for rule in rules for peer in [*rule.get("from", []), *rule.get("to", [])]]
        assert all("podSelector" in peer or "ipBlock" in peer for peer in peers)


@pytest.mark.parametrize("part", [*sorted(PROCESSES), "migration"])
@pytest.mark.parametrize("spec", [{}, EXTERNAL], ids=["own servers", "external servers"])
def test_dns_egress_is_limited_to_the_cluster_dns(part: str, spec: dict[str, Any]) -> None:
    dns = policies(children(spec))[part]["egress"][0]
    pods, cache = dns["to"]
    assert pods["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}
    ((selected,),) = pods["podSelector"].values()
    assert (selected["key"], selected["values"]) == ("k8s-app", ["kube-dns", "node-local-dns"])
    assert cache == {"ipBlock": {"cidr": "169.254.20.10/32"}}
    assert {(port["protocol"], port["port"]) for port in dns["ports"]} == set(product(["UDP", "TCP"], [53, 5353]))


def test_custom_dns_replaces_the_default() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}, "podSelector": {}}
    assert policies(children({"networkPolicy": {"dns": [peer]}}))["api"]["egress"][0]["to"] == [peer]


def test_network_policies_can_be_disabled() -> None:
    assert policies(children({"networkPolicy": {"enabled": False}})) == {}


# Helpers


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("0", "0"),
        ("0.0Gi", "0"),
        ("1", "1"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("2000M", "2G"),
        ("1024Mi", "1Gi"),
        ("1000Mi", "1000Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("0.1m", "100u"),
        ("1.0001Ki", "1024102400u"),
        ("12Pi", "12Pi"),
    ],
)
def test_quantity_is_normalized_as_by_the_api_server(given: str, stored: str) -> None:
    assert canonical(given) == stored
    assert canonical(stored) == stored


def test_pruning_keeps_meaningful_values() -> None:
    said = {"zero": 0, "no": False, "text": "", "podSelector": {}, "items": [{}, ""]}
    unsaid: Manifest = {"none": None, "list": [], "dict": {}, "nested": {"deep": {"empty": [], "none": None}}}
    assert pruned({**said, **unsaid}) == said


def test_digest_ignores_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def test_yaml_has_no_aliases() -> None:
    shared = {"key": "value"}
    assert to_yaml([{"one": shared, "two": shared}]) == "one:\n  key: value\ntwo:\n  key: value\n"


def test_checksum_ignores_missing_secrets() -> None:
    wanted = resource(EXTERNAL)
    context: BuildContext = context_of(wanted)
    known = replace(context, checksums={"Secret/database": "digest"})
    assert process.checksum(wanted, context, wanted.spec.api) != process.checksum(wanted, known, wanted.spec.api)
