"""Correction of volume claims of the standalone servers whose storage class or size is wrong. Pure functions.

The claim template of a StatefulSet is immutable, and so is the class of a claim. Both are deleted and created again
while the claim has no volume. A claim with a volume is never deleted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from livescore_operator.claims import is_bound, is_prepared
from livescore_operator.components import server
from livescore_operator.errors import ReconcileError, Terminal, Waiting
from livescore_operator.observation import is_ours
from livescore_operator.planning import Key, key
from livescore_operator.quantities import is_equal
from livescore_operator.resource import LiveScore, Manifest, Storage

# Requeue delay in seconds while a claim is being deleted: claims are not watched.
REPLACED_SECONDS = 2.0

Objects = Mapping[Key, Manifest]


@dataclass(frozen=True)
class Correction:
    """Correction of a claim, or a claim template, that does not match the spec.

    Attributes:
        problem: Error to report.
        deleted: Live objects to delete, in this order.
        held: Objects that are not created or changed meanwhile.
    """

    problem: ReconcileError
    deleted: tuple[Manifest, ...] = ()
    held: frozenset[Key] = frozenset()


def corrections(resource: LiveScore, owned: Objects, unlabelled: Objects) -> list[Correction]:
    """Return the corrections of the claims of the servers that the operator runs.

    Args:
        resource: The LiveScore.
        owned: Its live objects.
        unlabelled: Claims that have the name of an owned claim, but not its labels.
    """
    found = (_correction(resource, name, storage, owned, unlabelled) for name, storage in server.storages(resource))
    return [correction for correction in found if correction is not None]


def unseen(resource: LiveScore, owned: Objects) -> list[str]:
    """Return the names of claims to read by name: the claim template is wrong, and no labelled claim exists."""
    claims = {component: server.claim(resource, component) for component, _ in server.storages(resource)}
    return [
        claims[component]
        for component, storage in server.storages(resource)
        if _is_outdated(resource, component, storage, owned)
        and ("PersistentVolumeClaim", claims[component]) not in owned
    ]


def _is_outdated(resource: LiveScore, component: str, storage: Storage, owned: Objects) -> bool:
    """Return True if the claim template of the StatefulSet does not match the spec."""
    stateful_set = owned.get(("StatefulSet", server.name(resource, component)))
    if stateful_set is None or not is_ours(resource, stateful_set):
        return False
    found = server.template(stateful_set)
    if found is None:
        return False
    return found.storage_class != storage.storage_class_name or not is_equal(found.size, storage.size)


def _correction(
    resource: LiveScore, component: str, storage: Storage, owned: Objects, unlabelled: Objects
) -> Correction | None:
    stateful_key = ("StatefulSet", server.name(resource, component))
    claim_key = ("PersistentVolumeClaim", server.claim(resource, component))
    stateful_set, claim = owned.get(stateful_key), owned.get(claim_key)
    held = frozenset({stateful_key, claim_key})
    if stateful_set is None:
        if claim is None or not _is_replaceable(resource, claim):
            return None
        if _is_deleted(claim) or _differs(claim, storage):
            return Correction(_waiting(claim_key[1]), () if _is_deleted(claim) else (claim,), held)
        return None
    if not _is_outdated(resource, component, storage, owned):
        return None
    stranger = unlabelled.get(claim_key)
    if stranger is None and (claim is None or _is_replaceable(resource, claim)):
        # The StatefulSet is deleted first: it would create the claim again from its old template.
        gone = [one for one in (stateful_set, claim) if one is not None and not _is_deleted(one)]
        return Correction(_waiting(claim_key[1]), tuple(gone), held)
    kept, made = claim or stranger, server.template(stateful_set)
    if kept is None or made is None or made.storage_class == storage.storage_class_name:
        return None
    return Correction(_kept(component, kept))


def _is_replaceable(resource: LiveScore, claim: Manifest) -> bool:
    return is_ours(resource, claim) and not is_bound(claim) and not is_prepared(claim)


def _differs(claim: Manifest, storage: Storage) -> bool:
    """Return True if a claim has another size or class than the spec.

    If the spec names no class, any class matches: admission fills in the default.
    """
    wanted = storage.storage_class_name
    size = claim["spec"]["resources"]["requests"]["storage"]
    return (wanted is not None and claim["spec"].get("storageClassName") != wanted) or not is_equal(size, storage.size)


def _is_deleted(manifest: Manifest) -> bool:
    return "deletionTimestamp" in manifest["metadata"]


def _waiting(claim: str) -> Waiting:
    message = f"claim {claim} has no volume yet: it is deleted and created again with the class and size of the spec"
    return Waiting("ClaimReplaced", message, after=REPLACED_SECONDS)


def _kept(component: str, claim: Manifest) -> Terminal:
    storage_class = claim["spec"].get("storageClassName") or "the default"
    why = "has a volume" if is_bound(claim) else "was prepared by a person"
    message = (
        f"claim {key(claim)[1]} {why}, with storage class {storage_class}, which cannot change: set "
        f"{component}.storage.storageClassName back, or move the data to another LiveScore"
    )
    return Terminal("Invalid", message)
