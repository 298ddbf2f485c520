"""Cross-origin resource sharing: its headers on every response, and the responses to preflight requests."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livescore.api.refusals import refuse_request
from livescore.http_errors import Forbidden
from livescore.security.origins import Header, OriginPolicy, header_value

_METHODS = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST"
_PREFLIGHT_MAX_AGE_SECONDS = 600


class Cors:
    """ASGI middleware that adds CORS headers to every response and answers preflight requests.

    It wraps the whole application, so that a page can read a 429, a 413 or a 500. Preflight requests do not count
    against the rate limit: browsers hide the response to a refused one, so the page could not read ``Retry-After``.
    """

    def __init__(self, app: ASGIApp, *, policy: OriginPolicy) -> None:
        self._app = app
        self._policy = policy

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        request_headers = scope["headers"]
        added = self._policy.response_headers(request_headers)
        allowed = self._policy.allows_request(request_headers)
        if not allowed:
            self._policy.hint(request_headers)
        sender = _send_with_headers(send, added) if added else send
        if not _is_preflight(scope):
            return self._app(scope, receive, sender)
        if not allowed:
            return refuse_request(sender, Forbidden("Origin not allowed"))
        return _answer_preflight(scope, sender)


def _send_with_headers(send: Send, added: list[Header]) -> Send:
    def send_with_headers(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *added]
        return send(message)

    return send_with_headers


def _is_preflight(scope: Scope) -> bool:
    if scope["method"] != "OPTIONS":
        return False
    names = {name for name, _ in scope["headers"]}
    return b"origin" in names and b"access-control-request-method" in names


async def _answer_preflight(scope: Scope, send: Send) -> None:
    headers = [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-max-age", b"%d" % _PREFLIGHT_MAX_AGE_SECONDS),
    ]
    # Echoed because `*` does not include Authorization.
    requested = header_value(scope["headers"], b"access-control-request-headers")
    if requested:
        headers.append((b"access-control-allow-headers", requested.encode("latin-1")))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
