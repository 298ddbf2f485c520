"""Routes run their handler for the methods that they accept, and for no other."""

from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from livescore.api.routing import Route


async def test_a_method_that_the_route_does_not_accept_never_reaches_the_handler() -> None:
    handled: list[str] = []

    async def handler(request: Request) -> Response:
        handled.append(request.method)
        return Response()

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(_: Any) -> None:
        return None

    route = Route("PATCH", "/matches", handler)
    for method in ("PATCH", "DELETE"):
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": "/matches",
            "headers": [],
            "query_string": b"",
        }
        if method == "PATCH":
            await route.handle(scope, receive, send)
        else:
            with pytest.raises(HTTPException) as refused:
                await route.handle(scope, receive, send)
            assert refused.value.status_code == 405
    assert handled == ["PATCH"]
