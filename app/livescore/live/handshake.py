"""The handshake of WebSockets: uvicorn's protocol, which hands its connection over once the handshake is accepted.

uvicorn's protocol, Starlette's WebSocket, a queue and a task cost 31 KB per connection. They serve the handshake, where
authentication and limits belong. After ``accept`` the endpoint takes the transport over, and everything else is freed.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from livescore.live.realtime_server import RealtimeServer
from livescore.live.socket import LiveSocket
from livescore.telemetry import metrics
from livescore.uvicorn_adapter import ASGISendEvent, WebSocketsSansIOProtocol

# The ASGI extension by which the application takes a connection over.
EXTENSION = "livescore.detach"

# Most bytes that are kept of a client that sends before its handshake is answered. RFC 6455 requires it to wait.
MAX_EARLY_BYTES = 65_536

Detach = Callable[[RealtimeServer, str], LiveSocket]

# uvicorn logs the URL of every handshake. It may contain a key, and thousands of handshakes may arrive in a second.
_quiet = logging.getLogger("livescore.handshake")
_quiet.setLevel(logging.WARNING)


class HandshakeProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, left by its connection after ``accept``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = self.conn.logger = _quiet
        self._early = bytearray()

    def data_received(self, data: bytes) -> None:
        """Read the handshake, and keep what arrives before it is answered."""
        if not self.handshake_initiated:
            super().data_received(data)
        elif len(self._early) + len(data) <= MAX_EARLY_BYTES:
            self._early += data
        else:
            self.transport.abort()

    def handle_parser_exception(self) -> None:
        """Drop a connection whose handshake the library cannot parse; ours has refused the usual faults before."""
        self.transport.abort()

    async def run_asgi(self) -> None:
        """Offer the extension to the application."""
        cast(dict[str, Any], self.scope)["extensions"][EXTENSION] = self.detach
        await super().run_asgi()

    async def send(self, message: ASGISendEvent) -> None:
        """Count a refusal and complete the handshake; uvicorn would log a refusal as an error of the application."""
        if message["type"] == "websocket.http.response.start":
            metrics.refused("GET", message["status"])
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    def detach(self, server: RealtimeServer, address: str) -> LiveSocket:
        """Hand the connection over. Nothing refers to this object afterwards."""
        live = LiveSocket(server, self.transport, address)
        self.handshake_complete = True
        self.connections.discard(self)
        self.stop_keepalive()
        self.transport.set_protocol(live)
        self.transport = cast(asyncio.Transport, _NoTransport())
        if self._early:
            asyncio.get_running_loop().call_soon(live.data_received, bytes(self._early))
        return live


class _NoTransport:
    """Transport of a protocol whose connection was handed over."""

    def close(self) -> None:
        """Do nothing."""

    def is_closing(self) -> bool:
        """Return True."""
        return True

    def write(self, _: bytes) -> None:
        """Do nothing."""
