"""The API pods' management port: what they hold, and what they are told to do with it."""

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import aiohttp

from livescore_operator.resource import MANAGEMENT_PORT

Key = tuple[str, str]

# One lost pod delays nobody: all are asked side by side, and none is waited for longer than this.
TIMEOUT_SECONDS = 2.0

# Pods that are asked for fixtures before it is given up for this round: each may take the whole time.
TRIES = 3

# All pods of all LiveScores are asked in turn within this time, not in the same instant.
JITTER_SECONDS = 0.2


@dataclass(frozen=True)
class Reading:
    """What one pod tells of itself: its open WebSockets, and whether it is being emptied."""

    connections: int
    draining: bool = False


class PodClient:
    """The open connections of every LiveScore, as last read, and whom to ask."""

    def __init__(self, port: int = MANAGEMENT_PORT) -> None:
        self._port = port
        self._addresses: dict[Key, tuple[str, ...]] = {}
        self._readings: dict[Key, dict[str, Reading]] = {}

    async def read(self, key: Key, addresses: tuple[str, ...]) -> dict[str, Reading]:
        """What these pods tell now; those that do not answer are missing."""
        self._addresses[key] = addresses
        self._readings[key] = await read(addresses, self._port)
        return self._readings[key]

    async def moved(self) -> list[Key]:
        """Those whose pods tell something else than when they were last read. Only pods are asked, all side by side."""
        asked = dict(self._addresses)
        found = await asyncio.gather(*(read(every, self._port, JITTER_SECONDS) for every in asked.values()))
        return [key for key, readings in zip(asked, found, strict=True) if readings and self._moved(key, readings)]

    def _moved(self, key: Key, readings: Mapping[str, Reading]) -> bool:
        """Whether a LiveScore that is still there is not what it was last said to be."""
        return key in self._addresses and readings != self._readings.get(key)

    def forget(self, key: Key) -> None:
        """It is gone."""
        self._addresses.pop(key, None)
        self._readings.pop(key, None)

    # What pods are told; each says whether the pod took it

    async def drain(self, address: str) -> bool:
        """Let a pod send its clients elsewhere and become unready."""
        return await self._post(address, "/drain")

    async def cancel_drain(self, address: str) -> bool:
        """Let a pod that drains go back to work."""
        return await self._post(address, "/drain?cancel=true")

    async def shed(self, address: str, count: int, per_second: int) -> bool:
        """Let a pod send so many clients elsewhere, at most so many of them in a second."""
        return await self._post(address, f"/shed?count={count}&perSecond={per_second}")

    async def _post(self, address: str, path: str) -> bool:
        async with _session() as session:
            return await _ask(session, "POST", address, self._port, path) is not None

    async def fixtures(self, addresses: Iterable[str], within_seconds: int) -> object | None:
        """What one of these pods tells of matches, live ones and those that start soon; None where the first do not."""
        async with _session() as session:
            for address in islice(addresses, TRIES):
                path = f"/fixtures?withinSeconds={within_seconds}"
                found: object = await _ask(session, "GET", address, self._port, path)
                if found is not None:
                    return found
        return None


async def read(addresses: Iterable[str], port: int = MANAGEMENT_PORT, jitter: float = 0.0) -> dict[str, Reading]:
    """What each pod tells, by address; pods that do not answer are missing.

    Args:
        addresses: of the pods.
        port: their management port.
        jitter: seconds within which they are asked, at random.
    """
    asked = list(addresses)
    if not asked:
        return {}
    async with _session() as session:
        found = await asyncio.gather(*(_read(session, address, port, jitter) for address in asked))
    return {address: reading for address, reading in zip(asked, found, strict=True) if reading is not None}


async def _read(session: aiohttp.ClientSession, address: str, port: int, jitter: float) -> Reading | None:
    if jitter:
        await asyncio.sleep(random.uniform(0, jitter))
    found = await _ask(session, "GET", address, port, "/connections")
    count = found.get("connections") if isinstance(found, dict) else None
    # A boolean is an integer to Python.
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        return None
    return Reading(count, draining=found.get("draining") is True)


def _session() -> aiohttp.ClientSession:
    # Without the usual bound of 100: those that hang must not keep the others waiting.
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))


async def _ask(session: aiohttp.ClientSession, method: str, address: str, port: int, path: str) -> Any:
    """The JSON of a good answer; None where there is none."""
    host = f"[{address}]" if ":" in address else address
    try:
        async with session.request(method, f"http://{host}:{port}{path}") as answer:
            return await answer.json() if answer.status < 300 else None
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None
