"""Parts that all builders share: context, labels, owners, and manifests as the API server stores them."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from livescore_operator.kinds import MANAGED_BY
from livescore_operator.resource import API_VERSION, KIND, LiveScore, Manifest

NAME, INSTANCE, COMPONENT = (f"app.kubernetes.io/{label}" for label in ("name", "instance", "component"))

# Annotations of objects that outlive the LiveScore. They have no owner, so Argo CD assigns them to an application by
# their instance label, and would prune them since no repository contains them. Helm and Flux delete only objects that
# they created; their annotations protect an object that is added to a chart or a repository.
RETAINED = {
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
    "helm.sh/resource-policy": "keep",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
}

# Old revisions of a workload that are kept for inspection; the operator never rolls back to them.
HISTORY = 3

# Under these keys `{}` means "all"; elsewhere it means nothing, and the API server drops it.
_SELECTORS = frozenset({"podSelector", "namespaceSelector", "labelSelector"})


@dataclass(frozen=True)
class Credentials:
    """Passwords of the servers that the operator runs: generated once per LiveScore. Any character may occur.

    Attributes:
        postgres_password: Password of PostgreSQL.
        redis_password: Password of Redis.
        admin_key: API key of the administrator.
        checksum_key: Key of the checksums on pods, see :func:`fingerprint`.
    """

    postgres_password: str
    redis_password: str
    admin_key: str
    checksum_key: str


@dataclass(frozen=True)
class Scale:
    """Number of API pods.

    Attributes:
        replicas: Value of the Deployment; None if a HorizontalPodAutoscaler owns the field.
        minimum: Lower bound for a HorizontalPodAutoscaler.
    """

    replicas: int | None
    minimum: int


class ClaimTemplate(NamedTuple):
    """Size and storage class in the claim template of a StatefulSet; None for the default class of the cluster."""

    size: str
    storage_class: str | None = None


@dataclass(frozen=True)
class BuildContext:
    """Input of the builders in addition to the LiveScore.

    Attributes:
        operator_namespace: Namespace whose pods may reach the management ports.
        credentials: Passwords of the servers that the operator runs.
        checksums: Digest of the data of each Secret and ConfigMap in `references(resource)` that exists, by its
            reference: `Secret/<name>`.
        serving_image: Image that Deployments may run now: its migrations were applied; None before the first.
        database_ready: Whether the database answers, so that it can be migrated; of an external one this is assumed.
        claimed: Size and class in the (immutable) claim template of each StatefulSet that exists, by name.
        claims: Size that each PersistentVolumeClaim that exists should have, by name.
        kinds: Optional kinds that the cluster has, e.g. `PodMonitor.monitoring.coreos.com`.
        scale: How many API pods there should be.
    """

    operator_namespace: str
    credentials: Credentials
    checksums: Mapping[str, str]
    serving_image: str | None
    database_ready: bool
    claimed: Mapping[str, ClaimTemplate]
    claims: Mapping[str, str]
    kinds: frozenset[str]
    scale: Scale


def manifest(
    resource: LiveScore,
    api_version: str,
    kind: str,
    name: str,
    component: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owned: bool = True,
    **body: Any,
) -> Manifest:
    """Return an object of a LiveScore.

    It is deleted with the LiveScore. Unless `owned`, it is retained and protected from other tools.
    """
    metadata = {
        "name": name,
        "namespace": resource.namespace,
        "labels": {**(labels or {}), **labels_of(resource, component)},
        "annotations": {**(annotations or {}), **({} if owned else RETAINED)},
        "ownerReferences": [_owner(resource)] if owned else [],
    }
    made: Manifest = pruned({"apiVersion": api_version, "kind": kind, "metadata": metadata, **body})
    return made


def labels_of(resource: LiveScore, component: str) -> dict[str, str]:
    """Return the labels of an owned object."""
    return {**selector(resource, component), **MANAGED_BY, "app.kubernetes.io/part-of": "livescore"}


def selector(resource: LiveScore, component: str) -> dict[str, str]:
    """Return the labels that select the pods of a component. Selectors are immutable, so these may never change."""
    return {**family(resource), COMPONENT: component}


def family(resource: LiveScore) -> dict[str, str]:
    """Return the labels that select everything of one LiveScore, including pods and volumes."""
    return {NAME: "livescore", INSTANCE: resource.name}


def _owner(resource: LiveScore) -> Manifest:
    # Foreground deletion waits for the object. This needs the right to update finalizers of the LiveScore.
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": resource.name,
        "uid": resource.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def pruned(value: Any) -> Any:
    """Remove None and empty lists and dicts at any depth: the API server would drop them."""
    if isinstance(value, dict):
        items = {key: pruned(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if not _is_nothing(key, item)}
    if isinstance(value, list):
        return [pruned(item) for item in value]
    return value


def _is_nothing(key: str, value: Any) -> bool:
    return value is None or value == [] or (value == {} and key not in _SELECTORS)


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value in hexadecimal, independent of the order of keys."""
    return hashlib.sha256(_canonical(value)).hexdigest()


def fingerprint(key: str, value: Any) -> str:
    """Return a checksum of a value that only the holder of a key can compute: HMAC-SHA-256 in hexadecimal.

    Checksums of passwords are in annotations of pods, which more people may read than the Secret. With a plain digest
    they could verify guesses.
    """
    return hmac.digest(key.encode(), _canonical(value), "sha256").hex()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


class _Dumper(yaml.SafeDumper):
    """Dumper that repeats values instead of writing anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(manifests: Iterable[Manifest]) -> str:
    """Return manifests as YAML documents, with keys in the order of the builders."""
    return yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
