"""The middleware that enforces the limits on requests and handshakes."""

import math
from collections.abc import Callable, Iterable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livescore.security.client_address import ClientAddress
from livescore.security.limiter import Decision, Kind, Limiter
from livescore.settings import Settings

log = structlog.get_logger(__name__)

Headers = Iterable[tuple[bytes, bytes]]

OnLimited = Callable[[str, str], None]
"""Called with the kind and the mode of every hit that exceeds its limit, for the metrics."""


class RateLimit:
    """ASGI middleware that refuses (``LIVE``) or logs (``DRY_RUN``) what exceeds a limit; ``/health*`` is exempt."""

    def __init__(
        self, app: ASGIApp, *, settings: Settings, limiter: Limiter, on_limited: OnLimited = lambda kind, mode: None
    ) -> None:
        self.app = app
        self._limiter = limiter
        self._address = ClientAddress(settings.trusted_proxies)
        self._mode = settings.security_mode
        self._enforces = settings.security_mode == "LIVE"
        self._on_limited = on_limited
        self._policy = (b"ratelimit-policy", limiter.policy("http").encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_probe(scope["path"]):
            await self._limit_request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._limit_handshake(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _limit_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        decision = await self._decide("http", self._address(scope))
        headers = (self._policy, (b"ratelimit", _quota("http", decision)))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        if decision.allowed or not self._enforces:
            await self.app(scope, receive, send_with_headers)
        else:
            await _answer(send_with_headers, "http.response", 429, "Too many requests", _retry_after(decision))

    async def _limit_handshake(self, scope: Scope, receive: Receive, send: Send) -> None:
        decision = await self._decide("handshake", self._address(scope))
        if decision.allowed or not self._enforces:
            await self.app(scope, receive, send)
        else:
            await refuse_handshake(scope, receive, send, 429, "Too many requests", _retry_after(decision))

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


async def refuse_handshake(
    scope: Scope, receive: Receive, send: Send, status: int, message: str, headers: Headers = ()
) -> None:
    """Answer a WebSocket handshake with an HTTP error.

    Servers without the extension for that answer 403, whatever ``status`` says.
    """
    await receive()  # websocket.connect
    if "websocket.http.response" in scope.get("extensions", {}):
        await _answer(send, "websocket.http.response", status, message, headers)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": message})


async def _answer(send: Send, prefix: str, status: int, message: str, headers: Headers) -> None:
    body = b'{"error":"%s"}' % message.encode()
    all_headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *headers,
    ]
    await send({"type": f"{prefix}.start", "status": status, "headers": all_headers})
    await send({"type": f"{prefix}.body", "body": body})


def _is_probe(path: str) -> bool:
    return path == "/health" or path.startswith("/health/")


def _quota(kind: Kind, decision: Decision) -> bytes:
    return b'"%s";r=%d;t=%d' % (kind.encode(), decision.remaining, math.ceil(decision.reset_after_seconds))


def _retry_after(decision: Decision) -> list[tuple[bytes, bytes]]:
    # At least one second: clients take 0 for permission to retry at once.
    return [(b"retry-after", b"%d" % max(1, math.ceil(decision.reset_after_seconds)))]
