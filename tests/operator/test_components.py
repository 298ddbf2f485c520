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
def test_a_pod_has_volumes_of_allowed_types_only(name: str) -> None:
    for template in templates(built(name)).values():
        types = {key for volume in template["spec"]["volumes"] for key in volume.keys() - {"name"}}
        assert types <= ALLOWED_VOLUMES


@every_case
def test_a_pod_runs_as_somebody_who_is_not_root(name: str) -> None:
    for template in templates(built(name)).values():
        security = template["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["runAsGroup"] > 0
        for one in template["spec"]["containers"]:
            assert not {"runAsUser", "runAsGroup", "runAsNonRoot"} & one["securityContext"].keys()


@every_case
def test_a_container_has_no_privilege_and_gets_none(name: str) -> None:
    for template in templates(built(name)).values():
        for one in template["spec"]["containers"]:
            security = one["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not {"privileged", "procMount"} & security.keys()


@every_case
def test_a_pod_keeps_the_profiles_of_the_runtime(name: str) -> None:
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
def test_a_pod_writes_to_its_volumes_only(name: str) -> None:
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
def test_a_container_says_what_it_needs(name: str) -> None:
    for template in templates(built(name)).values():
        for one in template["spec"]["containers"]:
            resources = one["resources"]
            assert resources["requests"].keys() >= {"cpu", "memory"}
            assert "memory" in resources["limits"]


@every_case
def test_a_probe_asks_a_port_that_there_is_and_liveness_asks_nobody_else(name: str) -> None:
    for template in templates(built(name)).values():
        for one in template["spec"]["containers"]:
            ports = {port["name"] for port in one.get("ports", [])}
            probes = {key: probe for key, probe in one.items() if key.endswith("Probe")}
            asked = [probe.get("httpGet", probe.get("tcpSocket", {"port": None}))["port"] for probe in probes.values()]
            assert set(asked) <= {*ports, None}
            assert "/health/ready" not in str(probes.get("livenessProbe"))
            assert probes.keys() in ({"startupProbe", "readinessProbe", "livenessProbe"}, set())


@every_case
def test_all_that_runs_on_has_probes(name: str) -> None:
    for part, template in templates(built(name)).items():
        for one in template["spec"]["containers"]:
            assert ("livenessProbe" in one) == (part != "migration")


# Properties of every manifest


@every_case
def test_every_child_carries_its_labels(name: str) -> None:
    wanted, _ = load(name)
    for one in built(name):
        if one["kind"] != "PersistentVolumeClaim":
            labels = one["metadata"]["labels"]
            assert labels.items() >= {**OWN_LABELS, "app.kubernetes.io/instance": wanted.name}.items()
            assert labels["app.kubernetes.io/component"] in COMPONENTS


@every_case
def test_every_child_belongs_to_the_live_score_but_for_what_opens_its_data(name: str) -> None:
    wanted, _ = load(name)
    owner = {"apiVersion": "livescore.dev/v1", "kind": "LiveScore", "name": wanted.name, "uid": wanted.metadata.uid}
    for one in built(name):
        data = one["kind"] in ("Secret", "PersistentVolumeClaim", "Cluster")
        assert one["metadata"].get("ownerReferences") == (
            None if data else [{**owner, "controller": True, "blockOwnerDeletion": True}]
        )
        assert one["metadata"]["namespace"] == "scores"


@every_case
def test_nothing_is_empty_that_the_api_server_would_drop(name: str) -> None:
    for one in built(name):
        for path, value in walk(one):
            assert value is not None, path
            assert value != [], path
            assert value != {} or path[-1] in SELECTORS, path
            # In maps of strings, and as an argument, an empty text has a meaning.
            assert value != "" or path[-2] in ("annotations", "labels") or path[-1] == "args", path


@every_case
def test_quantities_are_written_as_the_api_server_writes_them(name: str) -> None:
    fields = {"requests", "limits"}
    for one in built(name):
        for path, value in walk(one):
            if isinstance(value, str) and len(path) > 1 and (path[-2] in fields or path[-1] == "sizeLimit"):
                assert canonical(value) == value, path


@every_case
def test_every_name_is_short_enough_for_all_that_is_made_from_it(name: str) -> None:
    for one in built(name):
        made = one["metadata"]["name"]
        # Pods get the hash of their revision or template, and a random suffix, into a label.
        longest = made + "-" + "x" * 10 if one["kind"] in ("StatefulSet", "Deployment") else made
        assert len(longest) <= 63
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made)


def test_the_longest_name_is_among_the_cases() -> None:
    assert len(load("long-name")[0].name) == MAX_NAME


@every_case
def test_no_two_children_are_the_same(name: str) -> None:
    keys = [(one["kind"], one["metadata"]["name"]) for one in built(name)]
    assert len(keys) == len(set(keys))


@every_case
def test_building_is_a_function_of_what_it_is_given(name: str) -> None:
    wanted, context = load(name)
    before = copy.deepcopy((wanted, context))
    assert build(wanted, context) == build(wanted, context) == built(name)
    assert (wanted, context) == before


@every_case
def test_what_pods_read_is_applied_before_them(name: str) -> None:
    kinds = [one["kind"] for one in built(name)]
    first_pod = min(kinds.index(kind) for kind in WORKLOADS if kind in kinds)
    for kind in ("ConfigMap", "Secret", "ServiceAccount", "NetworkPolicy"):
        assert [at for at, one in enumerate(kinds) if one == kind and at > first_pod] == []


@every_case
def test_pods_name_only_what_is_there(name: str) -> None:
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
def test_a_workload_selects_its_pods_and_by_three_labels_only(name: str) -> None:
    for one in of_kind(built(name), "Deployment", "StatefulSet"):
        selected = one["spec"]["selector"]["matchLabels"]
        assert selected.keys() == {f"app.kubernetes.io/{label}" for label in ("name", "instance", "component")}
        assert one["spec"]["template"]["metadata"]["labels"].items() >= selected.items()


@every_case
def test_every_service_leads_to_a_port_of_a_component_and_none_to_management(name: str) -> None:
    manifests = built(name)
    for one in of_kind(manifests, "Service"):
        for port in one["spec"]["ports"]:
            assert "management" not in (port["name"], port["targetPort"])
            assert port["port"] != MANAGEMENT_PORT
            template = templates(manifests).get(one["spec"]["selector"]["app.kubernetes.io/component"])
            if template:
                ports = {known["name"]: known["containerPort"] for known in template["spec"]["containers"][0]["ports"]}
                assert ports[port["targetPort"]] == port["port"]


def test_labels_of_the_user_are_added_and_never_win() -> None:
    mine = {"team": "sports", "app.kubernetes.io/component": "redis", "app.kubernetes.io/instance": "other"}
    spec = {"template": {"labels": mine, "annotations": {"livescore.dev/checksum": "none", "note": "x"}}}
    found = templates(children({"api": spec, "worker": spec, "scheduler": spec}))
    for part in ("api", "worker", "scheduler", "migration"):
        metadata = found[part]["metadata"]
        assert metadata["labels"] == {"team": "sports", **OWN_LABELS, "app.kubernetes.io/component": part}
        assert metadata["annotations"]["note"] == "x"
        assert metadata["annotations"].get("livescore.dev/checksum") != "none"


def test_labels_of_a_monitor_never_win_either() -> None:
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
def test_a_changed_secret_rolls_what_reads_it_and_nothing_else(reference: str, readers: set[str]) -> None:
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
def test_a_changed_password_rolls_what_reads_it_and_nothing_else(new: Credentials, readers: set[str]) -> None:
    assert changed(children(), children(credentials=new)) == readers


def test_passwords_that_nobody_uses_roll_nothing() -> None:
    assert (
        changed(children(EXTERNAL), children(EXTERNAL, credentials=Credentials("a", "b", "c", "checksum-key"))) == set()
    )


def test_a_changed_setting_rolls_the_processes() -> None:
    assert changed(children(), children({"api": {"allowedOrigins": ["*"]}})) == PROCESSES


def test_everything_that_goes_on_running_has_a_checksum() -> None:
    assert checksums(children()).keys() == PROCESSES | {"postgres", "redis"}


def test_the_objects_whose_digests_are_wanted_are_those_of_others() -> None:
    secrets = {f"Secret/{name}" for name in ("database", "hints", "keys", "proxy")}
    assert references(resource(EXTERNAL)) == {*secrets, "ConfigMap/levels"}
    assert references(resource()) == set()
    assert references(resource({"postgres": {"mode": "cloudnative-pg"}})) == {"Secret/demo-postgres-app"}


# The migration


def job_name(spec: dict[str, Any] | None = None) -> str:
    return migration.name(resource(spec))


def test_another_image_is_another_job() -> None:
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
def test_what_is_not_in_its_template_is_no_reason_to_migrate_again(spec: dict[str, Any]) -> None:
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
def test_a_changed_template_is_another_job_since_no_template_can_change(spec: dict[str, Any]) -> None:
    assert job_name(spec) != job_name()


def test_a_changed_secret_leaves_the_job_alone() -> None:
    before, after = children(EXTERNAL, checksums={}), children(EXTERNAL, checksums={"Secret/database": "new"})
    assert of_kind(before, "Job") == of_kind(after, "Job")


def test_a_job_runs_the_wanted_image_while_the_old_one_serves() -> None:
    manifests = children({"image": "livescore:2"}, serving_image="livescore:1")
    images = {part: container(manifests, part)["image"] for part in (*PROCESSES, "migration")}
    assert images == {**dict.fromkeys(PROCESSES, "livescore:1"), "migration": "livescore:2"}


def test_nothing_serves_before_the_first_migration_and_nothing_migrates_before_the_database_answers() -> None:
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
def test_a_job_tells_how_it_ended(job: Manifest, succeeded: bool, failed: bool) -> None:
    assert (migration.succeeded(job), migration.failed(job)) == (succeeded, failed)


def test_a_failed_job_may_be_made_again_after_a_while() -> None:
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


def test_a_volume_begins_with_the_size_and_class_of_the_spec() -> None:
    manifests = children(GROWN)
    assert claim_template(manifests, "postgres") == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "40Gi"}},
    }
    assert claim_template(manifests, "redis")["storageClassName"] == "fast"
    assert of_kind(manifests, "PersistentVolumeClaim") == []


def test_a_volume_grows_by_its_claim_while_the_template_stays() -> None:
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
def test_what_outlives_a_livescore_is_protected_from_tools_that_prune(name: str) -> None:
    """These tools consider an object theirs by its instance label, unless it has an owner."""
    for one in built(name):
        metadata = one["metadata"]
        protected = RETAINED.items() <= metadata.get("annotations", {}).items()
        assert protected == ("ownerReferences" not in metadata), metadata["name"]


# IPv4 and IPv6


def test_processes_listen_on_both_protocols_and_services_have_an_address_of_each() -> None:
    """By the service's default; `HOST` is reserved, so that users cannot disable a protocol."""
    manifests = children()
    assert not {"HOST", "MANAGEMENT_HOST"} & find(manifests, "ConfigMap", "demo-config")["data"].keys()
    assert {"HOST", "MANAGEMENT_HOST"} <= set(RESERVED_ENV)
    assert {one["spec"]["ipFamilyPolicy"] for one in of_kind(manifests, "Service")} == {"PreferDualStack"}
    assert "127.0.0.1" not in to_yaml(manifests)


# Environment


def test_reserved_variables_are_never_the_users() -> None:
    env = [{"name": name, "value": "mine"} for name in RESERVED_ENV]
    manifests = children({part: {"env": env} for part in PROCESSES})
    for part in PROCESSES:
        variables = container(manifests, part)["env"]
        assert [one["name"] for one in variables] == ["DATABASE_URL", "REDIS_URL"]


def test_what_the_operator_sets_is_reserved() -> None:
    free = {"ENVIRONMENT", "LOG_FORMAT"}
    set_here = set(config.data(load("full")[0])) | {one["name"] for one in container(children(), "api")["env"]}
    assert set_here - free <= set(RESERVED_ENV)


def test_variables_of_the_user_win_over_settings() -> None:
    manifests = children({"api": {"env": [{"name": "LOG_FORMAT", "value": "console"}, {"name": "EMPTY", "value": ""}]}})
    own = container(manifests, "api")["env"][2:]
    assert own == [{"name": "LOG_FORMAT", "value": "console"}, {"name": "EMPTY"}]


@pytest.mark.parametrize("part", [*sorted(PROCESSES), "migration"])
def test_every_process_is_told_the_same_settings_and_servers(part: str) -> None:
    one = container(children(), part)
    assert one["envFrom"] == [{"configMapRef": {"name": "demo-config"}}]
    assert [variable["valueFrom"]["secretKeyRef"]["key"] for variable in one["env"]] == ["database-url", "redis-url"]


# Credentials


def decoded(secret: Manifest) -> dict[str, str]:
    return {key: b64decode(text).decode() for key, text in secret["data"].items()}


def test_the_secret_holds_passwords_and_the_urls_of_what_is_ours() -> None:
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


def test_passwords_are_made_once_and_fit_into_urls() -> None:
    made = credentials.kept(resource(), None, frozenset())
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", made.postgres_password)
    assert made.redis_password != made.postgres_password
    assert credentials.kept(resource(), credentials.secret(resource(), made), {"data-demo-postgres-0"}) == made


def test_the_admin_key_is_made_once_and_one_that_was_edited_is_kept() -> None:
    made = credentials.kept(resource(), None, frozenset())
    assert re.fullmatch(r"lsk_admin_[A-Za-z0-9_-]{32}", made.admin_key)
    secret = credentials.secret(resource(), made)
    secret["data"]["admin-key"] = b64encode(b"an-administrator's-own-key").decode()
    assert credentials.kept(resource(), secret, frozenset()).admin_key == "an-administrator's-own-key"
    del secret["data"]["admin-key"]
    assert credentials.kept(resource(), secret, frozenset()).admin_key != made.admin_key


def test_the_checksum_key_is_made_once_and_again_where_it_was_emptied() -> None:
    made = credentials.kept(resource(), None, frozenset())
    assert len(made.checksum_key) == 32
    assert made.checksum_key not in (made.postgres_password, made.redis_password, made.admin_key)
    secret = credentials.secret(resource(), made)
    assert credentials.kept(resource(), secret, frozenset()).checksum_key == made.checksum_key
    secret["data"]["checksum-key"] = ""
    assert len(credentials.kept(resource(), secret, frozenset()).checksum_key) == 32


@pytest.mark.parametrize("spec", [{}, EXTERNAL])
def test_a_checksum_of_passwords_cannot_be_computed_without_the_key_in_the_secret(spec: Manifest) -> None:
    other = Credentials("postgres-password", "redis-password", "lsk_admin_key", "another")
    mine, theirs = checksums(children(spec)), checksums(children(spec, credentials=other))
    assert mine.keys() == theirs.keys() >= PROCESSES
    assert not set(mine.values()) & set(theirs.values())


@pytest.mark.parametrize("spec", [{}, {"api": {"apiKeysSecret": {"name": "own", "key": "keys.json"}}}, EXTERNAL])
def test_the_api_reads_the_admin_key_from_a_folder_and_no_other_process_does(spec: Manifest) -> None:
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


def test_an_admin_key_that_the_api_would_not_accept_is_invalid_and_not_shown() -> None:
    secret = credentials.secret(resource(), Credentials("p", "r", " tooshort\n", "checksum-key"))
    with pytest.raises(Terminal, match="key admin-key of Secret demo-credentials has fewer than 16") as caught:
        credentials.kept(resource(), secret, frozenset())
    assert "tooshort" not in str(caught.value)


def test_a_rotated_admin_key_rolls_no_pods() -> None:
    other = Credentials("postgres-password", "redis-password", "lsk_admin_other", "checksum-key")
    assert changed(children(), children(credentials=other)) == set()


def test_a_lost_redis_password_is_made_again() -> None:
    secret = credentials.secret(resource(), Credentials("kept", "lost", "lsk_admin_0123456789", "checksum-key"))
    del secret["data"]["redis-password"]
    found = credentials.kept(resource(), secret, {"data-demo-postgres-0", "data-demo-redis-0"})
    assert found.postgres_password == "kept"
    assert found.redis_password != "lost"


@pytest.mark.parametrize("secret", [None, {}, {"data": None}, {"data": {"redis-password": "eA=="}}])
def test_a_database_whose_password_is_lost_gets_no_other(secret: Manifest | None) -> None:
    with pytest.raises(Waiting, match="CredentialsLost: volume data-demo-postgres-0"):
        credentials.kept(resource(), secret, {"data-demo-postgres-0"})
    assert credentials.kept(resource(EXTERNAL), secret, {"data-demo-postgres-0"}).postgres_password


# Single components


@pytest.mark.parametrize("replicas", [4, 0, None])
def test_replicas_have_one_owner(replicas: int | None) -> None:
    manifests = children({"api": {"replicas": 9}}, scale=Scale(replicas, 2))
    assert find(manifests, "Deployment", "demo-api")["spec"].get("replicas") == replicas


@pytest.mark.parametrize("mode", ["none", "connections"])
def test_there_is_no_second_autoscaler(mode: str) -> None:
    assert not of_kind(children({"autoscaling": {"mode": mode}}), "HorizontalPodAutoscaler")


def test_a_horizontal_pod_autoscaler_scales_on_the_connections_of_the_pods() -> None:
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


def test_no_replicas_are_said_too() -> None:
    manifests = children({part: {"replicas": 0} for part in PROCESSES})
    assert [one["spec"]["replicas"] for one in of_kind(manifests, "Deployment")] == [0, 0, 0]


def test_an_api_pod_has_time_for_its_whole_drain() -> None:
    manifests = children({"api": {"drain": {"deadlineSeconds": 100}}})
    settings = find(manifests, "ConfigMap", "demo-config")["data"]
    assert templates(manifests)["api"]["spec"]["terminationGracePeriodSeconds"] == 5 + 100 + 15
    assert (settings["DRAIN_GRACE_SECONDS"], settings["DRAIN_SECONDS"]) == ("5", "100")
    assert "lifecycle" not in container(manifests, "api")


def test_the_api_adds_pods_before_it_takes_one() -> None:
    spec = find(children(), "Deployment", "demo-api")["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}


def test_there_is_never_a_second_scheduler() -> None:
    assert find(children(), "Deployment", "demo-scheduler")["spec"]["strategy"] == {"type": "Recreate"}


def test_keys_are_mounted_as_a_folder_so_that_changes_arrive() -> None:
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
def test_pods_are_spread_over_nodes_unless_told_otherwise(chosen: dict[str, Any], keys: list[str]) -> None:
    spec = templates(children({"api": {"template": chosen}}))["api"]["spec"]
    assert [one["topologyKey"] for one in spec.get("topologySpreadConstraints", [])] == keys


def test_what_the_user_passes_through_arrives_whole() -> None:
    affinity: Manifest = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}}]}
    }
    spec = templates(children({"api": {"template": {"affinity": affinity}}}))["api"]["spec"]
    assert spec["affinity"] == affinity


def test_the_budget_can_be_turned_off() -> None:
    assert of_kind(children({"api": {"podDisruptionBudget": {"enabled": False}}}), "PodDisruptionBudget") == []


def test_servers_run_as_the_user_of_their_image_and_own_their_volume() -> None:
    found = templates(children({"postgres": {"runAsUser": 70}, "redis": {"runAsUser": 1000}}))
    for part, user in (("postgres", 70), ("redis", 1000)):
        security = found[part]["spec"]["securityContext"]
        assert {security[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {user}


def test_redis_keeps_jobs_and_asks_for_its_password() -> None:
    one = container(children(), "redis")
    assert " ".join(one["args"]) == (
        "--appendonly yes --save  --maxmemory-policy noeviction "
        "--user default on #$(REDIS_PASSWORD_SHA256) allkeys allchannels allcommands --dir /data"
    )
    assert "command" not in one


@pytest.mark.parametrize("kinds", [[], ["Cluster.postgresql.cnpg.io"]])
def test_optional_kinds_are_used_only_where_the_cluster_has_them(kinds: list[str]) -> None:
    spec = {"postgres": {"mode": "cloudnative-pg"}, "monitoring": {"enabled": True}}
    manifests = children(spec, kinds=kinds)
    assert [one["kind"] for one in of_kind(manifests, "Cluster", "PodMonitor")] == (["Cluster"] if kinds else [])
    assert [one["metadata"]["name"] for one in of_kind(manifests, "StatefulSet")] == ["demo-redis"]


def test_an_ingress_without_a_certificate_speaks_plain_http() -> None:
    spec = find(children({"api": {"ingress": {"host": "scores.example"}}}), "Ingress", "demo")["spec"]
    assert spec.keys() == {"rules"}


# Network policies


def policies(manifests: list[Manifest]) -> dict[str, Manifest]:
    found = of_kind(manifests, "NetworkPolicy")
    return {one["metadata"]["name"].removeprefix("demo-"): one["spec"] for one in found}


def test_everything_of_an_instance_is_denied_that_is_not_needed() -> None:
    manifests = children()
    deny = policies(manifests)["default-deny"]
    assert deny.keys() == {"podSelector", "policyTypes"}
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    for template in templates(manifests).values():
        assert template["metadata"]["labels"].items() >= deny["podSelector"]["matchLabels"].items()
    assert policies(manifests).keys() == {"default-deny", *templates(manifests)}


def test_clients_reach_the_api_alone_and_managers_the_management_ports() -> None:
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


def test_without_clients_everybody_is_one() -> None:
    assert policies(children())["api"]["ingress"][0] == {"ports": [{"protocol": "TCP", "port": "http"}]}


@pytest.mark.parametrize(("part", "port"), [("postgres", 5432), ("redis", 6379)])
def test_servers_are_reached_by_the_processes_only_and_reach_nobody(part: str, port: int) -> None:
    found = policies(children())[part]
    ((rule,), egress) = (found["ingress"], found.get("egress"))
    ((expression,),) = [peer["podSelector"]["matchExpressions"] for peer in rule["from"]]
    assert set(expression["values"]) == PROCESSES | {"migration"}
    assert rule["ports"] == [{"protocol": "TCP", "port": port}]
    assert egress is None


@pytest.mark.parametrize("part", [*sorted(PROCESSES), "migration"])
def test_processes_reach_names_and_servers(part: str) -> None:
    ours, foreign = policies(children())[part]["egress"], policies(children(EXTERNAL))[part]["egress"]
    assert [port["port"] for rule in ours for port in rule["ports"]] == [53, 53, 5353, 5353, 5432, 6379]
    assert all("to" in rule for rule in ours)
    assert foreign[1:] == [{"ports": [{"protocol": "TCP"}]}]


def test_no_peer_is_a_whole_namespace_unless_the_spec_says_so() -> None:
    for policy in policies(children()).values():
        rules = [*policy.get("ingress", []), *policy.get("egress", [])]
        peers = [peer for rule in rules for peer in [*rule.get("from", []), *rule.get("to", [])]]
        assert all("podSelector" in peer or "ipBlock" in peer for peer in peers)


@pytest.mark.parametrize("part", [*sorted(PROCESSES), "migration"])
@pytest.mark.parametrize("spec", [{}, EXTERNAL], ids=["own servers", "external servers"])
def test_names_are_asked_of_the_clusters_dns_only(part: str, spec: dict[str, Any]) -> None:
    dns = policies(children(spec))[part]["egress"][0]
    pods, cache = dns["to"]
    assert pods["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}
    ((selected,),) = pods["podSelector"].values()
    assert (selected["key"], selected["values"]) == ("k8s-app", ["kube-dns", "node-local-dns"])
    assert cache == {"ipBlock": {"cidr": "169.254.20.10/32"}}
    assert {(port["protocol"], port["port"]) for port in dns["ports"]} == set(product(["UDP", "TCP"], [53, 5353]))


def test_another_dns_replaces_the_usual_one() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}, "podSelector": {}}
    assert policies(children({"networkPolicy": {"dns": [peer]}}))["api"]["egress"][0]["to"] == [peer]


def test_policies_can_be_turned_off() -> None:
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
def test_a_quantity_is_written_as_the_api_server_stores_it(given: str, stored: str) -> None:
    assert canonical(given) == stored
    assert canonical(stored) == stored


def test_pruning_leaves_what_says_something() -> None:
    said = {"zero": 0, "no": False, "text": "", "podSelector": {}, "items": [{}, ""]}
    unsaid: Manifest = {"none": None, "list": [], "dict": {}, "nested": {"deep": {"empty": [], "none": None}}}
    assert pruned({**said, **unsaid}) == said


def test_a_digest_knows_no_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def test_yaml_repeats_what_stands_in_two_places() -> None:
    shared = {"key": "value"}
    assert to_yaml([{"one": shared, "two": shared}]) == "one:\n  key: value\ntwo:\n  key: value\n"


def test_the_checksum_of_a_process_needs_no_secret_that_is_not_there() -> None:
    wanted = resource(EXTERNAL)
    context: BuildContext = context_of(wanted)
    known = replace(context, checksums={"Secret/database": "digest"})
    assert process.checksum(wanted, context, wanted.spec.api) != process.checksum(wanted, known, wanted.spec.api)
