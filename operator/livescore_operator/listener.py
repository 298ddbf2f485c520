"""What the operator listens on: aiohttp servers for the length of a block."""

import ssl
from contextlib import AbstractAsyncContextManager

import structlog
from aiohttp import web

log = structlog.get_logger(__name__)


# Every IPv4 and IPv6 address of the machine, which asyncio calls None.
EVERYWHERE = ("*", "::", "")


class AddressError(Exception):
    """What should be served cannot be; the text names the variables."""


class Listener(AbstractAsyncContextManager[None]):
    """An aiohttp server for the length of a block."""

    def __init__(
        self,
        application: web.Application,
        host: str,
        port: int,
        what: str,
        variable: str,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._runner = web.AppRunner(application, access_log=None)
        self._host, self._port, self._context = host, port, context
        self._what, self._variable = what, variable

    async def __aenter__(self) -> None:
        await self._runner.setup()
        try:
            host = None if self._host in EVERYWHERE else self._host
            await web.TCPSite(self._runner, host, self._port, ssl_context=self._context).start()
        except OSError as error:
            where = f"HOST {self._host} and {self._variable} {self._port}"
            raise AddressError(f"{where} cannot be used: {error.strerror}") from error
        log.info(self._what, host=self._host, port=self._port)

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
