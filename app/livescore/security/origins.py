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
        origin = header_value(headers, b"origin")
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
        origin = header_value(headers, b"origin")
        if not origin or not self._is_listed(origin):
            return [vary]
        allowed = (b"access-control-allow-origin", origin.encode("latin-1"))
        return [vary, allowed, (b"access-control-expose-headers", _EXPOSED)]

    def allows_request(self, headers: Iterable[Header]) -> bool:
        """Return whether the page that sent a request may read the answer, as far as its origin goes."""
        origin = header_value(headers, b"origin")
        return not origin or self._is_listed(origin)

    def hint(self, headers: Iterable[Header]) -> None:
        """Log that an origin was refused and how to admit it: seldom, since anyone can send any origin."""
        origin, now = header_value(headers, b"origin") or "", monotonic()
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
        host, scheme = header_value(headers, b"host"), origin.partition("://")[0].lower()
        own = _normalized(f"{scheme}://{host}") if host and scheme in ("http", "https") else None
        return own is not None and own == _normalized(origin)


def header_value(headers: Iterable[Header], name: bytes) -> str | None:
    """Return a header, or None. Several lines are one list, which is neither an origin nor a host."""
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
