"""Settings of a LiveScore that are valid but have no effect, each with the reason. Pure functions.

The CRD fills in defaults, so a field counts as set if its value differs from its default.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from livescore_operator.components import server
from livescore_operator.components.common import labels_of
from livescore_operator.components.pods import CHECKSUM
from livescore_operator.kinds import POD_MONITOR
from livescore_operator.planning import Key
from livescore_operator.quantities import is_less
from livescore_operator.resource import (
    RESERVED_ENV,
    Autoscaling,
    Expectation,
    LiveScore,
    Manifest,
    Model,
    Postgres,
    Redis,
    ScalingRules,
)
from livescore_operator.scaling import modes

# Annotations that request a certificate from cert-manager, which needs the name of a Secret to write it to.
CERTIFICATE_ANNOTATIONS = ("cert-manager.io/issuer", "cert-manager.io/cluster-issuer", "kubernetes.io/tls-acme")


class Ineffective(NamedTuple):
    """A setting without effect.

    Attributes:
        field: Path of the field in the spec, with dots.
        why: The reason, and what to do if the setting is wanted.
    """

    field: str
    why: str


def find(resource: LiveScore, kinds: Collection[str], owned: Mapping[Key, Manifest]) -> list[Ineffective]:
    """Return all settings without effect, each once.

    Args:
        resource: The LiveScore.
        kinds: Optional kinds that the cluster has.
        owned: Live objects by kind and name.
    """
    found = [
        *_replicas(resource),
        *_budget(resource),
        *_ingress(resource),
        *_origins(resource),
        *_variables(resource),
        *_templates(resource),
        *_autoscaling(resource.spec.autoscaling),
        *_postgres(resource.spec.postgres),
        *_redis(resource.spec.redis),
        *_volumes(resource, owned),
        *_network_policy(resource),
        *_monitoring(resource, kinds),
    ]
    first: dict[str, Ineffective] = {}
    for one in found:
        first.setdefault(one.field, one)
    return list(first.values())


def message(found: Iterable[Ineffective]) -> str:
    """Return one sentence for each reason, with the fields that it applies to."""
    fields: dict[str, list[str]] = {}
    for one in found:
        fields.setdefault(one.why, []).append(one.field)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in fields.items())


def _changed(section: Model, path: str, names: Iterable[str] | None = None) -> list[str]:
    """Return the paths of the fields of a section that differ from their defaults."""
    fields = type(section).model_fields
    chosen = fields if names is None else names
    changed = [name for name in chosen if getattr(section, name) != fields[name].get_default(call_default_factory=True)]
    return [f"{path}.{fields[name].alias}" for name in changed]


def _all(fields: Iterable[str], why: str) -> Iterator[Ineffective]:
    return (Ineffective(field, why) for field in fields)


# The API


def _replicas(resource: LiveScore) -> Iterator[Ineffective]:
    mode = resource.spec.autoscaling.mode
    if modes.of(resource).automatic:
        why = f"autoscaling.mode is {mode}, so minReplicas and maxReplicas of autoscaling bound the number of pods"
        yield from _all(_changed(resource.spec.api, "api", ["replicas"]), why)


def _budget(resource: LiveScore) -> Iterator[Ineffective]:
    budget, path = resource.spec.api.pod_disruption_budget, "api.podDisruptionBudget"
    if not budget.enabled:
        yield from _all(_changed(budget, path, ["max_unavailable"]), f"{path}.enabled is false")
        return
    autoscaling = resource.spec.autoscaling
    is_fixed = not modes.of(resource).automatic
    most = resource.spec.api.replicas if is_fixed else autoscaling.max_replicas
    if 0 < most <= budget.max_unavailable:
        limit = "api.replicas" if is_fixed else "autoscaling.maxReplicas"
        why = (
            f"it may take {budget.max_unavailable} of at most {most} API pods, so it holds up no node drain: raise "
            f"{limit}, or set {path}.enabled to false"
        )
        yield Ineffective(path, why)


def _ingress(resource: LiveScore) -> Iterator[Ineffective]:
    ingress = resource.spec.api.ingress
    if ingress is None or ingress.tls_secret_name:
        return
    asked = [name for name in CERTIFICATE_ANNOTATIONS if name in ingress.annotations]
    why = "api.ingress.tlsSecretName is not set, so the Ingress has no TLS and no certificate is issued"
    yield from _all((f"api.ingress.annotations[{name}]" for name in asked), why)


def _origins(resource: LiveScore) -> Iterator[Ineffective]:
    origins = resource.spec.api.allowed_origins
    if "*" in origins and len(origins) > 1:
        yield Ineffective("api.allowedOrigins", "* allows every origin, so the other entries have no effect")


# Common settings of all processes


def _variables(resource: LiveScore) -> Iterator[Ineffective]:
    spec = resource.spec
    for component, process in (("api", spec.api), ("worker", spec.worker), ("scheduler", spec.scheduler)):
        reserved = [variable.name for variable in process.env if variable.name in RESERVED_ENV]
        why = "the operator sets this variable: use the field of the spec that stands for it"
        yield from _all((f"{component}.env[{name}]" for name in reserved), why)


def _templates(resource: LiveScore) -> Iterator[Ineffective]:
    spec = resource.spec
    for component, process in (("api", spec.api), ("worker", spec.worker), ("scheduler", spec.scheduler)):
        template, path = process.template, f"{component}.template"
        labels = [name for name in template.labels if name in labels_of(resource, component)]
        annotations = [name for name in template.annotations if name == CHECKSUM]
        fields = [
            *(f"{path}.labels[{name}]" for name in labels),
            *(f"{path}.annotations[{name}]" for name in annotations),
        ]
        yield from _all(fields, "the operator sets it")


# Scaling


def _autoscaling(autoscaling: Autoscaling) -> Iterator[Ineffective]:
    path, mode = "autoscaling", autoscaling.mode
    if mode == "none":
        fields = [field for field in _changed(autoscaling, path) if field != f"{path}.mode"]
        yield from _all(fields, "autoscaling.mode is none, so api.replicas decides: set mode to connections or hpa")
        return
    if mode == "hpa":
        why = "autoscaling.mode is hpa, and the HorizontalPodAutoscaler has the tolerance of the cluster"
        yield from _all(_changed(autoscaling, path, ["tolerance"]), why)
    if autoscaling.min_replicas == autoscaling.max_replicas:
        names = ["target_connections_per_pod", "tolerance", "scale_up", "scale_down", "match_day"]
        why = "autoscaling.minReplicas is autoscaling.maxReplicas, so the number of pods is fixed: raise maxReplicas"
        yield from _all(_changed(autoscaling, path, names), why)
    else:
        yield from _scaling_rules(autoscaling.scale_up, f"{path}.scaleUp")
        yield from _scaling_rules(autoscaling.scale_down, f"{path}.scaleDown")
        yield from _match_day(autoscaling)
    if not autoscaling.rebalance.enabled:
        fields = _changed(autoscaling.rebalance, f"{path}.rebalance", ["tolerance", "per_second"])
        yield from _all(fields, "autoscaling.rebalance.enabled is false")


def _scaling_rules(rules: ScalingRules, path: str) -> Iterator[Ineffective]:
    if rules.select_policy == "Disabled":
        names = ["stabilization_window_seconds", "policies"]
        yield from _all(_changed(rules, path, names), f"{path}.selectPolicy is Disabled")


def _match_day(autoscaling: Autoscaling) -> Iterator[Ineffective]:
    match_day, path = autoscaling.match_day, "autoscaling.matchDay"
    if not match_day.enabled:
        names = ["lead_minutes", "expected_connections", "expectations"]
        yield from _all(_changed(match_day, path, names), f"{path}.enabled is false")
        return
    given = [(f"{path}.expectedConnections", match_day.expected_connections)]
    given += [
        (f"{path}.expectations[{at}].connections", one.connections) for at, one in enumerate(match_day.expectations)
    ]
    for field, connections in given:
        needed = math.ceil(connections / autoscaling.target_connections_per_pod)
        if needed > autoscaling.max_replicas:
            why = (
                f"one such match needs {needed} pods, and maxReplicas is {autoscaling.max_replicas}: raise "
                "autoscaling.maxReplicas"
            )
            yield Ineffective(field, why)
    yield from _shadowed(match_day.expectations)


def _shadowed(expectations: list[Expectation]) -> Iterator[Ineffective]:
    for at, later in enumerate(expectations):
        for before, earlier in enumerate(expectations[:at]):
            if _covers(earlier.sport, later.sport) and _covers(earlier.team, later.team):
                path = "autoscaling.matchDay.expectations"
                yield Ineffective(f"{path}[{at}]", f"expectations[{before}] applies to all its matches and comes first")
                break


def _covers(earlier: str | None, later: str | None) -> bool:
    """Return True if every match with the later name also has the earlier one."""
    return earlier is None or (later is not None and earlier.casefold() == later.casefold())


# PostgreSQL and Redis


def _postgres(postgres: Postgres) -> Iterator[Ineffective]:
    used = {
        "standalone": {"image", "run_as_user", "storage", "resources"},
        "cloudnative-pg": {"instances", "storage", "resources"},
        "external": {"external"},
    }
    yield from _unused(postgres, "postgres", postgres.mode, used[postgres.mode])


def _redis(redis: Redis) -> Iterator[Ineffective]:
    used = {"standalone": {"image", "run_as_user", "storage", "resources"}, "external": {"external"}}
    yield from _unused(redis, "redis", redis.mode, used[redis.mode])


def _unused(section: Model, path: str, mode: str, used: set[str]) -> Iterator[Ineffective]:
    names = type(section).model_fields.keys() - used - {"mode"}
    yield from _all(sorted(_changed(section, path, names)), f"{path}.mode is {mode}")


def _volumes(resource: LiveScore, owned: Mapping[Key, Manifest]) -> Iterator[Ineffective]:
    """Return settings that an existing volume does not follow."""
    for component, wanted in (("postgres", resource.spec.postgres), ("redis", resource.spec.redis)):
        claim = owned.get(("PersistentVolumeClaim", server.claim(resource, component)))
        if claim is None or wanted.mode != "standalone":
            continue
        name, spec, storage = claim["metadata"]["name"], claim["spec"], wanted.storage
        size = spec["resources"]["requests"]["storage"]
        if is_less(storage.size, size):
            why = f"volume claim {name} has {size}, and a volume cannot shrink"
            yield Ineffective(f"{component}.storage.size", why)
        storage_class = spec.get("storageClassName")
        if storage.storage_class_name and storage_class and storage_class != storage.storage_class_name:
            why = f"volume claim {name} exists, with storage class {storage_class}"
            yield Ineffective(f"{component}.storage.storageClassName", why)


# Network and metrics


def _network_policy(resource: LiveScore) -> Iterator[Ineffective]:
    policy = resource.spec.network_policy
    if not policy.enabled:
        fields = _changed(policy, "networkPolicy", ["clients", "management", "dns"])
        yield from _all(fields, "networkPolicy.enabled is false, so nothing is denied")


def _monitoring(resource: LiveScore, kinds: Collection[str]) -> Iterator[Ineffective]:
    monitoring, path = resource.spec.monitoring, "monitoring"
    if not monitoring.enabled:
        yield from _all(_changed(monitoring, path, ["interval", "labels"]), "monitoring.enabled is false")
        return
    if POD_MONITOR.full_name not in kinds:
        why = (
            "PodMonitors are not installed in this cluster: install the Prometheus operator; the operator checks again"
        )
        yield from _all(_changed(monitoring, path), why)
        return
    policy = resource.spec.network_policy
    if policy.enabled and not policy.management:
        why = "networkPolicy denies Prometheus the management ports: add its pods to networkPolicy.management"
        yield Ineffective(f"{path}.enabled", why)
    own = [name for name in monitoring.labels if name in labels_of(resource, "monitoring")]
    yield from _all((f"{path}.labels[{name}]" for name in own), "the operator sets it")
