"""Many WebSocket clients in one process: each comes back as ``docs/api.md`` asks, and keeps a log of all it hears."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from livescore.event_types import EVENT_TYPES
from tests.support.clients import Message
from tests.support.kubernetes.kube import eventually
from tests.support.promise import same
from tests.support.validation import message_faults

RETRY_SECONDS = 0.5
"""Before a client tries again that was not told when."""

OPTIONS: dict[str, Any] = {
    # Hundreds of clients share the processor with the pods that they wait for.
    "open_timeout": 30,
    "max_size": None,
    "compression": None,
    "ping_interval": None,
    "proxy": None,
}

Decode = Callable[[str], Message]


@dataclass(frozen=True)
class Closed:
    """A socket that ended though its client did not end it.

    Attributes:
        instance: the pod that held it, empty if it never said so.
        code: of the close, 1006 without a closing handshake.
        hinted: whether the client was told before when to come back.
        at: seconds of the monotonic clock.
    """

    instance: str
    code: int
    hinted: bool
    at: float


class Client:
    """Follows one match by one socket after the other.

    Attributes:
        events: all it heard of the match, in order: doubled and lost ones show.
        closes: how its sockets ended.
        refusals: handshakes that came to nothing.
        faults: what was heard and should not have been.
        open: whether it has a socket on which the server has acknowledged the match.
    """

    def __init__(self, url: str, match_id: int, decode: Decode) -> None:
        self._url, self._match_id, self._decode = url, match_id, decode
        self.events: list[Message] = []
        self.closes: list[Closed] = []
        self.refusals = 0
        self.faults: list[str] = []
        self.open = False
        self._epoch: str | None = None
        self._instance = ""
        self._hint: float | None = None

    @property
    def seq(self) -> int:
        """Of the last event it heard, 0 before the first."""
        seq: int = self.events[-1]["seq"] if self.events else 0
        return seq

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            await self._visit()
            await asyncio.sleep(RETRY_SECONDS if self._hint is None else self._hint)

    async def _visit(self) -> None:
        """One socket from its handshake to its end."""
        self._instance, self._hint = "", None
        try:
            async with connect(self._url, **OPTIONS) as connection:
                await self._listen(connection)
        except (OSError, InvalidHandshake, TimeoutError):
            self.refusals += 1

    async def _listen(self, connection: ClientConnection) -> None:
        try:
            await connection.send(json.dumps(self._subscription()))
            while True:
                self._hear(await connection.recv(decode=True))
        except ConnectionClosed:
            code = int(connection.close_code or 1006)
            self.closes.append(Closed(self._instance, code, self._hint is not None, monotonic()))
        finally:
            self.open = False

    def _subscription(self) -> Message:
        epoch = {} if self._epoch is None else {"epoch": self._epoch}
        return {"type": "subscribe", "matchId": self._match_id, "since": self.seq, **epoch}

    def _hear(self, text: str) -> None:
        message = self._decode(text)
        self.faults += message_faults(text)
        kind = message["type"]
        if kind in EVENT_TYPES:
            # Everybody hears that a match was created, whatever they follow.
            self.events += [message] if message["matchId"] == self._match_id else []
        elif kind == "welcome":
            self._instance = message["instance"]
        elif kind == "subscribed":
            self._acknowledged(message)
        elif kind == "reconnect":
            self._hint = message["retryAfterMs"] / 1000
        else:
            # An error or a snapshot: neither is due to anybody who comes back in time.
            self.faults.append(text)

    def _acknowledged(self, message: Message) -> None:
        self.open, self._epoch = True, message["epoch"]
        if message.get("recovered") is not True:
            self.faults.append(f"from {self.seq} on the history was not told: {message}")


class Crowd:
    """Clients that come, stay and go. ::

        async with Crowd(entrance.ws_url, match_id) as crowd:
            await crowd.join(300, seconds=30)
            await crowd.connected(60)

    Attributes:
        present: who is there, or on the way back.
        gone: who has left.
    """

    def __init__(self, url: str, match_id: int) -> None:
        self._url, self.match_id = url, match_id
        self.present: dict[Client, asyncio.Task[None]] = {}
        self.gone: list[Client] = []
        self._decoded: dict[str, Message] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._dismiss(list(self.present))

    # Who is there

    async def join(self, count: int, seconds: float = 0.0) -> None:
        """Let so many more come, evenly over so many seconds; they need not be connected yet."""
        for _ in range(count):
            client = Client(self._url, self.match_id, self._decode)
            self.present[client] = asyncio.create_task(client.run())
            await asyncio.sleep(seconds / count)

    async def leave(self, count: int) -> None:
        """Let so many go at once, whichever pods hold them."""
        clients = list(self.present)
        await self._dismiss([clients[number * len(clients) // count] for number in range(count)])

    async def connected(self, seconds: float) -> None:
        """Wait until everybody has a socket."""
        await eventually(self._is_connected, seconds)

    @property
    def open(self) -> int:
        """How many have a socket."""
        return sum(client.open for client in self.present)

    async def _is_connected(self) -> bool:
        self._failed()
        return all(client.open for client in self.present)

    async def _dismiss(self, clients: Sequence[Client]) -> None:
        tasks = [self.present.pop(client) for client in clients]
        self.gone += clients
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, asyncio.CancelledError):
                raise one

    def _failed(self) -> None:
        """Fail as a client did, where one did."""
        for task in self.present.values():
            if task.done():
                task.result()

    # What they heard

    @property
    def clients(self) -> list[Client]:
        """All there ever were."""
        return [*self.gone, *self.present]

    @property
    def closes(self) -> list[Closed]:
        """All sockets that ended though their clients did not end them."""
        return [one for client in self.clients for one in client.closes]

    @property
    def dropped(self) -> list[Closed]:
        """Those of them whose clients were not told before."""
        return [one for one in self.closes if not one.hinted]

    def compare(self, feed: Sequence[Message]) -> tuple[int, int]:
        """Events that clients lost, and that they heard twice, of the part of the feed that is told by now."""
        seqs = [[event["seq"] for event in client.events] for client in self.clients]
        lost = sum(_lost(one, feed) for one in seqs)
        return lost, sum(len(one) - len(set(one)) for one in seqs)

    def hold(self, feed: Sequence[Message]) -> None:
        """See that each log is the feed: as far as it is told by now, or as it was when the client left."""
        for client in self.clients:
            assert client.faults == []
            told = feed if client in self.present else feed[: len(client.events)]
            same(client.events[: len(feed)], told)

    async def reach(self, seq: int, seconds: float) -> None:
        """Wait until everybody who is there has heard event ``seq``."""
        await eventually(lambda: self._reached(seq), seconds)

    async def _reached(self, seq: int) -> bool:
        self._failed()
        return all(client.seq >= seq for client in self.present)

    def _decode(self, text: str) -> Message:
        """Hundreds hear the same text: it is decoded and kept once."""
        if text not in self._decoded:
            self._decoded[text] = json.loads(text)
        return self._decoded[text]


def _lost(seqs: Iterable[int], feed: Sequence[Message]) -> int:
    """Events of the feed that are missing up to the last one that was heard."""
    heard = set(seqs)
    last = max(heard, default=0)
    return len({event["seq"] for event in feed if event["seq"] <= last} - heard)
