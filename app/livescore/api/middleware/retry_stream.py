"""Makes browsers retry event streams that cannot be served now."""

import random
from collections.abc import Awaitable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livescore.api import streams


class RetryInsteadOfError:
    """ASGI middleware that answers a refused ``EventSource`` with a stream that ends at once and names a retry time.

    A browser gives up for good if a stream is answered with an error. An ``EventSource`` is recognized by its
    ``Accept`` header, which browsers set to exactly this media type; other clients receive the error (429 or 503).

    Args:
        spread_seconds: Retry times are spread over as many seconds.
    """

    def __init__(self, app: ASGIApp, *, spread_seconds: float) -> None:
        self._app = app
        self._spread_ms = spread_seconds * 1000

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if not _is_event_source(scope):
            return self._app(scope, receive, send)
        replaced = False

        async def send_or_retry(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] in (429, 503):
                replaced = True
                await self._send_retry(scope, message, send)
            elif not replaced:
                await send(message)

        return self._app(scope, receive, send_or_retry)

    async def _send_retry(self, scope: Scope, refusal: Message, send: Send) -> None:
        retry_after = Headers(raw=refusal["headers"]).get("retry-after", "")
        seconds = int(retry_after) if retry_after.isdecimal() else 1
        identifier = streams.last_event_id(Request(scope)) or ""
        if not identifier.isascii() or not identifier.isprintable():  # not validated yet
            identifier = ""
        body = streams.block(identifier, retry_ms=int(seconds * 1000 + random.uniform(0, self._spread_ms)))
        kept = [(name, value) for name, value in refusal["headers"] if name not in _REPLACED_HEADERS]
        headers = [
            *kept,
            (b"content-type", streams.MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            *_STREAM_HEADERS,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


_STREAM_HEADERS = [(name.lower().encode(), value.encode()) for name, value in streams.HEADERS.items()]
_REPLACED_HEADERS = {b"content-type", b"content-length", *(name for name, _ in _STREAM_HEADERS)}


def _is_event_source(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].endswith("/events/stream"):
        return False
    return Headers(scope=scope).get("accept", "").strip().lower() == streams.MEDIA_TYPE
