"""``/ws``: who may connect, what the query asks for, and the hand-over to the live room."""

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
    """Accept a WebSocket, or refuse it with an HTTP status that says why."""
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
    services.live.attach(connection)
    if key is not None:
        # The key may have been revoked during the handshake: the socket is then closed here.
        close = partial(connection.close, access.KEY_REVOKED)
        connection.state.watch = services.keyring.watch(key, "read", close)
    connection.send(Welcome(instance=services.settings.instance).encode())
    asked, faults = _asked(websocket, services.settings.max_subscriptions)
    for fault in faults:
        connection.send(messages.invalid(fault))
    for message in asked:
        session.take(services.live, connection, orjson.dumps(message))


def _asked(websocket: WebSocket, most: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what the query asks for as messages, and what is wrong with the query.

    It may have ``all=1``, or ``matchId=7`` (repeatable) with ``since`` and ``epoch``. Each match is asked for once,
    and one more than a socket may follow is enough for the error that says so.
    """
    query = websocket.query_params
    repeated = [name for name in ("all", "since", "epoch") if len(query.getlist(name)) > 1]
    if repeated:
        return [], [f"{name} must be given once" for name in repeated]
    follows_all = query.get("all") == "1"
    faults = ["all must be 1 or left out"] if "all" in query and not follows_all else []
    if follows_all or "matchId" not in query:
        # A client that resumes must learn that nothing before its connection will come.
        reason = "cannot be used with all" if follows_all else "needs a matchId"
        faults += [f"{name} {reason}" for name in ("since", "epoch") if name in query]
    if follows_all:
        return [{"type": "subscribeAll"}], faults
    more: dict[str, Any] = {"since": _number(query["since"])} if "since" in query else {}
    if "epoch" in query:
        more["epoch"] = query["epoch"]
    matches = list(dict.fromkeys(query.getlist("matchId")))[: most + 1]
    return [{"type": "subscribe", "matchId": _number(text), **more} for text in matches], faults


def _number(text: str) -> int | str:
    # Ten digits hold every int4; more would only be refused later, and Python refuses to read very many.
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
