"""A WebSocket client on a bare socket that sends exactly the given bytes, valid or not (RFC 6455)."""

import asyncio
import json
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

ANNOUNCEMENT = b'{"type":"match_created"'

PATIENCE_SECONDS = 10.0
"""Timeout for one frame of the server."""


class ServerFrame(NamedTuple):
    """One frame as sent by the server."""

    opcode: int
    payload: bytes
    fin: bool

    @property
    def code(self) -> int:
        """Code of a close frame; 1005 if it has none."""
        return int(struct.unpack("!H", self.payload[:2])[0]) if self.payload else 1005

    def json(self) -> Any:
        """Return the decoded payload."""
        return json.loads(self.payload)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, mask: bool = True) -> bytes:
    """Return one client frame.

    Args:
        reserved: the three reserved bits, 1 to 7.
        mask: False violates the protocol.
    """
    head = bytes([fin << 7 | reserved << 4 | opcode])
    size = len(payload)
    if size < 126:
        head += bytes([mask << 7 | size])
    else:
        head += bytes([mask << 7 | 126]) + struct.pack("!H", size) if size < 65_536 else _huge(mask, size)
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + masked(payload, key)


def _huge(mask: bool, size: int) -> bytes:
    return bytes([mask << 7 | 127]) + struct.pack("!Q", size)


def masked(payload: bytes, key: bytes) -> bytes:
    """Apply or remove a mask of four bytes."""
    size = len(payload)
    stream = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


def close_frame(code: int | None = None, reason: bytes = b"") -> bytes:
    """Return a close frame; empty without a code."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def handshake(port: int, path: str = "/ws", *headers: str) -> bytes:
    """Return the request of an opening handshake."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class RawWebSocket:
    """A connection after its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *segments: bytes) -> None:
        """Send each piece in its own TCP segment."""
        for segment in segments:
            self._writer.write(segment)
            await self._writer.drain()
            if len(segments) > 1:
                await asyncio.sleep(0)

    async def receive(self) -> ServerFrame:
        """Return the server's next frame, except those that may come at any time.

        These are pings of the heartbeat, and announcements of the matches that other tests create.

        Raises:
            asyncio.IncompleteReadError: the server closed the TCP connection.
        """
        received = await self._frame()
        while received.opcode == PING or received.payload.startswith(ANNOUNCEMENT):
            received = await self._frame()
        return received

    async def ping(self) -> ServerFrame:
        """Return the server's next ping, skipping other frames."""
        received = await self._frame()
        while received.opcode != PING:
            received = await self._frame()
        return received

    async def _frame(self) -> ServerFrame:
        async with asyncio.timeout(PATIENCE_SECONDS):
            first, second = await self._reader.readexactly(2)
            assert not first & 0x70, "a server must not set reserved bits"
            assert not second & 0x80, "a server must not mask"
            size = second
            if size >= 126:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
            return ServerFrame(first & 0x0F, await self._reader.readexactly(size), bool(first & 0x80))

    async def answer(self) -> Any:
        """Return the next text message, decoded."""
        received = await self.receive()
        assert received.opcode == TEXT, received
        return received.json()

    async def ask(self, *segments: bytes) -> Any:
        """Send the segments and return the next text message."""
        await self.send(*segments)
        return await self.answer()

    async def closed(self) -> int:
        """Wait for the close frame and the end of the TCP connection, and return the close code.

        Raises:
            TimeoutError: the server left the connection open.
        """
        received = await self.receive()
        while received.opcode != CLOSE:
            received = await self.receive()
        await self.ended()
        return received.code

    async def ended(self) -> bytes:
        """Wait until the server has closed the TCP connection, and return the data it sent before."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._reader.read()

    def abort(self) -> None:
        """Reset the connection (RST)."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the TCP connection."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


@asynccontextmanager
async def raw_websocket(port: int, path: str = "/ws") -> AsyncIterator[RawWebSocket]:
    """Open a connection and receive its welcome message."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = RawWebSocket(reader, writer)
    try:
        await client.send(handshake(port, path))
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert (await client.answer())["type"] == "welcome"
        yield client
    finally:
        await client.close()


async def refused(port: int, path: str = "/ws", *headers: str) -> tuple[int, dict[str, str], bytes]:
    """Attempt a handshake that is refused.

    Returns:
        Status, headers in lower case, and body, after the server has closed the connection.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(handshake(port, path, *headers))
        async with asyncio.timeout(PATIENCE_SECONDS):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}, body
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
