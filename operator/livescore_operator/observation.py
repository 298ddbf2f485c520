"""The observed state of a LiveScore: its owned objects, pods, volume claims, and the Secrets that its spec names."""

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from livescore_operator.cache import Cache
from livescore_operator.claims import is_bound
from livescore_operator.cluster import Cluster, label_selector
from livescore_operator.components import credentials, references
from livescore_operator.components.common import COMPONENT, family
from livescore_operator.errors import ReconcileError, Terminal, Waiting
from livescore_operator.kinds import CLUSTER, KINDS, MANAGED_BY, OPTIONAL, OWNED, POD_MONITOR, WATCHED, Kind
from livescore_operator.planning import Key, key, owner
from livescore_operator.resource import KIND, KeyReference, LiveScore, Manifest

log = structlog.get_logger(__name__)

OwnedObjects = Mapping[Key, Manifest]


@dataclass(frozen=True)
class ObservedState:
    """State of one LiveScore in the API server.

    Attributes:
        owned: Live objects with the LiveScore's labels, by kind and name; its volume claims are among them.
        references: Secrets and ConfigMaps of the user that the owned objects read, by ``Secret/<name>`` or
            ``ConfigMap/<name>``; None for those that do not exist.
        kinds: Optional kinds that are installed, by their full names, see :class:`~livescore_operator.kinds.Kind`.
        pods: API pods by name.
        other_pods: Pods of all other components by name.
        cached: Whether some of the objects come from the cache. Nothing may be written on their account.
    """

    owned: OwnedObjects
    references: Mapping[str, Manifest | None] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()
    pods: Mapping[str, Manifest] = field(default_factory=dict)
    other_pods: Mapping[str, Manifest] = field(default_factory=dict)
    cached: bool = False

    @property
    def all_pods(self) -> dict[str, Manifest]:
        """Pods of all components by name."""
        return {**self.other_pods, **self.pods}

    def updated(self, objects: Iterable[Manifest]) -> dict[Key, Manifest]:
        """Return the owned objects, with newer versions of some of them."""
        return {**self.owned, **{key(manifest): manifest for manifest in objects}}

    @property
    def addresses(self) -> dict[str, str]:
        """IP addresses of the running API pods by pod name."""
        return {name: address for name, pod in self.pods.items() if (address := _address(pod))}

    @property
    def checksums(self) -> dict[str, str]:
        """Digest of the data of each reference that exists."""
        return {name: digest(manifest) for name, manifest in self.references.items() if manifest is not None}

    @property
    def secrets(self) -> dict[str, Manifest | None]:
        """The Secrets among the references by name."""
        found: dict[str, Manifest | None] = {}
        for reference, manifest in self.references.items():
            kind, _, name = reference.partition("/")
            if kind == "Secret":
                found[name] = manifest
        return found

    @property
    def held_secrets(self) -> list[Manifest]:
        """All Secrets that exist: owned ones, and those among the references."""
        own = [manifest for (kind, _), manifest in self.owned.items() if kind == "Secret"]
        return [*own, *(secret for secret in self.secrets.values() if secret)]

    @property
    def claims(self) -> dict[str, str]:
        """Requested size of each volume claim by name."""
        claims = {name: manifest for (kind, name), manifest in self.owned.items() if kind == "PersistentVolumeClaim"}
        return {name: claim["spec"]["resources"]["requests"]["storage"] for name, claim in claims.items()}


def digest(secret: Manifest) -> str:
    """Return the SHA-256 of the data of a Secret or ConfigMap."""
    return hashlib.sha256(json.dumps(secret.get("data") or {}, sort_keys=True).encode()).hexdigest()


# Reading


@dataclass(frozen=True)
class _Unwatched:
    """Objects that no watch covers, as they were last read.

    Attributes:
        claims: Volume claims.
        stateful_sets: resourceVersions of the StatefulSets at that time. They change whenever a claim is bound or
            replaced, since the pod that uses the claim becomes ready or stops.
        monitors: PodMonitors; None if the kind is not installed.
        references: See :class:`ObservedState`.
    """

    claims: list[Manifest]
    stateful_sets: frozenset[str]
    monitors: list[Manifest] | None
    references: Mapping[str, Manifest | None]


class Observer:
    """Reads the observed state of LiveScores.

    Without a cache every call reads everything from the API server. With a cache it reads the pods, and everything else
    that may have changed without an event. Watched objects come from the cache; PodMonitors, bound claims, unlabelled
    Secrets and ConfigMaps from the last read, which is valid until :meth:`refresh`.
    """

    def __init__(self, cluster: Cluster, cache: Cache | None = None) -> None:
        self._cluster = cluster
        self._cache = cache
        # What was last read of each LiveScore, and the number of times that it was declared invalid.
        self._last: dict[tuple[str, str], _Unwatched] = {}
        self._epoch = 0
        self._missing_kinds: set[str] = set()

    async def observe(self, resource: LiveScore, *, fresh: bool = False) -> ObservedState:
        """Read everything that belongs to a LiveScore.

        Args:
            resource: The LiveScore.
            fresh: Read everything from the API server.

        Raises:
            Transient: Raised if the API server does not respond, or denies a request.
        """
        epoch = self._epoch
        owned = None if fresh or self._cache is None else self._from_cache(resource, self._cache)
        last = None if owned is None else self._last.get(_key(resource))
        watched, claims, monitors, clusters, pods, referred = await asyncio.gather(
            self._list_watched(resource, owned),
            self._list_claims(resource, owned, last),
            self._list_monitors(resource, last),
            self._list_clusters(resource),
            self._cluster.list("Pod", resource.namespace, family(resource)),
            self._read_references(resource, last),
        )
        if epoch == self._epoch:
            self._last[_key(resource)] = _Unwatched(claims, _stateful_sets(watched), monitors, referred)
        found = {key(manifest): manifest for manifest in (*claims, *(monitors or []), *(clusters or []))}
        optional = ((POD_MONITOR, monitors), (CLUSTER, clusters))
        return ObservedState(
            owned={**await self._credentials(resource, watched), **watched, **found},
            references=referred,
            kinds=frozenset(kind.full_name for kind, objects in optional if objects is not None),
            pods={pod["metadata"]["name"]: pod for pod in pods or [] if _is_api(pod)},
            other_pods={pod["metadata"]["name"]: pod for pod in pods or [] if not _is_api(pod)},
            cached=owned is not None,
        )

    def store(self, objects: Iterable[Manifest]) -> None:
        """Add objects that were just written, so that no later observation is older."""
        if self._cache is not None:
            for manifest in objects:
                self._cache.put(manifest)

    async def refresh(self, namespaces: Iterable[str]) -> None:
        """List every watched kind once, and look for optional kinds again. Events that were missed are found by this.

        Args:
            namespaces: Namespaces that are served; empty for all.
        """
        if self._cache is None:
            return
        self._forget_unwatched()
        try:
            for namespace in list(namespaces) or [""]:
                for kind in WATCHED:
                    await self._refresh(self._cache, kind, namespace)
                for kind in OPTIONAL:
                    await self._discover(kind, namespace)
        except ReconcileError as error:
            log.warning("cache not refreshed, the next reconciles read everything", error=str(error))
            self._cache.invalidate()

    def forget(self, key: tuple[str, str]) -> None:
        """Forget a LiveScore that is gone."""
        self._last.pop(key, None)
        if self._cache is not None:
            self._cache.forget(*key)

    def invalidate(self) -> None:
        """Read everything from the API server the next time."""
        self._forget_unwatched()
        if self._cache is not None:
            self._cache.invalidate()

    def _forget_unwatched(self) -> None:
        self._last.clear()
        self._epoch += 1

    async def _refresh(self, cache: Cache, kind: Kind, namespace: str) -> None:
        mark = cache.mark(kind.name)
        listing = await self._cluster.listing(kind.name, namespace, label_selector(kind.watched or {}))
        if listing is not None:
            cache.replace_all(mark, kind.name, namespace, listing)

    async def _discover(self, kind: Kind, namespace: str) -> bool:
        if await self._cluster.is_listable(kind.name, namespace):
            self._missing_kinds.discard(kind.name)
            return True
        self._missing_kinds.add(kind.name)
        return False

    def _from_cache(self, resource: LiveScore, cache: Cache) -> dict[Key, Manifest] | None:
        return cache.owned(resource.namespace, resource.name, _labels(resource))

    async def _list_watched(self, resource: LiveScore, known: dict[Key, Manifest] | None) -> dict[Key, Manifest]:
        if known is not None:
            return known
        kinds = [kind for kind in OWNED if kind.watched is not None]
        lists = await asyncio.gather(*(self._list_kind(resource, kind) for kind in kinds))
        return {key(manifest): manifest for manifests in lists for manifest in manifests}

    async def _list_kind(self, resource: LiveScore, kind: Kind) -> list[Manifest]:
        labels = _labels(resource)
        if self._cache is None:
            return await self._cluster.list(kind.name, resource.namespace, labels) or []
        mark = self._cache.mark(kind.name)
        listing = await self._cluster.listing(kind.name, resource.namespace, label_selector(labels))
        if listing is None:
            return []
        self._cache.replace(mark, (kind.name, *_key(resource)), labels, listing)
        return listing.items

    async def _list_claims(
        self, resource: LiveScore, known: dict[Key, Manifest] | None, last: _Unwatched | None
    ) -> list[Manifest]:
        if known is not None and last is not None:
            unchanged = last.stateful_sets == _stateful_sets(known)
            # Each StatefulSet creates one claim.
            complete = len(last.claims) >= len(last.stateful_sets)
            if unchanged and complete and all(_is_settled(claim) for claim in last.claims):
                return last.claims
        return await self._cluster.list("PersistentVolumeClaim", resource.namespace, family(resource)) or []

    async def _list_monitors(self, resource: LiveScore, last: _Unwatched | None) -> list[Manifest] | None:
        """Return the PodMonitors, or None if the kind is not installed.

        A kind that was not installed is looked for again by :meth:`refresh`, and before the spec is applied.
        """
        if last is not None:
            return last.monitors
        if POD_MONITOR.name in self._missing_kinds and not resource.spec.monitoring.enabled:
            return None
        return await self._list_optional(resource, POD_MONITOR)

    async def _list_clusters(self, resource: LiveScore) -> list[Manifest] | None:
        """Return the CloudNativePG Clusters, or None if the kind is not installed or the spec does not use it.

        They are read each time: no watch reports the state of the database.
        """
        if resource.spec.postgres.mode != "cloudnative-pg":
            return None
        return await self._list_optional(resource, CLUSTER)

    async def _list_optional(self, resource: LiveScore, kind: Kind) -> list[Manifest] | None:
        objects = await self._cluster.list(kind.name, resource.namespace, _labels(resource))
        if objects is None:
            self._missing_kinds.add(kind.name)
        else:
            self._missing_kinds.discard(kind.name)
        return objects

    async def _read_references(self, resource: LiveScore, last: _Unwatched | None) -> dict[str, Manifest | None]:
        names = sorted(references(resource))
        found = await asyncio.gather(*(self._read_reference(resource, name, last) for name in names))
        return dict(zip(names, found, strict=True))

    async def _read_reference(self, resource: LiveScore, reference: str, last: _Unwatched | None) -> Manifest | None:
        kind, _, name = reference.partition("/")
        if last is not None and self._cache is not None:
            known = self._cache.get(kind, resource.namespace, name) or last.references.get(reference)
            if known is not None:
                return known
        return await self._cluster.get(kind, resource.namespace, name)

    async def _credentials(self, resource: LiveScore, owned: OwnedObjects) -> dict[Key, Manifest]:
        """Return the Secret with the passwords, even if it lost its labels: it must never be replaced by a new one."""
        place = ("Secret", credentials.name(resource))
        if place in owned:
            return {}
        secret = await self._cluster.get(place[0], resource.namespace, place[1])
        return {place: secret} if secret else {}


def _key(resource: LiveScore) -> tuple[str, str]:
    return resource.namespace, resource.name


def _labels(resource: LiveScore) -> dict[str, str]:
    return {**family(resource), **MANAGED_BY}


def _stateful_sets(owned: OwnedObjects) -> frozenset[str]:
    found = (manifest["metadata"] for (kind, _), manifest in owned.items() if kind == "StatefulSet")
    return frozenset(f"{metadata['uid']}/{metadata['resourceVersion']}" for metadata in found)


def _is_settled(claim: Manifest) -> bool:
    """Return True if nothing is expected to happen to a claim while the pod that uses it does not change."""
    status = claim.get("status") or {}
    return is_bound(claim) and "deletionTimestamp" not in claim["metadata"] and not status.get("conditions")


def _is_api(pod: Manifest) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return bool(labels.get(COMPONENT) == "api")


def _address(pod: Manifest) -> str | None:
    status = pod.get("status") or {}
    return status.get("podIP") if status.get("phase") == "Running" else None


# Secrets of the user

PROCESSES = ("api", "worker", "scheduler")


class SecretUse(NamedTuple):
    """A key of a user's Secret that the spec refers to.

    Attributes:
        reference: Secret and key.
        components: Components whose pods read the key.
        is_url: Whether the value is the URL of a server.
    """

    reference: KeyReference
    components: tuple[str, ...]
    is_url: bool = False


def secret_uses(resource: LiveScore) -> list[SecretUse]:
    """Return all keys of Secrets that the spec refers to."""
    spec = resource.spec
    uses: list[SecretUse] = []
    for component, process in (("api", spec.api), ("worker", spec.worker), ("scheduler", spec.scheduler)):
        sources = [variable.value_from for variable in process.env if variable.value_from]
        uses += [SecretUse(source.secret_key_ref, (component,)) for source in sources if source.secret_key_ref]
    if spec.api.api_keys_secret:
        uses.append(SecretUse(spec.api.api_keys_secret, ("api",)))
    for server in (spec.postgres, spec.redis):
        if server.mode == "external" and server.external:
            uses.append(SecretUse(server.external.secret_ref, (*PROCESSES, "migration"), is_url=True))
    return uses


def secret_problems(
    resource: LiveScore, secrets: Mapping[str, Manifest | None]
) -> list[tuple[ReconcileError, tuple[str, ...]]]:
    """Return what is wrong with the Secrets that the spec refers to, and which components cannot start therefore.

    Args:
        resource: The LiveScore.
        secrets: The Secrets by name; None for those that do not exist.
    """
    problems = []
    for use in secret_uses(resource):
        problem = _secret_problem(resource, use, secrets.get(use.reference.name))
        if problem is not None:
            problems.append((problem, use.components))
    return problems


def _secret_problem(resource: LiveScore, use: SecretUse, secret: Manifest | None) -> ReconcileError | None:
    reference = use.reference
    name = f"Secret {resource.namespace}/{reference.name}"
    if secret is None:
        return Waiting("SecretNotFound", f"{name} does not exist: create it with key {reference.key}")
    if reference.key not in (secret.get("data") or {}):
        return Waiting("SecretKeyNotFound", f"{name} has no key {reference.key}: add it")
    try:
        if use.is_url:
            credentials.require_url(secret, reference)
        else:
            credentials.text(secret, reference)
    except Terminal as invalid:
        return invalid
    return None


# Ownership of objects


def is_ours(resource: LiveScore, manifest: Manifest) -> bool:
    """Return True if an object belongs to this LiveScore.

    Credentials and volumes have no owner; they belong to the LiveScore that their labels name.
    """
    if owner(manifest) is not None:
        return owner(manifest) == resource.metadata.uid
    labels = manifest["metadata"].get("labels") or {}
    kind = KINDS[manifest["kind"]]
    retained = kind.holds_data or kind.name == "Secret"
    return retained and family(resource).items() <= labels.items()


def is_orphan(resource: LiveScore, manifest: Manifest) -> bool:
    """Return True if an object belongs to an earlier LiveScore of this name, and waits for garbage collection."""
    owners = manifest["metadata"].get("ownerReferences") or []
    mine = [one for one in owners if one["kind"] == KIND and one["name"] == resource.name]
    return any(one["uid"] != resource.metadata.uid for one in mine)


# Kinds that pods read or run as: with an object of another owner they would run with its settings and rights.
_READ_BY_PODS = frozenset({"ConfigMap", "Secret", "ServiceAccount"})

# Requeue delay in seconds while a name is taken: the operator does not watch objects of others.
CONFLICT_SECONDS = 5.0


def name_conflicts(
    resource: LiveScore, desired: Iterable[Manifest], live: Mapping[Key, Manifest]
) -> dict[Key, Terminal]:
    """Return an error for each desired object that has the name of an object of another owner.

    Raises:
        Terminal: Raised if the pods would read such an object.
    """
    conflicts: dict[Key, Terminal] = {}
    for manifest in desired:
        kind, name = key(manifest)
        current = live.get((kind, name))
        if current is None or is_ours(resource, current) or is_orphan(resource, current):
            continue
        message = (
            f"{kind} {resource.namespace}/{name} exists and does not belong to this LiveScore: rename or delete it, or "
            "give the LiveScore another name"
        )
        conflict = Terminal("OwnershipConflict", message, after=CONFLICT_SECONDS)
        if kind in _READ_BY_PODS:
            raise conflict
        conflicts[kind, name] = conflict
    return conflicts
