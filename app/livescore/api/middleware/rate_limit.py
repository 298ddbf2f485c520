"""Enforces the rate limits on requests and WebSocket handshakes."""

import math
from collections.abc import Awaitable, Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livescore.api.refusals import refuse_handshake, refuse_request
from livescore.http_errors import TooManyRequests
from livescore.security.client_address import ClientAddress
from livescore.security.limiter import Decision, Kind, Limiter
from livescore.settings import Settings

log = structlog.get_logger(__name__)

OnLimited = Callable[[str, str], None]
"""Called with the kind and the mode of every hit that exceeds its limit, for the metrics."""


class RateLimit:
    """ASGI middleware that refuses (``LIVE``) or logs (``DRY_RUN``) what exceeds a limit; ``/health*`` is exempt."""

    def __init__(
        self, app: ASGIApp, *, settings: Settings, limiter: Limiter, on_limited: OnLimited = lambda kind, mode: None
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._address = ClientAddress(settings.trusted_proxies)
        self._mode = settings.security_mode
        self._enforces = settings.security_mode == "LIVE"
        self._on_limited = on_limited
        self._policy = (b"ratelimit-policy", limiter.policy("http").encode())

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a request or a handshake, or refuse it."""
        if scope["type"] == "http" and not _is_probe(scope["path"]):
            return self._limit_request(scope, receive, send)
        if scope["type"] == "websocket":
            return self._limit_handshake(scope, receive, send)
        return self._app(scope, receive, send)

    async def _limit_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        decision = await self._decide("http", self._address(scope))
        headers = (self._policy, (b"ratelimit", _quota("http", decision)))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        if decision.allowed or not self._enforces:
            await self._app(scope, receive, send_with_headers)
        else:
            await refuse_request(send_with_headers, _too_many_requests(decision))

    async def _limit_handshake(self, scope: Scope, receive: Receive, send: Send) -> None:
        decision = await self._decide("handshake", self._address(scope))
        if decision.allowed or not self._enforces:
            await self._app(scope, receive, send)
        else:
            await refuse_handshake(scope, receive, send, _too_many_requests(decision))

    async def _decide(self, kind: Kind, address: str) -> Decision:
        if self._enforces:
            decision = await self._limiter.hit(kind, address)
        else:  # nothing is refused, so no request has to wait for Redis
            decision = self._limiter.observe(kind, address)
        if not decision.allowed:
            self._on_limited(kind, self._mode)
            if self._limiter.should_log(kind, address):
                log.warning("rate limit exceeded", kind=kind, address=address, limit=decision.limit, mode=self._mode)
        return decision


def _is_probe(path: str) -> bool:
    return path == "/health" or path.startswith("/health/")


def _quota(kind: Kind, decision: Decision) -> bytes:
    return b'"%s";r=%d;t=%d' % (kind.encode(), decision.remaining, math.ceil(decision.reset_after_seconds))


def _too_many_requests(decision: Decision) -> TooManyRequests:
    # At least one second: clients take 0 for permission to retry at once.
    return TooManyRequests(retry_after=max(1, math.ceil(decision.reset_after_seconds)))
