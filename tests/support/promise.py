"""The promise, watched: two instances, a writer that knows what was acknowledged, and clients that hear all of it."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.clients import Listener, Message, all_reach, feed_of
from tests.support.service import Service

MARGIN_SECONDS = 1.5
"""What a bound may be exceeded by, on two cores that run several tests and measure their coverage."""


class Watcher(Listener):
    """A listener that notes when each event came for the first time; ``arrived`` has (match id, seq) → seconds."""

    def __init__(self, *urls: str, **options: Any) -> None:
        super().__init__(*urls, **options)
        self.arrived: dict[tuple[int, int], float] = {}

    async def _note(self, message: Message) -> None:
        if "data" in message and "seq" in message:
            self.arrived.setdefault((message["matchId"], message["seq"]), monotonic())
        await super()._note(message)


@dataclass
class Writer:
    """Posts commentary to one match, by its instances in turn.

    Attributes:
        acknowledged: seq → when its 201 came.
        durations: how long each request took, whatever its answer, in seconds.
        refused: the answers that were not 201.
    """

    services: Sequence[Service]
    match_id: int
    acknowledged: dict[int, float] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    refused: list[httpx.Response] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The highest seq that was acknowledged."""
        return max(self.acknowledged, default=1)

    async def write(self, count: int, pause: float = 0.0) -> None:
        """Post ``count`` times with ``pause`` seconds between."""
        async with self._clients() as clients:
            for number in range(count):
                await self._post(clients[number % len(clients)], number)
                await asyncio.sleep(pause)

    async def write_until(self, done: Callable[[], bool], pause: float = 0.02) -> None:
        """Post until ``done()``, with ``pause`` seconds between."""
        async with self._clients() as clients:
            number = 0
            while not done():
                await self._post(clients[number % len(clients)], number)
                number += 1
                await asyncio.sleep(pause)

    def _clients(self) -> "_Clients":
        return _Clients(self.services)

    async def _post(self, http: httpx.AsyncClient, number: int) -> None:
        began = monotonic()
        body = {"minute": number, "message": f"commentary {number}"}
        answer = await http.post(f"/matches/{self.match_id}/commentary", json=body)
        self.durations.append(monotonic() - began)
        if answer.status_code == 201:
            self.acknowledged[answer.json()["data"]["seq"]] = monotonic()
        else:
            self.refused.append(answer)


class _Clients:
    """An HTTP client for each service."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> list[httpx.AsyncClient]:
        return [await self._stack.enter_async_context(service.client()) for service in self._services]

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


@dataclass
class Audience:
    """Two instances, a match, a writer that uses both, and a watcher on each.

    ::

        async with Audience(await start("api"), await start("api")) as audience:
            await audience.writer.write(10)
            await audience.holds()
    """

    one: Service
    two: Service
    watchers: list[Watcher] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        for service in (self.one, self.two):
            self.watchers.append(await self._stack.enter_async_context(Watcher(service.ws_url, reconnect=True)))
        self.match_id = await self.new_match(self.watchers)
        self.writer = Writer([self.one, self.two], self.match_id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def new_match(self, watchers: Sequence[Watcher]) -> int:
        """Make one more match and let ``watchers`` follow it.

        They are announced it first: who asks for its feed from 0 before that is told of the creation by both.
        """
        match_id: int = (await self.one.create_match())["id"]
        for watcher in watchers:
            await watcher.until_seq(match_id, 1)
            await watcher.follow(match_id)
        return match_id

    async def holds(self, timeout: float = 15.0) -> list[Message]:
        """Wait for the last event, then compare: every log is the feed, and all that was acknowledged is in it.

        Returns:
            The feed.
        """
        await all_reach(self.watchers, self.match_id, self.writer.last, timeout)
        feed = await feed_of(self.two.base_url, self.match_id)
        await all_reach(self.watchers, self.match_id, len(feed), timeout)
        assert [event["seq"] for event in feed] == list(range(1, len(feed) + 1))
        assert set(self.writer.acknowledged) <= {event["seq"] for event in feed if event["type"] == "commentary"}
        for watcher in self.watchers:
            same(watcher.events(self.match_id), feed)
        return feed

    def delays(self) -> list[float]:
        """For each acknowledged event the seconds from its 201 to the last watcher."""
        return [
            max(watcher.arrived[self.match_id, seq] for watcher in self.watchers) - at
            for seq, at in self.writer.acknowledged.items()
        ]

    def within(self, name: str, seconds: float) -> None:
        """Check the longest of :meth:`delays`, and print it."""
        longest = max(self.delays())
        print(f"healing delay, {name}: {longest:.2f} s at most, bound {seconds:g} s + {MARGIN_SECONDS:g} s")
        assert longest < seconds + MARGIN_SECONDS


def same(log: Sequence[Message], feed: Sequence[Message]) -> None:
    """A log is its feed, event for event; if it is not, say where they part."""
    heard, told = [event["seq"] for event in log], [event["seq"] for event in feed]
    assert heard == told, f"heard {_parting(heard, told)} of {len(told)}"
    for one, other in zip(log, feed, strict=True):
        assert one == other, f"heard {one}, told {other}"


def _parting(heard: list[int], told: list[int]) -> str:
    at = next((at for at, (one, other) in enumerate(zip(heard, told, strict=False)) if one != other), len(told))
    return f"{heard[max(0, at - 2) : at + 3]} for {told[max(0, at - 2) : at + 3]}"


Command = list[bytes]
Fate = Callable[[Command], list[Command]]
"""What becomes of a command on its way to Redis: usually just itself."""


class Proxy:
    """Stands between an instance and its Redis, and may lose, double or delay publications, or cut the connection.

    Attributes:
        fate: applied to every command; replace it at any time.
    """

    def __init__(self, directory: Path, target: str) -> None:
        self.socket = directory / "proxy.sock"
        self.fate: Fate = lambda command: [command]
        self._target = target.removeprefix("unix://").partition("?")[0]
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The ``REDIS_URL`` by way of this proxy."""
        return f"unix://{self.socket}?db=0"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection, in the middle of whatever it was carrying."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            from_redis, to_redis = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        replies = asyncio.create_task(_copy(from_redis, writer))
        try:
            while command := await _command(reader):
                for one in self.fate(command):
                    to_redis.write(_encoded(one))
                await to_redis.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            to_redis.transport.abort()
            writer.transport.abort()
            self._open.discard(writer)
            await replies


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.transport.abort()


async def _command(reader: asyncio.StreamReader) -> Command:
    """One command in RESP; empty at the end of the stream."""
    head = await reader.readline()
    if not head.startswith(b"*"):
        return []
    command = []
    for _ in range(int(head[1:])):
        length = int((await reader.readline())[1:])
        command.append((await reader.readexactly(length + 2))[:-2])
    return command


def _encoded(command: Command) -> bytes:
    parts = (b"$%d\r\n%b\r\n" % (len(part), part) for part in command)
    return b"*%d\r\n%b" % (len(command), b"".join(parts))


def lost(command: Command) -> list[Command]:
    """A publication goes where nobody listens, and Redis says that all is well."""
    return [[command[0], b"nobody", *command[2:]]] if command[0].upper() == b"PUBLISH" else [command]


def sometimes(fate: Fate, probability: float, seed: int) -> Fate:
    """``fate`` for a random part of the commands, the same part for the same seed."""
    chance = random.Random(seed)
    return lambda command: fate(command) if chance.random() < probability else [command]
