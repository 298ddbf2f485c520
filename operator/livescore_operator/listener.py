"""Ports that the operator serves."""

import ssl
from contextlib import AbstractAsyncContextManager

import structlog
from aiohttp import web

log = structlog.get_logger(__name__)


# Values of HOST for all IPv4 and IPv6 addresses, for which asyncio expects None.
ALL_ADDRESSES = ("*", "::", "")


class AddressError(Exception):
    """An address cannot be listened on; the message names the settings."""


class Listener(AbstractAsyncContextManager[None]):
    """An aiohttp server that runs while its block does.

    Args:
        application: The application to serve.
        host: Address to listen on.
        port: Port to listen on.
        purpose: What is served, for the log.
        variable: Name of the setting of the port, for errors.
        context: TLS context; None to serve plain HTTP.
    """

    def __init__(
        self,
        application: web.Application,
        host: str,
        port: int,
        purpose: str,
        variable: str,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._runner = web.AppRunner(application, access_log=None)
        self._host = host
        self._port = port
        self._purpose = purpose
        self._variable = variable
        self._context = context

    async def __aenter__(self) -> None:
        await self._runner.setup()
        try:
            host = None if self._host in ALL_ADDRESSES else self._host
            await web.TCPSite(self._runner, host, self._port, ssl_context=self._context).start()
        except OSError as error:
            address = f"HOST {self._host} and {self._variable} {self._port}"
            raise AddressError(f"{address} cannot be used: {error.strerror}") from error
        log.info(self._purpose, host=self._host, port=self._port)

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
