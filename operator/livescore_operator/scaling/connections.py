"""Asks the API pods for their open connections, on their management port."""

import asyncio
from collections.abc import Iterable, Mapping

import aiohttp

Key = tuple[str, str]

MANAGEMENT_PORT = 9100

# One lost pod delays nobody: all are asked side by side, and none is waited for longer than this.
TIMEOUT_SECONDS = 2.0


class Crowd:
    """The open connections of every LiveScore, as last read, and whom to ask."""

    def __init__(self, port: int = MANAGEMENT_PORT) -> None:
        self._port = port
        self._addresses: dict[Key, tuple[str, ...]] = {}
        self._counts: dict[Key, int] = {}

    async def count(self, key: Key, addresses: tuple[str, ...]) -> int | None:
        """Open connections of all these pods; None where there are pods and none of them tells."""
        self._addresses[key] = addresses
        readings = await read(addresses, self._port)
        if addresses and not readings:
            return None
        self._counts[key] = sum(readings.values())
        return self._counts[key]

    async def moved(self) -> list[Key]:
        """Those whose number is another one than when it was last counted. Only pods are asked, all side by side."""
        asked = dict(self._addresses)
        found = await asyncio.gather(*(read(addresses, self._port) for addresses in asked.values()))
        return [key for key, readings in zip(asked, found, strict=True) if readings and self._moved(key, readings)]

    def _moved(self, key: Key, readings: Mapping[str, int]) -> bool:
        """Whether a LiveScore that is still there has another number of connections than it was last said to have."""
        return key in self._addresses and sum(readings.values()) != self._counts.get(key)

    def forget(self, key: Key) -> None:
        """It is gone."""
        self._addresses.pop(key, None)
        self._counts.pop(key, None)


async def read(addresses: Iterable[str], port: int = MANAGEMENT_PORT) -> dict[str, int]:
    """Open WebSockets by pod address; pods that do not answer are missing."""
    asked = list(addresses)
    if not asked:
        return {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)) as session:
        found = await asyncio.gather(*(_read(session, address, port) for address in asked))
    return {address: count for address, count in zip(asked, found, strict=True) if count is not None}


async def _read(session: aiohttp.ClientSession, address: str, port: int) -> int | None:
    host = f"[{address}]" if ":" in address else address
    try:
        async with session.get(f"http://{host}:{port}/connections") as answer:
            count = (await answer.json()).get("connections")
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, AttributeError):
        return None
    return count if isinstance(count, int) else None
