"""What must be done so that the cluster is what is wanted. Pure: two sets of objects in, changes out."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import yaml

from livescore_operator.redaction import Redactor
from livescore_operator.resource import Manifest

Key = tuple[str, str]
"""Kind and name of a child."""

Verb = Literal["create", "update", "delete"]

# Kinds that outlive what is wanted: they hold data.
NEVER_PRUNED = frozenset({"PersistentVolumeClaim", "Cluster"})

# Metadata that differs at every write and says nothing about what changed.
NOISE = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")

# Characters of a diff that fit well into a status; etcd takes 1.5 MB for the whole object.
MAX_DIFF = 32_000

# What the API server adds within atomic values: to ports of NetworkPolicies and to volume claim templates.
ATOMIC_DEFAULTS: Manifest = {
    "protocol": "TCP",
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "volumeMode": "Filesystem",
    "status": {"phase": "Pending"},
    "creationTimestamp": None,
}

_MULTIPLIERS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("k", "M", "G", "T", "P"), 1)},
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), 1)},
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?")


def key(manifest: Manifest) -> Key:
    """Kind and name."""
    return manifest["kind"], manifest["metadata"]["name"]


@dataclass(frozen=True)
class Change:
    """One object that is made, changed or deleted."""

    verb: Verb
    manifest: Manifest
    live: Manifest | None = None

    def __str__(self) -> str:
        kind, name = key(self.manifest)
        return f"{self.verb} {kind} {name}"


def changes(wanted: Iterable[Manifest], live: Mapping[Key, Manifest], manager: str, uid: str) -> list[Change]:
    """What must be applied, in the order of ``wanted``, then what must be pruned.

    Args:
        wanted: what the builders made.
        live: children that carry the labels of this LiveScore, and those that have a wanted name.
        manager: field manager whose fields count as applied.
        uid: of the LiveScore that owns the children.
    """
    manifests = {key(manifest): manifest for manifest in wanted}
    found = [change for manifest in manifests.values() if (change := _change(manifest, live, manager))]
    unwanted = (child for at, child in live.items() if at not in manifests)
    return [*found, *(Change("delete", child, child) for child in unwanted if prunable(child, uid))]


def _change(manifest: Manifest, live: Mapping[Key, Manifest], manager: str) -> Change | None:
    current = live.get(key(manifest))
    if current is None:
        return Change("create", manifest)
    return None if is_applied(manifest, current, manager) else Change("update", manifest, current)


def handover(change: Change, manager: str) -> Manifest | None:
    """The number of replicas alone, where an update lets it go that the manager owned; None where it does not."""
    replicas = (change.manifest.get("spec") or {}).get("replicas")
    if change.live is None or change.verb != "update" or replicas is not None or not _owns_replicas(change, manager):
        return None
    metadata = {name: change.manifest["metadata"][name] for name in ("name", "namespace")}
    identity = {name: change.manifest[name] for name in ("apiVersion", "kind")}
    return {**identity, "metadata": metadata, "spec": {"replicas": change.live["spec"]["replicas"]}}


def _owns_replicas(change: Change, manager: str) -> bool:
    owned = _owned(change.live or {}, manager) or {}
    return "f:replicas" in owned.get("f:spec", {})


def prunable(child: Manifest, uid: str) -> bool:
    """Whether an unwanted child may go: it is owned by this LiveScore, and holds no data."""
    deleting = "deletionTimestamp" in child["metadata"]
    return child["kind"] not in NEVER_PRUNED and owner(child) == uid and not deleting


def owner(child: Manifest) -> str | None:
    """The uid of what controls a child; None where nothing does."""
    references = child["metadata"].get("ownerReferences") or []
    return next((reference["uid"] for reference in references if reference.get("controller")), None)


# Whether an apply would change anything


def is_applied(manifest: Manifest, live: Manifest, manager: str) -> bool:
    """Whether applying a manifest would change nothing: the API server is asked nothing.

    The manager must own exactly the fields of the manifest (a field that it owns and no longer wants is to be removed),
    and they must have the values of the manifest. Which lists are merged, and by which keys, stands in the managed
    fields themselves.
    """
    owned = _owned(live, manager)
    if owned is None:
        return False
    identity = ("apiVersion", "kind")
    body = {name: value for name, value in manifest.items() if name not in identity}
    metadata = {name: value for name, value in body.pop("metadata").items() if name not in ("name", "namespace")}
    return _same({**body, **({"metadata": metadata} if metadata else {})}, live, owned, "")


def _owned(live: Manifest, manager: str) -> Mapping[str, Any] | None:
    """The fields that a manager applied, as the API server writes them down; None where it never did."""
    entries = live["metadata"].get("managedFields") or []
    mine = [entry for entry in entries if entry["manager"] == manager and entry["operation"] == "Apply"]
    return next((entry.get("fieldsV1", {}) for entry in mine if not entry.get("subresource")), None)


def _same(wanted: Any, live: Any, owned: Mapping[str, Any], name: str) -> bool:
    members = {member: below for member, below in owned.items() if member != "."}
    if not members:
        return _equal(wanted, live, name)
    if isinstance(wanted, dict):
        return isinstance(live, dict) and _same_fields(wanted, live, members)
    if isinstance(wanted, list):
        return isinstance(live, list) and _same_items(wanted, live, members, name)
    return False


def _same_fields(wanted: dict[str, Any], live: dict[str, Any], owned: Mapping[str, Any]) -> bool:
    if {f"f:{name}" for name in wanted} != owned.keys():
        return False
    return all(name in live and _same(value, live[name], owned[f"f:{name}"], name) for name, value in wanted.items())


def _same_items(wanted: list[Any], live: list[Any], owned: Mapping[str, Any], name: str) -> bool:
    if len(wanted) != len(owned):
        return False
    return all(_same_item(item, wanted, live, below, name) for item, below in owned.items())


def _same_item(item: str, wanted: list[Any], live: list[Any], owned: Mapping[str, Any], name: str) -> bool:
    kind, _, text = item.partition(":")
    identity = json.loads(text)
    if kind == "v":  # a set: the value is its own key
        return identity in wanted and identity in live
    mine, theirs = _pick(wanted, identity), _pick(live, identity)
    return mine is not None and theirs is not None and _same_keyed(mine, theirs, owned, name)


def _same_keyed(wanted: dict[str, Any], live: dict[str, Any], owned: Mapping[str, Any], name: str) -> bool:
    members = {member: below for member, below in owned.items() if member != "."}
    return _same(wanted, live, members, name)


def _pick(items: list[Any], identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The item that has these keys; a key that it leaves out has its default, which only `protocol` has."""
    defaults = {"protocol": "TCP"}

    def matches(item: Any) -> bool:
        return all(item.get(name, defaults.get(name)) == value for name, value in identity.items())

    return next((item for item in items if isinstance(item, dict) and matches(item)), None)


def _equal(wanted: Any, live: Any, name: str) -> bool:
    """Equal but for what the API server adds by default within an atomic value, and for how quantities are written."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(_equal_field(wanted, live, at) for at in wanted.keys() | live.keys())
    if isinstance(wanted, list):
        same_length = isinstance(live, list) and len(live) == len(wanted)
        return same_length and all(_equal(mine, theirs, name) for mine, theirs in zip(wanted, live, strict=True))
    return bool(wanted == live) or _same_quantity(wanted, live, name)


def _equal_field(wanted: dict[str, Any], live: dict[str, Any], name: str) -> bool:
    if name not in wanted:
        return name in ATOMIC_DEFAULTS and bool(live[name] == ATOMIC_DEFAULTS[name])
    return name in live and _equal(wanted[name], live[name], name)


def _same_quantity(wanted: Any, live: Any, name: str) -> bool:
    if name not in ("cpu", "memory", "storage", "ephemeral-storage", "sizeLimit"):
        return False
    mine, theirs = quantity(str(wanted)), quantity(str(live))
    return mine is not None and mine == theirs


def quantity(text: str) -> Decimal | None:
    """The number that a Kubernetes quantity stands for; None where it is none."""
    found = _QUANTITY.fullmatch(text)
    return Decimal(found[1]) * _MULTIPLIERS[found[2] or ""] if found else None


# For people


def summary(plan: list[Change]) -> str:
    """``3 to create, 1 to update, 0 to delete``."""
    counts = {verb: sum(change.verb == verb for change in plan) for verb in ("create", "update", "delete")}
    return ", ".join(f"{count} to {verb}" for verb, count in counts.items())


def diff(plan: Iterable[tuple[Change, Manifest | None]], secrets: Iterable[Manifest] = ()) -> str:
    """Return what changes as a unified diff of YAML, without a value of any Secret.

    Args:
        plan: Each change, with the object as it would be afterwards; None if it would be deleted.
        secrets: Secrets that the objects refer to. Those in the plan need not be among them.
    """
    changes = list(plan)
    shown = [manifest for change, after in changes for manifest in (change.live, change.manifest, after) if manifest]
    redactor = Redactor([*secrets, *(manifest for manifest in shown if manifest["kind"] == "Secret")])
    text = "".join(line for change, after in changes for line in _diff(change, after, redactor))
    return text if len(text) <= MAX_DIFF else f"{text[:MAX_DIFF]}\n… cut: the whole has {len(text)} characters\n"


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
