"""Endpoints: a route runs its handler for the methods that it accepts, and parses what its declaration names."""

from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.responses import Response

from livescore.api.routing import Call, endpoint
from livescore.api.schemas.commentary import CommentaryQuery
from livescore.http_errors import BadRequest


class Caller:
    """Sends requests to a route and keeps what the handler receives."""

    def __init__(self) -> None:
        self.calls: list[tuple[Call, int]] = []

        @endpoint("GET", "/matches/{id}/numbers", query=CommentaryQuery)
        async def numbers(call: Call, query: CommentaryQuery) -> Response:
            self.calls.append((call, query.limit))
            return Response()

        self.route = numbers

    async def send(self, method: str, match_id: str = "7", query: bytes = b"") -> None:
        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(_: Any) -> None:
            return None

        scope: dict[str, Any] = {"type": "http", "method": method, "path": "", "headers": [], "query_string": query}
        await self.route.handle(scope | {"path_params": {"id": match_id}, "app": _Application}, receive, send)


class _Application:
    class state:  # noqa: N801 -- as Starlette calls it
        services = None


async def test_a_method_that_the_route_does_not_accept_never_reaches_the_handler() -> None:
    caller = Caller()
    await caller.send("GET")
    with pytest.raises(HTTPException) as refused:
        await caller.send("DELETE")
    assert refused.value.status_code == 405
    assert len(caller.calls) == 1


async def test_head_reaches_the_handler_of_get() -> None:
    caller = Caller()
    await caller.send("HEAD")
    assert [call.request.method for call, _ in caller.calls] == ["HEAD"]


async def test_the_handler_receives_typed_values() -> None:
    caller = Caller()
    await caller.send("GET", query=b"limit=5")
    ((call, limit),) = caller.calls
    assert (call.match_id, limit) == (7, 5)


@pytest.mark.parametrize(("match_id", "query"), [("0", b""), ("x", b""), ("7", b"limit=0")])
async def test_malformed_input_never_reaches_the_handler(match_id: str, query: bytes) -> None:
    caller = Caller()
    with pytest.raises(BadRequest):
        await caller.send("GET", match_id, query)
    assert caller.calls == []


async def test_the_id_of_another_object_is_no_match_id() -> None:
    received: list[Call] = []

    @endpoint("GET", "/imports/{id}", of="import")
    async def read(call: Call) -> Response:
        received.append(call)
        return Response()

    caller = Caller()
    caller.route = read
    await caller.send("GET")
    with pytest.raises(BadRequest, match="Invalid import id"):
        await caller.send("GET", "x")
    assert [(call.object_id, call.match_id) for call in received] == [(7, 0)]
