"""The CustomResourceDefinition, generated from the models of ``resource.py``."""

from typing import Any

from livescore_operator.components.common import pruned
from livescore_operator.resource import GROUP, KIND, PLURAL, VERSION, LiveScore

Schema = dict[str, Any]

# Columns of `kubectl get`: name, type, path. The second list is shown with `-o wide` only.
_COLUMNS = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status'),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
    ("API", "string", ".status.api"),
    ("Connections", "integer", ".status.connections"),
    ("Database", "string", '.status.conditions[?(@.type=="DatabaseReady")].status'),
    ("Image", "string", ".status.image"),
    ("Age", "date", ".metadata.creationTimestamp"),
)
_WIDE_COLUMNS = (("Message", "string", '.status.conditions[?(@.type=="Ready")].message'),)

# Status of a resource that no operator has reconciled yet: kstatus, and with it Helm, Flux and Argo CD, treat it as in
# progress.
_STATUS_DEFAULT = {"observedGeneration": -1}

_NULL = {"type": "null"}

_INNER: tuple[str, ...] = ("items", "additionalProperties")
_FIRST = ("description", "type", "format", "default")
_LAST = ("properties", "items", "additionalProperties", "required", "x-kubernetes-validations")

# The API server defines these; a CRD may not specify metadata in more detail.
_HEAD: Schema = {
    "apiVersion": {"description": "Group and version of this resource: livescore.dev/v1.", "type": "string"},
    "kind": {"description": "Kind of this resource: LiveScore.", "type": "string"},
    "metadata": {"type": "object"},
}


def crd() -> dict[str, Any]:
    """Return the CRD as a manifest of apiextensions.k8s.io/v1."""
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": KIND.lower(),
        "shortNames": ["lsc"],
        "categories": ["all"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [_version()]},
    }


def _version() -> dict[str, Any]:
    scale = {
        "specReplicasPath": ".spec.api.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    columns = [{"name": name, "type": type, "jsonPath": path} for name, type, path in _COLUMNS]
    wide = [{"name": name, "type": type, "jsonPath": path, "priority": 1} for name, type, path in _WIDE_COLUMNS]
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}, "scale": scale},
        "additionalPrinterColumns": columns + wide,
        "schema": {"openAPIV3Schema": _schema()},
    }


def _schema() -> Schema:
    generated = LiveScore.model_json_schema()
    definitions = generated.pop("$defs")
    # Empty defaults are omitted: they would only be added to every object.
    root: Schema = pruned(_structural(generated, definitions))
    fields = {**_HEAD, "spec": root["properties"]["spec"], "status": _with_default(root["properties"]["status"])}
    return {**root, "properties": fields, "required": ["spec"]}


def _with_default(status: Schema) -> Schema:
    return {key: {**status, "default": _STATUS_DEFAULT}[key] for key in sorted({*status, "default"}, key=_rank)}


def _structural(schema: Schema, definitions: Schema) -> Schema:
    """Return a structural schema, as the API server requires: without references, titles and nulls."""
    found = _resolved(schema, definitions)
    found.update(_format(found))
    for keyword in _INNER:
        if keyword in found:
            found[keyword] = _structural(found[keyword], definitions)
    properties = found.get("properties", {})
    found["properties"] = {name: _structural(field, definitions) for name, field in properties.items()}
    found.pop("title", None)
    return {keyword: found[keyword] for keyword in sorted(found, key=_rank)}


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """Resolve `$ref`, and `anyOf` with null. Keywords next to them take precedence."""
    siblings = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf")}
    if "$ref" in schema:
        return {**_resolved(definitions[schema["$ref"].rpartition("/")[2]], definitions), **siblings}
    if _NULL not in schema.get("anyOf", []):
        return dict(schema)
    (option,) = [option for option in schema["anyOf"] if option != _NULL]
    return {**_resolved(option, definitions), **siblings}


def _format(schema: Schema) -> Schema:
    """Return the format of an integer. Without a maximum it may be a user ID, a generation or a time."""
    width = "int32" if "maximum" in schema else "int64"
    return {"format": width} if schema.get("type") == "integer" else {}


def _rank(key: str) -> int:
    """Return the sort key of a keyword: short, readable keywords first, long ones last."""
    return _FIRST.index(key) if key in _FIRST else len(_FIRST) + (key in _LAST)
