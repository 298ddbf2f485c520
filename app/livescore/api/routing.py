"""Routes whose handlers take the request and return the response.

FastAPI documents them, and does nothing else per call: no dependency graph, no model for parameters or answers.
That work is half of what a small request costs; :mod:`livescore.api.parse` does the part that is needed.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as PlainRoute
from starlette.types import Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]

PREFIXES = ("", "/api")
"""Every route under ``/matches`` answers under ``/api/matches`` too, where clients of the original found it."""


class Route(APIRoute):
    """One method of one path. ``documentation`` are arguments of FastAPI's ``APIRoute``."""

    def __init__(self, method: str, path: str, handler: Handler, **documentation: Any) -> None:
        super().__init__(path, handler, methods=[method], operation_id=handler.__name__, **documentation)
        self._handler = handler
        self.accepted = {"GET", "HEAD"} if method == "GET" else {method}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As every route; HEAD is answered where GET is, though it is not worth a line in the documentation."""
        match, child = PlainRoute.matches(self, scope)
        child["route"] = self
        if match is Match.PARTIAL and scope["method"] in self.accepted:
            match = Match.FULL
        return match, child

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the handler.

        Raises:
            HTTPException: 405 for a method that the route does not accept.
        """
        if scope["method"] not in self.accepted:
            raise HTTPException(405)
        response = await self._handler(Request(scope, receive, send))
        await response(scope, receive, send)


def both(method: str, path: str, handler: Handler, **documentation: Any) -> list[Route]:
    """The route under each of :data:`PREFIXES`; only the first is documented."""
    return [Route(method, prefix + path, handler, include_in_schema=not prefix, **documentation) for prefix in PREFIXES]
