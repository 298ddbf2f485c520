"""Writes of an API server, with validation, field ownership and versions, and deletion."""

import base64
import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.kubernetes import errors, fields, managers
from tests.support.kubernetes.errors import StatusError
from tests.support.kubernetes.kinds import KINDS, Json, Kind
from tests.support.kubernetes.managers import ApplyConflict, Manager, Owners, Writer
from tests.support.kubernetes.schemas import BuiltIn, Schema
from tests.support.kubernetes.store import Store

KEPT_METADATA = ("name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp")
"""Metadata that only the API server writes."""

NO_GENERATION = ("", "coordination.k8s.io", "rbac.authorization.k8s.io", "storage.k8s.io")
"""API groups whose objects have no ``metadata.generation``."""

IMMUTABLE: dict[str, tuple[tuple[str, ...], ...]] = {
    "Deployment": (("spec", "selector"),),
    "StatefulSet": (("spec", "selector"), ("spec", "serviceName"), ("spec", "volumeClaimTemplates")),
    "Job": (("spec", "selector"), ("spec", "template"), ("spec", "completions")),
    "PersistentVolumeClaim": (("spec", "storageClassName"), ("spec", "accessModes")),
}
"""Fields that a real server refuses to change, for the kinds that the operator creates."""

FIRST_STATUS: dict[str, Json] = {
    "Pod": {"phase": "Pending"},
    "PersistentVolumeClaim": {"phase": "Pending"},
    "Namespace": {"phase": "Active"},
    "CustomResourceDefinition": {"conditions": [{"type": "Established", "status": "True"}]},
}

GRACE_SECONDS = 30
"""Grace period of a deleted pod that runs on a node; tests play its kubelet."""


@dataclass(frozen=True)
class Request:
    """One write.

    Attributes:
        name: name of the object; empty for a create.
        subresource: ``status``, or empty.
        manager: ``fieldManager``, or the one derived from the user agent.
        force: take over fields of other managers.
        dry_run: change nothing.
    """

    kind: Kind
    namespace: str | None
    name: str = ""
    subresource: str = ""
    manager: str = "unknown"
    force: bool = False
    dry_run: bool = False


Change = Callable[[Json], Json]


class Objects:
    """The writes of one API server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._schemas: dict[tuple[str, str], Schema] = {}
        self._built_in = BuiltIn()

    def define(self, kind: Kind, schema: Schema) -> None:
        """Set the schema of a kind."""
        self._schemas[kind.api_version, kind.kind] = schema

    def get(self, kind: Kind, namespace: str | None, name: str) -> Json:
        """Return an object.

        Raises:
            StatusError: 404.
        """
        found = self._store.find(kind, namespace, name)
        if found is None:
            raise errors.not_found(kind, name)
        return found

    # Writes

    def create(self, request: Request, body: Json) -> Json:
        """Create an object, with a generated name if it has ``generateName``.

        Raises:
            StatusError: 409 if the object exists, 404 if its namespace does not.
        """
        body = _named(body)
        name = body["metadata"].get("name")
        if not name:
            raise errors.invalid(request.kind, "", "metadata.name", "Required value: name or generateName is required")
        if self._store.find(request.kind, request.namespace, name):
            raise errors.exists(request.kind, name)
        empty = self._empty(request, name)
        stored = self._admitted(request, empty, body)
        return self._created(request, stored, self._writer(request, "Update").updated(empty, stored))

    def replace(self, request: Request, body: Json) -> Json:
        """Replace an object or its status."""
        return self._changed(request, self.get(request.kind, request.namespace, request.name), lambda live: body)

    def merge_patch(self, request: Request, patch: Json) -> Json:
        """Apply a JSON merge patch."""
        live = self.get(request.kind, request.namespace, request.name)
        return self._changed(request, live, lambda live: _merged(live, patch))

    def strategic_patch(self, request: Request, patch: Json) -> Json:
        """Apply a strategic merge patch without directives."""
        live = self.get(request.kind, request.namespace, request.name)
        place, schema = (request.kind.kind,), self._schema(request.kind)
        return self._changed(request, live, lambda live: _without_nulls(fields.merge(live, patch, place, schema)))

    def apply(self, request: Request, config: Json) -> tuple[Json, bool]:
        """Apply a configuration with server-side apply.

        Returns:
            The object, and True if it was created.

        Raises:
            StatusError: 409 with causes, if other managers own changed fields.
        """
        _check_config(request, config)
        live = self._store.find(request.kind, request.namespace, request.name)
        if live is None and request.subresource:
            raise errors.not_found(request.kind, request.name)
        base = live or self._empty(request, request.name)
        if live:
            _check_identity(request, live, config)
        body, owners = self._merged(request, base, _without_nulls(config))
        stored = self._admitted(request, base, body)
        if live is None:
            return self._created(request, stored, owners), True
        return self._saved(request, live, stored, owners), False

    def _merged(self, request: Request, base: Json, config: Json) -> tuple[Json, Owners]:
        writer = self._writer(request, "Apply")
        touched = {name: part for name, part in config.items() if (f"f:{name}",) not in writer.ignored}
        try:
            return writer.applied(base, touched, force=request.force)
        except ApplyConflict as error:
            raise StatusError(409, "Conflict", str(error), {"causes": error.causes}) from error

    def _changed(self, request: Request, live: Json, change: Change) -> Json:
        body = _without_nulls(change(live))
        _check_identity(request, live, body)
        stored = self._admitted(request, live, body)
        return self._saved(request, live, stored, self._writer(request, "Update").updated(live, stored))

    # Common to all writes

    def _schema(self, kind: Kind) -> Schema:
        return self._schemas.get((kind.api_version, kind.kind), self._built_in)

    def _writer(self, request: Request, operation: str) -> Writer:
        kind = request.kind
        version = kind.api_version
        manager = Manager(request.manager, operation, request.subresource, version if operation == "Update" else "")
        return Writer(manager, version, kind.kind, self._schema(kind), _ignored(request))

    def _empty(self, request: Request, name: str) -> Json:
        """Return the base of a new object."""
        kind = request.kind
        within = {"namespace": request.namespace} if request.namespace else {}
        return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name, **within}}

    def _admitted(self, request: Request, live: Json, body: Json) -> Json:
        """Return ``body`` as far as this write may change ``live``, with defaults."""
        kind = request.kind
        if request.subresource == "status":
            body = _with_status(live, body)
        elif "status" in kind.subresources:
            body = _with_status(body, live)
        # As in Go, metadata is a structure in which empty members are omitted.
        metadata = {name: part for name, part in body.get("metadata", {}).items() if part and name not in KEPT_METADATA}
        kept = {name: part for name, part in live["metadata"].items() if name in KEPT_METADATA}
        body = {**body, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {**metadata, **kept}}
        return self._schema(kind).admitted(_encoded(body))

    def _created(self, request: Request, body: Json, owners: Owners) -> Json:
        self._check_namespace(request)
        made = {"uid": str(uuid.uuid4()), "creationTimestamp": managers.now()}
        generation = {} if request.kind.group in NO_GENERATION else {"generation": 1}
        metadata = {**body["metadata"], **made, **generation, "managedFields": managers.write(owners)}
        status = FIRST_STATUS.get(request.kind.kind)
        stored = {**body, "metadata": metadata, **({"status": status} if status else {})}
        return stored if request.dry_run else self._store.put(request.kind, stored)

    def _saved(self, request: Request, live: Json, body: Json, owners: Owners) -> Json:
        """Store a change; without a change, the resourceVersion stays the same."""
        entries = managers.write(owners)
        metadata = {**body["metadata"], "managedFields": entries, "resourceVersion": _version(live)}
        stored = {**body, "metadata": metadata}
        if _without_times(stored) == _without_times(live):
            return live
        _check_immutable(request.kind, live, body)
        if _respecified(request.kind, live, body):
            metadata["generation"] = live["metadata"].get("generation", 0) + 1
        if request.dry_run:
            return stored
        stored = self._store.put(request.kind, stored)
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self._store.drop(request.kind, stored)
        return stored

    def _check_namespace(self, request: Request) -> None:
        namespaces = KINDS["Namespace"]
        if request.kind.namespaced and not self._store.find(namespaces, None, request.namespace or ""):
            raise errors.not_found(namespaces, request.namespace or "")

    # Deletion

    def delete(self, request: Request, options: Json) -> Json | None:
        """Delete an object, at once or after its finalizers.

        Returns:
            The object while it still exists, else None.

        Raises:
            StatusError: 404, or 409 if a precondition fails.
        """
        kind = request.kind
        live = self.get(kind, request.namespace, request.name)
        _check_preconditions(kind, live, options.get("preconditions") or {})
        finalizers = _finalizers(live, options.get("propagationPolicy"))
        grace = _grace(kind, live, options)
        if request.dry_run:
            return live
        if not finalizers and not grace:
            self._store.drop(kind, live)
            return None
        return self._marked(kind, live, finalizers, grace)

    def _marked(self, kind: Kind, live: Json, finalizers: list[str], grace: int) -> Json:
        metadata = live["metadata"]
        marks: Json = {"deletionTimestamp": metadata.get("deletionTimestamp", managers.now())}
        if grace or kind.kind == "Pod":
            marks["deletionGracePeriodSeconds"] = grace
        if finalizers:
            marks["finalizers"] = finalizers
        if "generation" in metadata and "deletionTimestamp" not in metadata:
            marks["generation"] = metadata["generation"] + 1
        marked = {**live, "metadata": {**metadata, **marks}}
        return live if marked == live else self._store.put(kind, marked)


def _named(body: Json) -> Json:
    metadata = body.get("metadata") or {}
    if not metadata.get("name") and metadata.get("generateName"):
        suffix = "".join(random.choices(string.ascii_lowercase + string.digits, k=5))
        metadata = {**metadata, "name": metadata["generateName"] + suffix}
    return {**_without_nulls(body), "metadata": metadata}


def _ignored(request: Request) -> tuple[fields.Path, ...]:
    if request.subresource == "status":
        return (("f:metadata",), ("f:spec",))
    return (("f:status",),) if "status" in request.kind.subresources else ()


def _with_status(body: Json, other: Json) -> Json:
    """Return ``body`` with the status of ``other``."""
    rest = {name: part for name, part in body.items() if name != "status"}
    return {**rest, "status": other["status"]} if "status" in other else rest


def _encoded(body: Json) -> Json:
    """Move the ``stringData`` of a Secret to its ``data``."""
    if body["kind"] != "Secret" or "stringData" not in body:
        return body
    texts = {name: base64.b64encode(text.encode()).decode() for name, text in body["stringData"].items()}
    rest = {name: part for name, part in body.items() if name != "stringData"}
    return {**rest, "data": {**body.get("data", {}), **texts}}


def _merged(live: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    base = live if isinstance(live, dict) else {}
    changed = {name: _merged(base.get(name), part) for name, part in patch.items() if part is not None}
    return {**{name: part for name, part in base.items() if name not in patch}, **changed}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(part) for name, part in value.items() if part is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _version(body: Json) -> str:
    version: str = body["metadata"]["resourceVersion"]
    return version


def _without_times(body: Json) -> Json:
    entries = body["metadata"].get("managedFields", [])
    bare = sorted(({**entry, "time": ""} for entry in entries), key=str)
    return {**body, "metadata": {**body["metadata"], "managedFields": bare}}


def _respecified(kind: Kind, live: Json, body: Json) -> bool:
    if kind.group in NO_GENERATION:
        return False
    names = (live.keys() | body.keys()) - {"metadata", "status", "apiVersion", "kind"}
    annotated = live["metadata"].get("annotations") != body["metadata"].get("annotations")
    return (kind.kind == "Deployment" and annotated) or any(live.get(name) != body.get(name) for name in names)


# Validation


def _check_config(request: Request, config: Json) -> None:
    metadata = config.get("metadata") or {}
    if (config.get("apiVersion"), config.get("kind")) != (request.kind.api_version, request.kind.kind):
        raise errors.bad_request("the apiVersion and kind of the applied object do not match the URL")
    if metadata.get("name", request.name) != request.name:
        raise errors.bad_request("the name of the object does not match the name on the URL")
    if metadata.get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")


def _check_identity(request: Request, live: Json, body: Json) -> None:
    """Compare the identity in the body with the stored object."""
    metadata, real = body.get("metadata", {}), live["metadata"]
    if metadata.get("resourceVersion") not in (None, "", real["resourceVersion"]):
        raise errors.outdated(request.kind, request.name)
    if metadata.get("uid") not in (None, "", real["uid"]):
        why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {real['uid']}"
        raise errors.conflict(request.kind, request.name, why)


def _check_immutable(kind: Kind, live: Json, body: Json) -> None:
    for path in IMMUTABLE.get(kind.kind, ()):
        if _at(live, path) != _at(body, path):
            raise errors.invalid(kind, live["metadata"]["name"], ".".join(path), "field is immutable")


def _at(body: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    return body


def _check_preconditions(kind: Kind, live: Json, wanted: Json) -> None:
    metadata = live["metadata"]
    for name, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(name, metadata[name]) != metadata[name]:
            why = f"{label} in precondition: {wanted[name]}, {label} in object meta: {metadata[name]}"
            raise errors.conflict(kind, metadata["name"], f"Precondition failed: {why}")


def _finalizers(live: Json, policy: str | None) -> list[str]:
    """Return the finalizers of a deleted object, including the two that only a garbage collector would remove."""
    finalizers: list[str] = live["metadata"].get("finalizers", [])
    added = {"Foreground": ["foregroundDeletion"], "Orphan": ["orphan"]}.get(policy or "", [])
    return finalizers + [name for name in added if name not in finalizers]


def _grace(kind: Kind, live: Json, options: Json) -> int:
    if kind.kind != "Pod" or not live.get("spec", {}).get("nodeName"):
        return 0
    default = live["spec"].get("terminationGracePeriodSeconds", GRACE_SECONDS)
    seconds: int = options.get("gracePeriodSeconds", default)
    return seconds
