"""Bounds the size of request bodies."""

import asyncio
from collections.abc import Awaitable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livescore.http_errors import PayloadTooLarge, body_headers

# Seconds for which the rest of a refused body is read and discarded. Closing the connection at once would reset it, and
# the reset can overtake the response.
DISCARD_SECONDS = 1.0

# Longer numbers exceed any bound, and Python refuses to parse very long ones.
_LENGTH_DIGITS = 18
_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})


class BodyLimit:
    """ASGI middleware that answers 413 to a body above the bound: by its declared length, or once it is exceeded.

    Args:
        max_bytes: The largest body that reaches the application.
        larger: Bounds of the paths that accept more. They apply to bodies that declare their length: others are read
            before the application has checked the key of the request.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._larger = larger or {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve or refuse one request."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        length, chunked = _declared_length(scope)
        if length is not None and length > self._max_bytes and length > self._larger.get(scope["path"], 0):
            return _refuse(receive, send)
        if chunked or (length is None and scope["method"] not in _METHODS_WITHOUT_BODY):
            return self._read_first(scope, receive, send)
        return self._app(scope, receive, send)

    async def _read_first(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read a body of unknown length up to the bound before the application sees any of it."""
        messages: list[Message] = []
        size = 0
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
            size += len(messages[-1].get("body", b""))
            if size > self._max_bytes:
                await _refuse(receive, send)
                return
        await self._app(scope, _replay(messages, receive), send)


def _declared_length(scope: Scope) -> tuple[int | None, bool]:
    """Return the Content-Length, if there is one, and whether the body is sent in chunks."""
    length, chunked = None, False
    for name, value in scope["headers"]:
        if name == b"content-length":
            # The server's parser has already refused what is not a number.
            length = int(value.lstrip(b"0")[:_LENGTH_DIGITS] or b"0") if value.isdigit() else None
        elif name == b"transfer-encoding":
            chunked = True
    return length, chunked


def _replay(messages: list[Message], receive: Receive) -> Receive:
    remaining = iter(messages)

    async def replayed() -> Message:
        message = next(remaining, None)
        return await receive() if message is None else message

    return replayed


async def _refuse(receive: Receive, send: Send) -> None:
    error = PayloadTooLarge()
    body = error.body()
    headers = [*body_headers(body), *error.raw_headers()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    # All of the response but not yet its end: the server would close, which resets a client that is still sending.
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await _discard(receive)
    await send({"type": "http.response.body", "body": b""})


async def _discard(receive: Receive) -> None:
    try:
        async with asyncio.timeout(DISCARD_SECONDS):
            while (await receive()).get("more_body"):
                pass
    except TimeoutError:
        pass
