"""The prefix ``/api``: which paths reach the routes without it, and that the path itself stays as it was sent."""

from typing import Any

import pytest

from livescore.api.middleware.api_prefix import StripApiPrefix


async def forwarded(path: str, kind: str = "http") -> dict[str, Any]:
    """Return the scope that the application behind the middleware receives."""
    received: list[dict[str, Any]] = []

    async def application(scope: Any, *_: Any) -> None:
        received.append(scope)

    async def nothing(*_: Any) -> Any:
        return None

    await StripApiPrefix(application)({"type": kind, "path": path}, nothing, nothing)
    return received[0]


@pytest.mark.parametrize(
    "path",
    ["/api/matches", "/api/matches/7/events/stream", "/api/events/stream", "/api/ws"],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_routes_of_the_original_are_found_below_api(path: str, kind: str) -> None:
    assert await forwarded(path, kind) == {"type": kind, "path": path, "root_path": "/api"}


@pytest.mark.parametrize(
    "path",
    ["/matches", "/api", "/api/", "/api/health", "/api/docs", "/api/matchesx", "/api/api/matches", "/apimatches"],
)
async def test_other_paths_keep_their_prefix(path: str) -> None:
    assert await forwarded(path) == {"type": "http", "path": path}
