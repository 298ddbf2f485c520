"""``managedFields``: who owns which fields, and what a write makes of that."""

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
"""Fields that the API server never gives an owner."""


class Manager(NamedTuple):
    """Who writes: what tells the entries of ``managedFields`` apart."""

    name: str
    operation: str
    subresource: str = ""
    api_version: str = ""
    """Only of updates: those who apply keep one entry over all versions."""

    def __str__(self) -> str:
        """As conflicts name it."""
        subresource = f' with subresource "{self.subresource}"' if self.subresource else ""
        return f'"{self.name}"{subresource}' + (f" using {self.api_version}" if self.api_version else "")


@dataclass(frozen=True)
class Owned:
    """What one manager owns, in the version that it wrote last, and since when."""

    fields: Fields
    api_version: str
    time: str


Owners = dict[Manager, Owned]


class ApplyConflict(Exception):
    """Others own what is applied with another value.

    Attributes:
        found: every conflicting field with its owner.
    """

    def __init__(self, found: list[tuple[Manager, fields.Path]]) -> None:
        super().__init__(_message(found))
        self.found = found

    @property
    def causes(self) -> list[Json]:
        """``details.causes`` of the answer."""
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
    """One write: by whom, to what.

    Attributes:
        manager: who writes.
        api_version: of the body.
        ignored: fields, and all below them, that this write cannot touch: the status through the main resource and the
            other way round.
    """

    manager: Manager
    api_version: str
    kind: str
    schema: Schema
    ignored: tuple[fields.Path, ...] = ()

    def applied(self, live: Json, config: Json, *, force: bool) -> tuple[Json, Owners]:
        """The object after an apply, and its owners.

        Raises:
            ApplyConflict: others own what would change, unless ``force``.
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
        """The owners after ``live`` was replaced by ``body``."""
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
        """Without what this manager applied before, applies no longer, and nobody else owns."""
        kept = fields.closed({path for owned in owners.values() for path in owned.fields})
        doomed = fields.closed(last) - kept
        left: Json = fields.removed(merged, doomed, (self.kind,), self.schema) if doomed else merged
        return left

    def _yielded(self, owners: Owners, difference: fields.Difference, *, force: bool) -> Owners:
        """What the others still own when this write goes through."""
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
    """The owners as an object names them."""
    return dict(_read(entry) for entry in body.get("metadata", {}).get("managedFields", []))


def _read(entry: Json) -> tuple[Manager, Owned]:
    operation, version = entry["operation"], entry["apiVersion"]
    manager = Manager(
        entry["manager"], operation, entry.get("subresource", ""), version if operation == "Update" else ""
    )
    return manager, Owned(fields.decode(entry.get("fieldsV1", {})), version, entry["time"])


def write(owners: Owners) -> list[Json]:
    """The owners as ``managedFields``."""
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
    """The time as objects write it, in whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
