"""The installed operator: its pods, Lease, metrics and termination."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.kubectl import CommandError, Kubectl
from tests.support.kubernetes.kinds import KINDS, Json
from tests.support.kubernetes.kube import Kube, eventually

MANIFESTS = Path(__file__).parents[2] / "k8s/default"
NAMESPACE = "livescore-system"
NAME = "livescore-operator"
SELECTOR = f"app.kubernetes.io/name={NAME}"
DEPLOYMENT = f"deployment/{NAME}"
PORT = 8080

INSTALL_SECONDS = 180.0
"""Timeout until the operator's pods are ready, with the image present on the node."""

LEASE_SECONDS = 15.0
"""Default of the setting LEASE_SECONDS."""

TAKEOVER_SECONDS = 45.0
"""Timeout until another process leads after the leader was killed: Lease, polling every 3 s, and a slow machine."""

IDLE_CHECK_SECONDS = 12.0
"""The operator counts as idle if it reconciles nothing for this long."""

SETTLE_SECONDS = 240.0
"""Timeout until the operator is idle."""

# The init process of a container cannot be killed by a signal from inside, but it can by an exhausted CPU limit.
# The command ends with the container.
_KILL = "import resource, time; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1)); time.sleep(30)"


class System:
    """The operator in its namespace."""

    def __init__(self, kubectl: Kubectl, kube: Kube) -> None:
        self.kubectl = kubectl
        self._kube = kube

    # Pods

    async def pods(self) -> list[Json]:
        """Return the operator's pods that are not terminating."""
        found = await self._kube.list("Pod", SELECTOR)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    async def restart(self, replicas: int = 1) -> None:
        """Replace all pods by ``replicas`` new ones of the image now on the cluster."""
        await self.kubectl("scale", DEPLOYMENT, f"--replicas={replicas}")
        await self.kubectl("rollout", "restart", DEPLOYMENT)
        await self.rolled_out()
        await self.wait_for_leader()

    async def rolled_out(self) -> None:
        """Wait until all pods are ready and up to date."""
        limit = f"--timeout={INSTALL_SECONDS:g}s"
        await self.kubectl("rollout", "status", DEPLOYMENT, limit, timeout=INSTALL_SECONDS + 10)

    # Leadership

    async def leader(self) -> str:
        """Return the name of the pod that holds the Lease; empty if no pod does."""
        lease = await self._kube.find("Lease", NAME)
        return str((lease or {}).get("spec", {}).get("holderIdentity") or "")

    async def wait_for_leader(self, other_than: str = "") -> str:
        """Wait until an existing pod holds the Lease, one other than ``other_than``, and return its name."""

        async def probe() -> str:
            names = {pod["metadata"]["name"] for pod in await self.pods()} - {other_than}
            leader = await self.leader()
            return leader if leader in names else ""

        return await eventually(probe, TAKEOVER_SECONDS)

    async def kill_leader(self) -> str:
        """Kill the leader as if its node had failed: no signal reaches it, and the pod does not restart.

        Returns:
            Name of the killed pod.
        """
        name = await self.leader()
        with suppress(CommandError):
            await self.kubectl("exec", name, "--", "python", "-c", _KILL)
        await self._kube.delete("Pod", name, gracePeriodSeconds=0)
        return name

    # Metrics

    async def metrics(self) -> dict[str, float]:
        """Return the leader's metrics, summed over labels."""
        name = await self.wait_for_leader()
        path = KINDS["Pod"].path(NAMESPACE, f"{name}:{PORT}", "proxy/metrics")
        async with httpx.AsyncClient(base_url=self._kube.access.url, trust_env=False, verify=False) as http:
            text = (await http.get(path)).raise_for_status().text
        totals: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
        return totals

    async def wait_idle(self) -> None:
        """Wait until the operator is idle."""
        reconciles, since, end = -1.0, time.monotonic(), time.monotonic() + SETTLE_SECONDS
        while time.monotonic() - since < IDLE_CHECK_SECONDS:
            assert time.monotonic() < end, f"the operator is still reconciling after {SETTLE_SECONDS} s"
            now = (await self.metrics()).get("livescore_operator_reconciles_total", 0.0)
            since = since if now == reconciles else time.monotonic()
            reconciles = now
            await asyncio.sleep(1)
