"""The prefix ``/api``, under which clients of the original API find the routes of matches, events and the WebSocket."""

import re
from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/api"

_PREFIXED = re.compile("/api/(matches|events|ws)(/|$)")


class StripApiPrefix:
    """ASGI middleware that lets ``/api/matches``, ``/api/events`` and ``/api/ws`` reach the routes without the prefix.

    The prefix becomes the scope's ``root_path``, which routers do not match and which stays a part of ``path``: logs,
    ``Location`` headers and metrics name the path as the client sent it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "lifespan" and _PREFIXED.match(scope["path"]):
            scope["root_path"] = PREFIX
        return self._app(scope, receive, send)
