"""Leader election by a Lease (coordination.k8s.io): only its holder may write, until the Lease expires.

The algorithm is that of client-go. ``kubernetes.aio.leaderelection`` is not used: it does not bound the time of a
request, cannot release the Lease, and ends when the Lease is lost.
"""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from livescore_operator.cluster import Cluster
from livescore_operator.errors import ReconcileError
from livescore_operator.resource import Manifest
from livescore_operator.telemetry import metrics

log = structlog.get_logger(__name__)

# Parts of the Lease's duration. A leader renews every quarter, tries a failed renewal again after a fifteenth, and
# stops writing after two thirds: before any other process may take over, independent of clocks and the network.
RENEW_FRACTION = 1 / 4
RETRY_FRACTION = 1 / 15
DEADLINE_FRACTION = 2 / 3

# How often the others read the Lease, as a part of its duration.
POLL_FRACTION = 1 / 5

# Spread of the intervals, so that the requests of several processes do not coincide.
JITTER = (0.9, 1.0)


class Leadership:
    """Election of the leading process.

    Args:
        cluster: API server that holds the Lease.
        namespace: Namespace of the Lease.
        name: Name of the Lease.
        identity: Name of this process among the candidates.
        seconds: Duration of the Lease: how long a leader may be silent before another process takes over.
        on_gain: Called whenever this process becomes the leader.

    Attributes:
        problem: Why the Lease could not be read yet; empty once it was.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        identity: str,
        seconds: float,
        on_gain: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._on_gain = on_gain
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seconds = seconds
        # Monotonic time until which this process may write.
        self._until = 0.0
        # The Lease as this process last wrote it; None if it must be read first.
        self._held: Manifest | None = None
        # resourceVersion of another holder's Lease, and the monotonic time at which it was first seen.
        self._observed: tuple[str, float] = ("", 0.0)
        self._gained = asyncio.Event()
        self.problem = "not read yet"

    @property
    def leading(self) -> bool:
        """True while this process may write."""
        return time.monotonic() < self._until

    async def wait(self) -> None:
        """Wait until this process leads."""
        while not self.leading:
            self._gained.clear()
            await self._gained.wait()

    async def run(self) -> None:
        """Acquire and renew the Lease until cancelled, then release it."""
        try:
            while True:
                delay = await self._turn()
                await asyncio.sleep(delay * random.uniform(*JITTER))
        finally:
            if self.leading:
                await asyncio.shield(self._release())

    async def _turn(self) -> float:
        """Try once to acquire or renew the Lease, and return the seconds until the next attempt."""
        was_leading = self.leading
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds * DEADLINE_FRACTION):
                held = await self._acquire_or_renew()
        except (ReconcileError, TimeoutError) as error:
            # The request may have been executed all the same: read the Lease the next time.
            self._held = None
            log.warning("lease request failed", error=str(error) or "timeout")
            if self.problem:
                self.problem = str(error) or "timeout"
            delay = self._seconds * RETRY_FRACTION
        else:
            self.problem = ""
            # Counted from before the request: the API server cannot have renewed the Lease earlier.
            self._until = started + self._seconds * DEADLINE_FRACTION if held else 0.0
            delay = self._seconds * RENEW_FRACTION if held else self._poll_delay()
        self._report_change(was_leading)
        return delay

    def _poll_delay(self) -> float:
        """Return the seconds until the Lease is read again: not later than it expires unless its holder renews it."""
        expires = self._observed[1] + self._seconds
        return max(self._seconds * RETRY_FRACTION, min(self._seconds * POLL_FRACTION, expires - time.monotonic()))

    def _report_change(self, was_leading: bool) -> None:
        metrics.LEADER.set(self.leading)
        if self.leading:
            self._gained.set()
        if self.leading and not was_leading:
            self._on_gain()
        if was_leading and not self.leading:
            metrics.clear()
        if was_leading != self.leading:
            message = "became the leader" if self.leading else "no longer the leader"
            log.info(message, lease=self._name, identity=self._identity)

    async def _acquire_or_renew(self) -> bool:
        """Return True if this process holds the Lease now."""
        # Unknown while a request is in flight, which may be cancelled after the API server executed it.
        held, self._held = self._held, None
        if held is not None:
            # A renewal needs no read: it fails if another process wrote the Lease since.
            self._held = await self._replace(held)
            if self._held is not None:
                return True
        lease = await self._cluster.get("Lease", self._namespace, self._name)
        if lease is None:
            self._held = await self._cluster.create_lease(self._lease({}, {}))
        elif self._may_take(lease):
            self._held = await self._replace(lease)
        return self._held is not None

    async def _replace(self, lease: Manifest) -> Manifest | None:
        return await self._cluster.replace_lease(self._lease(lease["metadata"], lease.get("spec") or {}))

    def _may_take(self, lease: Manifest) -> bool:
        holder = (lease.get("spec") or {}).get("holderIdentity")
        return holder in (self._identity, "", None) or self._is_expired(lease)

    def _is_expired(self, lease: Manifest) -> bool:
        """Return True if the holder did not renew the Lease for its whole duration.

        The time is measured by this process's own clock, since clocks of machines differ.
        """
        version = lease["metadata"]["resourceVersion"]
        if version != self._observed[0]:
            self._observed = (version, time.monotonic())
        duration: float = lease["spec"].get("leaseDurationSeconds", self._seconds)
        return time.monotonic() - self._observed[1] > duration

    def _lease(self, metadata: Manifest, spec: Manifest, holder: str | None = None) -> Manifest:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = spec.get("holderIdentity") == self._identity
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**metadata, "namespace": self._namespace, "name": self._name},
            "spec": {
                "holderIdentity": self._identity if holder is None else holder,
                "leaseDurationSeconds": max(1, round(self._seconds)),
                "acquireTime": spec.get("acquireTime", now) if mine else now,
                "renewTime": now,
                "leaseTransitions": spec.get("leaseTransitions", 0) + (not mine),
            },
        }

    async def _release(self) -> None:
        """Release the Lease, so that another process can lead at once."""
        self._until = 0.0
        metrics.LEADER.set(0)
        try:
            async with asyncio.timeout(self._seconds * DEADLINE_FRACTION):
                lease = self._held or await self._cluster.get("Lease", self._namespace, self._name)
                if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                    await self._cluster.replace_lease(self._lease(lease["metadata"], lease["spec"], holder=""))
        except (ReconcileError, TimeoutError) as error:
            log.warning("lease not released, it will expire", error=str(error) or "timeout")
