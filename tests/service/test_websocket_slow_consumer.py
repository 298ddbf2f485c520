"""Fault 17: slow consumers were not bounded, and one of them used 21 MB."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psutil
import psycopg

from tests.support.clients import Listener, Message, all_reach, announced_match, feed_of
from tests.support.raw_websocket import CLOSE, PATIENCE_SECONDS, TEXT, RawWebSocket, handshake, raw_websocket
from tests.support.service import Service, Start

BOUND = 65_536
BIG = "x" * 60_000
LONG_HISTORY = 30_000


@asynccontextmanager
async def _idle_reader(port: int, query: str) -> AsyncIterator[RawWebSocket]:
    """Connect a client that reads nothing by itself, with a receive window as small as the kernel allows."""
    bare = socket.socket()
    bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    bare.setblocking(False)
    await asyncio.get_running_loop().sock_connect(bare, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=bare, limit=1_024)
    client = RawWebSocket(reader, writer)
    try:
        await client.send(handshake(port, f"/ws{query}"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await reader.readuntil(b"\r\n\r\n")
        yield client
    finally:
        await client.close()


async def _connections(api: Service) -> int:
    async with httpx.AsyncClient(base_url=api.management_url, verify=False, timeout=5) as http:
        count: int = (await http.get("/connections")).json()["connections"]
        return count


async def _until_connections(api: Service, count: int) -> None:
    async with asyncio.timeout(20):
        while await _connections(api) != count:
            await asyncio.sleep(0.02)


async def _write_large(api: Service, match_id: int, times: int) -> None:
    async with api.client() as http:
        for minute in range(times):
            body = {"minute": minute, "message": BIG}
            (await http.post(f"/matches/{match_id}/commentary", json=body)).raise_for_status()


async def _write_until_cut(api: Service, match_id: int, *listeners: Listener) -> int:
    """Write as fast as the listeners read until no other client is connected; return the last seq."""
    for seq in range(2, 202):
        await _write_large(api, match_id, 1)
        await all_reach(listeners, match_id, seq)
        if await _connections(api) == len(listeners):
            return seq
    raise AssertionError("no client was cut off")


async def test_fault_17_client_that_reads_nothing_is_closed_with_1013(start: Start) -> None:
    """Fault 17: a slow consumer is bounded in bytes, delays no other client, and can resume."""
    api = await start("api", SLOW_CONSUMER_BYTES=str(BOUND))
    match_id = (await api.create_match())["id"]
    async with (
        Listener(api.ws_url) as one,
        Listener(f"{api.ws_url}?all=1") as two,
        _idle_reader(api.port, f"?matchId={match_id}") as stalled,
    ):
        await one.subscribe(match_id)
        await two.next("subscribedAll")
        newest = 5 + await _write_until_cut(api, match_id, one, two)
        last, code = await _read_all(stalled)
        assert code == 1013
        await _write_large(api, match_id, 5)
        await all_reach((one, two), match_id, newest)
        assert 1 <= last < newest
        feed = await feed_of(api.base_url, match_id)
        assert one.of_type("commentary") == two.of_type("commentary") == feed[1:]
    async with Listener(f"{api.ws_url}?matchId={match_id}&since={last}") as back:
        await back.until_seq(match_id, newest)
        assert back.events(match_id) == feed[last:]


async def _read_all(client: RawWebSocket) -> tuple[int, int]:
    """Read until the close frame, and return the last seq and the close code; the server gives up after seconds."""
    last = 1
    while True:
        received = await client.receive()
        if received.opcode == CLOSE:
            return last, received.code
        if received.opcode == TEXT:
            message: Message = received.json()
            last = message.get("seq", last)


async def test_fault_17_dead_peer_is_aborted_after_its_close_frame(start: Start) -> None:
    """Fault 17: after the close frame the connection is aborted, and nothing of it remains."""
    api = await start("api", SLOW_CONSUMER_BYTES=str(BOUND))
    match_id = (await api.create_match())["id"]
    assert api.process is not None
    process = psutil.Process(api.process.pid)
    async with _idle_reader(api.port, f"?matchId={match_id}"):
        await _until_connections(api, 1)
        await _write_large(api, match_id, 80)
        await _until_connections(api, 0)
        async with asyncio.timeout(15):
            while _sockets(process, api.port):
                await asyncio.sleep(0.1)


def _sockets(process: psutil.Process, port: int) -> int:
    connections = process.net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in connections)


async def test_memory_stays_bounded_with_many_stalled_clients(start_command: Start) -> None:
    api = await start_command("api", SLOW_CONSUMER_BYTES=str(BOUND))
    match_id = (await api.create_match())["id"]
    assert api.process is not None
    process = psutil.Process(api.process.pid)
    before = process.memory_info().rss
    clients = [_idle_reader(api.port, f"?matchId={match_id}") for _ in range(20)]
    for client in clients:
        await client.__aenter__()
    try:
        await _write_large(api, match_id, 120)
        await _until_connections(api, 0)
        assert process.memory_info().rss - before < 40_000_000
    finally:
        for client in clients:
            await client.__aexit__(None, None, None)


async def test_long_history_does_not_make_a_client_a_slow_consumer(start: Start, database_url: str) -> None:
    """Several MB are sent at the client's own pace, followed by what was written in the meantime."""
    api = await start("api", SLOW_CONSUMER_BYTES="300000")
    match_id = (await announced_match(api))["id"]
    await api.comment(match_id, message="x" * 150)
    _write_history(database_url, match_id)
    async with raw_websocket(api.port, f"/ws?matchId={match_id}&since=1") as client:
        subscribed = await client.answer()
        assert (subscribed["type"], subscribed["recovered"]) == ("subscribed", True)
        seqs = [(await client.answer())["seq"] for _ in range(PIECE)]
        for _ in range(5):
            await api.comment(match_id)
        while seqs[-1] < LONG_HISTORY + 5:
            seqs.append((await client.answer())["seq"])
        assert seqs == list(range(2, LONG_HISTORY + 6))


PIECE = 500
"""Number of events of the history that are read before anything else happens."""


def _write_history(database_url: str, match_id: int) -> None:
    """Insert a history as if the first commentary had been posted repeatedly."""
    with psycopg.connect(database_url) as database:
        database.execute("UPDATE match SET seq = %s WHERE id = %s", [LONG_HISTORY, match_id])
        database.execute(
            "INSERT INTO event (match_id, seq, type, data, created_at)"
            " SELECT match_id, n, type, data, now() FROM event, generate_series(3, %s::int) n"
            " WHERE match_id = %s AND seq = 2",
            [LONG_HISTORY, match_id],
        )


async def test_client_that_pauses_within_the_bound_loses_no_event(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    async with _idle_reader(api.port, f"?matchId={match_id}") as client:
        await _until_connections(api, 1)
        await _write_large(api, match_id, 10)
        seqs: list[int] = []
        while not seqs or seqs[-1] < 11:
            message = (await client.receive()).json()
            if message["type"] == "commentary":
                seqs.append(message["seq"])
        assert seqs == list(range(2, 12))


async def test_slow_consumers_are_counted_in_a_metric(start: Start) -> None:
    api = await start("api", SLOW_CONSUMER_BYTES=str(BOUND))
    match_id = (await api.create_match())["id"]
    async with _idle_reader(api.port, f"?matchId={match_id}"):
        await _until_connections(api, 1)
        await _write_large(api, match_id, 80)
        await _until_connections(api, 0)
    async with httpx.AsyncClient(base_url=api.management_url) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    assert "livescore_slow_consumers_closed_total 1.0" in lines
