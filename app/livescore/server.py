"""The servers of the public port and of the management port in one event loop, and the drain before a stop."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import structlog
import uvicorn

from livescore import addresses, application
from livescore.api import management
from livescore.api.context import Services
from livescore.api.protocol import bounded
from livescore.live.handshake import HandshakeProtocol
from livescore.live.socket import TCP_USER_TIMEOUT_MS
from livescore.settings import Settings

log = structlog.get_logger(__name__)

# Connections that wait to be accepted: thousands reconnect at once after an instance is lost.
BACKLOG = 4096

# Seconds that pending requests may take after the drain.
GRACEFUL_SECONDS = 10


class AddressError(Exception):
    """An address cannot be listened on; the message names its variables."""


class Server(uvicorn.Server):
    """The server of the public port. It drains its sockets before uvicorn closes them all at once."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services
        self.serving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening. The management port opens afterwards, so readiness is never reported too early."""
        await super().startup(sockets)
        log.info("Uvicorn running on", host=self.config.host, port=self.config.port)
        self.serving.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then let uvicorn close the remaining connections. A second Ctrl-C skips the drain."""
        drain = self._services.drain.stop()
        while not drain.done() and not self.force_exit:
            await asyncio.wait({drain}, timeout=0.1)
        await super().shutdown(sockets)


class ManagementServer(uvicorn.Server):
    """The server of the management port. Signals are handled by the main server only."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the main server."""
        yield


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Exits with 0 after a clean stop.

    Raises:
        AddressError: A port is taken or an address does not belong to this machine; nothing has been started then.
    """
    public = _bound("", settings.host, settings.port)
    private = _bound("MANAGEMENT_", settings.management_host, settings.management_port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    services = application.assemble(settings)
    config = uvicorn.Config(
        application.served(services),
        host=settings.host,
        port=settings.port,
        http=bounded(settings, services.origins, services.caps),
        ws=HandshakeProtocol,
        ws_max_size=settings.max_frame_bytes,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        loop="uvloop",
        lifespan="on",
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(config, services, public, private))


async def _serve(
    config: uvicorn.Config, services: Services, public: list[socket.socket], private: list[socket.socket]
) -> None:
    settings = services.settings
    management_server = ManagementServer(
        uvicorn.Config(
            management.create(services),
            http=bounded(settings),
            ws="none",
            host=settings.management_host,
            port=settings.management_port,
            lifespan="off",
            server_header=False,
            access_log=False,
            log_config=None,
        )
    )
    server = Server(config, services)
    managing = asyncio.create_task(_serve_after(server.serving, management_server, private))
    try:
        await server.serve(public)
    finally:
        management_server.should_exit = True
        if not server.serving.is_set():
            managing.cancel()
        await asyncio.gather(managing, return_exceptions=True)


async def _serve_after(event: asyncio.Event, server: ManagementServer, sockets: list[socket.socket]) -> None:
    await event.wait()
    await server.serve(sockets)


def _bound(prefix: str, host: str, port: int) -> list[socket.socket]:
    """Return bound sockets that do not listen yet.

    Raises:
        AddressError: An address cannot be used; the message names its variables.
    """
    try:
        listening = addresses.bind(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise AddressError(f"{prefix}HOST {host} and {prefix}PORT {port} cannot be used: {reason}") from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        for listener in listening:
            # Every connection inherits the timeout, which closes it if its peer is gone or never reads.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
    return listening


def _exit(number: int, _: FrameType | None) -> None:
    """Exit when uvicorn raises the signal again after a clean stop."""
    sys.exit(0 if number == signal.SIGTERM else 130)
