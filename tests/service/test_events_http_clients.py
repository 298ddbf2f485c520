"""Places held by streams and long polls: number, duration, and an EventSource's recovery from refusals."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest

from livescore.live.socket import TCP_USER_TIMEOUT_MS
from tests.support.servers import OwnPostgres
from tests.support.service import Service, Start
from tests.support.sse import event_blocks

ALL = "/events/stream"
BOUND = 65_536
BIG = "x" * 60_000
PATIENCE_SECONDS = 30.0

IDLE_CLIENTS = 12
WINDOW_SECONDS = 4.0

EVENT_SOURCE = {"Accept": "text/event-stream"}


async def get_management(api: Service, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=api.management_url, timeout=5, verify=False) as http:
        return await http.get(path)


async def count_connections(api: Service) -> tuple[int, int]:
    """Return the numbers of open streams and long polls."""
    found = (await get_management(api, "/connections")).json()
    assert found["connections"] == 0, "streams are not WebSockets"
    return found["streams"], found["longPolls"]


async def until_connections(api: Service, streams: int, long_polls: int = 0) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await count_connections(api) != (streams, long_polls):
            await asyncio.sleep(0.05)


async def metric(api: Service, name: str) -> float:
    lines = (await get_management(api, "/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@asynccontextmanager
async def request(api: Service, path: str, method: str = "GET", **headers: str) -> AsyncIterator[socket.socket]:
    """Send a request without reading, with a receive window as small as the kernel allows."""
    bare = socket.socket()
    bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    bare.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(bare, ("127.0.0.1", api.port))
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
    await loop.sock_sendall(bare, "\r\n".join([*lines, "", ""]).encode())
    try:
        yield bare
    finally:
        bare.close()


async def write_large(api: Service, match_id: int, times: int) -> None:
    async with api.client() as http:
        for minute in range(times):
            body = {"minute": minute, "message": BIG}
            (await http.post(f"/matches/{match_id}/commentary", json=body)).raise_for_status()


# Numbers of connections


async def test_streams_and_long_polls_are_counted_separately_from_websockets(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    async with AsyncExitStack() as stack:
        for path in (ALL, f"/matches/{match_id}/events/stream", f"/matches/{match_id}/events?since=1&wait=25"):
            await stack.enter_async_context(request(api, path))
        await until_connections(api, 2, 1)
        assert await metric(api, "livescore_stream_connections") == 2
        assert await metric(api, "livescore_long_polls") == 1
        assert await metric(api, "livescore_websocket_connections") == 0
        ready = (await get_management(api, "/health/ready")).json()
        assert (ready["connections"], ready["streams"], ready["longPolls"]) == (0, 2, 1)
    await until_connections(api, 0)
    assert await metric(api, "livescore_stream_connections") == 0
    assert await metric(api, "livescore_long_polls") == 0


async def test_waiting_long_poll_counts_as_a_connection_until_its_client_disconnects(start: Start) -> None:
    api = await start("api", MAX_CONNECTIONS="1")
    match_id = (await api.create_match())["id"]
    path = f"/matches/{match_id}/events"
    async with api.client() as http:
        async with request(api, f"{path}?since=1&wait=25"):
            await until_connections(api, 0, 1)
            refused = await http.get(path, params={"since": 1, "wait": 5})
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert (await http.get(path)).status_code == 200, "an answer at once needs no place"
        await until_connections(api, 0)
        assert (await http.get(path, params={"since": 1, "wait": 0.1})).status_code == 200


async def test_pipelined_long_polls_are_answered_in_order_and_hold_one_place(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    head = f"GET /matches/{match_id}/events?since=%d&wait=25 HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        writer.write("".join(head % since for since in (1, 2, 1)).encode())
        await until_connections(api, 0, 1)
        await api.comment(match_id)
        assert await seqs_of_response(reader) == [2]
        await until_connections(api, 0, 1)
        await api.comment(match_id)
        assert await seqs_of_response(reader) == [3]
        assert await seqs_of_response(reader) == [2, 3]
        await until_connections(api, 0)
        writer.write((head % 3 * 2).encode())
        await until_connections(api, 0, 1)
    finally:
        writer.close()
    await until_connections(api, 0)


async def seqs_of_response(reader: asyncio.StreamReader) -> list[int]:
    """Read one response from a connection, and return the seqs of its events."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        assert lines[0] == "http/1.1 200 ok"
        length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
        return [event["seq"] for event in json.loads(await reader.readexactly(length))["data"]]


async def test_long_polls_of_unknown_matches_are_refused_at_once_and_hold_nothing(start: Start) -> None:
    api = await start("api")
    async with api.client() as http:
        subscriptions = await subscriptions_of(api)
        async with asyncio.timeout(PATIENCE_SECONDS):
            answers = await asyncio.gather(
                *(http.get(f"/matches/{number}/events?wait=25") for number in range(1_000_000, 1_000_020))
            )
        assert {answer.status_code for answer in answers} == {404}
        assert await count_connections(api) == (0, 0)
        assert await subscriptions_of(api) == subscriptions


async def subscriptions_of(api: Service) -> int:
    """Return the number of single-match subscriptions."""
    subscriptions: int = (await get_management(api, "/connections")).json()["subscriptions"]
    return subscriptions


async def test_more_idle_streams_and_long_polls_cause_no_more_statements(
    start: Start, own_postgres: OwnPostgres
) -> None:
    """An instance compares its feeds with PostgreSQL; the number of their subscribers does not matter."""
    api = await start("api", DATABASE_URL=own_postgres.url)
    match_id = (await api.create_match())["id"]
    with psycopg.connect(own_postgres.server.admin_url(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET log_statement = 'all'")
        admin.execute("SELECT pg_reload_conf()")
    paths = (ALL, f"/matches/{match_id}/events/stream", f"/matches/{match_id}/events?since=1&wait=25")
    async with AsyncExitStack() as stack:
        for path in paths:
            await stack.enter_async_context(request(api, path))
        await until_connections(api, 2, 1)
        with_few = await statements_per_window(own_postgres)
        for path in paths * (IDLE_CLIENTS - 1):
            await stack.enter_async_context(request(api, path))
        await until_connections(api, 2 * IDLE_CLIENTS, IDLE_CLIENTS)
        assert await statements_per_window(own_postgres) - with_few < IDLE_CLIENTS


async def statements_per_window(postgres: OwnPostgres) -> int:
    """Return the number of statements that PostgreSQL executes within a few seconds without any request."""
    await asyncio.sleep(1)  # the statements of the requests before
    before = postgres.log.count(" execute ")
    await asyncio.sleep(WINDOW_SECONDS)
    return postgres.log.count(" execute ") - before


@pytest.mark.parametrize("stream", [ALL, "match"])
async def test_unread_streams_are_closed_to_free_places(start: Start, stream: str) -> None:
    """The limit in bytes is that of WebSockets, and nothing waits for such a client indefinitely."""
    api = await start("api", MAX_CONNECTIONS="3", SLOW_CONSUMER_BYTES=str(BOUND))
    match_id = (await api.create_match())["id"]
    path = ALL if stream == ALL else f"/matches/{match_id}/events/stream"
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(request(api, path))
        await until_connections(api, 3)
        async with asyncio.timeout(PATIENCE_SECONDS * 2):
            while (await count_connections(api))[0] and await metric(api, "livescore_slow_consumers_closed_total") < 3:
                await write_large(api, match_id, 5)
        await until_connections(api, 0)
        assert await metric(api, "livescore_slow_consumers_closed_total") == 3
        async with api.client() as http, event_blocks(http, path) as blocks, asyncio.timeout(10):
            assert (await anext(blocks)).id
    assert "Traceback" not in api.log
    assert "[error" not in api.log


async def test_unread_history_is_bounded_in_time(start: Start) -> None:
    """The requested history does not count towards the limit in bytes."""
    api = await start("api", PING_INTERVAL_SECONDS="1")
    match_id = (await api.create_match())["id"]
    await write_large(api, match_id, 120)
    async with request(api, f"/matches/{match_id}/events/stream?since=0"):
        await until_connections(api, 1)
        await until_connections(api, 0)
    assert await metric(api, "livescore_slow_consumers_closed_total") == 1


async def test_catch_up_page_is_bounded_in_bytes(start: Start) -> None:
    api = await start("api", SLOW_CONSUMER_BYTES=str(BOUND))
    match_id = (await api.create_match())["id"]
    await write_large(api, match_id, 10)
    seqs: list[int] = []
    async with api.client() as http:
        while not seqs or seqs[-1] < 11:
            answer = await http.get(f"/matches/{match_id}/events", params={"since": seqs[-1] if seqs else 0, "wait": 5})
            page = answer.json()
            assert len(answer.content) < 2 * BOUND
            assert (page["seq"], page["recovered"], page["data"] == []) == (11, True, False)
            seqs += [event["seq"] for event in page["data"]]
    assert seqs == list(range(1, 12))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this kernel has no TCP_USER_TIMEOUT")
def test_kernel_drops_dead_peers_of_all_connections() -> None:
    """Accepted sockets inherit the option from the listening socket: streams, long polls and idle connections."""
    from livescore import server

    (listening,) = server._bound("", "127.0.0.1", 0)
    with listening, socket.socket() as client:
        listening.listen()
        client.connect(listening.getsockname())
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == TCP_USER_TIMEOUT_MS


# HEAD


@pytest.mark.parametrize("path", [ALL, "/matches/{id}/events/stream", "/matches/{id}/events?since=1&wait=25"])
async def test_head_responds_at_once_and_holds_no_place(start: Start, path: str) -> None:
    """Later requests on the same connection are answered too."""
    api = await start("api", MAX_CONNECTIONS="1")
    match_id = (await api.create_match())["id"]
    path = path.format(id=match_id)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    for _ in range(3):
        writer.write(f"HEAD {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode())
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        kind = b"application/json" if "wait" in path else b"text/event-stream"
        assert b"content-type: " + kind in head
        assert b"cache-control: no-store" in head
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    assert await count_connections(api) == (0, 0)
    async with api.client() as http, http.stream("GET", ALL) as stream:
        assert stream.status_code == 200
        assert (await http.head(ALL)).status_code == 503, "as GET would be"


async def test_head_of_a_stream_is_refused_as_get_is(service: Service) -> None:
    async with service.client() as http:
        assert (await http.head("/matches/2000000000/events/stream")).status_code == 404
        assert (await http.head("/matches/x/events/stream")).status_code == 400
        assert (await http.head(ALL, headers={"Last-Event-ID": "x"})).status_code == 400


# EventSource


async def last_blocks(api: Service, path: str = ALL, **headers: str) -> tuple[int, list[Any]]:
    """Return the status and the blocks of a stream that the server ends."""
    async with api.client() as http, event_blocks(http, path, headers=headers) as blocks, asyncio.timeout(10):
        return 200, [one async for one in blocks]


async def test_event_source_over_the_cap_gets_retry_and_others_get_the_status(start: Start) -> None:
    api = await start("api", MAX_CONNECTIONS="1")
    async with request(api, ALL):
        await until_connections(api, 1)
        _, (only,) = await last_blocks(api, **{"Last-Event-ID": "812~7.42"})
        assert (only.id, only.data, 1_000 <= only.retry_ms <= 1_200) == ("812~7.42", None, True)
        async with api.client() as http:
            for accept in ("*/*", "text/html, text/event-stream", "application/json"):
                refused = await http.get(ALL, headers={"Accept": accept})
                assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
                assert refused.json()["error"]


async def test_event_source_over_the_rate_limit_gets_the_time_to_retry(start: Start) -> None:
    api = await start("api", SECURITY_MODE="LIVE", HTTP_LIMIT="2 per 30 seconds", ALLOWED_ORIGINS="https://a.example")
    async with api.client() as http:
        for _ in range(2):
            await http.get("/matches")
        assert (await http.get(ALL)).status_code == 429
        headers = {**EVENT_SOURCE, "Last-Event-ID": "5", "Origin": "https://a.example"}
        answer = await http.get(ALL, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        retry, identifier, end = answer.text.split("\n", 2)
        assert int(retry.removeprefix("retry: ")) > 1_000 * (int(answer.headers["retry-after"]) - 1)
        assert (identifier, end) == ("id: 5", "\n")
        injected = await http.get(f"{ALL}?lastEventId=5%0Adata:%20forged", headers=EVENT_SOURCE)
        assert "forged" not in injected.text
        for path in ("/matches", "/matches/1/events"):
            assert (await http.get(path, headers=EVENT_SOURCE)).status_code == 429, "no stream"


async def test_event_source_survives_a_cancelled_drain(start: Start) -> None:
    api = await start("api", DRAIN_SECONDS="0.1")
    match_id = (await api.create_match())["id"]
    async with api.client() as http, event_blocks(http, ALL) as blocks, asyncio.timeout(30):
        first = await anext(blocks)
        async with httpx.AsyncClient(base_url=api.management_url, verify=False) as management:
            await management.post("/drain")
            (last,) = [one async for one in blocks]
            assert (last.data, last.retry_ms >= 1_000, last.id.split("~")[0]) == (None, True, first.id.split("~")[0])
            _, (only,) = await last_blocks(api, **{"Last-Event-ID": last.id})
            assert only.id == last.id
            await management.post("/drain?cancel=true")
        await api.comment(match_id)
        async with event_blocks(http, ALL, headers={"Last-Event-ID": only.id}) as again:
            await anext(again)
            assert '"seq":2' in str((await anext(again)).data)


async def test_event_source_survives_an_outage_of_postgresql(start: Start, own_postgres: OwnPostgres) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url, DATABASE_TIMEOUT_SECONDS="1")
    match_id = (await api.create_match())["id"]
    await own_postgres.stop()
    for path in (ALL, f"/matches/{match_id}/events/stream"):
        _, (only,) = await last_blocks(api, path, **{"Last-Event-ID": "1"})
        assert (only.id, only.data, only.retry_ms >= 1_000) == ("1", None, True)


async def test_invalid_event_source_request_gets_the_error(service: Service) -> None:
    """Reconnecting would not help, so 400, 401 and 404 end an EventSource."""
    async with service.client() as http:
        for path, status in ((f"{ALL}?lastEventId=x", 400), ("/matches/2000000000/events/stream", 404)):
            assert (await http.get(path, headers=EVENT_SOURCE)).status_code == status
