"""The values of the metric: open WebSockets by pod, read when they are requested."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from livescore_operator.pod_client import read
from livescore_operator.resource import MANAGEMENT_PORT, Manifest

# Labels of the API pods of every LiveScore.
API_PODS = "app.kubernetes.io/name=livescore,app.kubernetes.io/component=api"

# Time for which requests for the same pods share a sample. An HPA reads every 15 s, people in between.
SHARED_SECONDS = 2.0

FindPods = Callable[[str, str], Awaitable[Sequence[Manifest]]]
"""Returns the pods of a namespace that match a label selector. Raises ReconcileError."""

ReadConnections = Callable[[Sequence[str]], Awaitable[Mapping[str, int]]]
"""Returns the open WebSockets by address. Pods that do not respond are left out."""


async def read_connections(addresses: Sequence[str], port: int = MANAGEMENT_PORT) -> Mapping[str, int]:
    """Read the open WebSockets from the management ports of pods."""
    readings = await read(addresses, port)
    return {address: reading.connections for address, reading in readings.items()}


@dataclass(frozen=True)
class Sample:
    """Open WebSockets by pod name at one time."""

    at: datetime
    connections: Mapping[str, int]


class MetricsProvider:
    """Reads the metric. Pods that do not respond are left out, which an HPA handles as a missing metric.

    Args:
        find_pods: Finds the pods.
        read_connections: Reads the connections.
        clock: Returns monotonic seconds.
        now: Returns the timestamp of a sample.
    """

    def __init__(
        self,
        find_pods: FindPods,
        read_connections: ReadConnections = read_connections,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._find_pods = find_pods
        self._read_connections = read_connections
        self._clock = clock
        self._now = now
        # Start and task of the recent samples, by namespace and selector.
        self._shared: dict[tuple[str, str], tuple[float, asyncio.Task[Sample]]] = {}

    async def sample(self, namespace: str, selector: str = "") -> Sample:
        """Return a sample of the API pods of a namespace that match a label selector.

        Raises:
            ReconcileError: The pods cannot be listed.
        """
        now = self._clock()
        key = (namespace, selector)
        self._shared = {other: entry for other, entry in self._shared.items() if now - entry[0] < SHARED_SECONDS}
        if key not in self._shared:
            self._shared[key] = (now, asyncio.create_task(self._read(namespace, selector)))
        # A client that disconnects must not cancel the sample of the others.
        return await asyncio.shield(self._shared[key][1])

    async def _read(self, namespace: str, selector: str) -> Sample:
        api_selector = f"{API_PODS},{selector}" if selector else API_PODS
        pods = await self._find_pods(namespace, api_selector)
        addresses = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods if _is_running(pod)}
        connections = await self._read_connections(list(addresses.values()))
        by_name = {name: connections[address] for name, address in addresses.items() if address in connections}
        return Sample(self._now(), by_name)


def _is_running(pod: Manifest) -> bool:
    """Return True if a pod is running, reachable and not being deleted."""
    status = pod.get("status") or {}
    reachable = status.get("phase") == "Running" and bool(status.get("podIP"))
    return reachable and not pod["metadata"].get("deletionTimestamp")
