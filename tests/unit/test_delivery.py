"""Clients that do not read their responses are cut off."""

import asyncio
import socket
from typing import cast

import pytest

from livescore.api.delivery import MIN_ACKNOWLEDGED_BYTES, reset, unacknowledged_bytes
from livescore.telemetry import metrics
from tests.support.http_protocol import Connection, MemoryTransport, Server, bounds
from tests.support.virtual_time import VirtualTime

SECONDS = 0.1
REQUEST = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


class Transport(MemoryTransport):
    """Never empties its buffer by itself; ``close`` waits for the buffer, as the event loop's transport does."""

    unsent = 0
    aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True
        super().abort()
        self.protocol.connection_lost(None)


@pytest.fixture
async def connection(virtual_clock: VirtualTime) -> Connection:  # noqa: ARG001 - its deadlines need the clock
    server = Server(bounds(ping_interval_seconds=SECONDS, request_timeout_seconds=60))
    made = server.connect()
    transport = Transport("192.0.2.1")
    transport.protocol = made.transport.protocol
    made.transport.protocol.connection_made(transport)
    return Connection(transport)


def _wire(connection: Connection) -> Transport:
    assert isinstance(connection.transport, Transport)
    return connection.transport


def _closed() -> float:
    return next(sample.value for metric in metrics.SLOW_CONSUMERS_CLOSED.collect() for sample in metric.samples)


async def _aborted(transport: Transport) -> None:
    async with asyncio.timeout(10):
        while not transport.aborted:
            await asyncio.sleep(SECONDS / 10)


async def test_client_that_reads_nothing_is_cut_off_and_counted(connection: Connection) -> None:
    wire, before = _wire(connection), _closed()
    wire.unsent = 100_000
    wire.protocol.pause_writing()
    await _aborted(wire)
    assert _closed() == before + 1


async def test_client_that_reads_too_little_is_cut_off(connection: Connection) -> None:
    wire = _wire(connection)
    wire.unsent = 1_000_000
    wire.protocol.pause_writing()
    async with asyncio.timeout(10):
        while not wire.aborted:
            wire.unsent -= 1
            await asyncio.sleep(SECONDS / 10)


async def test_client_that_reads_enough_is_served(connection: Connection) -> None:
    wire = _wire(connection)
    wire.unsent = 100 * MIN_ACKNOWLEDGED_BYTES
    wire.protocol.pause_writing()
    for _ in range(40):
        wire.unsent -= 2 * MIN_ACKNOWLEDGED_BYTES
        await asyncio.sleep(SECONDS / 10)
    assert not wire.aborted
    wire.protocol.resume_writing()
    await asyncio.sleep(3 * SECONDS)
    assert not wire.aborted
    connection.lose()


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST.replace(b"1.1", b"1.0"),
        REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b"GET /x HTTP/2.0\r\n\r\n",
    ],
)
async def test_closing_connection_waits_no_longer_for_its_last_response(
    connection: Connection, request_: bytes
) -> None:
    wire = _wire(connection)
    wire.unsent = 100
    connection.send(request_)
    await _aborted(wire)


async def test_idle_connection_with_an_unread_response_is_closed(connection: Connection) -> None:
    wire = _wire(connection)
    wire.unsent = 100
    connection.send(REQUEST)
    await connection.answers()
    wire.protocol.timeout_keep_alive_handler()
    await _aborted(wire)


async def test_a_lost_connection_is_not_watched(connection: Connection) -> None:
    wire, before = _wire(connection), _closed()
    wire.protocol.pause_writing()
    connection.lose()
    wire.protocol.timeout_keep_alive_handler()
    await asyncio.sleep(3 * SECONDS)
    assert (wire.aborted, _closed()) == (False, before)


async def test_data_in_the_kernel_counts_as_unread() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        transport.write(b"x" * 10_000)
        await asyncio.sleep(0)
        assert transport.get_write_buffer_size() == 0
        held = unacknowledged_bytes(transport)
        theirs.recv(10_000)
        assert (held >= 10_000, unacknowledged_bytes(transport)) == (True, 0)
        transport.close()


def _read_all(client: socket.socket) -> None:
    while client.recv(65_536):
        pass


async def test_reset_drops_data_buffered_by_the_kernel() -> None:
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()[:2]) as client:
        transport = cast(asyncio.Transport, (await accepted.get()).transport)
        transport.write(bytes(10_000_000))
        assert unacknowledged_bytes(transport) > 0
        reset(transport)
        reset(transport)
        await asyncio.sleep(0)
        client.settimeout(10)
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(_read_all, client)
    server.close()
    await server.wait_closed()
