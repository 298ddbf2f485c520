"""Servers of the tests leave no connection open when they stop."""

import asyncio
import socket
from contextlib import suppress

import aiohttp.web
import pytest

from tests.support.kubernetes.stopping import stop


async def _answer(_: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
    return aiohttp.web.Response()


def _read_to_end(client: socket.socket) -> bytes:
    with suppress(ConnectionResetError):
        return client.recv(1)
    return b""


@pytest.mark.parametrize("turns", range(6))
async def test_connection_made_during_a_stop_is_closed(turns: int) -> None:
    runner = aiohttp.web.ServerRunner(aiohttp.web.Server(_answer))
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    with socket.create_connection(runner.addresses[0][:2], timeout=5) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        await stop(runner)
        assert await asyncio.to_thread(_read_to_end, client) == b""
