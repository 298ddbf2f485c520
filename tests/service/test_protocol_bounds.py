"""Responses of a real uvicorn server to hostile or broken clients."""

import asyncio
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from websockets.sync.client import connect

from livescore import settings as configuration
from livescore.api.middleware.body_limit import BodyLimit
from livescore.api.protocol import LINGER_SECONDS, bounded
from tests.support.stopwatch import Stopwatch

TIMEOUT = 0.5
MAX_HEAD = 4_096
MAX_BODY = 2_048
LARGE = 16_777_216
PATIENCE = 5.0


async def _application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "welcome"})
        await send({"type": "websocket.close", "code": 1000})
    elif scope["type"] == "http":
        await _echo(scope, receive, send)


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Respond with the size of the body; /slow waits first, /early responds before reading, /large sends megabytes."""
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * TIMEOUT)
    size = 0 if scope["path"] == "/early" else await _size(receive)
    body = json.dumps({"path": scope["path"], "size": size}).encode()
    if scope["path"] == "/large":
        body = b"x" * LARGE
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def _size(receive: Any) -> int:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    return size


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    settings = configuration.load(
        database_url="postgresql://localhost/x",
        redis_url="redis://localhost",
        request_timeout_seconds=TIMEOUT,
        ping_interval_seconds=TIMEOUT,
        max_header_bytes=MAX_HEAD,
        max_body_bytes=MAX_BODY,
    )
    config = uvicorn.Config(
        BodyLimit(_application, max_bytes=settings.max_body_bytes, larger={"/upload": 2 * MAX_BODY}),
        http=bounded(settings),
        log_config=None,
        lifespan="off",
        interface="asgi3",
        port=0,
    )
    yield from _serve(uvicorn.Server(config))


def _serve(server: uvicorn.Server) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(PATIENCE)


class Connection:
    """A raw connection that measures how long the server takes."""

    def __init__(self, port: int) -> None:
        self._watch = Stopwatch()
        self._began = time.perf_counter()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._read = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self._read.readline().split()[1])
        headers: dict[str, str] = {}
        while line := self._read.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers, self._read.read(int(headers["content-length"]))

    def ended(self) -> bool:
        """Return True if the server ends the connection without sending anything more."""
        return self._read.read() == b""

    def await_reset(self) -> None:
        """Wait, without reading, until the server drops the connection and its unsent data."""
        poll = select.poll()
        poll.register(self.socket, select.POLLERR)
        assert poll.poll(PATIENCE * 1_000), "the connection is still open"

    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def net_seconds(self) -> float:
        """Return the seconds without the time in which threads waited for a CPU."""
        return self._watch.seconds()


@pytest.fixture
def client(port: int) -> Iterator[Callable[[], Connection]]:
    made: list[Connection] = []

    def make() -> Connection:
        made.append(Connection(port))
        return made[-1]

    yield make
    for each in made:
        each.socket.close()


Connect = Callable[[], Connection]
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


def _assert_refused(connection: Connection, status: int, message: str) -> None:
    received, headers, body = connection.answer()
    assert (received, json.loads(body)) == (status, {"error": message})
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    assert connection.ended()


def _assert_answered(connection: Connection, size: int = 0, path: str = "/x") -> None:
    status, _, body = connection.answer()
    assert (status, json.loads(body)) == (200, {"path": path, "size": size})


# Deadlines


def test_silent_connection_gets_408(client: Connect) -> None:
    connection = client()
    _assert_refused(connection, 408, "Request timeout")
    assert connection.seconds() > TIMEOUT * 0.9
    assert connection.net_seconds() < TIMEOUT + 2


def test_slow_head_gets_408_although_bytes_keep_arriving(client: Connect) -> None:
    connection = client()
    connection.send(b"GET /x HTTP/1.1\r\n")
    trickle = threading.Thread(target=_trickle, args=(connection, b"a"), daemon=True)
    trickle.start()
    _assert_refused(connection, 408, "Request timeout")
    assert connection.net_seconds() < TIMEOUT + 2


def test_empty_lines_before_a_request_do_not_extend_the_deadline(client: Connect) -> None:
    connection = client()
    connection.send(GET)
    _assert_answered(connection)
    threading.Thread(target=_trickle, args=(connection, b"\r\n"), daemon=True).start()
    _assert_refused(connection, 408, "Request timeout")


def _trickle(connection: Connection, data: bytes) -> None:
    try:
        while connection.seconds() < PATIENCE:
            connection.send(data)
            time.sleep(TIMEOUT / 10)
    except OSError:
        return


def test_missing_body_gets_408(client: Connect) -> None:
    connection = client()
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
    _assert_refused(connection, 408, "Request timeout")
    assert connection.seconds() > TIMEOUT * 0.9
    assert connection.net_seconds() < TIMEOUT + 2


def test_unfinished_chunked_body_gets_408(client: Connect) -> None:
    connection = client()
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    _assert_refused(connection, 408, "Request timeout")


def test_missing_body_after_the_response_ends_the_connection(client: Connect) -> None:
    connection = client()
    connection.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
    _assert_answered(connection, path="/early")
    assert connection.ended()


def test_deadline_of_a_later_request_starts_with_its_first_byte(client: Connect) -> None:
    connection = client()
    connection.send(GET)
    _assert_answered(connection)
    time.sleep(1.5 * TIMEOUT)  # connections may idle between requests
    connection.send(GET)
    _assert_answered(connection)
    connection.send(b"GET /x")
    _assert_refused(connection, 408, "Request timeout")


def test_slow_application_does_not_time_out_the_client(client: Connect) -> None:
    connection = client()
    connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    _assert_answered(connection, path="/slow")


def test_unfinished_pipelined_request_does_not_affect_the_previous_response(client: Connect) -> None:
    connection = client()
    connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /x HT")
    _assert_answered(connection, path="/slow")
    assert connection.ended()


# Heads


def _head(size: int) -> bytes:
    return b"GET /x HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * size + b"\r\n\r\n"


def test_a_large_head_within_the_bound_is_served(client: Connect) -> None:
    connection = client()
    connection.send(_head(MAX_HEAD - 200))
    _assert_answered(connection)


@pytest.mark.parametrize("size", [MAX_HEAD, 10 * MAX_HEAD, 100 * MAX_HEAD])
def test_a_head_over_the_bound_gets_431(client: Connect, size: int) -> None:
    connection = client()
    connection.send(_head(size))
    _assert_refused(connection, 431, "Request header fields too large")


def test_many_small_headers_over_the_bound_get_431(client: Connect) -> None:
    connection = client()
    connection.send(b"GET /x HTTP/1.1\r\n" + b"a: b\r\n" * MAX_HEAD + b"\r\n")
    _assert_refused(connection, 431, "Request header fields too large")


def test_a_path_over_the_bound_gets_431(client: Connect) -> None:
    connection = client()
    connection.send(b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    _assert_refused(connection, 431, "Request header fields too large")


def test_endless_head_gets_431_once_over_the_bound(client: Connect) -> None:
    connection = client()
    connection.send(_head(MAX_HEAD)[:-4])
    _assert_refused(connection, 431, "Request header fields too large")
    assert connection.net_seconds() < TIMEOUT + LINGER_SECONDS


def test_bound_applies_to_each_head_and_not_to_bodies(client: Connect) -> None:
    connection = client()
    body = b"b" * MAX_BODY
    request = b"POST /x HTTP/1.1\r\nHost: a\r\nX: %s\r\nContent-Length: %d\r\n\r\n%s"
    for _ in range(3):
        connection.send(request % (b"a" * (MAX_HEAD // 2), len(body), body))
        _assert_answered(connection, size=MAX_BODY)


def test_pipelined_requests_are_all_answered(client: Connect) -> None:
    connection = client()
    connection.send(_head(MAX_HEAD // 2) * 5)
    for _ in range(5):
        _assert_answered(connection)


# Malformed


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET /x HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /x HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x00" * 100,
    ],
)
def test_malformed_http_gets_a_json_400(client: Connect, data: bytes) -> None:
    connection = client()
    connection.send(data)
    _assert_refused(connection, 400, "Malformed HTTP request")


def test_garbage_after_a_request_does_not_affect_its_response(client: Connect) -> None:
    connection = client()
    connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n")
    _assert_answered(connection, path="/slow")
    assert connection.ended()


def test_endless_chunk_extensions_are_cut_off(client: Connect) -> None:
    connection = client()
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    try:
        for _ in range(100):
            connection.send(b"a" * 100_000)
    except OSError:
        pass  # the server closed the connection
    assert connection.answer()[0] in (400, 408)


# Bodies


def test_a_body_at_the_bound_is_served(client: Connect) -> None:
    connection = client()
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % MAX_BODY + b"b" * MAX_BODY)
    _assert_answered(connection, size=MAX_BODY)


def test_a_path_may_accept_larger_bodies_of_known_length(client: Connect) -> None:
    connection, chunked = client(), client()
    size = MAX_BODY + 1
    connection.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"b" * size)
    _assert_answered(connection, size=size, path="/upload")
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"b" * size)
    chunked.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
    _assert_refused(chunked, 413, "Payload too large")


@pytest.mark.parametrize("length", [b"%d" % (MAX_BODY + 1), b"18446744073709551615", b"00000000000000000000003000"])
def test_oversized_declared_body_gets_413_before_it_is_sent(client: Connect, length: bytes) -> None:
    connection = client()
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: " + length + b"\r\n\r\n")
    _assert_refused(connection, 413, "Payload too large")
    assert connection.net_seconds() < TIMEOUT + LINGER_SECONDS + 1


def test_client_awaiting_100_continue_gets_413_instead(client: Connect) -> None:
    connection = client()
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 999999\r\n\r\n")
    _assert_refused(connection, 413, "Payload too large")


def test_a_chunked_body_at_the_bound_is_served(client: Connect) -> None:
    connection = client()
    half = b"%x\r\n%s\r\n" % (MAX_BODY // 2, b"b" * (MAX_BODY // 2))
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + half)
    connection.send(half + b"0\r\n\r\n")
    _assert_answered(connection, size=MAX_BODY)


def test_chunked_body_gets_413_once_over_the_bound(client: Connect) -> None:
    connection = client()
    chunk = b"%x\r\n%s\r\n" % (MAX_BODY + 1, b"b" * (MAX_BODY + 1))
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
    _assert_refused(connection, 413, "Payload too large")


def test_client_that_keeps_sending_still_receives_its_413(client: Connect) -> None:
    connection = client()
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
    connection.send(b"b" * 2_000_000)
    _assert_refused(connection, 413, "Payload too large")


def test_requests_without_a_body_need_no_length(client: Connect) -> None:
    connection = client()
    for method in (b"DELETE", b"POST", b"GET"):
        connection.send(method + b" /x HTTP/1.1\r\nHost: a\r\n\r\n")
        _assert_answered(connection)


# Upgrades


def test_a_websocket_still_opens(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/ws", open_timeout=PATIENCE) as websocket:
        assert websocket.recv(PATIENCE) == "welcome"


def test_a_websocket_outlives_the_deadline_of_requests(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/ws", open_timeout=PATIENCE) as websocket:
        time.sleep(1.5 * TIMEOUT)
        assert websocket.recv(PATIENCE) == "welcome"


def test_head_of_an_upgrade_is_bounded_too(client: Connect) -> None:
    connection = client()
    connection.send(
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Long: " + b"a" * MAX_HEAD + b"\r\n\r\n"
    )
    _assert_refused(connection, 431, "Request header fields too large")


def test_an_unknown_upgrade_is_served_as_an_ordinary_request(client: Connect) -> None:
    connection = client()
    connection.send(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    _assert_answered(connection)


def test_server_serves_others_while_a_client_stalls(client: Connect) -> None:
    stalled = [client() for _ in range(20)]
    for connection in stalled:
        connection.send(b"GET /x HTTP/1.1\r\n")
    good = client()
    good.send(GET)
    _assert_answered(good)
    assert good.net_seconds() < TIMEOUT


@pytest.mark.parametrize("requests", [1, 3])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_client_that_does_not_read_its_responses_is_cut_off(client: Connect, requests: int, version: str) -> None:
    stalled = client()
    stalled.send(f"GET /large HTTP/{version}\r\nHost: a\r\n\r\n".encode() * requests)
    stalled.await_reset()


def test_slowly_reading_client_gets_its_response(client: Connect) -> None:
    reader = client()
    reader.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    received = 0
    while received < LARGE:
        data = reader.socket.recv(1_048_576)
        assert data, "the answer ended early"
        received += len(data)
        time.sleep(TIMEOUT / 5)
    assert reader.seconds() > 2 * TIMEOUT
