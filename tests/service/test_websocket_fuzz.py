"""20 000 random frames and as many random bytes: the server answers or closes the connection, and nothing else."""

import asyncio
import json
import random
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.support.clients import Listener
from tests.support.raw_websocket import CLOSE, CONTINUATION, PING, TEXT, RawWebSocket, close_frame, frame, raw_websocket
from tests.support.service import Service, Start

FRAMES = 20_000
CLIENTS = 8
SEED = 20_260_711

READ = b"everything before this was read"
"""Payload of the ping that marks the end of the sent data."""

SWALLOWED_SECONDS = 0.05
"""Waiting time for a response to random bytes, which is rare."""

TYPES = ["subscribe", "unsubscribe", "setSubscriptions", "subscribeAll", "unsubscribeAll", "ping", "welcome", "", None]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1,
    7,
    2,
    3,
    7.0,
    7.5,
    1e300,
    2**31,
    2**63,
    "7",
    "",
    "x" * 200,
    [],
    [1, 2],
    [[]],
    {},
    {"a": 1},
]
TEXTS = [b"", b"{", b"[]", b"null", b"NaN", b'"', b"\xff\xfe", b"\xed\xa0\x80", b"[" * 5_000, b'{"type":"\\ud800"}']


def _message(chance: random.Random) -> bytes:
    """Return almost valid JSON, or no JSON at all."""
    if chance.random() < 0.2:
        return chance.choice(TEXTS)
    names = chance.sample(["matchId", "since", "epoch", "matchIds", "more"], chance.randrange(4))
    return json.dumps({"type": chance.choice(TYPES), **{name: chance.choice(VALUES) for name in names}}).encode()


def _frame(chance: random.Random) -> bytes:
    """Return a mostly valid frame, so that connections live long enough to reach unusual states."""
    roll = chance.random()
    if roll < 0.80:
        return frame(TEXT if roll < 0.7 else 2, _message(chance))
    if roll < 0.90:
        return frame(chance.choice([PING, 0xA]), chance.randbytes(chance.randrange(126)))
    if roll < 0.99:
        return _fragmented(chance)
    if roll < 0.995:
        return frame(chance.randrange(16), chance.randbytes(chance.choice([0, 1, 2, 125, 126, 300])))
    opcode, reserved = chance.choice([TEXT, CONTINUATION, PING, 8]), chance.randrange(8)
    return frame(opcode, chance.randbytes(5), fin=chance.random() < 0.5, reserved=reserved, mask=chance.random() < 0.5)


def _fragmented(chance: random.Random) -> bytes:
    message = _message(chance)
    at = chance.randrange(len(message) + 1)
    between = frame(PING, b"between") if chance.random() < 0.5 else b""
    return frame(TEXT, message[:at], fin=False) + between + frame(CONTINUATION, message[at:])


async def _attack(port: int, pieces: list[bytes], patience: float = 5.0) -> tuple[int, int]:
    """Send all pieces, reconnecting whenever the server closes the connection.

    Args:
        patience: seconds to wait, after every few pieces, until the server has read them. If the data looks like the
            head of a long frame, the server waits for more and does not answer.

    Returns:
        The number of connections used, and of frames received.
    """
    connections, answers = 0, list[int]()
    while pieces:
        connections += 1
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with raw_websocket(port) as client, asyncio.TaskGroup() as group:
                read = asyncio.Event()
                reading = group.create_task(_read_until_closed(client, answers, read))
                await _send_until(client, pieces, reading, read, patience)
    return connections, len(answers)


async def _send_until(
    client: RawWebSocket, pieces: list[bytes], reading: asyncio.Task[None], read: asyncio.Event, patience: float
) -> None:
    # Stay in step with the server: sending to a socket it has closed causes a reset, which discards its answers.
    while pieces and not reading.done():
        read.clear()
        await client.send(b"".join(pieces[:5]) + frame(PING, READ))
        del pieces[:5]
        with suppress(TimeoutError):
            await asyncio.wait_for(read.wait(), patience)
    await client.send(close_frame(1000))


async def _read_until_closed(client: RawWebSocket, answers: list[int], read: asyncio.Event) -> None:
    with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        while (received := await client.receive()).opcode != CLOSE:
            if received.payload == READ:
                read.set()
            else:
                answers.append(received.opcode)
    read.set()


async def _is_unharmed(api: Service, listener: Listener, match_id: int) -> None:
    """Assert that other clients are served, nothing unexpected is logged, and no resources of the attackers remain."""
    posted = await api.comment(match_id)
    await listener.until(lambda log: log[-1].get("data") == posted)
    async with asyncio.timeout(30), httpx.AsyncClient(base_url=api.management_url, timeout=5) as http:
        while (await http.get("/connections")).json()["connections"] != 1:
            await asyncio.sleep(0.05)
        assert (await http.get("/health/ready")).status_code == 200
    assert "Traceback" not in api.log
    assert "[error" not in api.log
    assert "[critical" not in api.log


async def test_service_survives_20_000_random_frames(start: Start) -> None:
    api = await start("api", INBOUND_BURST="1000000", INBOUND_PER_SECOND="1000000")
    match_id = (await api.create_match())["id"]
    chance = random.Random(SEED)
    async with Listener(f"{api.ws_url}?matchId={match_id}") as listener:
        await listener.next("subscribed")
        shares = [[_frame(chance) for _ in range(FRAMES // CLIENTS)] for _ in range(CLIENTS)]
        found = await asyncio.gather(*(_attack(api.port, share) for share in shares))
        assert sum(connections for connections, _ in found) > CLIENTS
        assert sum(answers for _, answers in found) > FRAMES // 4
        await _is_unharmed(api, listener, match_id)
        assert not listener.closes


async def test_service_survives_random_bytes(start: Start) -> None:
    """The server reads no more than it must for any announced length."""
    api = await start("api")
    match_id = (await api.create_match())["id"]
    chance = random.Random(SEED)
    async with Listener(f"{api.ws_url}?matchId={match_id}") as listener:
        await listener.next("subscribed")
        shares = [[chance.randbytes(chance.choice([1, 2, 7, 100])) for _ in range(500)] for _ in range(CLIENTS)]
        await asyncio.gather(*(_attack(api.port, share, SWALLOWED_SECONDS) for share in shares))
        await _is_unharmed(api, listener, match_id)


async def test_service_survives_random_bytes_with_default_limits(start: Start) -> None:
    """The error responses of the token bucket are bounded like everything else."""
    api = await start("api")
    match_id = (await api.create_match())["id"]
    chance = random.Random(SEED)
    async with Listener(f"{api.ws_url}?matchId={match_id}") as listener:
        await listener.next("subscribed")
        await asyncio.gather(*(_attack(api.port, [_frame(chance) for _ in range(500)]) for _ in range(CLIENTS)))
        await _is_unharmed(api, listener, match_id)


@pytest.mark.parametrize("size", [1, 10, 100])
async def test_service_survives_a_handshake_of_random_bytes(service: Service, size: int) -> None:
    chance = random.Random(size)
    for _ in range(50):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ")
        writer.write(chance.randbytes(size) + b"\r\n\r\n")
        writer.write_eof()
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                assert not (await reader.read()).startswith(b"HTTP/1.1 101")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    async with Listener(service.ws_url) as listener:
        await listener.ask({"type": "ping"}, "pong")
