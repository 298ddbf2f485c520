"""The CustomResourceDefinition, written from the models of ``resource.py``."""

from typing import Any

from livescore_operator.components.common import pruned
from livescore_operator.resource import GROUP, KIND, PLURAL, VERSION, LiveScore

Schema = dict[str, Any]

# Columns of `kubectl get`: name, type, path; those of the second list with `-o wide` only.
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

# Of a resource that no operator has seen yet: kstatus, and with it helm, Flux and Argo CD, take it for in progress.
_STATUS_DEFAULT = {"observedGeneration": -1}

_NULL = {"type": "null"}

_INNER: tuple[str, ...] = ("items", "additionalProperties")
_FIRST = ("description", "type", "format", "default")
_LAST = ("properties", "items", "additionalProperties", "required", "x-kubernetes-validations")

# The API server describes these by itself; of metadata a CRD may say nothing else.
_HEAD: Schema = {
    "apiVersion": {"description": "Group and version of this resource: livescore.dev/v1.", "type": "string"},
    "kind": {"description": "Kind of this resource: LiveScore.", "type": "string"},
    "metadata": {"type": "object"},
}


def crd() -> dict[str, Any]:
    """The CRD as a manifest of apiextensions.k8s.io/v1."""
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
    # What is empty by default is as good as absent, and would stand in every object.
    root: Schema = pruned(_structural(generated, definitions))
    fields = {**_HEAD, "spec": root["properties"]["spec"], "status": _with_default(root["properties"]["status"])}
    return {**root, "properties": fields, "required": ["spec"]}


def _with_default(status: Schema) -> Schema:
    return {key: {**status, "default": _STATUS_DEFAULT}[key] for key in sorted({*status, "default"}, key=_rank)}


def _structural(schema: Schema, definitions: Schema) -> Schema:
    """The schema as the API server wants it: everything in its place, no references, titles and nulls."""
    found = _resolved(schema, definitions)
    inner = {key: _structural(found[key], definitions) for key in _INNER if key in found}
    properties = {name: _structural(field, definitions) for name, field in found.get("properties", {}).items()}
    whole: Schema = {**found, **_format(found), **inner, "properties": properties}
    return {key: whole[key] for key in sorted(whole, key=_rank) if key != "title"}


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """What `$ref` and `anyOf` with null stand for; what stands beside them wins."""
    beside = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf")}
    if "$ref" in schema:
        return {**_resolved(definitions[schema["$ref"].rpartition("/")[2]], definitions), **beside}
    if _NULL not in schema.get("anyOf", []):
        return schema
    (option,) = [option for option in schema["anyOf"] if option != _NULL]
    return {**_resolved(option, definitions), **beside}


def _format(schema: Schema) -> Schema:
    """Width of an integer; one without a maximum may be a user, a generation or a time."""
    width = "int32" if "maximum" in schema else "int64"
    return {"format": width} if schema.get("type") == "integer" else {}


def _rank(key: str) -> int:
    """First what people read, last what is long."""
    return _FIRST.index(key) if key in _FIRST else len(_FIRST) + (key in _LAST)
