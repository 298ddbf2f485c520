"""``/ws``: authorization of handshakes, the requests in their query, and the handover of the socket to ``live``."""

from functools import partial
from typing import Any

import orjson
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from livescore.api import access
from livescore.api.context import Services, services_of
from livescore.api.errors import error_response
from livescore.api.refusals import refuse_handshake
from livescore.api.request_head import upgrade_required
from livescore.api.routing import Call, endpoint
from livescore.http_errors import HttpError, NotFound
from livescore.live import messages, session
from livescore.live.connection import Connection
from livescore.live.handshake import EXTENSION, Detach
from livescore.live.messages import Welcome
from livescore.security.keys import ApiKey

PATH = "/ws"


class NoHandover(HttpError):
    """The server that runs the application cannot hand over its connections."""

    status = 501
    message = "WebSockets need the server that `livescore api` starts"


async def connect(websocket: WebSocket) -> None:
    """Accept a WebSocket, or refuse it with an HTTP error."""
    services = services_of(websocket)
    address = services.address(websocket.scope)
    detach: Detach | None = websocket.scope.get("extensions", {}).get(EXTENSION)
    try:
        if detach is None:
            raise NoHandover
        key = access.require_read(websocket, services)
        access.require_accepting(services)
        services.caps.acquire(address)
    except HttpError as error:
        await refuse_handshake(websocket.scope, websocket.receive, websocket.send, error)
        return
    try:
        await websocket.accept()
    except BaseException:
        services.caps.release(address)
        raise
    _begin(services, detach(services.live, address), websocket, key)


def _begin(services: Services, connection: Connection, websocket: WebSocket, key: ApiKey | None) -> None:
    """Start the conversation on a socket that has left ASGI."""
    services.live.attach(connection)
    if key is not None:
        # If the key was revoked during the handshake, this closes the socket.
        close = partial(connection.close, access.KEY_REVOKED)
        connection.state.watch = services.keyring.watch(key, "read", close)
    connection.send(Welcome(instance=services.settings.instance).encode())
    requests, faults = _requests(websocket, services.settings.max_subscriptions)
    for fault in faults:
        connection.send(messages.invalid(fault))
    for request in requests:
        session.take(services.live, connection, orjson.dumps(request))


def _requests(websocket: WebSocket, max_subscriptions: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the messages that the query of the handshake stands for, and the faults of the query.

    The query may have ``all=1``, or ``matchId=7`` (repeatable) with ``since`` and ``epoch``. A repeated match counts
    once. Parsing stops at one match above the limit of a socket, which is enough to cause the error.
    """
    query = websocket.query_params
    repeated = [name for name in ("all", "since", "epoch") if len(query.getlist(name)) > 1]
    if repeated:
        return [], [f"{name} must be given once" for name in repeated]
    wants_all = query.get("all") == "1"
    faults = []
    if "all" in query and not wants_all:
        faults.append("all must be 1 or left out")
    if wants_all or "matchId" not in query:
        # A client that wants to resume must learn that it receives nothing from before its connection.
        reason = "cannot be used with all" if wants_all else "needs a matchId"
        faults += [f"{name} {reason}" for name in ("since", "epoch") if name in query]
    if wants_all:
        return [{"type": "subscribeAll"}], faults
    position: dict[str, Any] = {}
    if "since" in query:
        position["since"] = _parse_integer(query["since"])
    if "epoch" in query:
        position["epoch"] = query["epoch"]
    match_ids = list(dict.fromkeys(query.getlist("matchId")))[: max_subscriptions + 1]
    return [{"type": "subscribe", "matchId": _parse_integer(text), **position} for text in match_ids], faults


def _parse_integer(text: str) -> int | str:
    """Return an integer for up to ten digits, which include every int4; other text as it is, for the session to refuse.

    Python refuses to parse very long numbers.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else text


@endpoint("GET", PATH, documented=False)
async def require_upgrade(_: Call) -> Response:
    """Answer a plain request to the address of the WebSocket."""
    early = upgrade_required("Upgrade required: open a WebSocket at this address, or use /events/stream")
    headers = {name.decode(): value.decode() for name, value in early.headers}
    return error_response(early.status, early.message, {**headers, "connection": "upgrade"})


async def unknown(websocket: WebSocket) -> None:
    """Answer 404 to a handshake at any other path."""
    await refuse_handshake(websocket.scope, websocket.receive, websocket.send, NotFound())


routes = [
    WebSocketRoute(PATH, connect, name="ws"),
    require_upgrade,
    WebSocketRoute("/{path:path}", unknown),
]
