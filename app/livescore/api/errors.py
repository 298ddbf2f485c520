"""Responses to the errors of handlers; :mod:`livescore.http_errors` has the tree and the envelope."""

from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match

from livescore.http_errors import HttpError, envelope

log = structlog.get_logger(__name__)


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error envelope as a response."""
    return Response(envelope(message), status, headers, media_type="application/json")


async def respond(_: Request, error: HttpError) -> Response:
    """Return the response that an error carries."""
    return Response(error.body(), error.status, error.headers, media_type="application/json")


async def respond_to_routing(request: Request, error: HTTPException) -> Response:
    """Return the response to a request that Starlette's router refuses: 404, or 405 with all allowed methods."""
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_allowed_methods(request)))
    return error_response(error.status_code, HTTPStatus(error.status_code).phrase.capitalize(), headers)


async def respond_to_disconnect(_: Request, __: ClientDisconnect) -> Response:
    """Return a response for a client that closed the connection before its request was complete."""
    return error_response(400, "Incomplete request")


async def respond_to_failure(request: Request, error: Exception) -> Response:
    """Log an unexpected error and return 500."""
    log.error("request failed", method=request.method, request_id=request_id(request), exc_info=error)
    return Response(HttpError().body(), 500, media_type="application/json")


def _allowed_methods(request: Request) -> set[str]:
    """Return the methods of all routes with this path; the router knows only the first of them."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "accepted", None) or getattr(route, "methods", None) or set()
    return methods


def request_id(request: Request) -> str:
    """Return the id that the telemetry middleware gave this request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


# ``exception_handlers`` of an application. Starlette chooses by the most specific class of an error.
handlers: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    HttpError: respond,
    HTTPException: respond_to_routing,
    ClientDisconnect: respond_to_disconnect,
    Exception: respond_to_failure,
}
