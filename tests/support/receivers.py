"""A receiver of webhooks: an HTTP server that records what it gets and answers as a test wants."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any, Self

from livescore.settings import Settings, load
from tests.support.service import eventually

LOOPBACK: Mapping[str, str] = {"WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8", "WEBHOOK_ALLOW_HTTP": "true"}
"""Variables with which webhooks may lead to a receiver of a test."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the receiver. ``delay`` in seconds before its head, ``drip`` between pieces of its body."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    drip: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """A delivery as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """The event as over WebSocket."""
        event: dict[str, Any] = json.loads(self.body)["data"]
        return event


Behaviour = Callable[[Request, int], Reply | Awaitable[Reply]]
"""Returns the answer to a request; the second argument is 1 for the first request to its path."""


class Receiver:
    """Listens on 127.0.0.1; each path is an endpoint of its own.

    Attributes:
        requests: requests by path, in the order of their arrival.
        accepted: those among them that were answered with 2xx.
        open: requests in progress by path and match, and the highest number of them seen at once.
    """

    def __init__(self) -> None:
        self.requests: dict[str, list[Request]] = defaultdict(list)
        self.accepted: dict[str, list[Request]] = defaultdict(list)
        self.most_open: dict[tuple[str, int], int] = defaultdict(int)
        self.connections = 0
        self._open: dict[tuple[str, int], int] = defaultdict(int)
        self._behaviours: dict[str, Behaviour] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def behave(self, path: str, behaviour: Behaviour) -> None:
        """Answer requests to a path by a function instead of 204."""
        self._behaviours[path] = behaviour

    def heal(self, path: str) -> None:
        """Answer 204 again."""
        self._behaviours.pop(path, None)

    def seqs(self, path: str, match_id: int) -> list[int]:
        """Return the seqs of accepted events of a match, the first acceptance of each, in order of arrival."""
        return list(dict.fromkeys(self.all_seqs(path, match_id)))

    def all_seqs(self, path: str, match_id: int) -> list[int]:
        """Return the seqs of all accepted events of a match, with duplicates."""
        return self.seqs_by_match(path).get(match_id, [])

    def seqs_by_match(self, path: str) -> dict[int, list[int]]:
        """Return the same of all matches, which costs as much as of one."""
        found: dict[int, list[int]] = defaultdict(list)
        for request in self.accepted[path]:
            event = request.event
            if "matchId" in event:
                found[event["matchId"]].append(event["seq"])
        return found

    async def receives(self, path: str, count: int, timeout: float = 20.0) -> list[Request]:
        """Wait for so many accepted requests to a path."""
        await eventually(lambda: len(self.accepted[path]) >= count, timeout)
        return self.accepted[path]

    async def is_asked(self, path: str, count: int, timeout: float = 20.0) -> list[Request]:
        """Wait for so many requests to a path, whatever the answer."""
        await eventually(lambda: len(self.requests[path]) >= count, timeout)
        return self.requests[path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # asyncio logs a cancelled handler as an error
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(first.split(" ")[1], headers, body, monotonic())
        self.requests[request.path].append(request)
        place = (request.path, request.event.get("matchId", 0))
        self._open[place] += 1
        self.most_open[place] = max(self.most_open[place], self._open[place])
        try:
            reply = await self._reply(request)
            await asyncio.sleep(reply.delay)
        finally:
            self._open[place] -= 1
        if 200 <= reply.status < 300:
            self.accepted[request.path].append(request)
        await _write(writer, reply)
        return True

    async def _reply(self, request: Request) -> Reply:
        behaviour = self._behaviours.get(request.path)
        if behaviour is None:
            return Reply()
        reply = behaviour(request, len(self.requests[request.path]))
        return reply if isinstance(reply, Reply) else await reply


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    headers = {"Content-Length": str(len(reply.body)), **reply.headers}
    lines = [f"HTTP/1.1 {reply.status} Reply", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    if reply.drip:
        for index in range(len(reply.body)):
            writer.write(reply.body[index : index + 1])
            await writer.drain()
            await asyncio.sleep(reply.drip)
    else:
        writer.write(reply.body)
    await writer.drain()


def webhook_settings(**overrides: Any) -> Settings:
    """Return settings with which this process may deliver to a receiver."""
    networks = {"webhook_allowed_networks": "127.0.0.0/8", "webhook_allow_http": True}
    return load(**{"database_url": "postgresql://h/d", "redis_url": "redis://h", **networks, **overrides})
