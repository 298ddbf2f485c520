"""The OpenAPI document: exact enough that a client, or a test, may be made from it.

FastAPI collects routes and answers; bodies and parameters come from the models that :mod:`livescore.api.parse` uses.
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
from livescore.api.schemas.problems import Problem
from livescore.scores.rules import INT4_MAX

DESCRIPTION = "Live scores: REST, WebSocket and server-sent events."

Json = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

_SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer lsk_…`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
# Either scheme, or none where no key is configured: then writes are open.
WRITE_SECURITY: list[Json] = [{"bearer": []}, {"header": []}, {}]

_WHY = {
    304: "Not changed since `If-None-Match`",
    400: "Invalid input; `details` name the places",
    401: "A key is needed, or is not valid",
    403: "The key may not do this",
    404: "There is no such thing",
    408: "The request did not arrive in time",
    409: "The state of the match, or a request that is still running, does not allow it",
    412: "`If-Match` or `If-None-Match` does not allow it",
    413: "The body is larger than 100 kB",
    422: "This `Idempotency-Key` was used for another request",
    429: "Too many requests",
    503: "PostgreSQL is away; try again after `Retry-After` seconds",
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 0}}}
_CREATED_HEADERS = {
    "Location": {"description": "Path of what was created", "schema": {"type": "string"}},
    "ETag": {"description": "Version of what was created, for `If-Match`", "schema": {"type": "string"}},
}
# The documentation of 201 and of a stream, for ``responses`` of a route.
CREATED: Json = {"headers": _CREATED_HEADERS}
STREAM: Json = {
    "description": "Events, each as `data:` a message as over WebSocket",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


class _QuerySchema(GenerateJsonSchema):
    """A default of None stands for a parameter that may be left out, not for one that may be null."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the inner schema alone where the default is None."""
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


class _BodySchema(GenerateJsonSchema):
    """Members with a default may be left out. The default itself is prose: with it TypeScript would require them."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the inner schema alone."""
        return self.generate_inner(schema["schema"])


def problems(*statuses: int) -> Responses:
    """The ``responses`` of errors, for a route."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> Json:
    described: Json = {"description": _WHY[status]}
    if status in (429, 503):
        described["headers"] = _RETRY_AFTER
    return described if status == 304 else {"model": Problem, **described}


_bodies: set[type[Body]] = set()


def request_body(model: type[Body]) -> Json:
    """Return the ``requestBody`` of an operation: a reference, since generators name types after components."""
    _bodies.add(model)
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def body_schema(model: type[Body]) -> Json:
    """Return the component of a request body."""
    return _schema(model, _BodySchema)


def query_parameters(model: type[Query]) -> list[Json]:
    """One parameter for each member of the model."""
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


def path_parameter(name: str) -> Json:
    """A positive int4 of the path."""
    schema = {"type": "integer", "minimum": 1, "maximum": INT4_MAX}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def header_parameter(name: str, description: str, schema: Json) -> Json:
    """An optional request header."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


IDEMPOTENCY_KEY = header_parameter(
    "Idempotency-Key",
    "The first answer to this key comes again for the same body.",
    {"type": "string", "pattern": KEY_PATTERN},
)
LAST_EVENT_ID = header_parameter("Last-Event-ID", "The id of the last event seen.", {"type": "string"})
CONDITIONS = [
    header_parameter("If-Match", "Only if one of these ETags is the current one.", {"type": "string"}),
    header_parameter("If-None-Match", "Only if none of these ETags is the current one.", {"type": "string"}),
]


def document(routes: Sequence[BaseRoute]) -> Json:
    """Return the whole document for the routes of an application."""
    made = get_openapi(title="LiveScore", version=__version__, description=DESCRIPTION, routes=routes)
    components = made.setdefault("components", {})
    components.setdefault("schemas", {}).update({model.__name__: body_schema(model) for model in _bodies})
    components["securitySchemes"] = _SECURITY_SCHEMES
    return made


def document_of(application: Starlette) -> Json:
    """Return the document of an application, which is made once."""
    state = application.state
    if not hasattr(state, "openapi"):
        state.openapi = document(application.routes)
    openapi: Json = state.openapi
    return openapi
