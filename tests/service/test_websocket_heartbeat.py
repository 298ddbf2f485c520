"""The server sends one ping per interval, and drops clients that do not answer."""

import asyncio
from contextlib import suppress
from itertools import pairwise
from time import monotonic

import httpx

from tests.support.clients import Listener
from tests.support.raw_websocket import PONG, TEXT, frame, handshake, raw_websocket
from tests.support.service import Service, Start
from tests.support.stopwatch import Stopwatch

INTERVAL_SECONDS = 1.0


async def _connections(api: Service) -> int:
    async with httpx.AsyncClient(base_url=api.management_url, timeout=5) as http:
        count: int = (await http.get("/connections")).json()["connections"]
    return count


async def test_answering_client_is_pinged_every_interval(start: Start) -> None:
    api = await start("api", PING_INTERVAL_SECONDS=str(INTERVAL_SECONDS))
    async with raw_websocket(api.port) as client:
        moments = []
        watch = Stopwatch()
        for _ in range(4):
            assert (await client.ping()).payload == b""
            moments.append(monotonic())
            await client.send(frame(PONG))
        pauses = [later - earlier for earlier, later in pairwise(moments)]
        # A ping that is late because of a busy machine shortens the next pause.
        assert max(pauses) < 2 * INTERVAL_SECONDS + watch.waited(), pauses
        assert min(pauses) > 0.5 * INTERVAL_SECONDS - watch.waited(), pauses


async def test_client_without_a_pong_by_the_next_ping_is_dropped(start: Start) -> None:
    api = await start("api", PING_INTERVAL_SECONDS=str(INTERVAL_SECONDS))
    async with Listener(api.ws_url) as answering, raw_websocket(api.port) as silent:
        await silent.ping()
        started, watch = monotonic(), Stopwatch()
        with suppress(ConnectionResetError):
            assert await silent.ended() == b""
        assert monotonic() - started > 0.5 * INTERVAL_SECONDS
        assert watch.seconds() < 2.5 * INTERVAL_SECONDS
        await _until_connections(api, 1)
        await answering.ask({"type": "ping"}, "pong")
    await _until_connections(api, 0)


async def test_any_client_message_counts_as_a_sign_of_life(start: Start) -> None:
    api = await start("api", PING_INTERVAL_SECONDS=str(INTERVAL_SECONDS))
    async with raw_websocket(api.port) as client:
        for _ in range(3):
            await client.ping()
            await client.send(frame(TEXT, b'{"type":"ping"}'))
        assert await _connections(api) == 1


async def test_frozen_client_is_dropped_despite_an_open_connection(start: Start) -> None:
    api = await start("api", PING_INTERVAL_SECONDS="0.3")
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        writer.write(handshake(api.port))
        await reader.readuntil(b"\r\n\r\n")
        await _until_connections(api, 0)
    finally:
        writer.close()


async def _until_connections(api: Service, count: int) -> None:
    async with asyncio.timeout(20):
        while await _connections(api) != count:
            await asyncio.sleep(0.05)
