"""Server-sent events over httpx, as defined by the HTML standard."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.validation import check_message


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream; ``id`` is the last id received so far, as a browser sends it in ``Last-Event-ID``."""

    event: str
    data: str
    id: str

    def json(self) -> Any:
        """Return the decoded ``data``."""
        return json.loads(self.data)


@asynccontextmanager
async def event_stream(
    http: httpx.AsyncClient, path: str, last_event_id: str | None = None, **options: Any
) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    """Open a stream: ``async with event_stream(http, path) as events: event = await anext(events)``.

    Raises:
        httpx.HTTPStatusError: the response is an error.
        Undocumented: from the iterator, if the data of an event violates AsyncAPI.
    """
    channel = "matchStream" if "/matches/" in path else "stream"
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
    async with http.stream("GET", path, headers=headers, **options) as response:
        response.raise_for_status()
        yield _checked(_events(response.aiter_lines()), channel)


async def _checked(events: AsyncIterator[ServerSentEvent], channel: str) -> AsyncIterator[ServerSentEvent]:
    async for event in events:
        check_message(event.data, channel)
        yield event


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[ServerSentEvent]:
    fields: dict[str, list[str]] = {}
    last_id = ""
    async for line in lines:
        if not line:
            if "data" in fields:
                yield ServerSentEvent(fields.get("event", ["message"])[-1], "\n".join(fields["data"]), last_id)
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
            last_id = fields.get("id", [last_id])[-1]


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a stream as sent, including blocks without data."""

    id: str
    data: str | None
    retry: int | None
    comment: str | None

    @property
    def retry_ms(self) -> int:
        """The value of ``retry``, which the block must have."""
        assert self.retry is not None
        return self.retry


@asynccontextmanager
async def event_blocks(http: httpx.AsyncClient, path: str, **options: Any) -> AsyncIterator[AsyncIterator[Block]]:
    """Open a stream and read it block by block.

    Raises:
        httpx.HTTPStatusError: the response is an error.
    """
    headers = {"Accept": "text/event-stream", **options.pop("headers", {})}
    async with http.stream("GET", path, headers=headers, **options) as response:
        response.raise_for_status()
        yield _blocks(response.aiter_lines())


async def _blocks(lines: AsyncIterator[str]) -> AsyncIterator[Block]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            retry = int(fields["retry"]) if "retry" in fields else None
            yield Block(fields.get("id", ""), fields.get("data"), retry, fields.get(""))
            fields = {}


async def take(events: AsyncIterator[ServerSentEvent], count: int = 1) -> list[ServerSentEvent]:
    """Return the next ``count`` events of a stream, within 30 s."""
    async with asyncio.timeout(30):
        return [await anext(events) for _ in range(count)]
