"""Identifies, counts and times every request."""

import itertools
import re
import secrets
from collections.abc import Awaitable, Callable
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livescore.telemetry import metrics
from livescore.telemetry.logs import bind_request_id

# Not an HTTP status: the client closed the connection before the response.
_NO_RESPONSE = 499

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# A random prefix per process and a counter: as unique as random bytes, at a tenth of their cost.
_prefix = secrets.token_hex(4).encode()
_numbers = itertools.count(1)


class RequestTelemetry:
    """ASGI middleware that gives every request an id, and counts and times it by method, route template and status.

    A well-formed ``X-Request-ID`` of the client is kept. The id is in ``scope["state"]["request_id"]``, in the logs and
    in the response.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        kind = scope["type"]
        if kind == "http":
            await self._observe(scope, receive, send, _identify(scope))
        else:
            if kind == "websocket":
                _identify(scope)
            await self._app(scope, receive, send)

    async def _observe(self, scope: Scope, receive: Receive, send: Send, header: tuple[bytes, bytes]) -> None:
        start = perf_counter()
        answered = False

        def send_observed(message: Message) -> Awaitable[None]:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                message["headers"] = [*message.get("headers", ()), header]
                _record(scope, message["status"], perf_counter() - start)
            return send(message)

        try:
            await self._app(scope, receive, send_observed)
        except Exception:
            if not answered:
                _record(scope, 500, perf_counter() - start)
            raise
        if not answered:
            _record(scope, _NO_RESPONSE, perf_counter() - start)


def _identify(scope: Scope) -> tuple[bytes, bytes]:
    """Give a request its id. Returns the response header."""
    request_id = b""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value
            break
    request_id = request_id or b"%s-%x" % (_prefix, next(_numbers))
    text = request_id.decode("ascii")
    scope.setdefault("state", {})["request_id"] = text
    bind_request_id(text)
    return (b"x-request-id", request_id)


_Recorder = tuple[Callable[[], None], Callable[[float], None]]
_recorders: dict[tuple[str, str, int], _Recorder] = {}


def _record(scope: Scope, status: int, seconds: float) -> None:
    key = (scope["method"], _route_template(scope), status)
    count, observe = _recorders.get(key) or _recorder(key)
    count()
    observe(seconds)


def _route_template(scope: Scope) -> str:
    route = scope.get("route")
    if route is None:
        return metrics.UNMATCHED_ROUTE
    return f"{scope.get('root_path', '')}{route.path}"


def _recorder(key: tuple[str, str, int]) -> _Recorder:
    method, route, status = key
    is_known = method in metrics.METHODS
    counter = metrics.HTTP_REQUESTS.labels(method if is_known else "other", route, str(status))
    recorder: _Recorder = (counter.inc, metrics.HTTP_REQUEST_SECONDS.labels(route).observe)
    if is_known:  # clients can invent methods: caching those would let a client fill the memory
        _recorders[key] = recorder
    return recorder
