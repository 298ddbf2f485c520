"""Authorization of requests, and the end of what a key opened once that key is revoked."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from livescore.api import errors
from livescore.api.context import services_of
from livescore.security.keys import ApiKey, InvalidKey, Keyring, Watch

ANYBODY = "-"
"""Caller of a write that needed no key."""

KEY_REVOKED = 4401
"""Close code of a WebSocket whose key was revoked."""

# Where the middleware leaves its callback for the key of a request.
_ON_KEY = "livescore.on_key"

# Seconds that a client may take to accept the last bytes of a response that ends early.
_END_SECONDS = 1.0


def require_write(request: Request) -> str:
    """Return the id of the key that lets this request write.

    Raises:
        AccessDenied: if there is no such key, or it may only read.
    """
    key = services_of(request).keyring.authorize(request.headers, "write")
    return key.id if key else ANYBODY


def require_read(request: Request | WebSocket) -> ApiKey | None:
    """Return the key that lets this request read; None unless ``READ_KEYS_REQUIRED``.

    Browsers cannot set headers on a WebSocket or an EventSource, so the key may come as ``?apiKey=``.

    Raises:
        AccessDenied: if a key is required and the request has no valid one.
    """
    services = services_of(request)
    if not services.settings.read_keys_required:
        return None
    text = request.query_params.get("apiKey")
    key = services.keyring.authorize(request.headers if text is None else {"x-api-key": text}, "read")
    if key is not None and _ON_KEY in request.scope:
        request.scope[_ON_KEY](key)
    return key


class EndRevokedResponses:
    """Middleware that ends the responses of a key once it is revoked: event streams and long polls.

    A response that has begun ends after its last complete piece; a client that still waits for one gets 401.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring) -> None:
        self._app = app
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(send)
        watches: list[Watch] = []
        deadline = asyncio.timeout(None)
        try:
            async with deadline:
                scope[_ON_KEY] = lambda key: watches.append(self._keyring.watch(key, "read", _expire(deadline)))
                try:
                    await self._app(scope, receive, response.send)
                finally:
                    for watch in watches:
                        self._keyring.unwatch(watch)
        except TimeoutError:
            if not deadline.expired():
                raise
            await response.end(scope, receive)


def _expire(deadline: asyncio.Timeout) -> Callable[[], None]:
    return lambda: deadline.reschedule(asyncio.get_running_loop().time())


class _Response:
    """How far a response has been sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False
        self._complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
        elif message["type"] == "http.response.body":
            self._complete = not message.get("more_body", False)
        await self._send(message)

    async def end(self, scope: Scope, receive: Receive) -> None:
        """Send what is missing to a complete response. A client that does not read is left to the server to close."""
        if self._complete:
            return
        try:
            async with asyncio.timeout(_END_SECONDS):
                if self._started:
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                else:
                    error = InvalidKey()
                    await errors.answer(error.status, error.message, error.headers)(scope, receive, self._send)
        except TimeoutError:
            return
