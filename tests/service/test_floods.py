"""A flooding client neither stops the service nor keeps its place; other clients are served meanwhile."""

import asyncio
from contextlib import suppress

import httpx
import pytest

from tests.support.clients import Listener
from tests.support.raw_websocket import CONTINUATION, PING, PONG, TEXT, frame, handshake, raw_websocket, refused
from tests.support.service import Service, Start

FLOODS = {
    "empty continuations": (frame(TEXT, b"{", fin=False), frame(CONTINUATION, fin=False)),
    "unsolicited pongs": (b"", frame(PONG)),
    "pings": (b"", frame(PING)),
    "texts of a byte": (b"", frame(TEXT, b"x")),
}


@pytest.fixture
async def live(start: Start) -> Service:
    return await start("api", SECURITY_MODE="LIVE", HTTP_LIMIT="100000 per second", HANDSHAKE_LIMIT="1000 per second")


async def _metric(api: Service, name: str) -> float:
    async with httpx.AsyncClient(base_url=api.management_url, timeout=10) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def _flood(api: Service, first: bytes, repeated: bytes) -> int:
    """Send a megabyte and return the code of the server's close frame."""
    async with raw_websocket(api.port) as client:
        sending = asyncio.create_task(client.send(first + repeated * (1_000_000 // len(repeated))))
        try:
            return await client.closed()
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending


async def test_flooders_are_closed_and_counted_while_others_are_served(live: Service) -> None:
    match = await live.create_match()
    async with Listener(f"{live.ws_url}?matchId={match['id']}") as listener, live.client() as http:
        floods = [asyncio.create_task(_flood(live, *FLOODS[name])) for name in FLOODS for _ in range(3)]
        while not all(flood.done() for flood in floods):
            assert (await http.get("/health/live")).status_code == 200
            assert (await live.comment(match["id"]))["matchId"] == match["id"]
        assert [flood.result() for flood in floods] == [1008] * len(floods)
        entry = await live.comment(match["id"])
        await listener.until(lambda log: log[-1].get("data") == entry)
        assert not listener.closes
    assert await _metric(live, "livescore_flooders_closed_total") == len(floods)
    assert await _metric(live, 'livescore_sockets_closed_total{code="1008"}') == len(floods)


async def test_thousand_matches_in_the_url_give_fifty_subscriptions_and_one_error(service: Service) -> None:
    query = "&".join(f"matchId={number}" for number in range(1, 601))
    async with raw_websocket(service.port, f"/ws?{query}") as client:
        kinds = [(await client.answer())["type"] for _ in range(51)]
        assert (kinds.count("subscribed"), kinds.count("error")) == (50, 1)
        await client.send(frame(TEXT, b'{"type":"ping"}'))
        assert (await client.answer())["type"] == "pong"


async def test_match_repeated_in_the_url_is_one_subscription(service: Service) -> None:
    query = "&".join(["matchId=7"] * 800)
    async with raw_websocket(service.port, f"/ws?{query}") as client:
        assert (await client.answer())["type"] == "subscribed"
        await client.send(frame(TEXT, b'{"type":"ping"}'))
        assert (await client.answer())["type"] == "pong"


async def test_unknown_matches_can_be_followed_in_turn(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        for number in range(5):
            ids = ",".join(str(2_000_000_000 + 50 * number + place) for place in range(50))
            answer = await client.ask(frame(TEXT, b'{"type":"setSubscriptions","matchIds":[%s]}' % ids.encode()))
            if answer["type"] == "subscriptions":
                assert set(answer["seq"].values()) == {0}
            else:
                assert answer["code"] == "rate_limited"


# Incomplete connections


async def _stalled(api: Service, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def test_unfinished_requests_count_as_connections_until_their_deadline(start: Start) -> None:
    api = await start("api", MAX_CONNECTIONS="3", REQUEST_TIMEOUT_SECONDS="3")
    stalled = [await _stalled(api, data) for data in (b"GET /x", b"POST / HTTP/1.1\r\n", handshake(api.port)[:-2])]
    status, _, _ = await refused(api.port)
    assert status == 503
    async with api.client() as http:
        assert (await http.get("/health/live")).status_code == 200
    for reader, writer in stalled:
        async with asyncio.timeout(30):
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()
    async with Listener(api.ws_url) as listener:
        await listener.ask({"type": "ping"}, "pong")
    assert await _metric(api, 'livescore_http_requests_total{method="other",route="unmatched",status="408"}') >= 1


async def test_handshakes_with_a_body_are_answered_and_closed_at_once(service: Service) -> None:
    for body in (b"", b"abc", b"abcdefghij"):
        sent = handshake(service.port, "/ws", "Content-Length: 10") + body
        reader, writer = await _stalled(service, sent)
        async with asyncio.timeout(9):  # less than REQUEST_TIMEOUT_SECONDS
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_tls_handshake_is_answered_and_closed(service: Service) -> None:
    reader, writer = await _stalled(service, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200)
    async with asyncio.timeout(9):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
