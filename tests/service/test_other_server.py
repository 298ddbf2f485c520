"""A server that cannot hand its connections over serves HTTP and streams, and refuses WebSockets with a reason."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from livescore import application
from livescore.server import ManagementServer
from livescore.settings import load
from tests.support.clients import Message, feed_of
from tests.support.ports import Port
from tests.support.service import match_body


@asynccontextmanager
async def _served(database_url: str, redis_url: str, **settings: object) -> AsyncIterator[int]:
    """The application on a plain uvicorn; its port."""
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


async def test_events_arrive_once_and_in_order_over_http_and_websockets_are_refused(
    database_url: str, redis_url: str
) -> None:
    async with (
        _served(database_url, redis_url) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=False) as http,
    ):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{port}/ws")
        assert refused.value.response.status_code == 501
        assert b"livescore api" in (refused.value.response.body or b"")
        created = await http.post("/matches", json=match_body())
        match_id = int(created.json()["data"]["id"])
        async with http.stream("GET", f"/matches/{match_id}/events/stream", params={"since": 0}) as stream:
            for number in range(20):
                answer = await http.post(f"/matches/{match_id}/commentary", json={"minute": 1, "message": str(number)})
                assert answer.status_code == 201
            async with asyncio.timeout(10):
                received = await _events(stream, 21)
        assert received == await feed_of(f"http://127.0.0.1:{port}", match_id)


async def _events(stream: httpx.Response, count: int) -> list[Message]:
    """Return the next events of a stream."""
    received: list[Message] = []
    async for line in stream.aiter_lines():
        if line.startswith("data: ") and "seq" in (message := json.loads(line[6:])) and "data" in message:
            received.append(message)
            if len(received) == count:
                break
    return received
