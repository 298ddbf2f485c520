"""Endpoints, each declared once: its method and path, its input, the access it needs and its documentation.

:func:`endpoint` turns a handler into a :class:`Route`. Before the handler runs, the route checks access, parses the
input that the declaration names, and collects both in a :class:`Call`. OpenAPI is made from the same declaration.

FastAPI documents the routes and does nothing else: its dependency graph and its models for parameters and responses
are half the cost of a small request.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as PlainRoute
from starlette.types import Receive, Scope, Send

from livescore.api import access, conditions, idempotency, openapi, parse
from livescore.api.context import Services, services_of
from livescore.api.schemas.base import Answer, Body, Query
from livescore.scores.store import Condition, IdempotencyKey

AnyBody = TypeVar("AnyBody", bound=Body)
AnyQuery = TypeVar("AnyQuery", bound=Query)


@dataclass(slots=True)
class Call:
    """A request that has passed the checks of its endpoint.

    Attributes:
        request: The request.
        services: The services of this process.
        caller: Id of the key that allows the write; ``access.ANONYMOUS`` if the write needed no key.
        match_id: ``{id}`` of the path, where it is that of a match.
        object_id: ``{id}`` of the path, where it is that of another object.
        commentary_id: ``{commentaryId}`` of the path.
        competition: ``{competitionId}`` of the path.
        idempotency_key: The request's ``Idempotency-Key``, where the endpoint accepts one.
        condition: The preconditions of a write, for the store to check under the lock of the match.
    """

    request: Request
    services: Services
    caller: str = access.ANONYMOUS
    match_id: int = 0
    object_id: int = 0
    commentary_id: int = 0
    competition: str = ""
    idempotency_key: IdempotencyKey | None = None
    condition: Condition | None = None

    @property
    def request_id(self) -> str:
        """The id that the telemetry middleware gave this request; empty without it."""
        return str(self.request.scope.get("state", {}).get("request_id", ""))


class Options(TypedDict, total=False):
    """The rest of a declaration.

    Attributes:
        tag: The section of the documents.
        answer: The body of a success.
        status: The status of a success; 200 by default.
        access: The right that the caller needs; none by default.
        of: The object that ``{id}`` in the path identifies; ``match`` by default.
        content: Documentation of a body that the handler parses itself: media type → schema.
        not_found: Whether the response is 404 if the path names no object.
        conditional: Whether ``If-Match`` and ``If-None-Match`` are honoured: by the store for writes, which receive
            :attr:`Call.condition`, and by the handler for reads.
        idempotent: Whether the write honours an ``Idempotency-Key``.
        stream: Whether a success is a stream of server-sent events.
        responses: Documentation of further responses, by status.
        documented: Whether OpenAPI has the endpoint; True by default.
    """

    tag: str
    answer: type[Answer]
    status: int
    access: Literal["read", "write", "admin"]
    of: str
    content: openapi.Json
    not_found: bool
    conditional: bool
    idempotent: bool
    stream: bool
    responses: openapi.Responses
    documented: bool


@overload
def endpoint(
    method: str, path: str, *, body: type[AnyBody], **options: Unpack[Options]
) -> Callable[[Callable[[Call, AnyBody], Awaitable[Response]]], "Route"]: ...


@overload
def endpoint(
    method: str, path: str, *, query: type[AnyQuery], **options: Unpack[Options]
) -> Callable[[Callable[[Call, AnyQuery], Awaitable[Response]]], "Route"]: ...


@overload
def endpoint(
    method: str, path: str, **options: Unpack[Options]
) -> Callable[[Callable[[Call], Awaitable[Response]]], "Route"]: ...


def endpoint(
    method: str,
    path: str,
    *,
    body: type[Body] | None = None,
    query: type[Query] | None = None,
    **options: Unpack[Options],
) -> Callable[[Callable[..., Awaitable[Response]]], "Route"]:
    """Declare an endpoint. The decorated handler becomes a :class:`Route`; its docstring describes it in OpenAPI.

    Args:
        method: The HTTP method; ``GET`` includes ``HEAD``.
        path: The path, with ``{id}`` for the object that ``of`` names, ``{commentaryId}`` for an entry and
            ``{competitionId}`` for a competition.
        body: The model of the JSON body, which the handler receives as its second argument.
        query: The model of the query, which the handler receives as its second argument.
        options: See :class:`Options`.
    """

    def declare(handler: Callable[..., Awaitable[Response]]) -> Route:
        return Route(method, path, handler, body, query, options)

    return declare


class Route(APIRoute):
    """One method of one path, and the handler behind it.

    Attributes:
        accepted: The methods for an ``Allow`` header.
    """

    def __init__(
        self,
        method: str,
        path: str,
        handler: Callable[..., Awaitable[Response]],
        body: type[Body] | None,
        query: type[Query] | None,
        options: Options,
    ) -> None:
        super().__init__(
            path,
            _undocumented,
            methods=[method],
            name=handler.__name__,
            operation_id=handler.__name__,
            description=inspect.cleandoc(handler.__doc__ or ""),
            **_documentation(method, path, body, query, options),
        )
        self.accepted = {"GET", "HEAD"} if method == "GET" else {method}
        self._handler = handler
        self._body = body
        self._query = query
        self._access = options.get("access")
        self._is_conditional_write = options.get("conditional", False) and method != "GET"
        self._is_idempotent = options.get("idempotent", False)
        self._kind = options.get("of", "match") if "{id}" in path else None
        self._has_commentary_id = "{commentaryId}" in path
        self._has_competition = "{competitionId}" in path
        # Scope of idempotency keys, which are stored: it must not change between versions.
        self._key_scope = f"{method} {path}"

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match like every route, and HEAD where GET matches, although OpenAPI does not list it."""
        match, child = PlainRoute.matches(self, scope)
        child["route"] = self
        if match is Match.PARTIAL and scope["method"] in self.accepted:
            match = Match.FULL
        return match, child

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            HTTPException: 405 for a method that the route does not accept.
        """
        if scope["method"] not in self.accepted:
            raise HTTPException(405)
        response = await self._respond(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        """Check and parse the request, then run the handler."""
        call = Call(request, services_of(request))
        if self._access == "read":
            access.require_read(request, call.services)
        elif self._access is not None:
            call.caller = access.require_write(request, call.services, self._access)
        self._add_ids(call)
        if self._query is not None:
            return await self._handler(call, parse.query(request, self._query))
        if self._body is None:
            self._add_conditions(call)
            return await self._handler(call)
        body = await parse.body(request, self._body)
        if self._is_idempotent:
            key_scope = self._key_scope.replace("{id}", str(call.match_id))
            call.idempotency_key = await idempotency.key(request, key_scope, call.caller)
        self._add_conditions(call)
        return await self._handler(call, body)

    def _add_ids(self, call: Call) -> None:
        if self._kind == "match":
            call.match_id = parse.path_id(call.request, "id", "match")
        elif self._kind is not None:
            call.object_id = parse.path_id(call.request, "id", self._kind)
        if self._has_commentary_id:
            call.commentary_id = parse.path_id(call.request, "commentaryId", "commentary")
        if self._has_competition:
            call.competition = parse.path_label(call.request, "competitionId", "competition")

    def _add_conditions(self, call: Call) -> None:
        if self._is_conditional_write:
            call.condition = conditions.of_write(call.request, call.match_id)


async def _undocumented() -> None:
    """Replace the handler, because FastAPI would derive parameters from its signature."""


def _documentation(
    method: str, path: str, body: type[Body] | None, query: type[Query] | None, options: Options
) -> dict[str, Any]:
    """Return the arguments of ``APIRoute`` that document a declaration."""
    is_stream = options.get("stream", False)
    arguments: dict[str, Any] = {
        "tags": [options["tag"]] if "tag" in options else None,
        "status_code": options.get("status"),
        "responses": _responses(method, options),
        "openapi_extra": _operation(path, body, query, options),
        "include_in_schema": options.get("documented", True),
    }
    if is_stream:
        arguments["response_class"] = Response
    else:
        arguments["response_model"] = options.get("answer")
    return arguments


def _responses(method: str, options: Options) -> openapi.Responses:
    statuses: set[int] = set()
    if "access" in options:
        statuses |= {400, 401, 403, 429, 503}
    if options.get("access") in ("write", "admin") and method != "GET":
        statuses |= {408, 409, 413}
    if options.get("conditional"):
        statuses |= {304, 412} if method == "GET" else {412}
    if options.get("idempotent"):
        statuses.add(422)
    if options.get("not_found"):
        statuses.add(404)
    responses = openapi.problems(*sorted(statuses))
    if options.get("stream"):
        responses[200] = openapi.STREAM
    if options.get("status") == 201:
        responses[201] = openapi.CREATED
    return {**responses, **options.get("responses", {})}


def _operation(path: str, body: type[Body] | None, query: type[Query] | None, options: Options) -> openapi.Json:
    """Return the members of the OpenAPI operation that FastAPI does not derive."""
    parameters = [openapi.path_parameter(name) for name in openapi.PATH_PARAMETERS if f"{{{name}}}" in path]
    if query is not None:
        parameters += openapi.query_parameters(query)
    parameters += _headers(options)
    operation: openapi.Json = {}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = openapi.request_body(body)
    if "content" in options:
        operation["requestBody"] = {"required": True, "content": options["content"]}
    if options.get("access") in ("write", "admin"):
        operation["security"] = openapi.WRITE_SECURITY
    return operation


def _headers(options: Options) -> list[openapi.Json]:
    """Return the header parameters of an operation."""
    parameters = []
    if options.get("idempotent"):
        parameters.append(openapi.IDEMPOTENCY_KEY)
    if options.get("conditional"):
        parameters += openapi.CONDITIONS
    if options.get("stream"):
        parameters.append(openapi.LAST_EVENT_ID)
    return parameters
