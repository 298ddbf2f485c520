"""A light HTTP/1.1 client, and rounds of requests that measure their cost to the server.

Requests are prepared bytes on keep-alive connections without pipelining: each connection waits for its response.
"""

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

HOST = "127.0.0.1"

CONNECTIONS = 8
"""Concurrent requests: enough to keep one core busy, few enough to avoid long queues."""

ANSWER_SECONDS = 10.0
"""Timeout of a request, after which the benchmark fails."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class LoadError(Exception):
    """A server did not respond as the benchmark expects."""


class Server(Protocol):
    """The properties of a server that a round needs."""

    @property
    def port(self) -> int:
        """Port of the server."""
        ...

    def cpu_seconds(self) -> float:
        """CPU time since the server's start, in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A raw response."""

    status: int
    head: bytes
    body: bytes

    def json(self) -> Any:
        """Return the decoded JSON body."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """Return one header's value."""
        found = re.search(rb"\r\n%s: *([^\r]*)" % name.encode(), self.head, re.IGNORECASE)
        return found[1].decode() if found else None


class Connection(asyncio.Protocol):
    """One keep-alive connection for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._received = b""

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send prepared bytes; the future fails with ``LoadError`` if the connection is lost."""
        self._waiting = asyncio.get_running_loop().create_future()
        if self._transport is None:
            self._waiting.set_exception(LoadError("the connection is closed"))
        else:
            self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport has another base class

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and self._waiting is not None and len(body) >= _body_length(head):
            waiting, self._waiting, self._received = self._waiting, None, b""
            waiting.set_result(Answer(int(head[9:12]), head, body))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(LoadError(f"the server closed the connection: {error}"))


def _body_length(head: bytes) -> int:
    if head[9:12] == b"304":
        return 0
    length = _LENGTH.search(head)
    if length is None:
        raise LoadError(f"response without Content-Length: {head!r}")
    return int(length[1])


def request(method: str, path: str, body: Mapping[str, Any] | None = None, **headers: str) -> bytes:
    """Return the bytes of a request; ``if_none_match="…"`` becomes the header ``if-none-match``."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"host: {HOST}", "accept: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines += ["content-type: application/json", f"content-length: {len(content)}"]
    return "\r\n".join([*lines, "", ""]).encode() + content


async def connect(port: int) -> Connection:
    """Open a connection."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, HOST, port)
    return connection


async def ask(connection: Connection, request: bytes, status: int) -> Answer:
    """Send a request and require a status.

    Raises:
        LoadError: the status differs, or the response does not arrive in time.
    """
    try:
        answer = await asyncio.wait_for(connection.ask(request), ANSWER_SECONDS)
    except TimeoutError:
        raise LoadError(f"no response to {_first_line(request)}") from None
    if answer.status != status:
        raise LoadError(f"{answer.status} instead of {status} to {_first_line(request)}: {answer.body[:300]!r}")
    return answer


async def ask_all(port: int, requests: Iterable[bytes], status: int) -> list[Answer]:
    """Send requests one after another on one connection."""
    connection = await connect(port)
    try:
        return [await ask(connection, request, status) for request in requests]
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Round:
    """The cost of one round."""

    requests: int
    cpu_seconds: float

    @property
    def per_cpu_second(self) -> float:
        """Requests per second of the server's CPU."""
        return self.requests / self.cpu_seconds


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of request: connection n sends ``requests[n % len(requests)]`` and expects ``status``."""

    requests: Sequence[bytes]
    status: int


async def run_round(server: Server, work: Work, seconds: float) -> Round:
    """Send requests for ``seconds`` on all connections, reading the server's CPU clock before and after."""
    connections = [await connect(server.port) for _ in range(CONNECTIONS)]
    started, cpu = time.perf_counter(), server.cpu_seconds()
    try:
        counts = await asyncio.gather(
            *(_repeat(each, work.requests[n % len(work.requests)], work.status, started + seconds)
              for n, each in enumerate(connections))
        )  # fmt: skip
        return Round(sum(counts), server.cpu_seconds() - cpu)
    finally:
        for connection in connections:
            connection.close()


async def _repeat(connection: Connection, request: bytes, status: int, until: float) -> int:
    count = 0
    while time.perf_counter() < until:
        answer = await connection.ask(request)
        if answer.status != status:
            raise LoadError(f"{answer.status} instead of {status} to {_first_line(request)}: {answer.body[:300]!r}")
        count += 1
    return count


def _first_line(request: bytes) -> str:
    return request.partition(b"\r\n")[0].decode()


def answers(port: int) -> bool:
    """Return True if the port accepts connections."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
