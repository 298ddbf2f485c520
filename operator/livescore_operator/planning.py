"""The plan: changes that turn the live objects into the desired ones. Pure functions."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from livescore_operator import quantities
from livescore_operator.kinds import KINDS
from livescore_operator.redaction import Redactor
from livescore_operator.resource import Manifest

Key = tuple[str, str]
"""Kind and name of an object."""

Verb = Literal["create", "update", "delete"]

# Metadata that differs after every write and does not describe the object.
NOISE = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")

# Maximum length of a diff in the status, in characters; etcd limits the whole object to 1.5 MB.
MAX_DIFF = 32_000

# Defaults that the API server adds within atomic values: to ports of NetworkPolicies, and to claim templates.
ATOMIC_DEFAULTS: Manifest = {
    "protocol": "TCP",
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "volumeMode": "Filesystem",
    "status": {"phase": "Pending"},
    "creationTimestamp": None,
}

# Fields whose values are quantities, which may be written in several ways.
QUANTITY_FIELDS = frozenset({"cpu", "memory", "storage", "ephemeral-storage", "sizeLimit"})


def key(manifest: Manifest) -> Key:
    """Return kind and name of an object."""
    return manifest["kind"], manifest["metadata"]["name"]


@dataclass(frozen=True)
class Change:
    """One object to create, update or delete.

    Attributes:
        verb: What to do.
        manifest: Desired object; the live one if it is to be deleted.
        live: Live object; None if it does not exist.
    """

    verb: Verb
    manifest: Manifest
    live: Manifest | None = None

    def __str__(self) -> str:
        kind, name = key(self.manifest)
        return f"{self.verb} {kind} {name}"


def changes(desired: Iterable[Manifest], live: Mapping[Key, Manifest], manager: str, uid: str) -> list[Change]:
    """Return the objects to apply, in the order of ``desired``, then the objects to prune.

    Args:
        desired: Objects that should exist.
        live: Owned objects, and other objects that have a desired name.
        manager: Field manager of the operator.
        uid: UID of the LiveScore.
    """
    manifests = {key(manifest): manifest for manifest in desired}
    plan: list[Change] = []
    for place, manifest in manifests.items():
        change = _change(manifest, live.get(place), manager)
        if change is not None:
            plan.append(change)
    for place, manifest in live.items():
        if place not in manifests and prunable(manifest, uid):
            plan.append(Change("delete", manifest, manifest))
    return plan


def _change(manifest: Manifest, current: Manifest | None, manager: str) -> Change | None:
    if current is None:
        return Change("create", manifest)
    if is_applied(manifest, current, manager):
        return None
    return Change("update", manifest, current)


def handover(change: Change, manager: str) -> Manifest | None:
    """Return a manifest of the number of replicas alone, if an update releases that field; None otherwise.

    Another manager must own the field before it is released, or it falls back to its default.
    """
    if change.verb != "update" or change.live is None:
        return None
    desired_replicas = (change.manifest.get("spec") or {}).get("replicas")
    if desired_replicas is not None or not _owns_replicas(change.live, manager):
        return None
    return {
        "apiVersion": change.manifest["apiVersion"],
        "kind": change.manifest["kind"],
        "metadata": {name: change.manifest["metadata"][name] for name in ("name", "namespace")},
        "spec": {"replicas": change.live["spec"]["replicas"]},
    }


def _owns_replicas(live: Manifest, manager: str) -> bool:
    owned = _owned_fields(live, manager) or {}
    return "f:replicas" in owned.get("f:spec", {})


def prunable(manifest: Manifest, uid: str) -> bool:
    """Return True if an unwanted object may be deleted: this LiveScore owns it, and it holds no data."""
    deleting = "deletionTimestamp" in manifest["metadata"]
    return not KINDS[manifest["kind"]].holds_data and owner(manifest) == uid and not deleting


def owner(manifest: Manifest) -> str | None:
    """Return the UID of the controlling owner of an object, or None if it has no controller."""
    references = manifest["metadata"].get("ownerReferences") or []
    return next((reference["uid"] for reference in references if reference.get("controller")), None)


# Comparison of a manifest with a live object


def is_applied(manifest: Manifest, live: Manifest, manager: str) -> bool:
    """Return True if a server-side apply of a manifest would change nothing.

    That is the case if the manager owns exactly the fields of the manifest, and they have the values of the manifest. A
    field that the manager owns but no longer wants would be removed by an apply. The managed fields also say which
    lists are merged, and by which keys.
    """
    owned = _owned_fields(live, manager)
    if owned is None:
        return False
    body = {name: value for name, value in manifest.items() if name not in ("apiVersion", "kind", "metadata")}
    metadata = {name: value for name, value in manifest["metadata"].items() if name not in ("name", "namespace")}
    if metadata:
        body["metadata"] = metadata
    return _same(body, live, owned, "")


def _owned_fields(live: Manifest, manager: str) -> Mapping[str, Any] | None:
    """Return the fields that a manager applied (fieldsV1), or None if it never applied the object."""
    for entry in live["metadata"].get("managedFields") or []:
        if entry["manager"] == manager and entry["operation"] == "Apply" and not entry.get("subresource"):
            fields: Mapping[str, Any] = entry.get("fieldsV1", {})
            return fields
    return None


def _same(desired: Any, live: Any, owned: Mapping[str, Any], name: str) -> bool:
    """Compare a field.

    Args:
        desired: Value in the manifest.
        live: Value in the live object.
        owned: Managed fields below this field; empty if the value is atomic.
        name: Name of the field.
    """
    members = {member: below for member, below in owned.items() if member != "."}
    if not members:
        return _equal(desired, live, name)
    if isinstance(desired, dict):
        return isinstance(live, dict) and _same_fields(desired, live, members)
    if isinstance(desired, list):
        return isinstance(live, list) and _same_items(desired, live, members, name)
    return False


def _same_fields(desired: dict[str, Any], live: dict[str, Any], owned: Mapping[str, Any]) -> bool:
    if {f"f:{name}" for name in desired} != owned.keys():
        return False
    return all(name in live and _same(value, live[name], owned[f"f:{name}"], name) for name, value in desired.items())


def _same_items(desired: list[Any], live: list[Any], owned: Mapping[str, Any], name: str) -> bool:
    if len(desired) != len(owned):
        return False
    return all(_same_item(item, desired, live, below, name) for item, below in owned.items())


def _same_item(item: str, desired: list[Any], live: list[Any], owned: Mapping[str, Any], name: str) -> bool:
    """Compare one item of a list. ``item`` is its name in the managed fields, such as ``k:{"name":"api"}``."""
    kind, _, text = item.partition(":")
    identity = json.loads(text)
    if kind == "v":  # In a set the value is its own key.
        return identity in desired and identity in live
    ours, current = _pick(desired, identity), _pick(live, identity)
    if ours is None or current is None:
        return False
    members = {member: below for member, below in owned.items() if member != "."}
    return _same(ours, current, members, name)


def _pick(items: list[Any], identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the item that has these keys. `protocol` is the only key that has a default."""
    defaults = {"protocol": "TCP"}
    for item in items:
        if not isinstance(item, dict):
            continue
        if all(item.get(name, defaults.get(name)) == value for name, value in identity.items()):
            return item
    return None


def _equal(desired: Any, live: Any, name: str) -> bool:
    """Compare an atomic value, except for defaults that the API server adds and for the spelling of quantities."""
    if isinstance(desired, dict):
        return isinstance(live, dict) and all(_equal_field(desired, live, at) for at in desired.keys() | live.keys())
    if isinstance(desired, list):
        if not isinstance(live, list) or len(live) != len(desired):
            return False
        return all(_equal(ours, current, name) for ours, current in zip(desired, live, strict=True))
    if desired == live:
        return True
    return name in QUANTITY_FIELDS and quantities.is_equal(str(desired), str(live))


def _equal_field(desired: dict[str, Any], live: dict[str, Any], name: str) -> bool:
    if name not in desired:
        return name in ATOMIC_DEFAULTS and bool(live[name] == ATOMIC_DEFAULTS[name])
    return name in live and _equal(desired[name], live[name], name)


# Text for people


def summary(plan: list[Change]) -> str:
    """Return the numbers of changes: ``3 to create, 1 to update, 0 to delete``."""
    verbs = [change.verb for change in plan]
    return ", ".join(f"{verbs.count(verb)} to {verb}" for verb in ("create", "update", "delete"))


def diff(plan: Iterable[tuple[Change, Manifest | None]], secrets: Iterable[Manifest] = ()) -> str:
    """Return the changes as a unified diff of YAML, with the values of all Secrets masked.

    Args:
        plan: Each change, and the object that would result; None if it would be deleted.
        secrets: Secrets that the objects refer to. Secrets of the plan itself need not be included.
    """
    plan = list(plan)
    secrets = list(secrets)
    for change, after in plan:
        for manifest in (change.live, change.manifest, after):
            if manifest is not None and manifest["kind"] == "Secret":
                secrets.append(manifest)
    redactor = Redactor(secrets)
    text = "".join(line for change, after in plan for line in _diff(change, after, redactor))
    if len(text) <= MAX_DIFF:
        return text
    return f"{text[:MAX_DIFF]}\n… truncated: the whole diff has {len(text)} characters\n"


def _diff(change: Change, after: Manifest | None, redactor: Redactor) -> Iterator[str]:
    kind, name = key(change.manifest)
    old, new = _lines(change.live, redactor), _lines(after, redactor)
    yield from difflib.unified_diff(old, new, f"live {kind}/{name}", f"planned {kind}/{name}")


def _lines(manifest: Manifest | None, redactor: Redactor) -> list[str]:
    if manifest is None:
        return []
    shown = {name: value for name, value in redactor.manifest(manifest).items() if name != "status"}
    shown["metadata"] = {name: value for name, value in shown["metadata"].items() if name not in NOISE}
    return yaml.safe_dump(shown, sort_keys=True, width=120).splitlines(keepends=True)
