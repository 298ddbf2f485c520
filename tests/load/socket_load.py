"""Thousands of lightweight WebSocket subscribers, and their cost to the server.

A subscriber performs its handshake and subscription; from then on it only sums up sizes and checksums. The first
subscriber keeps its bytes to check the seqs; equal length and checksum mean that another one received the same.
"""

import asyncio
import json
import statistics
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from zlib import crc32

from tests.load.http_load import HOST, Connection, LoadError, ask, connect
from tests.load.scenarios import LIVESCORE, commentary, create_matches
from tests.load.servers import Measured

HANDSHAKES_AT_ONCE = 50
"""Far below the listen backlog, so that no SYN has to be retransmitted."""

ANSWER_SECONDS = 15.0
"""Timeout of a handshake or a subscription."""

DELIVERY_SECONDS = 4.0
"""Timeout of all deliveries; shorter than the servers keep an idle HTTP connection open."""

SETTLE_SECONDS = 1.0
"""Time until an idle process has released the memory of the handshakes."""

BURST = 10
"""Number of events posted at once."""

BURST_PAUSE_SECONDS = 0.1
SAMPLE = 10  # every tenth subscriber records the times of arrivals
MICROSECONDS = 1e6

PING = b"\x89\x00"
"""An empty ping. JSON contains no zero byte, so these bytes never occur within a message."""

PONG = b"\x8a\x80\x00\x00\x00\x00"

_HANDSHAKE = "\r\n".join(
    (
        "GET /ws HTTP/1.1",
        f"Host: {HOST}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "",
        "",
    )
).encode()


class Tally(asyncio.Protocol):
    """Sums up received bytes: their number (``size``) and ``checksum``."""

    def __init__(self) -> None:
        self.size = 0
        self.checksum = 0

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        self.checksum = crc32(data, self.checksum)


class Subscriber(Tally):
    """One WebSocket, which sums up from :meth:`count` on.

    Attributes:
        kept: the received bytes, if they are kept.
        arrivals: ``size`` and time after each arrival, if they are recorded.
    """

    def __init__(self, *, keep: bool, note: bool) -> None:
        super().__init__()
        self.kept = bytearray() if keep else None
        self.arrivals: list[tuple[int, float]] | None = [] if note else None
        self._counting = False
        self._received = bytearray()
        self._expected = b"\r\n\r\n"
        self._found: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport has another base class
        self._transport.write(_HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        if not self._counting:
            self._received += data
            self._look()
            return
        if PING in data:
            data = self._answer_ping(data)
        super().data_received(data)
        if self.arrivals is not None:
            self.arrivals.append((self.size, time.perf_counter()))
        if self.kept is not None:
            self.kept += data

    def _answer_ping(self, data: bytes) -> bytes:
        """Remove a ping and answer it: only some subscribers receive pings, so their bytes would differ."""
        if self._transport is not None:
            self._transport.write(PONG)
        return data.replace(PING, b"")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self._found.done():
            self._found.set_exception(LoadError(f"a WebSocket was closed: {error}; received {bytes(self._received)!r}"))

    async def receive(self, expected: bytes) -> None:
        """Wait until these bytes arrive, and discard everything before them."""
        self._expected, self._found = expected, asyncio.get_running_loop().create_future()
        self._look()
        await asyncio.wait_for(self._found, ANSWER_SECONDS)

    def send(self, message: dict[str, Any]) -> None:
        """Send one message of less than 126 bytes, masked with zeros."""
        text = json.dumps(message).encode()
        if self._transport is None:
            raise LoadError("a WebSocket was closed")
        self._transport.write(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)

    def count(self) -> None:
        """Only sum up from now on."""
        self._counting = True

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _look(self) -> None:
        place = self._received.find(self._expected)
        if place >= 0 and not self._found.done():
            del self._received[: place + len(self._expected)]
            self._found.set_result(None)


async def _connected(port: int, number: int) -> Subscriber:
    subscriber = Subscriber(keep=number == 0, note=number % SAMPLE == 0)
    await asyncio.get_running_loop().create_connection(lambda: subscriber, HOST, port)
    await subscriber.receive(b'"welcome"')
    return subscriber


async def _subscribed(subscriber: Subscriber, matches: Iterable[int]) -> None:
    for match_id in matches:
        subscriber.send({"type": "subscribe", "matchId": match_id})
        await subscriber.receive(b'"subscribed"')


async def _connect_all(port: int, count: int) -> list[Subscriber]:
    subscribers: list[Subscriber] = []
    for first in range(0, count, HANDSHAKES_AT_ONCE):
        numbers = range(first, min(count, first + HANDSHAKES_AT_ONCE))
        subscribers += await asyncio.gather(*(_connected(port, number) for number in numbers))
    return subscribers


async def _subscribe_all(subscribers: Sequence[Subscriber], match_id: int) -> None:
    for first in range(0, len(subscribers), HANDSHAKES_AT_ONCE):
        batch = subscribers[first : first + HANDSHAKES_AT_ONCE]
        await asyncio.gather(*(_subscribed(subscriber, [match_id]) for subscriber in batch))


@asynccontextmanager
async def listener(port: int, matches: Iterable[int]) -> AsyncIterator[Subscriber]:
    """Connect one subscriber of some matches."""
    subscriber = await _connected(port, 1)
    await _subscribed(subscriber, matches)
    subscriber.count()
    try:
        yield subscriber
    finally:
        subscriber.close()


def frame_ends(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the start of the payload and the end of each complete unmasked frame (RFC 6455, 5.2)."""
    place = 0
    while place + 2 <= len(data):
        length, header = data[place + 1], 2
        if length == 126:
            length, header = int.from_bytes(data[place + 2 : place + 4]), 4
        elif length == 127:
            length, header = int.from_bytes(data[place + 2 : place + 10]), 10
        start, place = place + header, place + header + length
        if place <= len(data):
            yield start, place


@dataclass(frozen=True, slots=True)
class Phase:
    """A series of events and their deliveries."""

    deliveries: int
    cpu_seconds: float
    p50_seconds: float
    p99_seconds: float

    @property
    def cpu_microseconds(self) -> float:
        """CPU microseconds of the server per delivered message, including the POST that caused it."""
        return self.cpu_seconds / self.deliveries * MICROSECONDS


@dataclass(frozen=True, slots=True)
class FanOut:
    """The cost of a match's subscribers; ``complete`` counts those that received every event once and in order."""

    subscribers: int
    complete: int
    events: int
    message_bytes: int
    handshake_cpu_microseconds: float
    subscribe_cpu_microseconds: float
    idle_bytes: float
    paced: Phase
    burst: Phase


@dataclass(frozen=True, slots=True)
class Pace:
    """Number and rate of events."""

    per_second: float
    seconds: float
    bursts: int

    @property
    def events(self) -> int:
        """Number of events posted one after another."""
        return round(self.per_second * self.seconds)


class Audience:
    """The subscribers of one match, and the connections that post to it."""

    def __init__(self, server: Measured, match_id: int, subscribers: Sequence[Subscriber]) -> None:
        self.server = server
        self.subscribers = subscribers
        self._request = commentary(match_id)
        self._sent: list[float] = []
        self._patience = DELIVERY_SECONDS

    @property
    def reference(self) -> Subscriber:
        """The subscriber that keeps its bytes."""
        return self.subscribers[0]

    def frames(self) -> list[tuple[int, int]]:
        """Return the positions of the reference subscriber's frames."""
        return list(frame_ends(bytes(self.reference.kept or b"")))

    def complete(self) -> int:
        """Count the subscribers that received the same bytes as the reference; 0 if its seqs have a gap."""
        data = bytes(self.reference.kept or b"")
        numbers = [json.loads(data[start:end])["seq"] for start, end in self.frames()]
        first = numbers[0] if numbers else 0
        if numbers != list(range(first, first + len(self._sent))):
            return 0
        wanted = (self.reference.size, self.reference.checksum)
        return sum((subscriber.size, subscriber.checksum) == wanted for subscriber in self.subscribers)

    async def paced(self, pace: Pace) -> Phase:
        """Post one event after another at a steady pace."""
        first, cpu = len(self._sent), self.server.cpu_seconds()
        poster = await connect(self.server.port)
        start = time.perf_counter()
        for number in range(pace.events):
            await asyncio.sleep(start + number / pace.per_second - time.perf_counter())
            await self._post([poster])
        await self._delivered()
        poster.close()
        return self._phase(first, cpu)

    async def burst(self, bursts: int) -> Phase:
        """Post ten events at once, ``bursts`` times."""
        posters = [await connect(self.server.port) for _ in range(BURST)]
        first, cpu = len(self._sent), self.server.cpu_seconds()
        for _ in range(bursts):
            await self._post(posters)
            await self._delivered()
            await asyncio.sleep(BURST_PAUSE_SECONDS)
        for poster in posters:
            poster.close()
        return self._phase(first, cpu)

    async def _post(self, posters: Sequence[Connection]) -> None:
        self._sent += [time.perf_counter()] * len(posters)
        await asyncio.gather(*(ask(poster, self._request, 201) for poster in posters))

    async def _delivered(self) -> None:
        """Wait until all subscribers have everything, or time out if something is lost: :meth:`complete` reports it."""
        deadline = time.perf_counter() + self._patience
        while not self._has_everything():
            if time.perf_counter() > deadline:
                self._patience = 0.0  # waiting again would not bring lost messages
                return
            await asyncio.sleep(0.01)

    def _has_everything(self) -> bool:
        size = self.reference.size
        return len(self.frames()) == len(self._sent) and all(each.size == size for each in self.subscribers)

    def _phase(self, first: int, cpu: float) -> Phase:
        spent = self.server.cpu_seconds() - cpu
        latencies = sorted(self._latencies(first))
        cuts = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [0.0] * 99
        return Phase((len(self._sent) - first) * len(self.subscribers), spent, cuts[49], cuts[98])

    def _latencies(self, first: int) -> Iterator[float]:
        """Yield the latencies of the events from ``first`` on, for the subscribers that record arrivals."""
        ends = [end for _, end in self.frames()]
        for subscriber in self.subscribers:
            before = 0
            for size, moment in subscriber.arrivals or ():
                last = min(len(self._sent), bisect_right(ends, size))
                events = range(max(first, bisect_right(ends, before)), last)
                yield from (moment - self._sent[event] for event in events)
                before = size


async def _first_sockets(server: Measured, match_id: int) -> None:
    """Open sockets first to trigger one-time allocations, which do not belong to any connection."""
    subscribers = await _connect_all(server.port, HANDSHAKES_AT_ONCE)
    await _subscribe_all(subscribers, match_id)
    for subscriber in subscribers:
        subscriber.close()
    await asyncio.sleep(SETTLE_SECONDS)


async def measure(server: Measured, count: int, pace: Pace) -> FanOut:
    """Connect, subscribe, idle, then deliver. The server must be fresh for its idle memory to be meaningful."""
    (match_id,) = await create_matches(LIVESCORE, server, 1)
    await _warm_up(server, match_id)
    await _first_sockets(server, match_id)
    memory, cpu = server.resident_bytes(), server.cpu_seconds()
    subscribers = await _connect_all(server.port, count)
    connected = server.cpu_seconds()
    try:
        await _subscribe_all(subscribers, match_id)
        subscribed = server.cpu_seconds()
        await asyncio.sleep(SETTLE_SECONDS)
        idle = server.resident_bytes() - memory
        audience = Audience(server, match_id, subscribers)
        for subscriber in subscribers:
            subscriber.count()
        paced, burst = await audience.paced(pace), await audience.burst(pace.bursts)
        sizes = [end for _, end in audience.frames()]
        return FanOut(
            subscribers=count,
            complete=audience.complete(),
            events=len(sizes),
            message_bytes=round(sizes[-1] / len(sizes)) if sizes else 0,
            handshake_cpu_microseconds=(connected - cpu) / count * MICROSECONDS,
            subscribe_cpu_microseconds=(subscribed - connected) / count * MICROSECONDS,
            idle_bytes=idle / count,
            paced=paced,
            burst=burst,
        )
    finally:
        for subscriber in subscribers:
            subscriber.close()


async def _warm_up(server: Measured, match_id: int) -> None:
    """Run one round so that lazy loading and preparation are not measured."""
    async with listener(server.port, [match_id]):
        poster = await connect(server.port)
        for _ in range(BURST):
            await ask(poster, commentary(match_id), 201)
        poster.close()
