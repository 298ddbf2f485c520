"""Refuses requests that web pages send to the management port."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from livescore.api.refusals import refuse_request
from livescore.http_errors import Forbidden
from livescore.security.cross_site import ManagementGuard


class RefuseWebPages:
    """ASGI middleware that answers with 403 if the guard of :mod:`livescore.security.cross_site` refuses."""

    def __init__(self, app: ASGIApp, *, guard: ManagementGuard) -> None:
        self._app = app
        self._guard = guard

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve or refuse one request."""
        if scope["type"] == "http":
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
            reason = self._guard.refusal(scope["method"], headers)
            if reason is not None:
                return refuse_request(send, Forbidden(reason))
        return self._app(scope, receive, send)
