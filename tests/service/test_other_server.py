"""WebSockets also work under a server that cannot hand over its sockets, at the cost of one task each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

from livescore import application
from livescore.server import ManagementServer
from livescore.settings import load
from tests.support.clients import Listener, feed_of
from tests.support.ports import Port
from tests.support.service import match_body


@asynccontextmanager
async def _served(database_url: str, redis_url: str, **settings: object) -> AsyncIterator[int]:
    """Run the application on a plain uvicorn server; yields its port."""
    port = Port()
    parts = application.assemble(load(database_url=database_url, redis_url=redis_url, **settings))
    config = uvicorn.Config(
        application.create(parts), port=port.number, ws="websockets-sansio", access_log=False, log_config=None
    )
    server = ManagementServer(config)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not (server.started and parts.keyring.complete):
                await asyncio.sleep(0.01)
        yield port.number
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, 15)
        port.release()


async def _match(http: httpx.AsyncClient) -> int:
    created = await http.post("/matches", json=match_body())
    assert created.status_code == 201, created.text
    return int(created.json()["data"]["id"])


async def _comment(http: httpx.AsyncClient, match_id: int, message: str) -> None:
    answer = await http.post(f"/matches/{match_id}/commentary", json={"minute": 1, "message": message})
    assert answer.status_code == 201


async def test_events_arrive_once_and_in_order(database_url: str, redis_url: str) -> None:
    async with (
        _served(database_url, redis_url) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=False) as http,
        Listener(f"ws://127.0.0.1:{port}/ws") as listener,
        Listener(f"ws://127.0.0.1:{port}/ws?all=1") as everything,
    ):
        await everything.next("subscribedAll")
        match_id = await _match(http)
        await listener.until_seq(match_id, 1)
        await listener.subscribe(match_id, since=1)
        for number in range(20):
            await _comment(http, match_id, str(number))
        await listener.until_seq(match_id, 21)
        await everything.until_seq(match_id, 21)
        feed = await feed_of(f"http://127.0.0.1:{port}", match_id)
        assert listener.events(match_id) == feed
        assert everything.events(match_id) == feed
        assert (await listener.ask({"type": "ping"}, "pong"))["type"] == "pong"


async def test_a_client_that_reads_nothing_is_closed(database_url: str, redis_url: str) -> None:
    async with (
        _served(database_url, redis_url, slow_consumer_bytes=200_000) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=False) as http,
    ):
        match_id = await _match(http)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(
            f"GET /ws?matchId={match_id} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        await reader.readuntil(b"subscribed")
        for _ in range(150):
            await _comment(http, match_id, "x" * 90_000)
        assert (await http.get("/health/ready")).json()["connections"] == 0
        writer.close()


@pytest.mark.parametrize("path", ["/ws", "/api/ws"])
async def test_shutdown_closes_sockets_with_a_code(database_url: str, redis_url: str, path: str) -> None:
    async with _served(database_url, redis_url) as port:
        listener = Listener(f"ws://127.0.0.1:{port}{path}")
        await listener.__aenter__()
    await listener.until_closed()
    assert listener.closes[0] in (1001, 1012)
    await listener.close()
