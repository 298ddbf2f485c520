"""What web pages of other origins may do: CORS for requests, and the check of WebSocket handshakes.

Both ask the same :class:`OriginPolicy`. Clients other than browsers send no ``Origin`` and are not meant.
"""

from collections.abc import Iterable
from functools import lru_cache
from time import monotonic

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livescore import web_origin
from livescore.security.rate_limit import refuse_handshake
from livescore.settings import Settings

log = structlog.get_logger(__name__)

Header = tuple[bytes, bytes]

_METHODS = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST"
_EXPOSED = b"ETag, Idempotency-Replayed, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
_PREFLIGHT_MAX_AGE_SECONDS = 600

_HINT_SECONDS = 600.0  # between two log lines about the same origin
_HINTED_ORIGINS = 100  # remembered at once; while all are recent, further ones are not logged: they may be made up
_LOGGED_CHARACTERS = 200
_LONGEST_ORIGIN = 300


class OriginPolicy:
    """Which origins ``ALLOWED_ORIGINS`` admits, and the headers that tell browsers."""

    def __init__(self, settings: Settings) -> None:
        self._listed = frozenset(settings.allowed_origins)
        self._any = web_origin.ANY in self._listed
        self._hinted: dict[str, float] = {}

    def allows_socket(self, headers: Iterable[Header]) -> bool:
        """Return whether a page may open a WebSocket: one of this very host, or of a listed origin."""
        origin = _value(headers, b"origin")
        return not origin or self._is_listed(origin) or self._is_own(origin, headers)

    def response_headers(self, headers: Iterable[Header]) -> list[Header]:
        """Return the CORS headers of any answer to a request with these headers, errors included.

        Caches see them as well, so they do not depend on whether there is an ``Origin`` at all.
        """
        if self._any:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)]
        if not self._listed:
            return []
        vary = (b"vary", b"Origin")
        origin = _value(headers, b"origin")
        if not origin or not self._is_listed(origin):
            return [vary]
        allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
        return [vary, allowed, (b"access-control-expose-headers", _EXPOSED)]

    def allows_request(self, headers: Iterable[Header]) -> bool:
        """Return whether the page that sent a request may read the answer, as far as its origin goes."""
        origin = _value(headers, b"origin")
        return not origin or self._is_listed(origin)

    def hint(self, headers: Iterable[Header]) -> None:
        """Log that an origin was refused and how to admit it: seldom, since anyone can send any origin."""
        origin, now = _value(headers, b"origin") or "", monotonic()
        if not origin or self._is_own(origin, headers) or self._hinted.get(origin, 0.0) > now:
            return
        if len(self._hinted) >= _HINTED_ORIGINS:
            self._hinted = {known: until for known, until in self._hinted.items() if until > now}
            if len(self._hinted) >= _HINTED_ORIGINS:
                return
        self._hinted[origin] = now + _HINT_SECONDS
        log.warning(
            "refused a web page of another origin: add its origin to ALLOWED_ORIGINS if it may use this service",
            origin=origin[:_LOGGED_CHARACTERS],
            allowed=sorted(self._listed),
        )

    def _is_listed(self, origin: str) -> bool:
        return self._any or _normalized(origin) in self._listed

    @staticmethod
    def _is_own(origin: str, headers: Iterable[Header]) -> bool:
        """Whether a page came from the host that its request goes to; TLS may end before this process."""
        host, scheme = _value(headers, b"host"), origin.partition("://")[0].lower()
        own = _normalized(f"{scheme}://{host}") if host and scheme in ("http", "https") else None
        return own is not None and own == _normalized(origin)


def _value(headers: Iterable[Header], name: bytes) -> str | None:
    """Return a header; several lines are one list, which is no origin and no host."""
    values = [value for key, value in headers if key == name]
    return b", ".join(values).decode("latin-1").strip() if values else None


def _normalized(origin: str) -> str | None:
    # Longer than any host name: not worth the memory of the cache.
    return _parsed(origin) if len(origin) <= _LONGEST_ORIGIN else None


@lru_cache(maxsize=1_024)
def _parsed(origin: str) -> str | None:
    try:
        return web_origin.normalize(origin)
    except web_origin.OriginError:
        return None


class Cors:
    """ASGI middleware: CORS headers on every answer, and the answers to preflight requests.

    It wraps the whole application, so that a page can read a 429, a 413 or a 500. Preflights are not counted against
    the rate limit: browsers hide the answer to a refused preflight, so the page would not learn of ``Retry-After``.
    """

    def __init__(self, app: ASGIApp, *, policy: OriginPolicy) -> None:
        self.app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        added = self._policy.response_headers(scope["headers"])
        allowed = self._policy.allows_request(scope["headers"])
        if not allowed:
            self._policy.hint(scope["headers"])
        if _is_preflight(scope):
            await _answer_preflight(scope, send, added, allowed=allowed)
        elif added:
            await self.app(scope, receive, _sending(send, added))
        else:
            await self.app(scope, receive, send)


def _sending(send: Send, added: list[Header]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *added]
        await send(message)

    return send_with_headers


def _is_preflight(scope: Scope) -> bool:
    if scope["method"] != "OPTIONS":
        return False
    names = {name for name, _ in scope["headers"]}
    return b"origin" in names and b"access-control-request-method" in names


async def _answer_preflight(scope: Scope, send: Send, added: list[Header], *, allowed: bool) -> None:
    if not allowed:
        body = b'{"error":"Origin not allowed"}'
        content = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 403, "headers": [*content, *added]})
        await send({"type": "http.response.body", "body": body})
        return
    headers = [
        *added,
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-max-age", b"%d" % _PREFLIGHT_MAX_AGE_SECONDS),
    ]
    # Echoed rather than `*`, which does not stand for Authorization.
    if wanted := _value(scope["headers"], b"access-control-request-headers"):
        headers.append((b"access-control-allow-headers", wanted.encode("latin-1")))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class WebSocketOrigin:
    """ASGI middleware that answers 403 to WebSocket handshakes from foreign web pages."""

    def __init__(self, app: ASGIApp, *, policy: OriginPolicy) -> None:
        self.app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not self._policy.allows_socket(scope["headers"]):
            self._policy.hint(scope["headers"])
            await refuse_handshake(scope, receive, send, 403, "Origin not allowed")
        else:
            await self.app(scope, receive, send)
