"""A WebSocket client that logs all messages, and functions to read the feed it is compared with."""

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
"""Pause between two reconnection attempts: tests need no protection against a thundering herd."""


UNPACED, PACE_SECONDS = 15, 0.11
"""A client resumes this many matches at once and the rest at this interval, within the rate limit of docs/api.md."""


async def feed_of(base_url: str, match_id: int, headers: dict[str, str] | None = None) -> list[Message]:
    """Return the whole feed of a match, read from GET /matches/{id}/events page by page."""
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
    """A well-behaved WebSocket client. Messages that AsyncAPI does not describe are an error.

    ::

        async with Listener(service.ws_url) as listener:
            await listener.follow(match_id)
            await listener.until(lambda log: any(message["type"] == "commentary" for message in log))
            assert listener.events(match_id) == await feed_of(service.base_url, match_id)

    Parameters:
        urls: the URL of ``/ws`` including its query, or several to connect to in turn, starting with the first.
        reconnect: reconnect after a close or a failed connection, and resume every match of :meth:`follow` from its
            last ``seq``. A client that follows all matches reconnects too, but reads what it missed from the feeds.
        patience: maximum delay after a ``reconnect`` hint, in seconds.
        options: passed to ``websockets.connect``, for example ``additional_headers``.

    Attributes:
        log: every decoded message of every connection, in order.
        closes: close code of every connection that ended; 1006 without a closing handshake.
        epochs: epoch of each followed match, as sent by the server.
        faults: violations of AsyncAPI among the received messages.
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
        """Close the connection without adding to ``closes``.

        Raises:
            Undocumented: if a received message violated AsyncAPI.
        """
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        if self.connection is not None:
            await self.connection.close()
        self._check()

    # Sending

    async def send(self, message: Message | str | bytes) -> None:
        """Send a message; text and bytes are sent unchanged.

        Raises:
            ConnectionClosed: if there is no connection.
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

        This subscription is not resumed after a reconnect; :meth:`follow` does that.
        """
        return await self.ask({"type": "subscribe", "matchId": match_id, **fields}, "subscribed", timeout)

    async def unsubscribe(self, match_id: int, timeout: float = 20.0) -> Message:
        """Unsubscribe, stop resuming the match, and return the acknowledgement."""
        self._followed.discard(match_id)
        return await self.ask({"type": "unsubscribe", "matchId": match_id}, "unsubscribed", timeout)

    async def follow(self, match_id: int, timeout: float = 20.0) -> Message:
        """Subscribe after the last event seen, from the start of a new feed, and resume after each reconnect."""
        self._followed.add(match_id)
        return await self.ask(self._resumption(match_id), "subscribed", timeout)

    # Receiving

    def events(self, match_id: int) -> list[Message]:
        """Return every event of a match as it arrived, so that duplicates, gaps and disorder show.

        ``match_created`` may be broadcast before the acknowledgement of a subscription from the start of the feed.
        Such an announcement is not an event of the subscription and is left out.
        """
        log = [message for message in self.log if message.get("matchId") == match_id]
        start = next((at for at, message in enumerate(log) if message["type"] == "subscribed"), 0)
        before, after = ([message for message in part if _is_event(message)] for part in (log[:start], log[start:]))
        crossed = [message["seq"] for message in before] == [1] == [message["seq"] for message in after[:1]]
        return after if crossed else before + after

    def of_type(self, *types: str) -> list[Message]:
        """Return every message of these types, in order."""
        return [message for message in self.log if message["type"] in types]

    async def until(self, condition: Callable[[list[Message]], object], timeout: float = 20.0) -> None:
        """Wait until ``condition(log)`` is true.

        Raises:
            TimeoutError: after ``timeout`` seconds; the message has the end of the log.
            Undocumented: if a received message violated AsyncAPI.
        """
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: self.faults or condition(self.log))
            self._check()
        except TimeoutError:
            raise TimeoutError(f"after {timeout:g} s; closes {self.closes}, log ends {self.log[-5:]}") from None

    async def until_seq(self, match_id: int, seq: int, timeout: float = 30.0) -> None:
        """Wait until event ``seq`` of a match has arrived."""
        await self.until(lambda log: self._seen.get(match_id, 0) >= seq, timeout)

    async def until_closed(self, timeout: float = 30.0) -> int:
        """Wait until a connection has ended, and return its close code. Returns at once if one has already ended."""
        await self.until(lambda log: self.closes, timeout)
        return self.closes[-1]

    async def next(self, kind: str, start: int = 0, timeout: float = 20.0) -> Message:
        """Wait for the first message of a type from index ``start`` of the log on, and return it."""
        await self.until(lambda log: any(message["type"] == kind for message in log[start:]), timeout)
        return next(message for message in self.log[start:] if message["type"] == kind)

    def _check(self) -> None:
        if self.faults:
            raise Undocumented("; ".join(self.faults[:5]))

    # Connection

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
    """Create a match and wait for its broadcast, so that later connections receive only what follows."""
    async with Listener(service.ws_url) as witness:
        match = await service.create_match()
        await witness.until_seq(match["id"], 1)
    return match


async def all_reach(listeners: Sequence[Listener], match_id: int, seq: int, timeout: float = 30.0) -> None:
    """Wait until every listener has received event ``seq`` of a match."""
    async with asyncio.TaskGroup() as group:
        for listener in listeners:
            group.create_task(listener.until_seq(match_id, seq, timeout))
