"""The CustomResourceDefinition matches the models, and satisfies the rules of the API server."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from livescore_operator.components.common import to_yaml
from livescore_operator.crd import crd
from livescore_operator.resource import API_VERSION, KIND, MAX_NAME, Condition, Draining, LiveScore, Spec, Status

COMMITTED = Path(__file__).parents[2] / "k8s" / "crd" / "livescores.livescore.dev.yaml"

Schema = dict[str, Any]

# Keywords of structural schemas; within anyOf only those that the extension int-or-string stands for.
KEYWORDS = {
    "additionalProperties",
    "anyOf",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
}


def version() -> dict[str, Any]:
    (only,) = crd()["spec"]["versions"]
    found: dict[str, Any] = only
    return found


def root() -> Schema:
    schema: Schema = version()["schema"]["openAPIV3Schema"]
    return schema


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield every schema with its path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from walk(field, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield from walk(schema[key], f"{path}{mark}")


def defaulted(schema: Schema, value: Any) -> Any:
    """Fill in defaults as the API server does: absent fields first, then the fields within defaults."""
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        given = {name: field["default"] for name, field in fields.items() if "default" in field}
        return {name: defaulted(fields.get(name, {}), item) for name, item in {**given, **value}.items()}
    return [defaulted(schema.get("items", {}), item) for item in value] if isinstance(value, list) else value


SCHEMAS = list(walk(root()))
FIELDS = [(path, schema) for path, schema in SCHEMAS if path and not path.endswith(("[]", "{}", ".metadata"))]


def test_committed_crd_matches_the_models() -> None:
    assert COMMITTED.read_text() == to_yaml([crd()]), "run `livescore-operator crd`"
    assert yaml.safe_load(COMMITTED.read_text()) == crd()


# Output of kubectl explain


def test_every_field_has_a_description() -> None:
    for path, schema in FIELDS:
        description = schema["description"]
        assert description.endswith("."), path
        assert not description.startswith(" ")
        assert "\n" not in description


def test_every_value_has_a_type() -> None:
    for path, schema in SCHEMAS:
        assert ("type" in schema) != ("x-kubernetes-int-or-string" in schema), path


def test_resource_has_a_description() -> None:
    assert root()["description"] == (LiveScore.__doc__ or "").strip()


# Requirements of structural schemas


def test_schema_is_structural() -> None:
    for path, schema in SCHEMAS:
        assert schema.keys() <= KEYWORDS, path
        assert not ("properties" in schema and "additionalProperties" in schema)
        assert schema.get("items", {}) != [], path
        if "anyOf" in schema:
            assert schema["x-kubernetes-int-or-string"] is True
            assert schema["anyOf"] == [{"type": "integer"}, {"type": "string"}]


def test_required_fields_exist_and_have_no_default() -> None:
    for path, schema in SCHEMAS:
        for name in schema.get("required", []):
            assert "default" not in schema["properties"][name], path


def test_list_keys_are_required_in_items() -> None:
    for path, schema in SCHEMAS:
        if schema.get("x-kubernetes-list-type") == "map":
            assert set(schema["x-kubernetes-list-map-keys"]) <= set(schema["items"]["required"]), path


def test_integers_have_a_format() -> None:
    for path, schema in SCHEMAS:
        if schema.get("type") == "integer":
            assert schema["format"] == ("int32" if schema.get("maximum", 2**63) < 2**31 else "int64"), path


def test_unknown_fields_are_preserved_only_in_passthrough_fields() -> None:
    for path, schema in SCHEMAS:
        passed = (".affinity", ".topologySpreadConstraints[]", ".clients[]", ".management[]", ".dns[]")
        assert ("x-kubernetes-preserve-unknown-fields" in schema) == path.endswith(passed)


def test_no_default_is_empty() -> None:
    for path, schema in SCHEMAS:
        assert schema.get("default", "x") not in ({}, [], None), path


def test_metadata_has_no_schema_but_its_name() -> None:
    assert root()["properties"]["metadata"] == {"type": "object"}
    assert root()["required"] == ["spec"]


# Cost limits of CEL


def test_lists_and_strings_used_in_rules_are_bounded() -> None:
    """The API server estimates the cost of a rule by the largest possible value."""
    for path, schema in SCHEMAS:
        if schema.get("type") == "array" and any("x-kubernetes-validations" in one for _, one in walk(schema["items"])):
            assert schema["maxItems"] <= 100, path
    for path, schema in SCHEMAS:
        for rule in schema.get("x-kubernetes-validations", []):
            for field in re.findall(r"elf((?:\.\w+)+)", rule["rule"].replace("self.metadata.name", "")):
                found = dict(SCHEMAS)[path + field]
                assert found.get("type") != "string" or "enum" in found or found["maxLength"] <= 4096, field


def test_rule_messages_say_what_to_do() -> None:
    for path, schema in SCHEMAS:
        for rule in schema.get("x-kubernetes-validations", []):
            assert rule.keys() == {"rule", "message"}, path
            assert len(rule["message"]) > 20, path


def test_every_rule_of_the_models_is_in_the_crd() -> None:
    places = {path.replace("[]", "") for path, schema in SCHEMAS if "x-kubernetes-validations" in schema}
    env = {f".spec.{part}.env{source}" for part in ("api", "worker", "scheduler") for source in ("", ".valueFrom")}
    expectations = ".spec.autoscaling.matchDay.expectations"
    assert places == {"", ".spec.api", ".spec.autoscaling", expectations, ".spec.postgres", ".spec.redis", *env}


def test_name_length_is_bounded() -> None:
    rules = [one["rule"] for one in root()["x-kubernetes-validations"] if "self.metadata.name" in one["rule"]]
    assert [f"self.metadata.name.size() <= {MAX_NAME}" in rule for rule in rules] == [True]


# Defaults


def model_json(model: BaseModel) -> Any:
    return model.model_dump(by_alias=True)


def test_object_with_only_an_image_gets_all_defaults() -> None:
    spec = defaulted(root()["properties"]["spec"], {"image": "livescore:1"})
    assert Spec.model_validate(spec) == Spec.model_validate({"image": "livescore:1"})
    assert spec["api"]["resources"]["requests"] == {"cpu": "100m", "memory": "128Mi"}
    assert (spec["postgres"]["storage"], spec["redis"]["storage"]) == ({"size": "10Gi"}, {"size": "1Gi"})


def test_partial_objects_get_the_remaining_defaults() -> None:
    given = {
        "image": "livescore:1",
        "api": {"drain": {}, "podDisruptionBudget": {"maxUnavailable": 2}, "resources": {"limits": {"cpu": 1}}},
        "postgres": {"mode": "external", "storage": {"storageClassName": "fast"}},
        "networkPolicy": {},
        "monitoring": {"enabled": True},
    }
    assert Spec.model_validate(defaulted(root()["properties"]["spec"], given)) == Spec.model_validate(given)


def test_object_default_contains_all_nested_defaults() -> None:
    """An omitted object cannot be distinguished from an empty one."""
    for path, schema in FIELDS:
        described = schema.get("type") == "object" and "properties" in schema and "default" in schema
        if described and path != ".status":
            assert schema["default"] == defaulted(schema, {}), path


def test_fields_without_a_crd_default_are_empty_in_the_models() -> None:
    dumped = model_json(Spec.model_validate({"image": "livescore:1"}))
    stored = defaulted(root()["properties"]["spec"], {"image": "livescore:1"})
    assert list(missing_fields(dumped, stored)) == []


def missing_fields(dumped: Any, stored: Any, path: str = "") -> Iterator[str]:
    """Yield the fields that the models have and the stored object lacks, unless they are empty."""
    if stored is None:
        if dumped not in (None, [], {}) and not all_empty(dumped):
            yield path
    elif isinstance(dumped, dict):
        for name, value in dumped.items():
            yield from missing_fields(value, stored.get(name), f"{path}.{name}")
    elif dumped != stored:
        yield path


def all_empty(value: Any) -> bool:
    return isinstance(value, dict) and all(item in (None, [], {}) for item in value.values())


# The version


def test_names_and_scope() -> None:
    spec, names = crd()["spec"], crd()["spec"]["names"]
    assert f"{spec['group']}/{version()['name']}" == API_VERSION
    assert crd()["metadata"] == {"name": f"{names['plural']}.{spec['group']}"}
    assert (names["kind"], names["listKind"], names["singular"]) == (KIND, "LiveScoreList", "livescore")
    assert (names["shortNames"], names["categories"], spec["scope"]) == (["lsc"], ["all"], "Namespaced")


def at(path: str) -> Schema:
    return dict(SCHEMAS)[path]


def test_scale_subresource_paths_exist() -> None:
    scale = version()["subresources"]["scale"]
    assert at(scale["specReplicasPath"])["type"] == at(scale["statusReplicasPath"])["type"] == "integer"
    assert at(scale["labelSelectorPath"])["type"] == "string"
    assert version()["subresources"]["status"] == {}


def test_printer_columns_match_their_fields() -> None:
    columns = version()["additionalPrinterColumns"]
    shown = [one["name"] for one in columns if not one.get("priority")]
    assert shown == ["Ready", "Reason", "API", "Connections", "Database", "Image", "Age"]
    assert [one["name"] for one in columns if one.get("priority")] == ["Message"]
    for one in columns:
        path = one["jsonPath"]
        if path.startswith(".status") and "[?" not in path:
            assert at(path)["type"] == one["type"]
        elif "[?" in path:
            field = path.rpartition(".")[2]
            assert at(f".status.conditions[].{field}")["type"] == one["type"]


def test_a_new_resource_is_in_progress_for_kstatus() -> None:
    """Otherwise helm --wait, Flux and kubectl wait would take missing conditions for success."""
    assert at(".status")["default"] == {"observedGeneration": -1}


def test_status_schema_accepts_the_models() -> None:
    pods = [Draining(pod="demo-api-1", connections=1, deadline="2026-01-01T00:00:00Z")]
    assert at(".status")["properties"].keys() == model_json(Status(draining=pods, settled={"api": 2})).keys()
    conditions = at(".status.conditions[]")
    required = {name for name, field in Condition.model_fields.items() if field.is_required()}
    assert {Condition.model_fields[name].alias for name in required} == set(conditions["required"])
