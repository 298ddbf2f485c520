"""Merge rules, defaults and pruning of values, for the built-in kinds and for a CRD.

The place of a value is its kind and the names of the fields that lead to it, with ``[]`` for items of lists:
``("Pod", "spec", "containers", "[]", "env")``.
"""

from functools import cache
from typing import Any, Protocol

from tests.support.kubernetes.kinds import Json

Place = tuple[str, ...]
Rule = str | tuple[str, ...]
"""``granular`` (by field; not for lists, which are then atomic), ``atomic``, ``set``, or the keys that identify the
items of a list."""

GRANULAR, ATOMIC, SET = "granular", "atomic", "set"

KEY_DEFAULTS = {"protocol": "TCP"}
"""Defaults of missing keys."""

# Suffixes of places, the longest match wins; tests/operator/test_support.py compares them with a real server.
RULES: dict[str, Rule] = {
    **dict.fromkeys(["containers", "initContainers", "ephemeralContainers", "volumes", "env"], ("name",)),
    **dict.fromkeys(["resources.claims", "resourceClaims", "resourceClaimStatuses", "schedulingGates"], ("name",)),
    **dict.fromkeys(["imagePullSecrets", "secrets"], ("name",)),
    **dict.fromkeys(["imagePullSecrets.[]", "secrets.[]", "ownerReferences.[]"], ATOMIC),
    "ServiceAccount.imagePullSecrets": ATOMIC,
    "containers.[].ports": ("containerPort", "protocol"),
    "initContainers.[].ports": ("containerPort", "protocol"),
    "ephemeralContainers.[].ports": ("containerPort", "protocol"),
    "Service.spec.ports": ("port", "protocol"),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "hostAliases": ("ip",),
    "podIPs": ("ip",),
    "hostIPs": ATOMIC,
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "conditions": ("type",),
    "Job.status.conditions": ATOMIC,
    "Node.status.addresses": ("type",),
    "metadata.ownerReferences": ("uid",),
    "metadata.finalizers": SET,
    "Node.spec.podCIDRs": SET,
    "APIService.spec.caBundle": ATOMIC,
    **dict.fromkeys(["uncountedTerminatedPods.failed", "uncountedTerminatedPods.succeeded"], SET),
    **dict.fromkeys(["selector", "labelSelector", "namespaceSelector", "podSelector", "nodeSelector"], ATOMIC),
    **dict.fromkeys(["secretKeyRef", "configMapKeyRef", "fieldRef", "resourceFieldRef", "fileKeyRef"], ATOMIC),
    **dict.fromkeys(
        ["secretRef", "nodePublishSecretRef", "dataSource", "involvedObject", "related", "roleRef"], ATOMIC
    ),
    "nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution": ATOMIC,
    "Ingress.spec.defaultBackend.service.port": ATOMIC,
    "Ingress.spec.defaultBackend.resource": ATOMIC,
}
LONGEST_RULE = 5


class Schema(Protocol):
    """Merge rules of one kind."""

    def rule(self, place: Place) -> Rule:
        """Return the rule of the value at ``place``."""
        ...

    def admitted(self, body: Json) -> Json:
        """Return a body as the API server stores it: defaults filled in, unknown fields dropped."""
        ...


class BuiltIn:
    """The kinds of every API server. Their defaults are not emulated, so tests must not rely on them."""

    def rule(self, place: Place) -> Rule:
        return built_in_rule(place)

    def admitted(self, body: Json) -> Json:
        return body


@cache
def built_in_rule(place: Place) -> Rule:
    """Return the rule of the longest known suffix of ``place``."""
    for length in range(LONGEST_RULE, 0, -1):
        if length <= len(place) and (rule := RULES.get(".".join(place[-length:]))):
            return rule
    return GRANULAR


class Custom:
    """A custom resource, by the schema in its definition."""

    def __init__(self, schema: Json) -> None:
        self._schema = schema
        self._rules: dict[Place, Rule] = {}

    def rule(self, place: Place) -> Rule:
        if place[1:2] == ("metadata",):
            return built_in_rule(place)
        if place not in self._rules:
            self._rules[place] = _rule(_at(self._schema, place[1:]))
        return self._rules[place]

    def admitted(self, body: Json) -> Json:
        envelope = {name: body[name] for name in ("apiVersion", "kind", "metadata") if name in body}
        return {**envelope, **_pruned(self._schema, _defaulted(self._schema, body)), **envelope}


def _at(schema: Json, place: Place) -> Json:
    for name in place:
        schema = schema.get("items", {}) if name == "[]" else _property(schema, name)
    return schema


def _property(schema: Json, name: str) -> Json:
    extra = schema.get("additionalProperties")
    found: Json = schema.get("properties", {}).get(name) or (extra if isinstance(extra, dict) else {})
    return found


def _rule(schema: Json) -> Rule:
    if schema.get("x-kubernetes-list-type") == "map":
        return tuple(schema["x-kubernetes-list-map-keys"])
    return str(schema.get("x-kubernetes-list-type") or schema.get("x-kubernetes-map-type") or GRANULAR)


def _defaulted(schema: Json, value: Any) -> Any:
    """Fill defaults into existing objects, and then into objects created by defaults."""
    if isinstance(value, list):
        return [_defaulted(schema.get("items", {}), item) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    missing = {name: part["default"] for name, part in properties.items() if "default" in part and name not in value}
    return {name: _defaulted(_property(schema, name), part) for name, part in {**value, **missing}.items()}


def _pruned(schema: Json, value: Any) -> Any:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return value
    if isinstance(value, list):
        return [_pruned(schema.get("items", {}), item) for item in value]
    if not isinstance(value, dict) or schema.get("type") != "object":
        return value
    known = {name: part for name, part in value.items() if _property(schema, name)}
    return {name: _pruned(_property(schema, name), part) for name, part in known.items()}
