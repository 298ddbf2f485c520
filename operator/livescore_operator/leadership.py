"""One leader by a Lease (coordination.k8s.io): who holds it may write, until its time has run out.

``kubernetes.aio.leaderelection`` knows no bound on a request that hangs, cannot give the Lease back, and ends when the
Lease is lost; so its algorithm, which is that of client-go, stands here with those three mended.
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

# Parts of the Lease's time: a leader stops to write before others may take over, whatever its clock and network do.
RENEW_FRACTION = 1 / 5
DEADLINE_FRACTION = 2 / 3


class Leadership:
    """Whether this process leads.

    Args:
        cluster: where the Lease is.
        namespace: of the Lease.
        name: of the Lease.
        identity: of this process among those that want the Lease.
        seconds: that a leader may be silent before another one takes over.
        on_gain: called whenever this process begins to lead.

    Attributes:
        problem: why the Lease was not read yet, for people; empty once it was.
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
        self._namespace, self._name, self._identity = namespace, name, identity
        self._seconds = seconds
        self._until = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        self._gained = asyncio.Event()
        self.problem = "not asked for yet"

    @property
    def leading(self) -> bool:
        """Whether this process may write now."""
        return time.monotonic() < self._until

    async def wait(self) -> None:
        """Wait until this process leads."""
        while not self.leading:
            self._gained.clear()
            await self._gained.wait()

    async def run(self) -> None:
        """Hold the Lease, or try to get it, until cancelled; then give it back."""
        try:
            while True:
                await self._turn()
                await asyncio.sleep(self._seconds * RENEW_FRACTION * random.uniform(0.8, 1.0))
        finally:
            if self.leading:
                await asyncio.shield(self._release())

    async def _turn(self) -> None:
        before, started = self.leading, time.monotonic()
        try:
            async with asyncio.timeout(self._seconds * DEADLINE_FRACTION):
                held = await self._acquire_or_renew()
        except (ReconcileError, TimeoutError) as error:
            log.warning("the Lease cannot be read or written", error=str(error) or "timeout")
            if self.problem:
                self.problem = str(error) or "timeout"
        else:
            self.problem = ""
            # Counted from before the request: the API server cannot have written it earlier.
            self._until = started + self._seconds * DEADLINE_FRACTION if held else 0.0
        self._tell(before)

    def _tell(self, before: bool) -> None:
        metrics.LEADER.set(self.leading)
        if self.leading:
            self._gained.set()
        if self.leading and not before:
            self._on_gain()
        if before and not self.leading:
            metrics.silence()
        if before != self.leading:
            log.info("leading" if self.leading else "no longer leading", lease=self._name, identity=self._identity)

    async def _acquire_or_renew(self) -> bool:
        lease = await self._cluster.get("Lease", self._namespace, self._name)
        if lease is None:
            return await self._cluster.create_lease(self._lease({}, {}))
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") not in (self._identity, "", None) and not self._expired(lease):
            return False
        return await self._cluster.replace_lease(self._lease(lease["metadata"], spec))

    def _expired(self, lease: Manifest) -> bool:
        """Whether its holder has not renewed it for its whole time, by this process's own clock: clocks differ."""
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, time.monotonic())
        duration: float = lease["spec"].get("leaseDurationSeconds", self._seconds)
        return time.monotonic() - self._seen[1] > duration

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
        """Let another one lead at once."""
        self._until = 0.0
        metrics.LEADER.set(0)
        try:
            async with asyncio.timeout(self._seconds * DEADLINE_FRACTION):
                lease = await self._cluster.get("Lease", self._namespace, self._name)
                if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                    await self._cluster.replace_lease(self._lease(lease["metadata"], lease["spec"], holder=""))
        except (ReconcileError, TimeoutError) as error:
            log.warning("the Lease could not be given back: it runs out by itself", error=str(error) or "timeout")
