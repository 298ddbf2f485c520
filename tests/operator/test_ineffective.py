"""Settings without effect are named with the reason, and every field of the spec is covered."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml

from livescore_operator.ineffective import find, message
from livescore_operator.kinds import POD_MONITOR
from livescore_operator.resource import LiveScore, Manifest, Model, Spec
from tests.operator.test_golden import NAMES, load
from tests.support.forkserver import ROOT

KINDS = frozenset({POD_MONITOR.full_name})
REFERENCE = {"secretRef": {"name": "s", "key": "url"}}
EXTERNAL = {"mode": "external", "external": REFERENCE}
CONNECTIONS = {"mode": "connections"}
HPA = {"mode": "hpa"}
FIXED = {"mode": "connections", "minReplicas": 3, "maxReplicas": 3}
POLICIES = [{"type": "Pods", "value": 1, "periodSeconds": 60}]
LIMITS = {"limits": {"memory": "3Gi"}}
PEERS: list[Manifest] = [{"podSelector": {}}]


def livescore(**spec: Any) -> LiveScore:
    return LiveScore.parse({"metadata": {"name": "demo"}, "spec": {"image": "livescore:1", **spec}})


def claim(component: str, size: str, storage_class: str | None = None) -> dict[tuple[str, str], Manifest]:
    name = f"data-demo-{component}-0"
    spec = {"resources": {"requests": {"storage": size}}, "storageClassName": storage_class}
    return {("PersistentVolumeClaim", name): {"metadata": {"name": name}, "spec": spec}}


def fields(resource: LiveScore, kinds: frozenset[str] = KINDS, children: Any = None) -> list[str]:
    return [one.field for one in find(resource, kinds, children or {})]


def matchday(**given: Any) -> Manifest:
    return {"mode": "connections", "matchDay": {"enabled": True, **given}}


# The spec, and its fields without effect.
Row = tuple[Manifest, list[str]]
TABLE: list[Row] = [
    ({"api": {"replicas": 5}, "autoscaling": CONNECTIONS}, ["api.replicas"]),
    ({"api": {"replicas": 5}, "autoscaling": HPA}, ["api.replicas"]),
    ({"api": {"replicas": 5}}, []),
    ({"api": {"replicas": 1}}, ["api.podDisruptionBudget"]),
    ({"api": {"replicas": 0}}, []),
    ({"api": {"replicas": 1, "podDisruptionBudget": {"enabled": False}}}, []),
    ({"api": {"replicas": 4, "podDisruptionBudget": {"maxUnavailable": 4}}}, ["api.podDisruptionBudget"]),
    ({"api": {"replicas": 4, "podDisruptionBudget": {"maxUnavailable": 3}}}, []),
    (
        {"api": {"podDisruptionBudget": {"enabled": False, "maxUnavailable": 3}}},
        ["api.podDisruptionBudget.maxUnavailable"],
    ),
    ({"autoscaling": {"mode": "connections", "minReplicas": 1, "maxReplicas": 1}}, ["api.podDisruptionBudget"]),
    ({"autoscaling": {"mode": "hpa", "minReplicas": 1}}, []),
    (
        {"api": {"ingress": {"host": "a", "annotations": {"cert-manager.io/cluster-issuer": "x", "other": "y"}}}},
        ["api.ingress.annotations[cert-manager.io/cluster-issuer]"],
    ),
    (
        {"api": {"ingress": {"host": "a", "tlsSecretName": "t", "annotations": {"cert-manager.io/issuer": "x"}}}},
        [],
    ),
    ({"api": {"allowedOrigins": ["*", "https://a.example"]}}, ["api.allowedOrigins"]),
    ({"api": {"allowedOrigins": ["*"]}}, []),
    ({"api": {"env": [{"name": "PORT", "value": "1"}, {"name": "LOG_LEVEL", "value": "DEBUG"}]}}, ["api.env[PORT]"]),
    ({"worker": {"env": [{"name": "REDIS_URL", "value": "redis://x"}]}}, ["worker.env[REDIS_URL]"]),
    (
        {"scheduler": {"template": {"labels": {"app.kubernetes.io/name": "x", "team": "y"}}}},
        ["scheduler.template.labels[app.kubernetes.io/name]"],
    ),
    (
        {"api": {"template": {"annotations": {"livescore.dev/checksum": "x", "a": "b"}}}},
        ["api.template.annotations[livescore.dev/checksum]"],
    ),
    (
        {
            "autoscaling": {
                "minReplicas": 3,
                "maxReplicas": 20,
                "targetConnectionsPerPod": 100,
                "tolerance": 0.5,
                "scaleUp": {"selectPolicy": "Min"},
                "scaleDown": {"stabilizationWindowSeconds": 1},
                "rebalance": {"enabled": False},
                "matchDay": {"enabled": True},
            }
        },
        [
            "autoscaling.minReplicas",
            "autoscaling.maxReplicas",
            "autoscaling.targetConnectionsPerPod",
            "autoscaling.tolerance",
            "autoscaling.scaleUp",
            "autoscaling.scaleDown",
            "autoscaling.rebalance",
            "autoscaling.matchDay",
        ],
    ),
    ({"autoscaling": {"mode": "hpa", "tolerance": 0.5}}, ["autoscaling.tolerance"]),
    ({"autoscaling": {"mode": "connections", "tolerance": 0.5}}, []),
    (
        {"autoscaling": {**FIXED, "targetConnectionsPerPod": 9, "tolerance": 0.3, "matchDay": {"enabled": True}}},
        ["autoscaling.targetConnectionsPerPod", "autoscaling.tolerance", "autoscaling.matchDay"],
    ),
    ({"autoscaling": {**FIXED, "rebalance": {"tolerance": 0.5}}}, []),
    (
        {"autoscaling": {"mode": "hpa", "scaleUp": {"selectPolicy": "Disabled", "policies": POLICIES}}},
        ["autoscaling.scaleUp.policies"],
    ),
    (
        {"autoscaling": {**CONNECTIONS, "scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 9}}},
        ["autoscaling.scaleDown.stabilizationWindowSeconds"],
    ),
    (
        {"autoscaling": {**CONNECTIONS, "rebalance": {"enabled": False, "tolerance": 0.5, "perSecond": 3}}},
        ["autoscaling.rebalance.tolerance", "autoscaling.rebalance.perSecond"],
    ),
    (
        {
            "autoscaling": {
                **HPA,
                "matchDay": {
                    "leadMinutes": 5,
                    "expectedConnections": 5,
                    "expectations": [{"sport": "chess", "connections": 1}],
                },
            }
        },
        [
            "autoscaling.matchDay.leadMinutes",
            "autoscaling.matchDay.expectedConnections",
            "autoscaling.matchDay.expectations",
        ],
    ),
    ({"autoscaling": matchday(expectedConnections=50_000)}, []),
    ({"autoscaling": matchday(expectedConnections=50_001)}, ["autoscaling.matchDay.expectedConnections"]),
    (
        {"autoscaling": matchday(expectations=[{"team": "A", "connections": 90_000}])},
        ["autoscaling.matchDay.expectations[0].connections"],
    ),
    (
        {
            "autoscaling": matchday(
                expectations=[
                    {"sport": "Football", "connections": 1},
                    {"sport": "chess", "connections": 1},
                    {"sport": "football", "team": "A", "connections": 2},
                    {"team": "A", "connections": 2},
                ]
            )
        },
        ["autoscaling.matchDay.expectations[2]"],
    ),
    (
        {
            "postgres": {
                **EXTERNAL,
                "image": "postgres:18",
                "runAsUser": 70,
                "instances": 5,
                "storage": {"size": "20Gi"},
                "resources": LIMITS,
            }
        },
        ["postgres.image", "postgres.instances", "postgres.resources", "postgres.runAsUser", "postgres.storage"],
    ),
    ({"postgres": {"instances": 5, "external": REFERENCE}}, ["postgres.external", "postgres.instances"]),
    (
        {"postgres": {"mode": "cloudnative-pg", "image": "x", "runAsUser": 5, "instances": 5, "external": REFERENCE}},
        ["postgres.external", "postgres.image", "postgres.runAsUser"],
    ),
    (
        {"redis": {**EXTERNAL, "image": "x", "runAsUser": 5, "storage": {"size": "2Gi"}, "resources": LIMITS}},
        ["redis.image", "redis.resources", "redis.runAsUser", "redis.storage"],
    ),
    ({"redis": {"external": REFERENCE}}, ["redis.external"]),
    (
        {"networkPolicy": {"enabled": False, "clients": PEERS, "management": PEERS, "dns": PEERS}},
        ["networkPolicy.clients", "networkPolicy.management", "networkPolicy.dns"],
    ),
    ({"networkPolicy": {"clients": PEERS, "management": PEERS, "dns": PEERS}}, []),
    ({"monitoring": {"interval": "5s", "labels": {"a": "b"}}}, ["monitoring.interval", "monitoring.labels"]),
    ({"monitoring": {"enabled": True}}, ["monitoring.enabled"]),
    ({"monitoring": {"enabled": True}, "networkPolicy": {"management": PEERS}}, []),
    ({"monitoring": {"enabled": True}, "networkPolicy": {"enabled": False}}, []),
    (
        {
            "monitoring": {"enabled": True, "labels": {"app.kubernetes.io/name": "x"}},
            "networkPolicy": {"management": PEERS},
        },
        ["monitoring.labels[app.kubernetes.io/name]"],
    ),
]


@pytest.mark.parametrize(("given", "expected"), TABLE)
def test_ineffective_setting_is_named(given: Manifest, expected: list[str]) -> None:
    assert fields(livescore(**given)) == expected


def test_monitoring_without_its_kind_has_no_effect() -> None:
    resource = livescore(monitoring={"enabled": True, "interval": "5s"}, networkPolicy={"management": PEERS})
    assert fields(resource, frozenset()) == ["monitoring.enabled", "monitoring.interval"]


@pytest.mark.parametrize(
    ("storage", "live", "expected"),
    [
        ({"size": "10Gi"}, claim("postgres", "20Gi"), ["postgres.storage.size"]),
        ({"size": "10Gi"}, claim("postgres", "10240Mi"), []),
        ({"size": "30Gi"}, claim("postgres", "20Gi"), []),
        ({"storageClassName": "fast"}, claim("postgres", "10Gi", "slow"), ["postgres.storage.storageClassName"]),
        ({"storageClassName": "fast"}, claim("postgres", "10Gi", "fast"), []),
        ({"storageClassName": "fast"}, claim("postgres", "10Gi"), []),
        ({}, claim("redis", "2Gi", "slow"), ["redis.storage.size"]),
    ],
)
def test_existing_volume_keeps_immutable_settings(storage: Manifest, live: Any, expected: list[str]) -> None:
    assert fields(livescore(postgres={"storage": storage}), children=live) == expected
    assert fields(livescore(postgres=EXTERNAL, redis=EXTERNAL), children=live) == []


def test_explicit_defaults_are_not_named() -> None:
    spec = Spec(image="livescore:1").model_dump(by_alias=True, exclude_none=True)
    assert find(LiveScore.parse({"metadata": {"name": "demo"}, "spec": spec}), frozenset(), {}) == []


def test_fields_with_the_same_reason_share_a_sentence() -> None:
    resource = livescore(
        networkPolicy={"enabled": False, "dns": PEERS, "clients": PEERS}, redis={"external": REFERENCE}
    )
    assert message(find(resource, KINDS, {})) == (
        "redis.external: redis.mode is standalone; networkPolicy.clients, networkPolicy.dns: networkPolicy.enabled is "
        "false, so nothing is denied"
    )


# Every field of the spec

# Sections and fields that always have an effect.
EFFECTIVE = {
    "image",
    "imagePullPolicy",
    "imagePullSecrets",
    "suspend",
    "reconcilePolicy",
    "api.port",
    "api.resources",
    "api.drain",
    "api.securityMode",
    "api.apiKeysSecret",
    "worker.replicas",
    "worker.resources",
    "scheduler.replicas",
    "scheduler.resources",
    "api.ingress.className",
    "api.ingress.host",
    "api.ingress.tlsSecretName",
    "autoscaling.mode",
    "postgres.mode",
    "redis.mode",
    "networkPolicy.enabled",
    *(
        f"{component}.template.{field}"
        for component in ("api", "worker", "scheduler")
        for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "topologySpreadConstraints")
    ),
}

# Fields treated alike for all three processes, and tested for one.
ALIKE = {f"{component}.{field}" for component in ("api", "worker", "scheduler") for field in ("env", "template.labels")}
ALIKE |= {f"{component}.template.annotations" for component in ("api", "worker", "scheduler")}


def paths(model: type[Model], above: str = "") -> Iterator[str]:
    for field in model.model_fields.values():
        path = f"{above}{field.alias}"
        inner = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
        below = next((one for one in inner if issubclass(one, Model)), None)
        yield from [path] if below is None else paths(below, f"{path}.")


def covers(known: str, path: str) -> bool:
    return path == known or path.startswith((f"{known}.", f"{known}["))


@pytest.mark.parametrize("path", sorted(paths(Spec)))
def test_every_field_has_an_effect_or_is_named(path: str) -> None:
    named = {field for _, expected in TABLE for field in expected}
    ineffective = any(covers(field, path) or covers(path, field) for field in named) or any(
        covers(one, path) for one in ALIKE
    )
    assert ineffective != any(covers(field, path) for field in EFFECTIVE), path


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "k8s/samples").glob("*.yaml")))
def test_samples_have_no_ineffective_setting(name: str) -> None:
    found = [one for one in yaml.safe_load_all((ROOT / "k8s/samples" / name).read_text()) if one["kind"] == "LiveScore"]
    assert [field for one in found for field in fields(LiveScore.parse(one))] == []


@pytest.mark.parametrize("name", NAMES)
def test_ineffective_settings_are_reported_for_every_golden_case(name: str) -> None:
    resource, context = load(name)
    assert all(one.why for one in find(resource, context.kinds, {}))
