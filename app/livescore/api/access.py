"""Authorization of requests and handshakes."""

from typing import Literal

from starlette.requests import Request
from starlette.websockets import WebSocket

from livescore.api.context import Services
from livescore.http_errors import ServiceUnavailable
from livescore.security.keys import ApiKey

ANONYMOUS = "-"
"""Caller of a write that needed no key."""

KEY_REVOKED = 4401
"""Close code of a WebSocket that was opened with a key that has been revoked."""

# Entry of the ASGI scope: the callback of ``EndRevokedResponses`` for the key that a request uses.
ON_KEY = "livescore.on_key"


def require_write(request: Request, services: Services, scope: Literal["write", "admin"] = "write") -> str:
    """Return the id of the key that allows this request to write, or to administer the service.

    Raises:
        AccessDenied: The request has no such key, or its key has a lower scope.
    """
    key = services.keyring.authorize(request.headers, scope)
    return key.id if key else ANONYMOUS


def require_read(request: Request | WebSocket, services: Services) -> ApiKey | None:
    """Return the key that allows this request to read; None unless ``READ_KEYS_REQUIRED``.

    Browsers cannot set headers on a WebSocket or an EventSource, so the key may come as ``?apiKey=``.

    Raises:
        AccessDenied: A key is required and the request has no valid one.
    """
    if not services.settings.read_keys_required:
        return None
    text = request.query_params.get("apiKey")
    key = services.keyring.authorize(request.headers if text is None else {"x-api-key": text}, "read")
    if key is not None and ON_KEY in request.scope:
        request.scope[ON_KEY](key)
    return key


def require_accepting(services: Services) -> None:
    """Check that this instance still accepts sockets, streams and long polls.

    Raises:
        ServiceUnavailable: The instance is stopping.
    """
    if not services.drain.accepts_connections:
        raise ServiceUnavailable("This instance is stopping: connect again to reach another one")
