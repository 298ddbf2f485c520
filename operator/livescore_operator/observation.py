"""What the cluster holds of one LiveScore: read afresh for every reconcile, and changed by nobody."""

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from livescore_operator.cluster import CHILDREN, OPTIONAL_KINDS, Cluster, optional_kind
from livescore_operator.components import credentials, references
from livescore_operator.components.common import COMPONENT, MANAGED_BY, family
from livescore_operator.errors import Terminal, Waiting
from livescore_operator.planning import Key, key, owner
from livescore_operator.resource import KIND, KeyReference, LiveScore, Manifest


@dataclass(frozen=True)
class ObservedState:
    """What is there.

    Attributes:
        owned: live objects by kind and name that carry the LiveScore's labels.
        references: what of others the owned read, by ``Secret/<name>`` or ``ConfigMap/<name>``; None for what is
            missing.
        kinds: optional kinds that the cluster has, see :func:`~livescore_operator.cluster.optional_kind`.
        pods: API pods by name.
        other_pods: pods of all other components by name.
    """

    owned: Mapping[Key, Manifest]
    references: Mapping[str, Manifest | None] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()
    pods: Mapping[str, Manifest] = field(default_factory=dict)
    other_pods: Mapping[str, Manifest] = field(default_factory=dict)

    @property
    def all_pods(self) -> dict[str, Manifest]:
        """Pods of all components by name."""
        return {**self.other_pods, **self.pods}

    def updated(self, objects: Iterable[Manifest]) -> dict[Key, Manifest]:
        """Return the owned objects, some of them replaced by a newer version."""
        return {**self.owned, **{(one["kind"], one["metadata"]["name"]): one for one in objects}}

    @property
    def addresses(self) -> dict[str, str]:
        """Where the API pods that run are reached, by their names."""
        return {name: address for name, pod in self.pods.items() if (address := _address(pod))}

    @property
    def checksums(self) -> dict[str, str]:
        """A digest of the data of each reference that is there."""
        return {name: digest(found) for name, found in self.references.items() if found is not None}

    @property
    def secrets(self) -> dict[str, Manifest | None]:
        """The Secrets among the references, by name."""
        kinds = ((name.partition("/"), found) for name, found in self.references.items())
        return {name: found for (kind, _, name), found in kinds if kind == "Secret"}

    @property
    def held_secrets(self) -> list[Manifest]:
        """All Secrets that exist: of the LiveScore, and among the references."""
        own = (child for (kind, _), child in self.owned.items() if kind == "Secret")
        return [*own, *(secret for secret in self.secrets.values() if secret)]

    @property
    def claims(self) -> dict[str, str]:
        """Size that each volume claim asks for, by name."""
        found = {name: child for (kind, name), child in self.owned.items() if kind == "PersistentVolumeClaim"}
        return {name: child["spec"]["resources"]["requests"]["storage"] for name, child in found.items()}


def digest(secret: Manifest) -> str:
    """SHA-256 of what a Secret or ConfigMap holds."""
    return hashlib.sha256(json.dumps(secret.get("data") or {}, sort_keys=True).encode()).hexdigest()


async def observe(cluster: Cluster, resource: LiveScore) -> ObservedState:
    """Read everything that belongs to a LiveScore.

    Raises:
        Transient: when the API server does not tell.
    """
    namespace, labels = resource.namespace, {**family(resource), **MANAGED_BY}
    names = sorted(references(resource))
    lists, claims, pods, referred = await asyncio.gather(
        asyncio.gather(*(cluster.list(kind, namespace, labels) for kind in CHILDREN)),
        cluster.list("PersistentVolumeClaim", namespace, family(resource)),
        cluster.list("Pod", namespace, family(resource)),
        asyncio.gather(*(_referred(cluster, namespace, name) for name in names)),
    )
    found = dict(zip(CHILDREN, lists, strict=True))
    owned = {(one["kind"], one["metadata"]["name"]): one for some in (*lists, claims) for one in some or []}
    return ObservedState(
        owned={**await _credentials(cluster, resource, owned), **owned},
        references=dict(zip(names, referred, strict=True)),
        kinds=frozenset(optional_kind(kind) for kind in OPTIONAL_KINDS if found[kind] is not None),
        pods={pod["metadata"]["name"]: pod for pod in pods or [] if _is_api(pod)},
        other_pods={pod["metadata"]["name"]: pod for pod in pods or [] if not _is_api(pod)},
    )


def _is_api(pod: Manifest) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return bool(labels.get(COMPONENT) == "api")


async def _referred(cluster: Cluster, namespace: str, reference: str) -> Manifest | None:
    kind, _, name = reference.partition("/")
    return await cluster.get(kind, namespace, name)


async def _credentials(cluster: Cluster, resource: LiveScore, owned: Mapping[Key, Manifest]) -> dict[Key, Manifest]:
    """The Secret with the passwords, even if it lost its labels: it must never be made anew."""
    at = ("Secret", credentials.name(resource))
    found = None if at in owned else await cluster.get(at[0], resource.namespace, at[1])
    return {at: found} if found else {}


def _address(pod: Manifest) -> str | None:
    status = pod.get("status") or {}
    return status.get("podIP") if status.get("phase") == "Running" else None


def secret_references(resource: LiveScore) -> list[KeyReference]:
    """Keys of the user's Secrets that the spec refers to."""
    spec = resource.spec
    variables = [*spec.api.env, *spec.worker.env, *spec.scheduler.env]
    found = [variable.value_from.secret_key_ref for variable in variables if variable.value_from]
    found.append(spec.api.api_keys_secret)
    servers = [server for server in (spec.postgres, spec.redis) if server.mode == "external"]
    found += [server.external.secret_ref for server in servers if server.external]
    return [reference for reference in found if reference]


def require_secrets(resource: LiveScore, secrets: Mapping[str, Manifest | None]) -> None:
    """See that every key that the spec refers to exists, and that its value can be used.

    Raises:
        Waiting: The first Secret, or key, that is missing.
        Terminal: The first value that is not text, or not a URL where one is expected.
    """
    servers = [server.external for server in (resource.spec.postgres, resource.spec.redis) if server.mode == "external"]
    urls = [server.secret_ref for server in servers if server]
    for reference in secret_references(resource):
        secret, name = secrets.get(reference.name), f"Secret {resource.namespace}/{reference.name}"
        if secret is None:
            raise Waiting("SecretNotFound", f"{name} does not exist: create it with key {reference.key}")
        if reference.key not in (secret.get("data") or {}):
            raise Waiting("SecretKeyNotFound", f"{name} has no key {reference.key}: add it")
        if reference in urls:
            credentials.require_url(secret, reference)
        else:
            credentials.text(secret, reference)


# Whose an object is


def is_ours(resource: LiveScore, child: Manifest) -> bool:
    """Whether a child belongs to this very LiveScore, or to nobody and carries its labels (credentials, volumes)."""
    if owner(child) is not None:
        return owner(child) == resource.metadata.uid
    labels = child["metadata"].get("labels") or {}
    unowned = child["kind"] in ("Secret", "PersistentVolumeClaim", "Cluster")
    return unowned and all(labels.get(key) == value for key, value in family(resource).items())


def is_orphan(resource: LiveScore, child: Manifest) -> bool:
    """Whether a child belongs to an earlier LiveScore of this name, and will be collected with it."""
    owners = child["metadata"].get("ownerReferences") or []
    mine = [one for one in owners if one["kind"] == KIND and one["name"] == resource.name]
    return any(one["uid"] != resource.metadata.uid for one in mine)


# Objects that pods read or run as: with those of a stranger they would run with a stranger's settings and rights.
_READ_BY_PODS = frozenset({"ConfigMap", "Secret", "ServiceAccount"})

# Seconds until a name that is taken is looked at again: nothing tells when a stranger's object goes.
CONFLICT_SECONDS = 5.0


def name_conflicts(
    resource: LiveScore, wanted: Iterable[Manifest], owned: Mapping[Key, Manifest]
) -> dict[Key, Terminal]:
    """Return the wanted objects whose name a stranger's object has, each with its error.

    Raises:
        Terminal: Raised if such an object is one that the pods would read.
    """
    found: dict[Key, Terminal] = {}
    for manifest in wanted:
        kind, name = key(manifest)
        child = owned.get((kind, name))
        if child is None or is_ours(resource, child) or is_orphan(resource, child):
            continue
        message = (
            f"{kind} {resource.namespace}/{name} exists and is not this LiveScore's: rename or delete it, or give "
            "the LiveScore another name"
        )
        conflict = Terminal("OwnershipConflict", message, after=CONFLICT_SECONDS)
        if kind in _READ_BY_PODS:
            raise conflict
        found[kind, name] = conflict
    return found
