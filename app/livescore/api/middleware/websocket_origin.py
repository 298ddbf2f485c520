"""Refuses WebSocket handshakes from web pages of other origins, to which CORS does not apply."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from livescore.api.refusals import refuse_handshake
from livescore.http_errors import Forbidden
from livescore.security.origins import OriginPolicy


class WebSocketOrigin:
    """ASGI middleware that answers 403 to handshakes of pages that the policy does not allow."""

    def __init__(self, app: ASGIApp, *, policy: OriginPolicy) -> None:
        self._app = app
        self._policy = policy

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve or refuse one handshake."""
        if scope["type"] != "websocket" or self._policy.allows_socket(scope["headers"]):
            return self._app(scope, receive, send)
        self._policy.hint(scope["headers"])
        return refuse_handshake(scope, receive, send, Forbidden("Origin not allowed"))
