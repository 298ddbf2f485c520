"""The service's HTTP protocol on an in-memory transport, with exact control over the pieces that arrive."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import uvicorn
from uvicorn.server import ServerState

from livescore import settings as configuration
from livescore.api.middleware.body_limit import BodyLimit
from livescore.api.protocol import BoundedHttpProtocol, bounded
from livescore.security.connection_caps import ConnectionCaps
from livescore.settings import Settings

Send = Any


class Answer(NamedTuple):
    """One response: status, headers in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class MemoryTransport(asyncio.Transport):
    """A transport that records written data, and reports if reading is paused."""

    def __init__(self, peer: str) -> None:
        super().__init__({"peername": (peer, 1), "sockname": ("127.0.0.1", 8000)})
        self.written = b""
        self.closed = False
        self.paused = False
        self.eof = False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: no data is buffered."""

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Respond with the request as the application sees it; ``/stream`` announces no length, ``/slow`` waits."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"echo {message['text']}"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.05)
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    seen = {"method": scope["method"], "path": scope["path"], "query": scope["query_string"].decode()}
    content = json.dumps({**seen, "headers": headers, "body": body.decode("latin-1")}).encode()
    length = [] if scope["path"] == "/stream" else [(b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": content[:10], "more_body": True})
    await send({"type": "http.response.body", "body": content[10:]})


def bounds(**overrides: Any) -> Settings:
    """Return settings for a protocol without a service."""
    return configuration.load(database_url="postgresql://localhost/x", redis_url="redis://localhost", **overrides)


class Server:
    """Accepts connections for one application."""

    def __init__(
        self, settings: Settings, application: Any = echo, *, websockets: bool = True, keep_alive_seconds: float = 5
    ) -> None:
        self.caps = ConnectionCaps(settings)
        self._class: Callable[..., BoundedHttpProtocol] = bounded(settings, caps=self.caps)
        self._config = uvicorn.Config(
            BodyLimit(application, max_bytes=settings.max_body_bytes),
            http=bounded(settings, caps=self.caps),
            ws="websockets-sansio" if websockets else "none",
            log_config=None,
            lifespan="off",
            interface="asgi3",
        )
        self._config.load()
        self._config.timeout_keep_alive = keep_alive_seconds  # type: ignore[assignment]  # any number of seconds

    def connect(self, peer: str = "192.0.2.1") -> "Connection":
        """Accept a connection."""
        protocol = self._class(config=self._config, server_state=ServerState(), app_state={})
        transport = MemoryTransport(peer)
        transport.protocol = protocol
        protocol.connection_made(transport)
        return Connection(transport)


class Connection:
    """The client side of one connection."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport

    def send(self, *pieces: bytes) -> None:
        """Deliver each piece in a separate read."""
        for piece in pieces:
            self.transport.protocol.data_received(piece)

    def lose(self) -> None:
        """Lose the connection, as the event loop reports it."""
        self.transport.closed = True
        self.transport.protocol.connection_lost(None)

    async def answers(self, count: int = 1, *, patience: float = 5.0) -> list[Answer]:
        """Wait for this many responses, not counting ``100 Continue``."""
        async with asyncio.timeout(patience):
            while len(found := parse(self.transport.written)) < count:
                await asyncio.sleep(0.001)
        return found

    async def settled(self) -> list[Answer]:
        """Return all responses after the event loop has run everything that is ready."""
        for _ in range(50):
            await asyncio.sleep(0)
        return parse(self.transport.written)


def parse(data: bytes, *, head: bool = False) -> list[Answer]:
    """Return the complete responses with a length; of a response without one, the data received so far."""
    answers = []
    while b"\r\n\r\n" in data:
        top, _, data = data.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        status = int(first.split()[1])
        if status == 100:
            continue
        headers = dict(line.lower().split(": ", 1) for line in lines)
        size = 0 if status in (101, 204, 304) or head else int(headers.get("content-length", len(data)))
        if len(data) < size:
            break
        body, data = data[:size], data[size:]
        answers.append(Answer(status, headers, body))
    return answers
