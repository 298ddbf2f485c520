"""Limits on the cost of received frames, per socket and per iteration of the event loop."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from livescore.live import inbound
from livescore.live.socket import MAX_DROPPED_BYTES, LiveSocket, Phase
from livescore.telemetry import metrics
from tests.support.http_protocol import MemoryTransport, bounds
from tests.support.raw_websocket import BINARY, CONTINUATION, PING, PONG, TEXT, frame
from tests.support.virtual_time import VirtualTime

FLOOD = 20_000
POLICY = b"\x88\x02\x03\xf0"  # a close frame with 1008


class Server:
    """The part of a server that a socket needs; ``received`` has the complete messages."""

    def __init__(self, **settings: Any) -> None:
        self.settings = bounds(**settings)
        self.turns = inbound.Turns()
        self.gone: list[LiveSocket] = []

    def detach(self, connection: LiveSocket) -> None:
        if connection not in self.gone:
            self.gone.append(connection)


@pytest.fixture(autouse=True)
def clock(virtual_clock: VirtualTime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refill budgets by the virtual clock, too."""
    monkeypatch.setattr(inbound, "monotonic", virtual_clock.monotonic)


class Transport(MemoryTransport):
    """Reports whether it reads, as the event loop's transports do."""

    def is_reading(self) -> bool:
        return not self.paused


class Socket(LiveSocket):
    """Records messages instead of answering them."""

    __slots__ = ("received",)

    def __init__(self, server: Any) -> None:
        super().__init__(server, Transport("192.0.2.1"), "192.0.2.1")
        self.received: list[bytes] = []

    def receive(self, data: bytes) -> None:
        self.received.append(data)

    @property
    def wire(self) -> Transport:
        transport: Any = self._transport
        return transport  # type: ignore[no-any-return]


def _closed_flooders() -> float:
    return next(sample.value for metric in metrics.FLOODERS_CLOSED.collect() for sample in metric.samples)


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


EMPTY_CONTINUATION = frame(CONTINUATION, fin=False)
FLOODS = {
    "empty continuations": frame(TEXT, b"{", fin=False) + EMPTY_CONTINUATION * FLOOD,
    "continuations of a byte": frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b" ", fin=False) * FLOOD,
    "unsolicited pongs": frame(PONG) * FLOOD,
    "pongs with a payload": frame(PONG, b"x" * 100) * FLOOD,
    "pings": frame(PING) * FLOOD,
    "pings with a payload": frame(PING, b"x" * 125) * FLOOD,
    "pings between fragments": frame(TEXT, b"{", fin=False) + (frame(PING) + EMPTY_CONTINUATION) * FLOOD,
    "empty texts": frame(TEXT) * FLOOD,
    "texts of a byte": frame(TEXT, b"x") * FLOOD,
    "empty binaries": frame(BINARY) * FLOOD,
    "fragmented messages": (frame(TEXT, b"", fin=False) + frame(CONTINUATION)) * FLOOD,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_flood_of_frames_closes_with_1008_and_is_counted(flood: bytes) -> None:
    server, before = Server(), _closed_flooders()
    client = Socket(server)
    client.data_received(flood[:262_144])
    await _turns(50)
    assert client.wire.written.endswith(POLICY)
    assert (client._phase, client.wire.eof, server.gone) == (Phase.CLOSED, True, [client])
    assert _closed_flooders() == before + 1
    client.wire.abort()


async def test_pongs_in_separate_reads_are_a_flood_too() -> None:
    client = Socket(Server())
    for _ in range(2_000):
        client.data_received(frame(PONG))
        await asyncio.sleep(0)
    assert client.wire.written.endswith(POLICY)


async def test_bytes_in_separate_reads_are_a_flood_too() -> None:
    client = Socket(Server())
    client.data_received(frame(TEXT, b"x" * 100_000)[:14])
    for _ in range(5_000):
        client.data_received(b"x")
        await asyncio.sleep(0)
    assert client.wire.written.endswith(POLICY)


async def test_closed_flooder_is_no_longer_parsed_or_read() -> None:
    client = Socket(Server())
    client.data_received(frame(PING) * 10_000)
    await _turns(50)
    written = client.wire.written
    for _ in range(MAX_DROPPED_BYTES // 262_144 + 1):
        client.data_received(b"\x89" * 262_144)
    assert client.wire.written == written
    assert client.wire.paused


async def test_messages_within_the_rate_limit_are_not_a_flood() -> None:
    """A burst of messages in ten fragments each, with pings in between, and a message of the largest size."""
    client = Socket(Server())
    message = b"0123456789"
    parts = [frame(TEXT if at == 0 else CONTINUATION, message[at : at + 1], fin=at == 9) for at in range(10)]
    client.data_received((b"".join(parts) + frame(PING)) * 20)
    await _turns(50)
    assert client.received == [message] * 20
    large = b"x" * 1_048_576
    client.data_received(frame(TEXT, large))
    await _turns(2_000)
    assert client.received[-1] == large
    assert client.open


async def test_the_budget_is_refilled() -> None:
    server = Server(inbound_burst=1, inbound_per_second=1_000.0)
    client = Socket(server)
    for _ in range(20):
        client.data_received(frame(PING) * 40)
        await asyncio.sleep(0.01)
    assert client.open


async def test_empty_fragments_use_no_memory() -> None:
    client = Socket(Server(inbound_burst=1_000_000))
    client.data_received(frame(TEXT, b"{", fin=False) + EMPTY_CONTINUATION * 5_000)
    await _turns(100)
    assert bytes(client._fragments or b"") == b"{"
    client.data_received(frame(CONTINUATION, b"}"))
    await _turns(2)
    assert client.received == [b"{}"]


async def test_flood_is_parsed_over_many_loop_iterations() -> None:
    client = Socket(Server(inbound_burst=1_000_000))
    client.data_received(frame(TEXT, b"x") * FLOOD)
    most = inbound.FRAMES_PER_TURN + inbound.PIECE_BYTES // len(frame(TEXT, b"x")) + 1
    turns, before = 0, 0
    while len(client.received) < FLOOD:
        assert len(client.received) - before <= most
        assert client.wire.paused or len(client.received) == FLOOD
        before, turns = len(client.received), turns + 1
        await asyncio.sleep(0)
    assert turns >= FLOOD // most
    assert not client.wire.paused


async def test_all_sockets_share_one_budget_per_loop_iteration() -> None:
    server = Server(inbound_burst=1_000_000)
    clients = [Socket(server) for _ in range(100)]
    for client in clients:
        client.data_received(frame(TEXT, b"x") * 1_000)
    most = inbound.FRAMES_PER_TURN + inbound.PIECE_BYTES // 7 + 1
    before = 0
    for _ in range(60):
        total = sum(len(client.received) for client in clients)
        assert total - before <= most
        before = total
        await asyncio.sleep(0)
    shares = [len(client.received) for client in clients]
    assert min(shares) > 0, "every socket gets its turn"


async def test_deferred_bytes_keep_their_order() -> None:
    server = Server(inbound_burst=1_000_000)
    client = Socket(server)
    sent = [b"%d" % number for number in range(3_000)]
    stream = b"".join(frame(TEXT, message) for message in sent)
    for at in range(0, len(stream), 777):
        client.data_received(stream[at : at + 777])
    await _turns(500)
    assert client.received == sent


async def test_first_pong_per_ping_is_free() -> None:
    server: Any = Server()
    client = Socket(server)
    budget = SimpleNamespace(spent=0)

    def spend(_: object, cost: float) -> bool:
        budget.spent += cost
        return True

    client._budget = SimpleNamespace(spend=spend)  # type: ignore[assignment]
    client.beat()
    client.data_received(frame(PONG))
    assert budget.spent == 0
    client.data_received(frame(PONG))
    assert budget.spent > 1


# Incomplete messages

HUGE = frame(TEXT, b"x" * 70_000)
STALLED = {
    "first byte of a head": frame(TEXT, b"{}")[:1],
    "head without a mask": frame(TEXT, b"{}")[:2],
    "half a mask": frame(TEXT, b"{}")[:4],
    "head without a payload": frame(TEXT, b"{}")[:6],
    "half a payload": frame(TEXT, b"{}")[:7],
    "half an extended length": frame(TEXT, b"x" * 200)[:3],
    "half a huge length": HUGE[:7],
    "half a huge payload": HUGE[:35_000],
    "half a ping": frame(PING, b"x" * 100)[:50],
    "a first fragment": frame(TEXT, b"{", fin=False),
    "an empty first fragment": frame(BINARY, fin=False),
    "several fragments": frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b" ", fin=False) * 3,
    "half a continuation": frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b" " * 100)[:50],
    "half a ping between fragments": frame(TEXT, b"{", fin=False) + frame(PING)[:3],
    "a whole message before": frame(TEXT, b"{}") + frame(TEXT, b"{}")[:3],
}


async def _wait_until_closed(client: Socket) -> None:
    async with asyncio.timeout(10):
        while client._phase is not Phase.CLOSED:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("sent", STALLED.values(), ids=STALLED)
@pytest.mark.parametrize("byte_by_byte", [False, True])
async def test_stalled_message_closes_with_1008_and_is_discarded(sent: bytes, byte_by_byte: bool) -> None:
    server = Server(request_timeout_seconds=0.1)
    client = Socket(server)
    for piece in [bytes([byte]) for byte in sent[:200]] if byte_by_byte else [sent]:
        client.data_received(piece)
    await _wait_until_closed(client)
    assert client.wire.written.endswith(POLICY)
    assert (client.wire.eof, server.gone) == (True, [client])
    assert (client._parser, client._ends, client._fragments) == (None, None, None)
    client.connection_lost(None)


@pytest.mark.parametrize(
    "keep_alive",
    # Explicit ids, because the mask of a frame is random and all workers must collect the same tests.
    [
        pytest.param(frame(PING), id="ping"),
        pytest.param(frame(PONG), id="pong"),
        pytest.param(frame(CONTINUATION, b" ", fin=False), id="fragment"),
    ],
)
async def test_control_frames_and_fragments_do_not_extend_a_message_s_deadline(keep_alive: bytes) -> None:
    client = Socket(Server(request_timeout_seconds=0.2))
    client.data_received(frame(TEXT, b"{", fin=False))
    async with asyncio.timeout(10):
        while client.open:
            client.data_received(keep_alive)
            await asyncio.sleep(0.02)
    assert client.wire.written.endswith(POLICY)


async def test_a_completed_message_ends_its_deadline() -> None:
    client = Socket(Server(request_timeout_seconds=0.1))
    for message in (frame(TEXT, b"{}"), HUGE, frame(TEXT, b"{", fin=False) + frame(CONTINUATION, b"}")):
        for piece in (message[:3], message[3:]):
            client.data_received(piece)
    await _turns(200)
    assert len(client.received) == 3
    assert (client._deadline, client._parser, client._ends) == (None, None, None)
    await asyncio.sleep(0.3)
    assert client.open


async def test_each_message_has_its_own_deadline() -> None:
    client = Socket(Server(request_timeout_seconds=5))
    message = frame(TEXT, b"{}")
    client.data_received(message[:3])
    first = client._deadline
    client.data_received(message[3:] + message[:3])
    assert client._deadline is not first
    second = client._deadline
    client.data_received(message[3:] + frame(TEXT, b"{", fin=False))
    third = client._deadline
    assert third is not second
    client.data_received(frame(PING) + message[:0])
    assert client._deadline is third
    client.connection_lost(None)
    assert client._deadline is None


async def test_closed_or_lost_socket_has_no_deadline() -> None:
    client = Socket(Server())
    client.data_received(frame(TEXT, b"{}")[:3])
    client.close(1001)
    client.data_received(frame(TEXT, b"{}")[3:4])
    assert client._deadline is None


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536])
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1_024])
def test_frame_ends_are_found_for_any_split(size: int, piece: int) -> None:
    one = frame(TEXT, b"x" * size)
    wire, ends = one + one, inbound.FrameEnds()
    for start in range(0, len(wire), piece):
        end = min(start + piece, len(wire))
        assert ends.feed(wire[start:end]) is (end in (len(one), len(wire)))
