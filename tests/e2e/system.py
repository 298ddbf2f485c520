"""The operator as it is installed: its pods, its Lease, its metrics, and its end."""

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
"""Longest until the operator's pods are there, with an image that is on the node."""

LEASE_SECONDS = 15.0
"""The default of LEASE_SECONDS."""

TAKEOVER_SECONDS = 45.0
"""Longest until another process leads after the leader was killed: the Lease, a look every 3 s, and a slow machine."""

QUIET_SECONDS = 12.0
"""Who reconciled nothing for so long has nothing to do."""

SETTLE_SECONDS = 240.0
"""Longest until there is nothing to do."""

# No signal from within kills the first process of a container; a limit on processor time that is used up does. The
# command ends with it.
_KILL = "import resource, time; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1)); time.sleep(30)"


class System:
    """The operator in its namespace."""

    def __init__(self, kubectl: Kubectl, kube: Kube) -> None:
        self.kubectl = kubectl
        self._kube = kube

    # Pods

    async def pods(self) -> list[Json]:
        """Its pods that are not about to end."""
        found = await self._kube.list("Pod", SELECTOR)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    async def restart(self, replicas: int = 1) -> None:
        """New pods, so many, of the image that the cluster has now."""
        await self.kubectl("scale", DEPLOYMENT, f"--replicas={replicas}")
        await self.kubectl("rollout", "restart", DEPLOYMENT)
        await self.rolled_out()
        await self.led()

    async def rolled_out(self) -> None:
        """Wait until all pods are ready and up to date."""
        limit = f"--timeout={INSTALL_SECONDS:g}s"
        await self.kubectl("rollout", "status", DEPLOYMENT, limit, timeout=INSTALL_SECONDS + 10)

    # Leadership

    async def leader(self) -> str:
        """Name of the pod that holds the Lease, empty if none does."""
        lease = await self._kube.find("Lease", NAME)
        return str((lease or {}).get("spec", {}).get("holderIdentity") or "")

    async def led(self, otherwise_than: str = "") -> str:
        """Wait until a pod leads that is there, another one if asked for, and return its name."""

        async def probe() -> str:
            names = {pod["metadata"]["name"] for pod in await self.pods()} - {otherwise_than}
            leader = await self.leader()
            return leader if leader in names else ""

        return await eventually(probe, TAKEOVER_SECONDS)

    async def kill_leader(self) -> str:
        """Let the leader die as with its node: no signal that it could hear, and the pod does not come back.

        Returns:
            The name of the pod that was.
        """
        name = await self.leader()
        with suppress(CommandError):
            await self.kubectl("exec", name, "--", "python", "-c", _KILL)
        await self._kube.delete("Pod", name, gracePeriodSeconds=0)
        return name

    # Metrics

    async def metrics(self) -> dict[str, float]:
        """The leader's metrics; of those with labels, the sum."""
        name = await self.led()
        path = KINDS["Pod"].path(NAMESPACE, f"{name}:{PORT}", "proxy/metrics")
        async with httpx.AsyncClient(base_url=self._kube.access.url, trust_env=False, verify=False) as http:
            text = (await http.get(path)).raise_for_status().text
        totals: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
        return totals

    async def quiet(self) -> None:
        """Wait until it has nothing to do."""
        reconciles, since, end = -1.0, time.monotonic(), time.monotonic() + SETTLE_SECONDS
        while time.monotonic() - since < QUIET_SECONDS:
            assert time.monotonic() < end, f"the operator goes on reconciling after {SETTLE_SECONDS} s"
            now = (await self.metrics()).get("livescore_operator_reconciles_total", 0.0)
            since = since if now == reconciles else time.monotonic()
            reconciles = now
            await asyncio.sleep(1)
