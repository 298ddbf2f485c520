"""The OpenAPI document, exact enough to generate clients and tests from it.

FastAPI collects the routes and the response models. Bodies and parameters come from the models that
:mod:`livescore.api.parse` uses.
"""

from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from livescore import __version__
from livescore.api.idempotency import KEY_PATTERN
from livescore.api.schemas.base import Body, Query
from livescore.api.schemas.fields import MAX_LABEL_LENGTH
from livescore.api.schemas.problems import Problem
from livescore.api.schemas.webhooks import WebhookPayload
from livescore.event_types import EVENT_TYPES
from livescore.scores.rules import INT4_MAX

DESCRIPTION = "Live scores: REST, WebSocket and server-sent events."

Json = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

_SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer lsk_…`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
# Either scheme, or none: without any configured key, writes need none.
WRITE_SECURITY: list[Json] = [{"bearer": []}, {"header": []}, {}]

_DESCRIPTIONS = {
    304: "Not modified: the client has the representation that `If-None-Match` names",
    400: "Invalid input; `details` name the faults",
    401: "The request needs a key, or its key is not valid",
    403: "The scopes of the key do not allow this request",
    404: "No object has this id",
    408: "The request did not arrive in time",
    409: "The state of the match does not allow the change, or the first request with this key is still running",
    412: "The current state is not the one that `If-Match` or `If-None-Match` expects",
    413: "The body is larger than 100 kB",
    422: "This `Idempotency-Key` was used for another request",
    429: "Too many requests",
    503: "PostgreSQL cannot be used; try again after `Retry-After` seconds",
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 0}}}
_CREATED_HEADERS = {
    "Location": {"description": "Path of the new object", "schema": {"type": "string"}},
    "ETag": {"description": "Version of the new object, for `If-Match`", "schema": {"type": "string"}},
}
# The documentation of 201, 202 and of a stream, for the ``responses`` of a route.
CREATED: Json = {"headers": _CREATED_HEADERS}
ACCEPTED: Json = {"headers": {"Location": _CREATED_HEADERS["Location"]}}
STREAM: Json = {
    "description": "Events. The `data` of each is the message that a WebSocket would receive",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


class _QuerySchema(GenerateJsonSchema):
    """Schema of parameters. A default of None means that the parameter is optional, not that it may be null."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return only the inner schema if the default is None."""
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


class _BodySchema(GenerateJsonSchema):
    """Schema of request bodies. Members with a default are optional.

    The default itself is only in the description: with a ``default``, generated TypeScript requires the member.
    """

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return only the inner schema."""
        return self.generate_inner(schema["schema"])


def problems(*statuses: int) -> Responses:
    """Return the ``responses`` of a route for these error statuses."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> Json:
    described: Json = {"description": _DESCRIPTIONS[status]}
    if status in (429, 503):
        described["headers"] = _RETRY_AFTER
    return described if status == 304 else {"model": Problem, **described}


_bodies: set[type[Body]] = set()


def request_body(model: type[Body]) -> Json:
    """Return the ``requestBody`` of an operation: a reference, because generators name types after components."""
    _bodies.add(model)
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def body_schema(model: type[Body]) -> Json:
    """Return the component of a request body."""
    return _schema(model, _BodySchema)


def query_parameters(model: type[Query]) -> list[Json]:
    """Return one parameter per member of a model."""
    return [_query_parameter(name, schema) for name, schema in _schema(model, _QuerySchema)["properties"].items()]


def _query_parameter(name: str, schema: Json) -> Json:
    parameter: Json = {"name": name, "in": "query", "required": False, "schema": schema}
    if "description" in schema:
        parameter["description"] = schema.pop("description")
    if schema.get("type") == "array":
        parameter |= {"style": "form", "explode": True}
    return parameter


def _schema(model: type[BaseModel], generator: type[GenerateJsonSchema]) -> Json:
    schema = model.model_json_schema(by_alias=True, schema_generator=generator)
    for member in (schema, *schema["properties"].values()):
        member.pop("title", None)
    return schema


_ID: Json = {"type": "integer", "minimum": 1, "maximum": INT4_MAX}
_LABEL: Json = {"type": "string", "minLength": 1, "maxLength": MAX_LABEL_LENGTH, "pattern": "^[^/\\u0000]+$"}

PATH_PARAMETERS: dict[str, Json] = {"id": _ID, "commentaryId": _ID, "competitionId": _LABEL}
"""Schemas by the names of path parameters."""


def path_parameter(name: str) -> Json:
    """Return a path parameter."""
    return {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]}


def header_parameter(name: str, description: str, schema: Json) -> Json:
    """Return an optional header parameter."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


IDEMPOTENCY_KEY = header_parameter(
    "Idempotency-Key",
    "Repeating a request with the same key and body returns the first response again.",
    {"type": "string", "pattern": KEY_PATTERN},
)
LAST_EVENT_ID = header_parameter(
    "Last-Event-ID", "The id of the last event that the client received.", {"type": "string"}
)
_DELIVERY_HEADERS = [
    header_parameter("webhook-id", "Id of the event, the same for all attempts.", {"type": "string"}),
    header_parameter("webhook-timestamp", "Time of the attempt in seconds since 1970.", {"type": "integer"}),
    header_parameter("webhook-signature", "`v1,…` for each valid secret, by Standard Webhooks.", {"type": "string"}),
]
CONDITIONS = [
    header_parameter("If-Match", "Proceed only if one of these ETags is the current one.", {"type": "string"}),
    header_parameter("If-None-Match", "Proceed only if none of these ETags is the current one.", {"type": "string"}),
]


def _webhooks(schemas: Json) -> Json:
    """Return the requests that this service sends to webhooks, and add the schema of their body to ``schemas``."""
    schema = WebhookPayload.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    schemas.update({**schema.pop("$defs"), **schemas})
    schemas[WebhookPayload.__name__] = schema
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{WebhookPayload.__name__}"}}}
    return {type_: {"post": _delivery(type_, content)} for type_ in (*EVENT_TYPES, "test")}


def _delivery(type_: str, content: Json) -> Json:
    return {
        "operationId": f"webhook_{type_}",
        "summary": f"An event of type {type_}",
        "tags": ["webhooks"],
        "parameters": [{**parameter, "required": True} for parameter in _DELIVERY_HEADERS],
        "requestBody": {"required": True, "content": content},
        "responses": {"2XX": {"description": "The event is delivered"}, "410": {"description": "Disable the webhook"}},
    }


def document(routes: Sequence[BaseRoute]) -> Json:
    """Return the whole document for the routes of an application."""
    made = get_openapi(title="LiveScore", version=__version__, description=DESCRIPTION, routes=routes)
    components = made.setdefault("components", {})
    components.setdefault("schemas", {}).update({model.__name__: body_schema(model) for model in _bodies})
    components["securitySchemes"] = _SECURITY_SCHEMES
    made["webhooks"] = _webhooks(components["schemas"])
    return made


def document_of(application: Starlette) -> Json:
    """Return the document of an application, which is made once."""
    state = application.state
    if not hasattr(state, "openapi"):
        state.openapi = document(application.routes)
    openapi: Json = state.openapi
    return openapi
