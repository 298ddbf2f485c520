"""Ends the responses of a key once it is revoked: event streams and long polls."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livescore.api import access
from livescore.api.refusals import refuse_request
from livescore.security.keyring import Keyring, Watch
from livescore.security.keys import ApiKey, InvalidKey

# Seconds that a client may take to accept the last bytes of a response that ends early.
_END_SECONDS = 1.0


class EndRevokedResponses:
    """ASGI middleware that ends the responses of revoked keys.

    A response that has started ends after its last complete piece; a client that still waits for one receives 401.
    """

    def __init__(self, app: ASGIApp, *, keyring: Keyring) -> None:
        self._app = app
        self._keyring = keyring

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        return self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = _Response(send)
        watches: list[Watch] = []
        deadline = asyncio.timeout(None)

        def watch(key: ApiKey) -> None:
            watches.append(self._keyring.watch(key, "read", _expire(deadline)))

        try:
            async with deadline:
                scope[access.ON_KEY] = watch
                try:
                    await self._app(scope, receive, response.send)
                finally:
                    for entry in watches:
                        self._keyring.unwatch(entry)
        except TimeoutError:
            if not deadline.expired():
                raise
            await response.end()


def _expire(deadline: asyncio.Timeout) -> Callable[[], None]:
    return lambda: deadline.reschedule(asyncio.get_running_loop().time())


class _Response:
    """Tracks how much of a response has been sent."""

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

    async def end(self) -> None:
        """Send the rest of a complete response. The server closes the connection of a client that does not read."""
        if self._complete:
            return
        try:
            async with asyncio.timeout(_END_SECONDS):
                if self._started:
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                else:
                    await refuse_request(self._send, InvalidKey())
        except TimeoutError:
            return
