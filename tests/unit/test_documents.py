"""Requirements of client generators on the documents; `make generators` runs the generators."""

from collections.abc import Iterator
from typing import Any

import pytest

from livescore.api import asyncapi
from tests.support import validation

Json = dict[str, Any]

BODIES = {
    ("post", "/matches"): "NewMatch",
    ("patch", "/matches/{id}"): "MatchPatch",
    ("patch", "/matches/{id}/score"): "ScoreBody",
    ("post", "/matches/{id}/commentary"): "NewCommentary",
    ("patch", "/matches/{id}/commentary/{commentaryId}"): "CommentaryPatch",
    ("post", "/webhooks"): "NewWebhook",
    ("patch", "/webhooks/{id}"): "WebhookPatch",
    ("post", "/webhooks/{id}/rotate"): "Rotation",
    ("post", "/webhooks/{id}/redeliver"): "Redelivery",
}


def schemas_in(value: Any) -> Iterator[Json]:
    """Yield every object of a document, including all schemas."""
    if isinstance(value, dict):
        yield value
    for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from schemas_in(member)


def request_schema(document: Json, method: str, path: str) -> Json:
    schema: Json = document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    return schema


@pytest.mark.parametrize("document", [validation.openapi(), asyncapi.document()], ids=["OpenAPI", "AsyncAPI"])
def test_no_document_forbids_additional_members(document: Json) -> None:
    closed = ("additionalProperties", "unevaluatedProperties")
    assert [schema for schema in schemas_in(document) for name in closed if schema.get(name) is False] == []


@pytest.mark.parametrize(("operation", "name"), BODIES.items())
def test_every_request_body_is_a_named_schema(operation: tuple[str, str], name: str) -> None:
    document = validation.openapi()
    assert request_schema(document, *operation) == {"$ref": f"#/components/schemas/{name}"}
    assert document["components"]["schemas"][name]["type"] == "object"


def test_there_are_no_other_request_bodies() -> None:
    paths = validation.openapi()["paths"]
    found = {(method, path) for path, item in paths.items() for method in item if "requestBody" in item[method]}
    # A file, which a worker parses.
    assert found == BODIES.keys() | {("post", "/imports")}


@pytest.mark.parametrize("name", BODIES.values())
def test_request_body_has_no_default_and_no_construct_unsupported_by_generators(name: str) -> None:
    for schema in schemas_in(validation.openapi()["components"]["schemas"][name]):
        assert not {"default", "propertyNames", "allOf", "not", "$defs"} & schema.keys()
        assert all("required" not in choice for choice in schema.get("anyOf", []))


def test_no_schema_contains_itself() -> None:
    components = validation.openapi()["components"]["schemas"]

    def contained(name: str, above: tuple[str, ...] = ()) -> None:
        assert name not in above, " → ".join((*above, name))
        for schema in schemas_in(components[name]):
            if "$ref" in schema:
                contained(schema["$ref"].rpartition("/")[2], (*above, name))

    for name in components:
        contained(name)


def test_no_message_has_a_default() -> None:
    """With a default, the type of a message would be optional in one generator and required in another."""
    assert [schema for schema in schemas_in(asyncapi.document()["components"]["schemas"]) if "default" in schema] == []
