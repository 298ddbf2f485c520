"""``managedFields``: the owners of fields, and the effect of each write on them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.support.kubernetes import fields
from tests.support.kubernetes.fields import Fields
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.schemas import Schema

UNMANAGED: Fields = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "generation",
                "managedFields",
                "resourceVersion",
            )
        ),
    }
)
"""Fields that never have an owner."""


class Manager(NamedTuple):
    """A field manager: the identity of an entry in ``managedFields``."""

    name: str
    operation: str
    subresource: str = ""
    api_version: str = ""
    """Only for updates: an applier has one entry across all versions."""

    def __str__(self) -> str:
        """Return the manager in the notation of conflict messages."""
        subresource = f' with subresource "{self.subresource}"' if self.subresource else ""
        return f'"{self.name}"{subresource}' + (f" using {self.api_version}" if self.api_version else "")


@dataclass(frozen=True)
class Owned:
    """Fields owned by one manager, with the API version and the time of its last write."""

    fields: Fields
    api_version: str
    time: str


Owners = dict[Manager, Owned]


class ApplyConflict(Exception):
    """Other managers own applied fields that have another value.

    Attributes:
        found: every conflicting field with its owner.
    """

    def __init__(self, found: list[tuple[Manager, fields.Path]]) -> None:
        super().__init__(_message(found))
        self.found = found

    @property
    def causes(self) -> list[Json]:
        """Return ``details.causes`` of the response."""
        return [
            {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": fields.written(path)}
            for owner, path in self.found
        ]


def _message(found: list[tuple[Manager, fields.Path]]) -> str:
    if len(found) == 1:
        return f"Apply failed with 1 conflict: conflict with {found[0][0]}: {fields.written(found[0][1])}"
    lines: list[str] = []
    for owner in sorted({owner for owner, _ in found}, key=str):
        lines += [f"conflicts with {owner}:", *(f"- {fields.written(p)}" for other, p in found if other == owner)]
    return f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)


@dataclass(frozen=True)
class Writer:
    """One write by one manager.

    Attributes:
        manager: the manager that writes.
        api_version: API version of the body.
        ignored: fields, including everything below them, that this write cannot change: the status through the main
            resource, and vice versa.
    """

    manager: Manager
    api_version: str
    kind: str
    schema: Schema
    ignored: tuple[fields.Path, ...] = ()

    def applied(self, live: Json, config: Json, *, force: bool) -> tuple[Json, Owners]:
        """Return the object after an apply, and its owners.

        Raises:
            ApplyConflict: other managers own changed fields, and ``force`` is False.
        """
        owners = read(live)
        last = owners[self.manager].fields if self.manager in owners else frozenset()
        mine = self._managed(frozenset(fields.applied(config, (self.kind,), self.schema)))
        owners[self.manager] = self._owned(owners.get(self.manager), mine)
        merged = fields.merge(live, config, (self.kind,), self.schema)
        left = self._pruned(merged, last, owners)
        difference = fields.compare(live, left, (self.kind,), self.schema)
        return left, self._yielded(owners, difference, force=force)

    def updated(self, live: Json, body: Json) -> Owners:
        """Return the owners after ``live`` was replaced by ``body``."""
        difference = fields.compare(live, body, (self.kind,), self.schema)
        owners = self._yielded(read(live), difference, force=True)
        before = owners[self.manager].fields if self.manager in owners else frozenset()
        mine = self._managed((before - difference.removed) | difference.written)
        owners[self.manager] = self._owned(owners.get(self.manager), mine)
        return _without_empty(owners)

    def _managed(self, found: Fields) -> Fields:
        return frozenset(path for path in found - UNMANAGED if not any(_below(path, top) for top in self.ignored))

    def _owned(self, before: Owned | None, mine: Fields) -> Owned:
        if before and (before.fields, before.api_version) == (mine, self.api_version):
            return before
        return Owned(mine, self.api_version, now())

    def _pruned(self, merged: Json, last: Fields, owners: Owners) -> Json:
        """Remove fields that this manager applied before but no longer does, unless they have another owner."""
        kept = fields.closed({path for owned in owners.values() for path in owned.fields})
        doomed = fields.closed(last) - kept
        left: Json = fields.removed(merged, doomed, (self.kind,), self.schema) if doomed else merged
        return left

    def _yielded(self, owners: Owners, difference: fields.Difference, *, force: bool) -> Owners:
        """Return the other managers' fields after this write has succeeded."""
        others = {manager: owned for manager, owned in owners.items() if manager != self.manager}
        found = [(m, path) for m, owned in others.items() for path in sorted(owned.fields & difference.written)]
        if found and not force:
            raise ApplyConflict(found)
        lost = difference.written | difference.removed
        left = {m: replace(owned, fields=owned.fields - lost) for m, owned in others.items()}
        mine = {manager: owned for manager, owned in owners.items() if manager == self.manager}
        return _without_empty({**left, **mine})


def _below(path: fields.Path, top: fields.Path) -> bool:
    return path[: len(top)] == top


def _without_empty(owners: Owners) -> Owners:
    return {manager: owned for manager, owned in owners.items() if owned.fields}


def read(body: Json) -> Owners:
    """Return the owners listed in an object."""
    return dict(_read(entry) for entry in body.get("metadata", {}).get("managedFields", []))


def _read(entry: Json) -> tuple[Manager, Owned]:
    operation, version = entry["operation"], entry["apiVersion"]
    manager = Manager(
        entry["manager"], operation, entry.get("subresource", ""), version if operation == "Update" else ""
    )
    return manager, Owned(fields.decode(entry.get("fieldsV1", {})), version, entry["time"])


def write(owners: Owners) -> list[Json]:
    """Return the owners in the format of ``managedFields``."""
    ordered = sorted(owners.items(), key=lambda pair: (pair[0].operation, pair[1].time, pair[0]))
    return [_entry(manager, owned) for manager, owned in ordered]


def _entry(manager: Manager, owned: Owned) -> Json:
    entry: dict[str, Any] = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": owned.api_version,
        "time": owned.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields.encode(owned.fields),
    }
    return {**entry, "subresource": manager.subresource} if manager.subresource else entry


def now() -> str:
    """Return the current time in the format of objects, in whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
