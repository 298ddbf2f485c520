"""Strict HTTP: versions, framing, targets, expectations and whitespace (RFC 9110, RFC 9112)."""

import asyncio

import pytest

from livescore.api.protocol import CROWDED_SECONDS, MAX_HEADER_FIELDS, PIECE_BYTES
from livescore.telemetry import metrics
from tests.support.http_protocol import Connection, Server, bounds, parse
from tests.unit.test_http_upgrade import HANDSHAKE

pytestmark = pytest.mark.usefixtures("virtual_clock")


@pytest.fixture
async def connection() -> Connection:
    return Server(bounds()).connect()


def _counted(status: int) -> float:
    samples = (sample for metric in metrics.HTTP_REQUESTS.collect() for sample in metric.samples)
    return sum(
        sample.value
        for sample in samples
        if sample.name.endswith("_total")
        and (sample.labels["route"], sample.labels["status"]) == ("unmatched", str(status))
    )


async def _refused(connection: Connection, status: int, *pieces: bytes) -> str:
    """Send the pieces, assert that they are refused, counted and end the connection, and return the error message."""
    counted = _counted(status)
    connection.send(*pieces)
    (answer,) = await connection.settled()
    assert answer.status == status
    assert (answer.headers["content-type"], "close" in answer.headers["connection"]) == ("application/json", True)
    assert connection.transport.eof
    assert _counted(status) == counted + 1
    message: str = answer.json()["error"]
    return message


# Versions


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"1.9", b"2.0", b"3.0", b"9.9"])
async def test_other_versions_are_refused(connection: Connection, version: bytes) -> None:
    assert "HTTP/1.1" in await _refused(connection, 505, b"GET /x HTTP/" + version + b"\r\nHost: a\r\n\r\n")


async def test_http_2_preface_is_refused(connection: Connection) -> None:
    await _refused(connection, 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


OTHER_PROTOCOLS = [
    b"GET /x RTSP/1.0",
    b"GET /x RTSP/1.1",
    b"POST /x RTSP/1.0",
    b"OPTIONS * RTSP/1.0",
    b"GET   /x   RTSP/1.0",
    b"DESCRIBE rtsp://a/x RTSP/1.0",
    b"SETUP /x RTSP/2.0",
    b"PUT /x RTSP/1.0",
    b"HEAD /x RTSP/1.0",
    b"SOURCE /x ICE/1.0",
    b"GET /x ICE/1.0",
]


@pytest.mark.parametrize("line", OTHER_PROTOCOLS)
@pytest.mark.parametrize("end", [b"\r\nHost: a\r\n\r\n", b"\r\nX: RTSP/1.0\r\n\r\n", b"\r\n\r\n"])
async def test_other_protocols_are_refused(connection: Connection, line: bytes, end: bytes) -> None:
    await _refused(connection, 505, line + end)


@pytest.mark.parametrize("line", [b"GET /x RTSP/1.0", b"SOURCE /x ICE/1.0"])
async def test_other_protocols_are_refused_however_the_request_is_split(line: bytes) -> None:
    request = line + b"\r\nHost: a\r\n\r\n"
    for cut in range(1, len(request)):
        await _refused(Server(bounds()).connect(), 505, request[:cut], request[cut:])
    await _refused(Server(bounds()).connect(), 505, *(bytes([byte]) for byte in request))


@pytest.mark.parametrize("body", [b"", b"abc", b"a RTSP/1.0\n", b"\r\nGET /x RTSP/1.0\r\n"])
async def test_other_protocols_are_refused_after_an_earlier_request(connection: Connection, body: bytes) -> None:
    first = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    connection.send(first + b"GET /y RTSP/1.0\r\nHost: a\r\n\r\n")
    (answer,) = await connection.settled()
    assert (answer.status, answer.json()["path"], answer.json()["body"]) == (200, "/x", body.decode())
    assert connection.transport.eof or connection.transport.closed


@pytest.mark.parametrize("piece", [1, 7, 4_096])
async def test_names_of_other_protocols_elsewhere_are_accepted(connection: Connection, piece: int) -> None:
    body = b"GET /x RTSP/1.0\r\n PLAY /x ICE/1.0\n"
    fields = b"X: GET /x RTSP/1.0\r\nHost: a\r\nY: PLAY /x ICE/1.0\r\n"
    request = b"POST /RTSP/?ICE/1.0 HTTP/1.1\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body
    pieces = [request[at : at + piece] for at in range(0, len(request), piece)]
    for expected in (1, 2):
        connection.send(*pieces)
        answers = await connection.answers(expected)
        assert (answers[-1].status, answers[-1].json()["body"]) == (200, body.decode())


async def test_flood_of_truncated_requests_buffers_only_the_last(connection: Connection) -> None:
    request = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
    connection.send(b"GET /x", *[request[6:] + b"GET /x"] * 50)
    await connection.answers(50)
    assert len(connection.transport.protocol._request_line) < 2 * len(request)


async def test_handshake_header_may_name_another_protocol(connection: Connection) -> None:
    connection.send(HANDSHAKE[:-2] + b"X: GET /x RTSP/1.0\r\n\r\n")
    assert (await connection.answers())[0].status == 101


async def test_a_request_of_http_0_9_is_refused(connection: Connection) -> None:
    await _refused(connection, 505, b"GET /x\r\n\r\n")


# Host


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nhost: b\r\n"])
async def test_request_must_have_one_host(connection: Connection, hosts: bytes) -> None:
    assert "Host" in await _refused(connection, 400, b"GET /x HTTP/1.1\r\n" + hosts + b"\r\n")


@pytest.mark.parametrize(
    "host", [b"a b", b"a, b", b"a,b", b"a/b", b"u@a", b"a:b", b"http://a", b"a?b", b"[::1", b"a\xff"]
)
async def test_host_must_be_a_name_or_address_with_an_optional_port(connection: Connection, host: bytes) -> None:
    assert "Host" in await _refused(connection, 400, b"GET /x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")


@pytest.mark.parametrize(
    "host", [b"", b"a", b"a:80", b"a_b.c-d", b"192.0.2.1:8000", b"[::1]:8000", b"[fe80::1%25eth0]", b" a\t"]
)
async def test_every_valid_host_is_accepted(connection: Connection, host: bytes) -> None:
    connection.send(b"GET /x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert (await connection.answers())[0].status == 200


async def test_http_1_0_may_omit_the_host() -> None:
    server = Server(bounds())
    connection = server.connect()
    connection.send(b"GET /x HTTP/1.0\r\n\r\n")
    assert (await connection.answers())[0].status == 200
    await _refused(server.connect(), 400, b"GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n")


# HTTP/1.0


async def test_http_1_0_response_of_unknown_length_closes_the_connection(connection: Connection) -> None:
    connection.send(b"GET /stream HTTP/1.0\r\n\r\n")
    (answer,) = await connection.settled()
    assert (answer.status, answer.json()["path"]) == (200, "/stream")
    assert "transfer-encoding" not in answer.headers
    assert connection.transport.closed


async def test_http_1_1_response_of_unknown_length_is_chunked(connection: Connection) -> None:
    connection.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    (answer,) = await connection.settled()
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.body.endswith(b"\r\n0\r\n\r\n")


async def test_head_of_a_response_of_unknown_length_has_no_body(connection: Connection) -> None:
    connection.send(b"HEAD /stream HTTP/1.0\r\n\r\n")
    await connection.settled()
    assert connection.transport.written.endswith(b"\r\n\r\n")


async def test_a_body_of_http_1_0_is_read(connection: Connection) -> None:
    connection.send(b"POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
    assert (await connection.answers())[0].json()["body"] == "abc"


async def test_http_1_0_gets_no_100_continue(connection: Connection) -> None:
    connection.send(b"POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    await connection.settled()
    assert connection.transport.written == b""
    connection.send(b"abc")
    assert (await connection.answers())[0].json()["body"] == "abc"


# Expect


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue", b"100-CONTINUE \t", b", 100-continue"])
async def test_100_continue_is_sent_before_the_body(connection: Connection, value: bytes) -> None:
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: " + value + b"\r\n\r\n")
    await connection.settled()
    assert connection.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(b"abc")
    assert (await connection.answers())[0].json()["body"] == "abc"


@pytest.mark.parametrize("value", [b"", b" \t", b","])
async def test_empty_expectation_is_ignored(connection: Connection, value: bytes) -> None:
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: " + value + b"\r\n\r\nabc")
    assert (await connection.answers())[0].json()["body"] == "abc"
    assert b"100 Continue" not in connection.transport.written


@pytest.mark.parametrize("value", [b"200-ok", b"100-continue, x", b"x=y", b"100"])
async def test_other_expectations_are_refused(connection: Connection, value: bytes) -> None:
    sent = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: " + value + b"\r\n\r\n"
    assert "100-continue" in await _refused(connection, 417, sent)


# Framing


@pytest.mark.parametrize(
    "coding", [b"gzip, chunked", b"identity", b"gzip", b"deflate", b"br", b"xchunked", b"chunked;q=1"]
)
async def test_other_transfer_codings_are_refused(connection: Connection, coding: bytes) -> None:
    sent = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n"
    assert "chunked" in await _refused(connection, 501, sent)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b" CHUNKED "])
async def test_chunked_is_accepted_in_every_spelling(connection: Connection, coding: bytes) -> None:
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + coding + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert (await connection.answers())[0].json()["body"] == "abc"


SECOND = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"Content-Length: 5, 5\r\n\r\nabcde",
        b"Content-Length: +5\r\n\r\nabcde",
        b"Content-Length: -5\r\n\r\n",
        b"Content-Length: 0x5\r\n\r\nabcde",
        b"Content-Length: 5 5\r\n\r\nabcde",
        b"Content-Length:\r\n\r\n",
        b"Content-Length: 99999999999999999999\r\n\r\n",
        b"X: a\r\n folded\r\n\r\n",
        b"X: a\n\r\n",
        b"X: a\nContent-Length: 5\r\n\r\n",
        b"X: a\rContent-Length: 5\r\n\r\n",
        b"X: a\x00b\r\n\r\n",
        b"X\x00Y: b\r\n\r\n",
        b": no name\r\n\r\n",
        b"no colon\r\n\r\n",
        b"X Y: b\r\n\r\n",
        b"\n",
        *(
            b"Transfer-Encoding: chunked\r\n\r\n" + chunks
            for chunks in (
                b"0x5\r\nabcde\r\n0\r\n\r\n",
                b"+5\r\nabcde\r\n0\r\n\r\n",
                b"-5\r\n",
                b" 5\r\nabcde\r\n0\r\n\r\n",
                b"5 \r\nabcde\r\n0\r\n\r\n",
                b"5\nabcde\r\n0\r\n\r\n",
                b"5\r\nabcdef\r\n0\r\n\r\n",
                b"5\r\nabcde0\r\n\r\n",
                b"5;\nabcde\r\n0\r\n\r\n",
                b"10000000000000005\r\nabcde\r\n0\r\n\r\n",
                b"\r\n",
                b"0\r\nX: y\n\r\n",
                b"0\r\nContent-Length: 3\r\n\r\n",
            )
        ),
    ],
)
async def test_ambiguous_framing_is_refused_and_later_requests_are_not_executed(
    connection: Connection, rest: bytes
) -> None:
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\n" + rest + SECOND)
    answers = await connection.settled()
    assert [answer.status for answer in answers] == [400]
    assert answers[0].json()["error"]
    assert b"smuggled" not in connection.transport.written


async def test_transfer_codings_are_refused_in_http_1_0(connection: Connection) -> None:
    sent = b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert "Transfer-Encoding" in await _refused(connection, 400, sent + SECOND)


async def test_trailers_never_become_headers(connection: Connection) -> None:
    connection.send(
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
        b"X-API-Key: smuggled\r\nHost: b\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n" + SECOND
    )
    first, second = await connection.answers(2)
    assert first.json()["headers"] == [["host", "a"], ["transfer-encoding", "chunked"]]
    assert second.json()["headers"] == [["host", "a"]]


@pytest.mark.parametrize("path", [b"/x", b"/slow"])
async def test_connection_header_in_a_trailer_closes_the_connection(connection: Connection, path: bytes) -> None:
    connection.send(
        b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
        b"Connection: close\r\n\r\n" + SECOND
    )
    (answer,) = await connection.answers()
    assert answer.json()["body"] == "abc"
    await connection.settled()
    assert connection.transport.closed


async def test_a_body_of_many_tiny_chunks_is_bounded(connection: Connection) -> None:
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.send(head, *[b"1\r\na\r\n" * 300] * 100)
    assert (await connection.settled())[0].status == 400


# Targets


async def test_connect_is_refused(connection: Connection) -> None:
    connection.send(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" + SECOND)
    (answer,) = await connection.settled()
    assert (answer.status, "get" in answer.headers["allow"]) == (405, True)


async def test_options_asterisk_lists_the_methods(connection: Connection) -> None:
    connection.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    (answer,) = await connection.settled()
    assert (answer.status, "patch" in answer.headers["allow"]) == (204, True)
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("target", [b"*", b"http://", b"http:///x", b"http://u@a/x", b"ftp://a/x", b"http://a,b/x"])
async def test_other_targets_are_refused(connection: Connection, target: bytes) -> None:
    await _refused(connection, 400, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize("target", [b"a:80", b"x", b"/\x00", b"/a b", b"//\xff"])
async def test_malformed_targets_are_refused(connection: Connection, target: bytes) -> None:
    await _refused(connection, 400, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://b:81/x?y=1", "/x", "y=1"),
        (b"HTTP://b:81/x", "/x", ""),
        (b"https://b:81", "/", ""),
        (b"http://b:81?y=1", "/", "y=1"),
    ],
)
async def test_absolute_target_is_served_and_overrides_the_host(
    connection: Connection, target: bytes, path: str, query: str
) -> None:
    connection.send(b"GET " + target + b" HTTP/1.1\r\nHost: other\r\n\r\n")
    seen = (await connection.answers())[0].json()
    assert (seen["path"], seen["query"], seen["headers"]) == (path, query, [["host", "b:81"]])


# Header values


NAMES = ["X-API-Key", "Authorization", "If-None-Match", "If-Match", "Idempotency-Key", "Last-Event-ID", "Origin"]
NAMES += ["X-Forwarded-For", "X-Request-ID", "Content-Type", "Accept", "User-Agent"]


@pytest.mark.parametrize("name", NAMES)
async def test_header_values_are_stripped(connection: Connection, name: str) -> None:
    connection.send(f"GET /x HTTP/1.1\r\nHost: \ta \r\n{name}: \t a  b \t \r\n\r\n".encode())
    seen = (await connection.answers())[0].json()
    assert seen["headers"] == [["host", "a"], [name.lower(), "a  b"]]


async def test_empty_header_value_stays_empty(connection: Connection) -> None:
    connection.send(b"GET /x HTTP/1.1\r\nHost: a\r\nX: \t \r\n\r\n")
    assert (await connection.answers())[0].json()["headers"][1] == ["x", ""]


# Handshakes


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"Sec-WebSocket-Version: 13\r\n", b"", 426),
        (b"Version: 13", b"Version: 8", 426),
        (b"Version: 13", b"Version: 0", 426),
        (b"Version: 13", b"Version: x", 426),
        (b"Version: 13", b"Version: 013", 426),
        (b"Version: 13", b"Version: 13, 8", 426),
        (b"Version: 13", b"Version: 13\r\nSec-WebSocket-Version: 13", 426),
        (b"Connection: Upgrade", b"Connection: Upgrade, @;", 400),
        (b"Connection: Upgrade", b"Connection: Upgrade\r\nConnection: a b", 400),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol:\r\n\r\n", 400),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: chat, @\r\n\r\n", 400),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ=", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZSBidXQgbG9uZ2Vy", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"not base64 at all!!!!!==", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400),
        (b"Host: a\r\n", b"", 400),
        (b"Host: a\r\n", b"Host: a\r\nHost: b\r\n", 400),
        (b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n", 400),
        (b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"HTTP/1.1", b"HTTP/2.0", 505),
        (b"GET /ws", b"GET /ws?x=\xff", 400),
        (b"GET /ws", b"GET /ws?" + b"matchId=7&" * 2_000, 431),
        (b"Host: a", b"Host: a\r\nCookie: " + b"x" * 8_190, 431),
    ],
)
async def test_invalid_handshake_is_answered_and_closed(
    connection: Connection, old: bytes, new: bytes, status: int
) -> None:
    await _refused(connection, status, HANDSHAKE.replace(old, new, 1) + b"abcde")
    (answer,) = parse(connection.transport.written)
    assert (answer.headers.get("upgrade"), answer.headers.get("sec-websocket-version")) == (
        ("websocket", "13") if status == 426 else (None, None)
    )


async def test_head_is_refused_without_a_body(connection: Connection) -> None:
    connection.send(b"HEAD /x HTTP/1.1\r\n\r\n")
    await connection.settled()
    assert connection.transport.written.startswith(b"HTTP/1.1 400 ")
    assert connection.transport.written.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("length", [1_000, 8_000, 8_178, 8_179, 8_180, 8_190, 8_200, 16_000, 30_000])
async def test_long_handshake_is_answered_at_any_length(connection: Connection, length: int) -> None:
    connection.send(HANDSHAKE.replace(b"/ws", b"/ws?" + b"x" * (length - 4)))
    (answer,) = await connection.settled()
    assert answer.status == (101 if length <= 8_176 else 431)


# Bounds


async def test_number_of_header_fields_is_bounded(connection: Connection) -> None:
    fields = b"".join(b"x%d:\r\n" % number for number in range(MAX_HEADER_FIELDS - 1))
    connection.send(b"GET /x HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    assert (await connection.answers())[0].status == 200
    connection.send(b"GET /x HTTP/1.1\r\nHost: a\r\n" + fields + b"one: more\r\n" * 2000)
    assert (await connection.settled())[1].status == 431


async def test_flood_of_pipelined_requests_is_not_parsed_ahead(connection: Connection) -> None:
    request = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
    connection.send(request * 20_000)
    protocol = connection.transport.protocol
    assert len(protocol.pipeline) <= PIECE_BYTES // len(request) + 1
    assert connection.transport.paused
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(protocol.pipeline) <= PIECE_BYTES // len(request) + 1
    connection.lose()


async def test_nothing_is_read_while_pipelined_requests_wait(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []
    pipeline = connection.transport.protocol.pipeline
    monkeypatch.setattr(connection.transport, "resume_reading", lambda: waiting.append(len(pipeline)))
    connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
    await connection.answers(3)
    assert waiting == [0]


async def test_a_flood_of_pipelined_requests_is_answered_in_order(connection: Connection) -> None:
    connection.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(300)))
    answers = await connection.answers(300, patience=60)
    assert [answer.json()["path"] for answer in answers] == [f"/{number}" for number in range(300)]
    assert not connection.transport.paused


async def test_client_sending_during_a_stream_cannot_exhaust_memory(connection: Connection) -> None:
    """A stream waits for its client to disconnect, for which uvicorn keeps reading."""
    connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    await asyncio.sleep(0.01)
    connection.send(b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n" * 1_000)
    connection.transport.protocol.flow.resume_reading()
    assert connection.transport.paused
    connection.lose()


async def test_earlier_requests_are_answered_before_the_connection_closes(connection: Connection) -> None:
    connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" * 3 + b"nonsense\r\n\r\n")
    assert [answer.status for answer in await connection.answers(3)] == [200] * 3
    assert connection.transport.closed


# Connection places


@pytest.fixture
async def quick() -> Server:
    return Server(bounds(request_timeout_seconds=0.1, max_connections=3, max_connections_per_address=2))


@pytest.mark.parametrize("begun", [b"G", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab"])
async def test_request_started_before_the_last_response_has_its_own_deadline(begun: bytes) -> None:
    connection = Server(bounds(request_timeout_seconds=0.2), keep_alive_seconds=0.01).connect()
    connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + begun)
    first, second = await connection.answers(2)
    assert (first.status, second.status) == (200, 408)
    assert not connection.transport.closed, "closed before the answer"


async def test_an_idle_connection_ends_silently() -> None:
    connection = Server(bounds(), keep_alive_seconds=0.01).connect()
    connection.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    await connection.answers()
    async with asyncio.timeout(5):
        while not connection.transport.closed:
            await asyncio.sleep(0.001)
    assert len(parse(connection.transport.written)) == 1


async def test_connection_holds_a_place_until_its_request_is_complete(quick: Server) -> None:
    connection = quick.connect()
    assert quick.caps.total == 1
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\n")
    assert quick.caps.total == 1
    connection.send(b"Content-Length: 3\r\n\r\n")
    assert quick.caps.total == 1
    connection.send(b"abc")
    assert quick.caps.total == 0
    await connection.answers()
    connection.send(b"GET")
    assert quick.caps.total == 1
    connection.lose()
    assert quick.caps.total == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"G",
        b"GET /x HTTP/1.1\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nX: ",
        b"\r\n\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nab",
        HANDSHAKE[:-2],
    ],
)
async def test_incomplete_request_is_answered_closed_and_uncounted_in_time(quick: Server, sent: bytes) -> None:
    connection = quick.connect()
    if sent:
        connection.send(sent)
    assert quick.caps.total == 1
    (answer,) = await connection.answers()
    assert (answer.status, answer.json()) == (408, {"error": "Request timeout"})
    assert connection.transport.eof
    assert quick.caps.total == 0


async def test_address_over_its_places_is_refused_sooner(quick: Server) -> None:
    first, second, third = (quick.connect() for _ in range(3))
    another = quick.connect("192.0.2.2")
    beyond = quick.connect("192.0.2.3")
    assert (await third.answers(patience=CROWDED_SECONDS + 5))[0].status == 429
    assert (await beyond.answers(patience=CROWDED_SECONDS + 5))[0].status == 503
    for connection in (first, second, another):
        assert (await connection.answers())[0].status == 408
    assert quick.caps.total == 0


async def test_complete_request_is_served_although_all_places_are_taken(quick: Server) -> None:
    connections = [quick.connect() for _ in range(5)]
    connections[-1].send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await connections[-1].answers())[0].status == 200


async def test_trusted_proxy_does_not_count_as_one_address() -> None:
    settings = bounds(max_connections_per_address=1, trusted_proxies=["192.0.2.0/24"])
    server = Server(settings)
    for _ in range(5):
        server.connect()
    assert server.caps.total == 5


async def test_websocket_takes_over_its_place() -> None:
    server = Server(bounds())
    connection = server.connect()
    connection.send(HANDSHAKE)
    assert (await connection.answers())[0].status == 101
    assert server.caps.total == 0  # the application takes its own place for /ws
