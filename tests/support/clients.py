"""A WebSocket client that keeps a log of all it hears, and the feed to compare the log with."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from livescore.event_types import EVENT_TYPES
from tests.support.service import Json, Service
from tests.support.validation import Undocumented, check_answer, message_faults

Message = dict[str, Any]

RETRY_SECONDS = 0.05
"""Between two attempts to reconnect: tests have no thundering herd to fear."""


UNPACED, PACE_SECONDS = 15, 0.11
"""A client resumes this many matches at once, the others so far apart: within the bucket of docs/api.md."""


async def feed_of(base_url: str, match_id: int, headers: dict[str, str] | None = None) -> list[Message]:
    """The whole feed of a match by GET /matches/{id}/events, page after page."""
    events: list[Message] = []
    hooks = {"response": [check_answer]}
    async with httpx.AsyncClient(
        base_url=base_url, headers=headers, timeout=30, verify=False, event_hooks=hooks
    ) as http:
        while page := await _page(http, match_id, events[-1]["seq"] if events else 0):
            events += page
    return events


async def _page(http: httpx.AsyncClient, match_id: int, since: int) -> list[Message]:
    answer = await http.get(f"/matches/{match_id}/events", params={"since": since, "limit": 100})
    answer.raise_for_status()
    page: list[Message] = answer.json()["data"]
    return page


class Listener:
    """A WebSocket client as a careful application writes it. It fails on messages that AsyncAPI does not describe.

    ::

        async with Listener(service.ws_url) as listener:
            await listener.follow(match_id)
            await listener.until(lambda log: any(message["type"] == "commentary" for message in log))
            assert listener.events(match_id) == await feed_of(service.base_url, match_id)

    Parameters:
        urls: the address of ``/ws``, query included, or several to which it connects in turn, beginning with the first.
        reconnect: come back after a close or a failed connection, and resume every match of :meth:`follow` by its last
            ``seq``. Who listens to all matches comes back too, but has to read what was missed from the feeds.
        patience: longest it waits on a ``reconnect`` hint, in seconds.
        options: passed to ``websockets.connect``, for example ``additional_headers``.

    Attributes:
        log: every message of every connection, decoded, in order.
        closes: the code of every connection that ended, 1006 without a closing handshake.
        epochs: the epoch of each followed match, as the server named it.
        faults: what was heard and is not documented.
    """

    def __init__(
        self, *urls: str, reconnect: bool = False, patience: float = 0.5, options: dict[str, Any] | None = None
    ) -> None:
        self.urls = urls
        self.reconnect = reconnect
        self.patience = patience
        self.options = {"max_size": None, "compression": None, "ping_interval": None, "proxy": None, **(options or {})}
        self.log: list[Message] = []
        self.closes: list[int] = []
        self.epochs: dict[int, Any] = {}
        self.faults: list[str] = []
        self.connection: ClientConnection | None = None
        self._followed: set[int] = set()
        self._seen: dict[int, int] = {}
        self._attempts = 0
        self._hint = 0.0
        self._changed = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._connect()
        self._reader = asyncio.create_task(self._run())
        try:
            await self.until(lambda log: log)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave, without a trace in ``closes``.

        Raises:
            Undocumented: if a message was heard that is not as documented.
        """
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        if self.connection is not None:
            await self.connection.close()
        self._check()

    # What it says

    async def send(self, message: Message | str | bytes) -> None:
        """Send a message, or text or bytes as they are.

        Raises:
            ConnectionClosed: while there is no connection.
        """
        assert self.connection is not None, "the listener is not open"
        await self.connection.send(json.dumps(message) if isinstance(message, dict) else message)

    async def ask(self, message: Message, answer: str, timeout: float = 20.0) -> Message:
        """Send ``message`` and wait for the next message of type ``answer``."""
        start = len(self.log)
        await self.send(message)
        return await self.next(answer, start, timeout)

    async def subscribe(self, match_id: int, timeout: float = 20.0, **fields: Any) -> Message:
        """Subscribe with ``fields``, for example ``since=41``, and return the acknowledgement.

        It does not resume by itself after a reconnect; for that see :meth:`follow`.
        """
        return await self.ask({"type": "subscribe", "matchId": match_id, **fields}, "subscribed", timeout)

    async def unsubscribe(self, match_id: int, timeout: float = 20.0) -> Message:
        """Unsubscribe, also from resuming, and return the acknowledgement."""
        self._followed.discard(match_id)
        return await self.ask({"type": "unsubscribe", "matchId": match_id}, "unsubscribed", timeout)

    async def follow(self, match_id: int, timeout: float = 20.0) -> Message:
        """Subscribe from the last event seen, the first of the feed for a new one, and resume after each reconnect."""
        self._followed.add(match_id)
        return await self.ask(self._resumption(match_id), "subscribed", timeout)

    # What it heard

    def events(self, match_id: int) -> list[Message]:
        """Every event of a match as it arrived: doubled, lost and disordered ones show.

        Who asks for a feed from its start while everybody is being told of the match may be told of it before the
        acknowledgement too: that announcement is no event of the subscription.
        """
        log = [message for message in self.log if message.get("matchId") == match_id]
        start = next((at for at, message in enumerate(log) if message["type"] == "subscribed"), 0)
        before, after = ([message for message in part if _is_event(message)] for part in (log[:start], log[start:]))
        crossed = [message["seq"] for message in before] == [1] == [message["seq"] for message in after[:1]]
        return after if crossed else before + after

    def of_type(self, *types: str) -> list[Message]:
        """Every message of these types, in order."""
        return [message for message in self.log if message["type"] in types]

    async def until(self, condition: Callable[[list[Message]], object], timeout: float = 20.0) -> None:
        """Wait until ``condition(log)`` holds.

        Raises:
            TimeoutError: after ``timeout`` seconds, with the end of the log.
            Undocumented: if a message was heard that is not as documented.
        """
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: self.faults or condition(self.log))
            self._check()
        except TimeoutError:
            raise TimeoutError(f"after {timeout:g} s; closes {self.closes}, log ends {self.log[-5:]}") from None

    async def until_seq(self, match_id: int, seq: int, timeout: float = 30.0) -> None:
        """Wait until event ``seq`` of a match has come."""
        await self.until(lambda log: self._seen.get(match_id, 0) >= seq, timeout)

    async def until_closed(self, timeout: float = 30.0) -> int:
        """Wait until a connection has ended and return its code; at once if one already has."""
        await self.until(lambda log: self.closes, timeout)
        return self.closes[-1]

    async def next(self, kind: str, start: int = 0, timeout: float = 20.0) -> Message:
        """The first message of a type from place ``start`` of the log on; waits for it."""
        await self.until(lambda log: any(message["type"] == kind for message in log[start:]), timeout)
        return next(message for message in self.log[start:] if message["type"] == kind)

    def _check(self) -> None:
        if self.faults:
            raise Undocumented("; ".join(self.faults[:5]))

    # How it stays connected

    async def _run(self) -> None:
        await self._read()
        while self.reconnect:
            await asyncio.sleep(max(min(self._hint, self.patience), RETRY_SECONDS))
            with suppress(OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
                await self._connect()
                await self._resume()
            await self._read()

    async def _resume(self) -> None:
        for number, match_id in enumerate(sorted(self._followed)):
            await asyncio.sleep(0 if number < UNPACED else PACE_SECONDS)
            await self.send(self._resumption(match_id))

    async def _connect(self) -> None:
        url = self.urls[self._attempts % len(self.urls)]
        self._attempts += 1
        self._hint = 0.0
        self.connection = await connect(url, **self.options)

    async def _read(self) -> None:
        if self.connection is None:
            return
        connection = self.connection
        with suppress(ConnectionClosed):
            while True:
                text = await connection.recv(decode=True)
                self.faults += message_faults(text)
                await self._note(json.loads(text))
        self.connection = None
        async with self._changed:
            self.closes.append(connection.close_code or 1006)
            self._changed.notify_all()

    async def _note(self, message: Message) -> None:
        if _is_event(message) or message["type"] == "snapshot":
            self._seen[message["matchId"]] = message["seq"]
        elif message["type"] == "subscribed" and "epoch" in message:
            self.epochs[message["matchId"]] = message["epoch"]
        elif message["type"] == "reconnect":
            self._hint = message["retryAfterMs"] / 1000
        async with self._changed:
            self.log.append(message)
            self._changed.notify_all()

    def _resumption(self, match_id: int) -> Message:
        epoch = {"epoch": self.epochs[match_id]} if match_id in self.epochs else {}
        return {"type": "subscribe", "matchId": match_id, "since": self._seen.get(match_id, 0), **epoch}


def _is_event(message: Message) -> bool:
    return message["type"] in EVENT_TYPES and "seq" in message


async def announced_match(service: Service) -> Json:
    """Make a match of which everybody has been told: who connects to this instance now hears of it what follows."""
    async with Listener(service.ws_url) as witness:
        match = await service.create_match()
        await witness.until_seq(match["id"], 1)
    return match


async def all_reach(listeners: Sequence[Listener], match_id: int, seq: int, timeout: float = 30.0) -> None:
    """Wait until every listener has heard event ``seq`` of a match."""
    async with asyncio.TaskGroup() as group:
        for listener in listeners:
            group.create_task(listener.until_seq(match_id, seq, timeout))
