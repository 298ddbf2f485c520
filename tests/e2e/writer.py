"""A client that writes commentary continuously; every acknowledged event must be received exactly once."""

import asyncio
from typing import Self
from uuid import uuid4

import httpx

from tests.e2e.background import BackgroundTask
from tests.e2e.service_endpoint import ServiceEndpoint
from tests.support.clients import Listener, feed_of

PAUSE_SECONDS = 0.1
"""Pause between two commentaries, and before a failed request is retried."""

WRITE_SECONDS = 120.0
"""Timeout until a commentary is acknowledged during any of the simulated outages."""

RECEIVE_SECONDS = 60.0
"""Timeout until the last event is received: a reconnecting client waits, and the machine may be slow."""


class Writer(BackgroundTask):
    """Posts commentary to one match, retrying each until it is acknowledged.

    Attributes:
        acknowledged: the ``seq`` of each acknowledged commentary.
        failures: errors of requests that had to be retried.
    """

    def __init__(self, endpoint: ServiceEndpoint, match_id: int) -> None:
        super().__init__()
        self._endpoint = endpoint
        self.match_id = match_id
        self.acknowledged: list[int] = []
        self.failures: list[str] = []

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self.wait_for_writes(3)
        return self

    async def wait_for_writes(self, count: int, timeout: float = WRITE_SECONDS) -> None:
        """Wait until ``count`` more commentaries are acknowledged.

        Raises:
            TimeoutError: after ``timeout`` seconds; the message has the last failures.
        """
        wanted = len(self.acknowledged) + count
        try:
            async with asyncio.timeout(timeout):
                while len(self.acknowledged) < wanted:
                    self.raise_if_failed()
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            raise TimeoutError(f"no commentary was acknowledged within {timeout:g} s: {self.failures[-5:]}") from None

    async def run(self) -> None:
        """Write one commentary after another."""
        while True:
            await self._write(f"commentary {len(self.acknowledged)}", str(uuid4()))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _write(self, message: str, key: str) -> None:
        while (seq := await self._post(message, key)) is None:
            await asyncio.sleep(PAUSE_SECONDS)
        self.acknowledged.append(seq)

    async def _post(self, message: str, key: str) -> int | None:
        path, body = f"/matches/{self.match_id}/commentary", {"minute": 1, "message": message}
        try:
            async with self._endpoint.client() as http:
                answer = await http.post(path, json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError as error:
            self.failures.append(f"{type(error).__name__} {error}")
            return None
        if answer.status_code != 201:
            self.failures.append(f"{answer.status_code} {answer.text[:200]}")
            return None
        seq: int = answer.json()["data"]["seq"]
        return seq


async def assert_received_all(listener: Listener, writer: Writer, endpoint: ServiceEndpoint) -> None:
    """Assert that the listener received every event of the feed once, and that the feed has all acknowledged events."""
    await listener.until_seq(writer.match_id, writer.acknowledged[-1], RECEIVE_SECONDS)
    feed = await feed_of(endpoint.base_url, writer.match_id)
    assert {event["seq"] for event in feed} >= set(writer.acknowledged)
    last = feed[-1]["seq"]
    await listener.until_seq(writer.match_id, last, RECEIVE_SECONDS)
    assert listener.events(writer.match_id) == feed
