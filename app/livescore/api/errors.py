"""What goes wrong, and how it is answered: always ``{"error": text}`` and what helps beside it.

::

    Exception
    ├── Refused                 the request itself is at fault
    │   └── BadRequest          400, with ``details``
    ├── AccessDenied            401, 403 or 503  (livescore.security.keys)
    ├── NotFound                404              (livescore.scores.store)
    ├── Conflict                409              (livescore.scores.rules)
    ├── Invalid                 400              (livescore.scores.rules)
    ├── StillRunning            409              (livescore.scores.store)
    ├── PreconditionFailed      412              (livescore.scores.store)
    ├── KeyReused               422              (livescore.scores.store)
    ├── DatabaseAway            503              (livescore.scores.database)
    └── HTTPException           404, 405, 413    (starlette)
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import orjson
import structlog
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match

from livescore.api.routing import Route
from livescore.scores.database import DatabaseAway
from livescore.scores.rules import Conflict, Invalid
from livescore.scores.store import KeyReused, NotFound, PreconditionFailed, StillRunning
from livescore.security.keys import AccessDenied

log = structlog.get_logger(__name__)

# Caps on reported faults: the answer to a body full of faults must not be many times its size.
MOST_DETAILS = 20
LONGEST_KEY = 100  # characters of a client's own key in the path of a fault

# Seconds. Long enough for a fail-over's first try, short enough that a client with one retry is served.
RETRY = {"Retry-After": "1"}

INVALID_BODY = "Invalid request body"

# Where pydantic's sentences speak of Python's types.
_JSON_TYPES = {
    "model_type": "Input should be a JSON object",
    "dict_type": "Input should be a JSON object",
    "list_type": "Input should be a JSON array",
}


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault of a request: where it is and what is wrong there."""

    path: tuple[str | int, ...]
    message: str


class Refused(Exception):
    """The request cannot be served as it is; ``status`` and ``error`` are the answer."""

    def __init__(self, status: int, error: str) -> None:
        self.status = status
        self.error = error
        super().__init__(error)


class BadRequest(Refused):
    """400: ``issues`` say what is wrong with the request."""

    def __init__(self, error: str, *issues: Issue) -> None:
        self.issues = issues
        super().__init__(400, error)

    @classmethod
    def of(cls, error: str, validation: ValidationError) -> Self:
        """The faults that pydantic found."""
        found = validation.errors(include_url=False, include_context=False, include_input=False)
        issues = (Issue(issue["loc"], _JSON_TYPES.get(issue["type"], issue["msg"])) for issue in found[:MOST_DETAILS])
        return cls(error, *issues)


def answer(status: int, error: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """The envelope of every error."""
    return Response(orjson.dumps({"error": error, **more}), status, headers, media_type="application/json")


async def respond(request: Request, error: Exception) -> Response:
    """The answer to an error of the tree above."""
    match error:
        case Refused() | Invalid():
            return _refused(error)
        case AccessDenied():
            return answer(error.status, error.message, error.headers)
        case HTTPException():
            return _http(request, error)
    for kind, (status, headers) in _PLAIN.items():
        if isinstance(error, kind):
            return answer(status, str(error) or "Incomplete request", headers)
    return _failed(request, error)


# Those whose own text is the answer.
_PLAIN: dict[type[Exception], tuple[int, Mapping[str, str] | None]] = {
    NotFound: (404, None),
    Conflict: (409, None),
    PreconditionFailed: (412, None),
    StillRunning: (409, RETRY),
    KeyReused: (422, None),
    ClientDisconnect: (400, None),  # nobody is there to read it
}


def _failed(request: Request, error: Exception) -> Response:
    if isinstance(error, DatabaseAway):
        return answer(503, "Service unavailable", RETRY, reason=str(error))
    log.error("request failed", method=request.method, request_id=request_id(request), exc_info=error)
    return answer(500, "Internal server error")


def _refused(error: Refused | Invalid) -> Response:
    if isinstance(error, Invalid):
        return answer(400, INVALID_BODY, details=[_detail((error.field,), str(error))])
    if isinstance(error, BadRequest):
        return answer(error.status, error.error, details=[_detail(issue.path, issue.message) for issue in error.issues])
    return answer(error.status, error.error, RETRY if error.status in (429, 503) else None)


def _detail(path: tuple[str | int, ...], message: str) -> dict[str, Any]:
    return {"path": [part[:LONGEST_KEY] if isinstance(part, str) else part for part in path], "message": message}


def _http(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_allowed(request)))
    return answer(error.status_code, HTTPStatus(error.status_code).phrase.capitalize(), headers)


def _allowed(request: Request) -> set[str]:
    """Every method that some route has for this path: a router knows only the first route that fits it."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.allowed() if isinstance(route, Route) else getattr(route, "methods", None) or set()
    return methods


def request_id(request: Request) -> str:
    """What the telemetry middleware named this request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


# For FastAPI(exception_handlers=…); the last makes every other exception a 500.
handlers: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = dict.fromkeys(
    (Refused, Invalid, AccessDenied, HTTPException, *_PLAIN, DatabaseAway, Exception), respond
)
