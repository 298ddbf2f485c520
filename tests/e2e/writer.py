"""Somebody who writes commentary all the time, and somebody who listens: what was acknowledged must be heard once."""

import asyncio
from typing import Self
from uuid import uuid4

import httpx

from tests.e2e.background import Background
from tests.e2e.entrance import Entrance
from tests.support.clients import Listener, feed_of

PAUSE_SECONDS = 0.1
"""Between two commentaries, and before one that failed is sent again."""

WRITE_SECONDS = 120.0
"""Longest until a commentary is acknowledged, whatever is away meanwhile."""

HEAR_SECONDS = 60.0
"""Longest until the last one is heard: a client that comes back waits, and the machine is slow."""


class Writer(Background):
    """Posts commentary to one match, one after the other, each again until it is acknowledged.

    Attributes:
        acknowledged: the ``seq`` of each.
        failures: what went wrong with requests that had to be sent again.
    """

    def __init__(self, entrance: Entrance, match_id: int) -> None:
        super().__init__()
        self._entrance = entrance
        self.match_id = match_id
        self.acknowledged: list[int] = []
        self.failures: list[str] = []

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self.writes(3)
        return self

    async def writes(self, count: int, timeout: float = WRITE_SECONDS) -> None:
        """Wait until so many more are acknowledged.

        Raises:
            TimeoutError: after ``timeout`` seconds, with the last failures.
        """
        wanted = len(self.acknowledged) + count
        try:
            async with asyncio.timeout(timeout):
                while len(self.acknowledged) < wanted:
                    self.ended()
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            raise TimeoutError(f"nothing is acknowledged for {timeout:g} s: {self.failures[-5:]}") from None

    async def run(self) -> None:
        """Write one after the other."""
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
            async with self._entrance.client() as http:
                answer = await http.post(path, json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError as error:
            self.failures.append(f"{type(error).__name__} {error}")
            return None
        if answer.status_code != 201:
            self.failures.append(f"{answer.status_code} {answer.text[:200]}")
            return None
        seq: int = answer.json()["data"]["seq"]
        return seq


async def heard_all(listener: Listener, writer: Writer, entrance: Entrance) -> None:
    """See that the listener heard every event of the feed exactly once, and that the feed has all acknowledged ones."""
    await listener.until_seq(writer.match_id, writer.acknowledged[-1], HEAR_SECONDS)
    feed = await feed_of(entrance.base_url, writer.match_id)
    assert {event["seq"] for event in feed} >= set(writer.acknowledged)
    last = feed[-1]["seq"]
    await listener.until_seq(writer.match_id, last, HEAR_SECONDS)
    assert listener.events(writer.match_id) == feed
