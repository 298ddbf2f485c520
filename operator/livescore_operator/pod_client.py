"""Client of the management port of the API pods: reads their connections and fixtures, and sends them commands."""

import asyncio
import random
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import aiohttp

from livescore_operator.resource import MANAGEMENT_PORT
from livescore_operator.scaling.pod import Reading

Key = tuple[str, str]

# Time limit of one request in seconds. All pods are read concurrently, so a lost pod delays a round by no more.
TIMEOUT_SECONDS = 2.0

# Pods to try for the fixtures in one round, as each may take the full time limit.
TRIES = 3

# Readings of all LiveScores are spread over this time, instead of starting at the same instant.
JITTER_SECONDS = 0.2


class PodClient:
    """The pods of all LiveScores, with their last readings."""

    def __init__(self, port: int = MANAGEMENT_PORT) -> None:
        self._port = port
        self._addresses: dict[Key, tuple[str, ...]] = {}
        self._readings: dict[Key, dict[str, Reading]] = {}

    async def read(self, key: Key, addresses: tuple[str, ...]) -> dict[str, Reading]:
        """Read the pods of a LiveScore, and remember them. Pods that do not respond are left out."""
        self._addresses[key] = addresses
        self._readings[key] = await read(addresses, self._port)
        return self._readings[key]

    async def changed(self) -> list[Key]:
        """Read all pods again, concurrently. Returns the LiveScores whose readings differ from the last :meth:`read`.

        A LiveScore without any reading, or forgotten in the meantime, is not reported.
        """
        addresses = dict(self._addresses)
        results = await asyncio.gather(*(read(pods, self._port, JITTER_SECONDS) for pods in addresses.values()))
        return [key for key, readings in zip(addresses, results, strict=True) if self._differs(key, readings)]

    def _differs(self, key: Key, readings: Mapping[str, Reading]) -> bool:
        return bool(readings) and key in self._addresses and readings != self._readings.get(key)

    def forget(self, key: Key) -> None:
        """Drop the pods of a LiveScore."""
        self._addresses.pop(key, None)
        self._readings.pop(key, None)

    # Commands. Each returns True if the pod accepted it.

    async def drain(self, address: str) -> bool:
        """Start to drain a pod: it becomes unready, and asks its clients to reconnect elsewhere."""
        return await self._post(address, "/drain")

    async def cancel_drain(self, address: str) -> bool:
        """Make a draining pod serve again."""
        return await self._post(address, "/drain?cancel=true")

    async def shed(self, address: str, count: int, per_second: int) -> bool:
        """Make a pod ask ``count`` clients to reconnect elsewhere, at most ``per_second`` of them each second."""
        return await self._post(address, f"/shed?count={count}&perSecond={per_second}")

    async def _post(self, address: str, path: str) -> bool:
        async with _session() as session:
            return await _request(session, "POST", address, self._port, path) is not None

    async def fixtures(self, addresses: Iterable[str], within_seconds: int) -> object | None:
        """Return the matches that are live or start soon, from the first of a few pods that responds.

        Args:
            addresses: Addresses of pods, of which at most ``TRIES`` are asked.
            within_seconds: Time until the latest start.

        Returns:
            The response; None if no pod responded.
        """
        path = f"/fixtures?withinSeconds={within_seconds}"
        async with _session() as session:
            for address in islice(addresses, TRIES):
                payload: object = await _request(session, "GET", address, self._port, path)
                if payload is not None:
                    return payload
        return None


async def read(addresses: Iterable[str], port: int = MANAGEMENT_PORT, jitter: float = 0.0) -> dict[str, Reading]:
    """Read pods concurrently.

    Args:
        addresses: IP addresses of the pods.
        port: Management port of the pods.
        jitter: Each request starts after a random delay of up to so many seconds.

    Returns:
        Readings by address. Pods that do not respond are left out.
    """
    pods = list(addresses)
    if not pods:
        return {}
    async with _session() as session:
        readings = await asyncio.gather(*(_read(session, address, port, jitter) for address in pods))
    return {address: reading for address, reading in zip(pods, readings, strict=True) if reading is not None}


async def _read(session: aiohttp.ClientSession, address: str, port: int, jitter: float) -> Reading | None:
    if jitter:
        await asyncio.sleep(random.uniform(0, jitter))
    body = await _request(session, "GET", address, port, "/connections")
    if not isinstance(body, dict):
        return None
    connections = body.get("connections")
    # bool is a subclass of int.
    if not isinstance(connections, int) or isinstance(connections, bool) or connections < 0:
        return None
    return Reading(connections, draining=body.get("draining") is True)


def _session() -> aiohttp.ClientSession:
    # Without aiohttp's limit of 100 connections: pods that do not respond must not delay the others.
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))


async def _request(session: aiohttp.ClientSession, method: str, address: str, port: int, path: str) -> Any:
    """Return the JSON body of a successful response; None after any failure."""
    host = f"[{address}]" if ":" in address else address
    try:
        async with session.request(method, f"http://{host}:{port}{path}") as response:
            return await response.json() if response.status < 300 else None
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None
