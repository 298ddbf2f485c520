"""Upgrades to anything but a WebSocket are ignored, and the request is served normally (RFC 9110 section 7.8)."""

import asyncio

import pytest

from tests.support.http_protocol import Connection, Server, bounds

BODY = b'{"minute":1,"message":"DELETE /x HTTP/1.1"}'
# A server that loses the body would execute it as the next request.
SMUGGLED = b"PATCH /matches/2/end HTTP/1.1\r\nHost: a\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"

UPGRADES = {
    "h2c": H2C,
    "without HTTP2-Settings": b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    "upper case": b"CONNECTION: UPGRADE\r\nUPGRADE: H2C\r\n",
    "TLS": b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
    "IRC": b"Connection: upgrade\r\nUpgrade: IRC/6.9, RTA/x11\r\n",
    "unknown": b"Connection: upgrade\r\nUpgrade: no-such-protocol\r\n",
    "empty": b"Connection: upgrade\r\nUpgrade:\r\n",
    "HTTP/1.1 itself": b"Connection: upgrade\r\nUpgrade: HTTP/1.1\r\n",
    "several": b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
    "several, the other order": b"Connection: Upgrade\r\nUpgrade: h2c,websocket\r\n",
    "several lines": b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
    "WebSocket by another method": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "WebSocket of another version": b"Connection: Upgrade\r\nUpgrade: websocket/13\r\n",
    "no connection option": b"Upgrade: h2c\r\n",
    "a connection option alone": b"Connection: upgrade\r\n",
    "a list": b"Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n",
    "two connection lines": b"Connection: upgrade\r\nConnection: keep-alive\r\nUpgrade: h2c\r\n",
    "upgrade before connection": b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    "whitespace": b"Connection:  \tupgrade \t\r\nUpgrade: \th2c\t \r\n",
}


def _whole(upgrade: bytes, body: bytes = BODY, method: bytes = b"POST") -> bytes:
    return b"%s /x?y=1 HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s" % (method, upgrade, len(body), body)


def _chunked(upgrade: bytes, body: bytes = BODY) -> bytes:
    head = b"POST /x?y=1 HTTP/1.1\r\nHost: a\r\n" + upgrade + b"Transfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:2], body[2:]))
    return head + chunks + b"0\r\n\r\n"


@pytest.fixture
async def connection() -> Connection:
    return Server(bounds()).connect()


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"DELETE", b"PUT", b"GET", b"OPTIONS", b"REPORT"])
async def test_every_method_keeps_its_body(connection: Connection, method: bytes) -> None:
    connection.send(_whole(H2C, method=method))
    (answer,) = await connection.answers()
    seen = answer.json()
    assert (answer.status, seen["method"], seen["path"], seen["query"]) == (200, method.decode(), "/x", "y=1")
    assert seen["body"].encode() == BODY
    assert "upgrade" not in answer.headers


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
@pytest.mark.parametrize("request_of", [_whole, _chunked])
async def test_every_upgrade_but_websocket_is_ignored(
    upgrade: bytes, request_of: object, connection: Connection
) -> None:
    assert callable(request_of)
    connection.send(request_of(upgrade))
    (answer,) = await connection.answers()
    assert (answer.status, answer.json()["body"].encode()) == (200, BODY)


@pytest.mark.parametrize("upgrade", [H2C, UPGRADES["several"]])
async def test_body_in_a_separate_packet_is_never_the_next_request(connection: Connection, upgrade: bytes) -> None:
    head, _, _ = _whole(upgrade, SMUGGLED).partition(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    await asyncio.sleep(0)
    connection.send(SMUGGLED)
    (answer,) = await connection.settled()
    assert (answer.json()["method"], answer.json()["body"].encode()) == ("POST", SMUGGLED)


@pytest.mark.parametrize("request_of", [_whole, _chunked])
async def test_request_may_be_split_at_every_byte(request_of: object) -> None:
    assert callable(request_of)
    server, request = Server(bounds()), request_of(H2C, SMUGGLED)
    for cut in range(1, len(request)):
        connection = server.connect()
        connection.send(request[:cut], request[cut:])
        (answer,) = await connection.settled()
        assert (answer.json()["method"], answer.json()["body"].encode()) == ("POST", SMUGGLED), cut
        connection.lose()


async def test_request_may_arrive_byte_by_byte(connection: Connection) -> None:
    request = _chunked(H2C, SMUGGLED)
    connection.send(*(request[at : at + 1] for at in range(len(request))))
    (answer,) = await connection.settled()
    assert answer.json()["body"].encode() == SMUGGLED


async def test_pipelined_requests_are_all_served_in_order(connection: Connection) -> None:
    plain = b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"
    connection.send((_whole(H2C, b"one") + plain + _chunked(H2C, b"two") + _whole(H2C, b"")) * 20)
    answers = [answer.json() for answer in await connection.answers(80)]
    assert [(seen["path"], seen["body"]) for seen in answers] == [
        ("/x", "one"),
        ("/plain", ""),
        ("/x", "two"),
        ("/x", ""),
    ] * 20


async def test_headers_and_connection_close_are_preserved(connection: Connection) -> None:
    connection.send(_whole(b"Connection: close, upgrade\r\nUpgrade: h2c\r\nX-API-Key: k \r\nCookie: a=b\r\n"))
    (answer,) = await connection.answers()
    headers = dict(answer.json()["headers"])
    assert (headers["x-api-key"], headers["cookie"], headers["host"]) == ("k", "a=b", "a")
    assert answer.headers["connection"] == "close"
    assert connection.transport.closed


async def test_expectation_is_met_despite_an_upgrade(connection: Connection) -> None:
    head, _, _ = _whole(H2C + b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    await connection.settled()
    assert connection.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(BODY)
    (answer,) = await connection.answers()
    assert answer.json()["body"].encode() == BODY


async def test_http_1_0_cannot_upgrade(connection: Connection) -> None:
    connection.send(
        _whole(b"Connection: upgrade\r\nUpgrade: websocket\r\n", method=b"GET").replace(b"/1.1", b"/1.0", 1)
    )
    (answer,) = await connection.answers()
    assert (answer.status, answer.json()["body"].encode()) == (200, BODY)


async def test_a_server_without_websockets_ignores_them_too() -> None:
    connection = Server(bounds(), websockets=False).connect()
    connection.send(_whole(b"Connection: upgrade\r\nUpgrade: websocket\r\n", method=b"GET"))
    (answer,) = await connection.answers()
    assert (answer.status, answer.json()["body"].encode()) == (200, BODY)


async def test_malformed_body_is_refused_despite_an_upgrade(connection: Connection) -> None:
    connection.send(_chunked(H2C).replace(b"2\r\n", b"zz\r\n", 1))
    (answer,) = await connection.answers()
    assert (answer.status, answer.json()) == (400, {"error": "Malformed HTTP request"})


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HELLO = b"\x81\x85\x00\x00\x00\x00hello"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b""),
        (b"websocket", b"WebSocket"),
        (b"websocket", b" WEBSOCKET \t"),
        (b"Connection: Upgrade", b"Connection: close, upgrade"),
        (b"Connection: Upgrade", b"Connection: keep-alive, Upgrade"),
        (b"Connection: Upgrade", b"Connection: Upgrade\r\nConnection: keep-alive"),
        (b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"),
        (b"Version: 13", b"Version: 13 "),
        (b"GET /ws", b"GET http://a/ws"),
    ],
)
async def test_a_websocket_opens(connection: Connection, old: bytes, new: bytes) -> None:
    connection.send(HANDSHAKE.replace(old, new))
    (answer,) = await connection.answers()
    assert answer.status == 101


async def test_frames_in_the_handshake_packet_are_not_lost() -> None:
    server, sent = Server(bounds()), HANDSHAKE + HELLO
    for cut in range(1, len(sent)):
        connection = server.connect()
        connection.send(sent[:cut], sent[cut:])
        for _ in range(100):
            await asyncio.sleep(0)
        assert connection.transport.written.startswith(b"HTTP/1.1 101 "), cut
        assert connection.transport.written.endswith(b"\x81\x0aecho hello"), cut
