"""Many WebSocket clients in one process that reconnect as ``docs/api.md`` asks and log every event they receive."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from livescore.event_types import EVENT_TYPES
from tests.support.clients import Message
from tests.support.delivery import assert_same_events
from tests.support.kubernetes.kube import eventually
from tests.support.validation import message_faults

RETRY_SECONDS = 0.5
"""Reconnect delay of a client that received no hint."""

OPTIONS: dict[str, Any] = {
    # Hundreds of clients share the CPU with the pods they wait for.
    "open_timeout": 30,
    "max_size": None,
    "compression": None,
    "ping_interval": None,
    "proxy": None,
}

Decode = Callable[[str], Message]


@dataclass(frozen=True)
class Closed:
    """A socket that was not closed by its client.

    Attributes:
        instance: pod that served the socket; empty if no welcome message arrived.
        code: close code; 1006 without a closing handshake.
        hinted: True if the client had received a reconnect hint.
        at: time of the monotonic clock, in seconds.
    """

    instance: str
    code: int
    hinted: bool
    at: float


class Client:
    """Follows one match, reconnecting whenever its socket closes.

    Attributes:
        events: all events received of the match, in order, so that lost and duplicate events show.
        closes: the sockets that were closed by the server or the network.
        failed_handshakes: number of connection attempts that failed.
        faults: messages that should not have been received.
        open: True while a socket is open on which the server has acknowledged the subscription.
    """

    def __init__(self, url: str, match_id: int, decode: Decode) -> None:
        self._url, self._match_id, self._decode = url, match_id, decode
        self.events: list[Message] = []
        self.closes: list[Closed] = []
        self.faults: list[str] = []
        self.open = False
        self._epoch: str | None = None
        self._instance = ""
        self._hint: float | None = None

    @property
    def seq(self) -> int:
        """Seq of the last event received; 0 before the first."""
        seq: int = self.events[-1]["seq"] if self.events else 0
        return seq

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            await self._connect_once()
            await asyncio.sleep(RETRY_SECONDS if self._hint is None else self._hint)

    async def _connect_once(self) -> None:
        """Connect once and read until the socket closes."""
        self._instance, self._hint = "", None
        with suppress(OSError, InvalidHandshake, TimeoutError):
            async with connect(self._url, **OPTIONS) as connection:
                await self._read(connection)

    async def _read(self, connection: ClientConnection) -> None:
        try:
            await connection.send(json.dumps(self._subscription()))
            while True:
                self._receive(await connection.recv(decode=True))
        except ConnectionClosed:
            code = int(connection.close_code or 1006)
            self.closes.append(Closed(self._instance, code, self._hint is not None, monotonic()))
        finally:
            self.open = False

    def _subscription(self) -> Message:
        epoch = {} if self._epoch is None else {"epoch": self._epoch}
        return {"type": "subscribe", "matchId": self._match_id, "since": self.seq, **epoch}

    def _receive(self, text: str) -> None:
        message = self._decode(text)
        self.faults += message_faults(text)
        kind = message["type"]
        if kind in EVENT_TYPES:
            # match_created is broadcast to all sockets, regardless of their subscriptions.
            self.events += [message] if message["matchId"] == self._match_id else []
        elif kind == "welcome":
            self._instance = message["instance"]
        elif kind == "subscribed":
            self._subscribed(message)
        elif kind == "reconnect":
            self._hint = message["retryAfterMs"] / 1000
        else:
            # Errors and snapshots are not expected by a client that resumes in time.
            self.faults.append(text)

    def _subscribed(self, message: Message) -> None:
        self.open, self._epoch = True, message["epoch"]
        if message.get("recovered") is not True:
            self.faults.append(f"resume from seq {self.seq} did not recover the feed: {message}")


class ClientPool:
    """Clients that connect and leave in groups. ::

        async with ClientPool(endpoint.ws_url, match_id) as clients:
            await clients.join(300, seconds=30)
            await clients.wait_connected(60)

    Attributes:
        active: clients that are connected or reconnecting, with their tasks.
        departed: clients that have left.
    """

    def __init__(self, url: str, match_id: int) -> None:
        self._url, self.match_id = url, match_id
        self.active: dict[Client, asyncio.Task[None]] = {}
        self.departed: list[Client] = []
        self._decoded: dict[str, Message] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._dismiss(list(self.active))

    # Membership

    async def join(self, count: int, seconds: float = 0.0) -> None:
        """Start ``count`` clients, spread evenly over ``seconds``, without waiting until they are connected."""
        for _ in range(count):
            client = Client(self._url, self.match_id, self._decode)
            self.active[client] = asyncio.create_task(client.run())
            await asyncio.sleep(seconds / count)

    async def leave(self, count: int) -> None:
        """Stop ``count`` clients at once, spread evenly over the pool."""
        clients = list(self.active)
        await self._dismiss([clients[number * len(clients) // count] for number in range(count)])

    async def wait_connected(self, seconds: float) -> None:
        """Wait until every active client has a socket."""
        await eventually(self._is_connected, seconds)

    @property
    def open(self) -> int:
        """Number of clients that have a socket."""
        return sum(client.open for client in self.active)

    async def _is_connected(self) -> bool:
        self._raise_failures()
        return all(client.open for client in self.active)

    async def _dismiss(self, clients: Sequence[Client]) -> None:
        tasks = [self.active.pop(client) for client in clients]
        self.departed += clients
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, asyncio.CancelledError):
                raise one

    def _raise_failures(self) -> None:
        """Re-raise the exception of a client that failed."""
        for task in self.active.values():
            if task.done():
                task.result()

    # Received events

    @property
    def clients(self) -> list[Client]:
        """All clients, including those that have left."""
        return [*self.departed, *self.active]

    @property
    def closes(self) -> list[Closed]:
        """All sockets that were not closed by their clients."""
        return [one for client in self.clients for one in client.closes]

    @property
    def dropped(self) -> list[Closed]:
        """Closed sockets whose clients had received no hint."""
        return [one for one in self.closes if not one.hinted]

    def compare(self, feed: Sequence[Message]) -> tuple[int, int]:
        """Count the events of ``feed`` that clients lost, and those they received more than once."""
        seqs = [[event["seq"] for event in client.events] for client in self.clients]
        lost = sum(_lost(one, feed) for one in seqs)
        return lost, sum(len(one) - len(set(one)) for one in seqs)

    def assert_received(self, feed: Sequence[Message]) -> None:
        """Assert that each client received the feed: up to its end, or up to the time the client left."""
        for client in self.clients:
            assert client.faults == []
            expected = feed if client in self.active else feed[: len(client.events)]
            assert_same_events(client.events[: len(feed)], expected)

    async def wait_for_seq(self, seq: int, seconds: float) -> None:
        """Wait until every active client has received event ``seq``."""
        await eventually(lambda: self._has_reached(seq), seconds)

    async def _has_reached(self, seq: int) -> bool:
        self._raise_failures()
        return all(client.seq >= seq for client in self.active)

    def _decode(self, text: str) -> Message:
        """Decode a text once: hundreds of clients receive the assert_same_events one."""
        if text not in self._decoded:
            self._decoded[text] = json.loads(text)
        return self._decoded[text]


def _lost(seqs: Iterable[int], feed: Sequence[Message]) -> int:
    """Count the events of the feed that are missing before the last received one."""
    received = set(seqs)
    last = max(received, default=0)
    return len({event["seq"] for event in feed if event["seq"] <= last} - received)
