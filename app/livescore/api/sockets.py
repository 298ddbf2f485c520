"""``/ws``: who may connect, what the query asks for, and the hand-over to the live room."""

import asyncio
from collections import deque
from functools import partial
from typing import Any

import orjson
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from livescore.api import access
from livescore.api.context import Services, services_of
from livescore.api.errors import error_response
from livescore.api.refusals import refuse_handshake
from livescore.api.request_head import upgrade_required
from livescore.api.routing import Call, endpoint
from livescore.http_errors import HttpError, NotFound
from livescore.live import messages, session
from livescore.live.connection import SERVICE_RESTART, TRY_AGAIN_LATER, Connection, State
from livescore.live.hub import Group
from livescore.live.messages import Welcome
from livescore.live.realtime_server import RealtimeServer
from livescore.live.socket import EXTENSION
from livescore.scores.feed import Event
from livescore.security.keys import ApiKey

PATH = "/ws"


async def connect(websocket: WebSocket) -> None:
    """Accept a WebSocket, or refuse it with an HTTP status that says why."""
    services = services_of(websocket)
    address = services.address(websocket.scope)
    try:
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
    await _converse(services, websocket, address, key)


async def _converse(services: Services, websocket: WebSocket, address: str, key: ApiKey | None) -> None:
    detach = websocket.scope.get("extensions", {}).get(EXTENSION)
    if detach is not None:
        _begin(services, detach(services.live, address), websocket, key)
        return
    connection = AsgiConnection(services.live, websocket, address)
    _begin(services, connection, websocket, key)
    await connection.run()


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


class AsgiConnection:
    """A WebSocket on an ASGI server that cannot hand it over: a queue and a task instead of a bare transport."""

    def __init__(self, server: RealtimeServer, websocket: WebSocket, address: str) -> None:
        self.state = State(address, server.settings.inbound_burst)
        self._server = server
        self._websocket = websocket
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._code: int | None = None

    @property
    def open(self) -> bool:
        """Whether messages still reach the client."""
        return self._code is None

    def put(self, item: Event) -> None:
        """Take one event from the hub."""
        self.send(item.message)

    def send(self, message: bytes) -> None:
        """Queue one message, or close a client that does not read."""
        if not self.open:
            return
        self._waiting.append(message)
        self._bytes += len(message)
        self._drained.clear()
        self._wake.set()
        if self._bytes > self._server.settings.slow_consumer_bytes:
            self.close(TRY_AGAIN_LATER)

    def close(self, code: int) -> None:
        """Close after what is queued."""
        if self.open:
            self._code = code
            self._server.detach(self)
            self._drained.set()
            self._wake.set()

    def join(self, group: Group) -> None:
        """Hear the events of a group from now on."""
        group.streams.add(self)

    def leave(self, group: Group) -> None:
        """Hear them no more."""
        group.streams.discard(self)

    def flush(self, group: Group) -> None:
        """Nothing ever waits for a write of the group: every event is queued at once."""

    async def drained(self) -> None:
        """Wait until the client has taken what was sent."""
        await self._drained.wait()

    async def run(self) -> None:
        """Send and receive until either side closes."""
        tasks = [asyncio.ensure_future(self._send_all()), asyncio.ensure_future(self._receive_all())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.close(SERVICE_RESTART)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                message = self._waiting.popleft()
                self._bytes -= len(message)
                await self._websocket.send_text(message.decode())
            self._drained.set()
            if self._code is not None:
                await self._websocket.close(self._code)
                return

    async def _receive_all(self) -> None:
        take = partial(session.receive, self._server, self)
        while True:
            try:
                message = await self._websocket.receive()
            except (WebSocketDisconnect, RuntimeError):
                return
            if message["type"] == "websocket.disconnect":
                return
            take(message.get("bytes") or str(message.get("text")).encode())


routes = [
    WebSocketRoute(PATH, connect, name="ws"),
    require_upgrade,
    WebSocketRoute("/{path:path}", unknown),
]
