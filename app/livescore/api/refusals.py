"""Error responses of code that is called with ASGI's ``send`` and cannot raise: middleware and WebSocket handshakes."""

from starlette.types import Receive, Scope, Send

from livescore.http_errors import HttpError, body_headers


async def refuse_request(send: Send, error: HttpError) -> None:
    """Answer an HTTP request with an error."""
    await _send(send, "http.response", error)


async def refuse_handshake(scope: Scope, receive: Receive, send: Send, error: HttpError) -> None:
    """Answer a WebSocket handshake with an HTTP error.

    Servers without the ASGI extension for it always answer 403.
    """
    await receive()  # websocket.connect
    if "websocket.http.response" in scope.get("extensions", {}):
        await _send(send, "websocket.http.response", error)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": error.message})


async def _send(send: Send, prefix: str, error: HttpError) -> None:
    body = error.body()
    headers = [*body_headers(body), *error.raw_headers()]
    await send({"type": f"{prefix}.start", "status": error.status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": body})
