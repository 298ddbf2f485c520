"""HTTP subscribers of every kind that follow one match through outages and resume correctly."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx

from tests.support.clients import Message, feed_of
from tests.support.delivery import DeliveryScenario, assert_same_events
from tests.support.service import Service, eventually
from tests.support.sse import event_blocks

PAUSE_SECONDS = 0.05
"""Pause between two reconnection attempts."""


class Subscriber(ABC):
    """An HTTP client that follows a match and reconnects after every close and error.

    Attributes:
        log: the events of the match in order of arrival, including repeated ones.
        others: everything else that was received.
    """

    def __init__(self, service: Service, match_id: int) -> None:
        self.log: list[Message] = []
        self.others: list[Any] = []
        self._service = service
        self._match_id = match_id

    async def run(self) -> None:
        """Follow the match until cancelled."""
        while True:
            with suppress(httpx.HTTPError, OSError):
                async with httpx.AsyncClient(base_url=self._service.base_url, verify=False, timeout=60) as http:
                    await self._follow(http)
            await asyncio.sleep(PAUSE_SECONDS)

    @abstractmethod
    async def _follow(self, http: httpx.AsyncClient) -> None:
        """Receive events over one connection until it ends."""

    def _note(self, message: Message) -> None:
        if message.get("matchId") == self._match_id and "seq" in message and "data" in message:
            self.log.append(message)
        else:
            self.others.append(message)


class Stream(Subscriber):
    """Server-sent events of one match or of all matches."""

    def __init__(self, service: Service, match_id: int, path: str) -> None:
        super().__init__(service, match_id)
        self._path = path
        self._last = ""

    async def _follow(self, http: httpx.AsyncClient) -> None:
        headers = {"Last-Event-ID": self._last} if self._last else {}
        async with event_blocks(http, self._path, headers=headers) as blocks:
            async for block in blocks:
                if block.data is not None:
                    self._note(json.loads(block.data))
                self._last = block.id or self._last


class LongPoll(Subscriber):
    """Long polls of ``GET /matches/{id}/events?wait=`` that resume with the epoch."""

    _epoch = ""

    async def _follow(self, http: httpx.AsyncClient) -> None:
        since = self.log[-1]["seq"] if self.log else 1
        query: dict[str, Any] = {"since": since, "wait": 20, "limit": 100}
        if self._epoch:
            query["epoch"] = self._epoch
        answer = await http.get(f"/matches/{self._match_id}/events", params=query)
        answer.raise_for_status()
        page = answer.json()
        self._epoch = page["epoch"]
        if not page["recovered"]:
            snapshot = {"type": "snapshot", "matchId": self._match_id, "seq": page["seq"], "data": page["snapshot"]}
            self._note(snapshot)
        for event in page["data"]:
            self._note(event)


class Subscribers:
    """Subscribers of every kind on both instances of a scenario."""

    def __init__(self, scenario: DeliveryScenario, count: int = 1) -> None:
        match_id = scenario.match_id
        self._scenario = scenario
        self.all: list[Subscriber] = []
        for service in (scenario.one, scenario.two):
            for _ in range(count):
                self.all += [
                    Stream(service, match_id, f"/matches/{match_id}/events/stream"),
                    Stream(service, match_id, "/events/stream"),
                    LongPoll(service, match_id),
                ]

    async def assert_received(self, timeout: float = 20.0) -> None:
        """Wait for the last event, then assert that every client received the feed exactly once and in order."""
        feed = await self._scenario.assert_delivered(timeout)
        await eventually(lambda: all(one.log and one.log[-1]["seq"] >= len(feed) for one in self.all), timeout)
        for one in self.all:
            assert_same_events(one.log, feed[feed[0]["seq"] :])
        fresh = await feed_of(self._scenario.one.base_url, self._scenario.match_id)
        assert_same_events(fresh, feed)


@asynccontextmanager
async def subscribers(scenario: DeliveryScenario, count: int = 1) -> AsyncIterator[Subscribers]:
    """Run subscribers for the duration of a block, starting while the match has only its first event."""
    every = Subscribers(scenario, count)
    tasks = [asyncio.create_task(one.run()) for one in every.all]
    try:
        await eventually(lambda: all(one.others for one in every.all if isinstance(one, Stream)))
        yield every
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
