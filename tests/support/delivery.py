"""Scenarios that verify the delivery guarantee: two instances, a writer that logs acknowledgements, and listeners."""

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
from tests.support.stopwatch import Stopwatch

MARGIN_SECONDS = 1.5
"""Tolerance of time bounds, on two cores that run several tests and measure coverage."""


class TimingListener(Listener):
    """A listener that records the first arrival of each event: ``arrived`` maps (match id, seq) to seconds."""

    def __init__(self, *urls: str, **options: Any) -> None:
        super().__init__(*urls, **options)
        self.arrived: dict[tuple[int, int], float] = {}

    async def _note(self, message: Message) -> None:
        if "data" in message and "seq" in message:
            self.arrived.setdefault((message["matchId"], message["seq"]), monotonic())
        await super()._note(message)


@dataclass
class Writer:
    """Posts commentary to one match, alternating between the instances.

    Attributes:
        acknowledged: seq → monotonic time of its 201 response.
        durations: duration of each request in seconds, also of failed ones.
        refused: responses other than 201.
    """

    services: Sequence[Service]
    match_id: int
    acknowledged: dict[int, float] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    refused: list[httpx.Response] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The highest acknowledged seq."""
        return max(self.acknowledged, default=1)

    async def write(self, count: int, pause: float = 0.0) -> None:
        """Post ``count`` commentaries with ``pause`` seconds in between."""
        async with self._clients() as clients:
            for number in range(count):
                await self._post(clients[number % len(clients)], number)
                await asyncio.sleep(pause)

    async def write_until(self, done: Callable[[], bool], pause: float = 0.02) -> None:
        """Post until ``done()`` is true, with ``pause`` seconds in between."""
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
    """One HTTP client per service."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._stack = AsyncExitStack()
        self._watch = Stopwatch()

    async def __aenter__(self) -> list[httpx.AsyncClient]:
        return [await self._stack.enter_async_context(service.client()) for service in self._services]

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


@dataclass
class DeliveryScenario:
    """Two instances, a match, a writer that uses both, and a listener on each.

    ::

        async with DeliveryScenario(await start("api"), await start("api")) as scenario:
            await scenario.writer.write(10)
            await scenario.assert_delivered()
    """

    one: Service
    two: Service
    watchers: list[TimingListener] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self._watch = Stopwatch()
        for service in (self.one, self.two):
            self.watchers.append(await self._stack.enter_async_context(TimingListener(service.ws_url, reconnect=True)))
        self.match_id = await self.new_match(self.watchers)
        self.writer = Writer([self.one, self.two], self.match_id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def new_match(self, watchers: Sequence[TimingListener]) -> int:
        """Create another match and let ``watchers`` follow it.

        The watchers wait for the broadcast of the match first; otherwise they could receive ``match_created`` twice.
        """
        match_id: int = (await self.one.create_match())["id"]
        for watcher in watchers:
            await watcher.until_seq(match_id, 1)
            await watcher.follow(match_id)
        return match_id

    async def assert_delivered(self, timeout: float = 15.0) -> list[Message]:
        """Wait for the last event, then assert that every log equals the feed and contains all acknowledged events.

        Returns:
            The feed.
        """
        await all_reach(self.watchers, self.match_id, self.writer.last, timeout)
        feed = await feed_of(self.two.base_url, self.match_id)
        await all_reach(self.watchers, self.match_id, len(feed), timeout)
        assert [event["seq"] for event in feed] == list(range(1, len(feed) + 1))
        assert set(self.writer.acknowledged) <= {event["seq"] for event in feed if event["type"] == "commentary"}
        for watcher in self.watchers:
            assert_same_events(watcher.events(self.match_id), feed)
        return feed

    def delays(self) -> list[float]:
        """Return the seconds from the 201 response of each acknowledged event to its arrival at the last watcher."""
        return [
            max(watcher.arrived[self.match_id, seq] for watcher in self.watchers) - at
            for seq, at in self.writer.acknowledged.items()
        ]

    def margin(self) -> float:
        """Return the seconds to add to a limit: more on a machine on which threads waited for a CPU."""
        return MARGIN_SECONDS + self._watch.waited()

    def assert_delays_below(self, name: str, seconds: float) -> None:
        """Assert an upper bound for :meth:`delays`, and print the maximum."""
        longest = max(self.delays())
        print(f"healing delay, {name}: {longest:.2f} s at most, bound {seconds:g} s + {MARGIN_SECONDS:g} s")
        assert longest < seconds + self.margin()


def assert_same_events(log: Sequence[Message], feed: Sequence[Message]) -> None:
    """Assert that a log equals its feed event for event, reporting the first difference."""
    received, expected = [event["seq"] for event in log], [event["seq"] for event in feed]
    assert received == expected, f"received {_difference(received, expected)} of {len(expected)}"
    for one, other in zip(log, feed, strict=True):
        assert one == other, f"received {one}, expected {other}"


def _difference(received: list[int], expected: list[int]) -> str:
    pairs = enumerate(zip(received, expected, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), len(expected))
    return f"{received[max(0, at - 2) : at + 3]} instead of {expected[max(0, at - 2) : at + 3]}"


Command = list[bytes]
Rewrite = Callable[[Command], list[Command]]
"""Maps a command on its way to Redis to the commands that are sent instead; usually the command itself."""


class RedisProxy:
    """A proxy between an instance and its Redis that can lose, repeat or delay publications and cut connections.

    Attributes:
        rewrite: applied to every command; may be replaced at any time.
    """

    def __init__(self, directory: Path, target: str) -> None:
        self.socket = directory / "proxy.sock"
        self.rewrite: Rewrite = lambda command: [command]
        self._target = target.removeprefix("unix://").partition("?")[0]
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The ``REDIS_URL`` through this proxy."""
        return f"unix://{self.socket}?db=0"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection, even in the middle of a message."""
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
                for one in self.rewrite(command):
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
    """Read one RESP command; empty at the end of the stream."""
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


def lose_publication(command: Command) -> list[Command]:
    """Redirect a publication to a channel without subscribers; Redis still reports success."""
    return [[command[0], b"no-subscribers", *command[2:]]] if command[0].upper() == b"PUBLISH" else [command]


def sometimes(rewrite: Rewrite, probability: float, seed: int) -> Rewrite:
    """Apply ``rewrite`` to a random part of the commands, determined by the seed."""
    chance = random.Random(seed)
    return lambda command: rewrite(command) if chance.random() < probability else [command]
