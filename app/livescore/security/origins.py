"""The policy for web pages of other origins, for CORS and for WebSocket handshakes.

Clients other than browsers send no ``Origin`` and are not affected.
"""

from collections.abc import Iterable
from functools import lru_cache
from time import monotonic

import structlog

from livescore import web_origin
from livescore.settings import Settings

log = structlog.get_logger(__name__)

Header = tuple[bytes, bytes]

_EXPOSED = b"ETag, Idempotency-Replayed, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"

# Seconds between two log lines about the same origin.
_HINT_SECONDS = 600.0
# Origins remembered at once. While all of them are recent, others are not logged: clients can invent any number.
_HINTED_ORIGINS = 100
_LOGGED_CHARACTERS = 200
_LONGEST_ORIGIN = 300


class OriginPolicy:
    """The origins that ``ALLOWED_ORIGINS`` admits, and the CORS headers for browsers."""

    def __init__(self, settings: Settings) -> None:
        self._listed = frozenset(settings.allowed_origins)
        self._any = web_origin.ANY in self._listed
        self._hinted: dict[str, float] = {}

    def allows_socket(self, headers: Iterable[Header]) -> bool:
        """Return True if a page may open a WebSocket: its origin is this host or listed."""
        origin = header_value(headers, b"origin")
        return not origin or self._is_listed(origin) or self._is_own(origin, headers)

    def response_headers(self, headers: Iterable[Header]) -> list[Header]:
        """Return the CORS headers of every response to a request with these headers, including errors.

        Caches store them too, so they do not depend on the presence of an ``Origin``.
        """
        if self._any:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)]
        if not self._listed:
            return []
        vary = (b"vary", b"Origin")
        origin = header_value(headers, b"origin")
        if not origin or not self._is_listed(origin):
            return [vary]
        allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
        return [vary, allowed, (b"access-control-expose-headers", _EXPOSED)]

    def allows_request(self, headers: Iterable[Header]) -> bool:
        """Return True if the origin of a request allows its page to read the response."""
        origin = header_value(headers, b"origin")
        return not origin or self._is_listed(origin)

    def hint(self, headers: Iterable[Header]) -> None:
        """Log that an origin was refused and how to allow it. Rate-limited, because clients can send any origin."""
        now = monotonic()
        origin = header_value(headers, b"origin") or ""
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
        """Return True if a page comes from the host of its request.

        The scheme is that of the page, because TLS may end at a proxy.
        """
        host = header_value(headers, b"host")
        scheme = origin.partition("://")[0].lower()
        if not host or scheme not in ("http", "https"):
            return False
        own = _normalized(f"{scheme}://{host}")
        return own is not None and own == _normalized(origin)


def header_value(headers: Iterable[Header], name: bytes) -> str | None:
    """Return a header, or None. Several lines are one list, which is neither an origin nor a host."""
    values = [value for key, value in headers if key == name]
    return b", ".join(values).decode("latin-1").strip() if values else None


def _normalized(origin: str) -> str | None:
    # Longer texts are not origins, and would fill the cache.
    return _parsed(origin) if len(origin) <= _LONGEST_ORIGIN else None


@lru_cache(maxsize=1_024)
def _parsed(origin: str) -> str | None:
    try:
        return web_origin.normalize(origin)
    except web_origin.OriginError:
        return None
