"""Owned resources that are deleted or edited by hand are restored within seconds; then nothing more is written."""

import time

import pytest

from tests.e2e.measurements import MEASUREMENTS
from tests.e2e.stack import Stack
from tests.e2e.system import System
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(600)

REPAIR_SECONDS = 15.0
"""Timeout of a repair, on a slow machine."""

REPAIRS = 3

RECONCILES, CHANGES = "livescore_operator_reconciles_total", "livescore_operator_changes_total"

CHECKED_KINDS = (
    *("ConfigMap", "Secret", "ServiceAccount", "Service", "NetworkPolicy", "PodDisruptionBudget"),
    *("Deployment", "StatefulSet", "Job", "PersistentVolumeClaim"),
)


async def test_deleted_owned_resources_are_recreated(stack: Stack) -> None:
    await stack.up(api={"replicas": 1})
    taken = [await time_repair(stack, "Deployment", f"{stack.name}-worker") for _ in range(REPAIRS)]
    MEASUREMENTS.record_seconds("deleted Deployment to its repair", taken)
    for kind, name in (("Service", "demo"), ("ConfigMap", "demo-config"), ("NetworkPolicy", "demo-api")):
        await time_repair(stack, kind, name)
    started = time.monotonic()
    await time_repair(stack, "Deployment", f"{stack.name}-api")
    await stack.wait_ready()
    MEASUREMENTS.record_seconds("deleted API Deployment to Ready", [time.monotonic() - started])
    await stack.assert_replicas_current()
    async with stack.endpoint() as endpoint:
        assert await endpoint.is_up()


async def test_drift_is_reverted_and_foreign_fields_are_kept(stack: Stack) -> None:
    await stack.up(api={"replicas": 1})
    await stack.kubectl("annotate", "deployment/demo-api", "example.com/mine=yes")
    await stack.kubectl("scale", "deployment/demo-api", "--replicas=3")

    def reverted(found: dict[str, dict[str, object]]) -> bool:
        return found["spec"]["replicas"] == 1

    await stack.kube.present("Deployment", "demo-api", reverted)
    await stack.wait_ready()
    found = await stack.kube.get("Deployment", "demo-api")
    assert found["metadata"]["annotations"]["example.com/mine"] == "yes"
    events = await stack.kubectl("get", "events", "--field-selector", "reason=FieldConflict", "-o", "name")
    assert events.strip(), "no Event names the manager that changed the field"


async def test_reconcile_without_drift_writes_nothing(stack: Stack, system: System) -> None:
    await stack.up(api={"replicas": 1})
    await system.wait_idle()
    before, versions = await system.metrics(), await snapshot(stack)
    await stack.kubectl("annotate", "lsc/demo", "example.com/look=again")

    async def reconciled() -> bool:
        return (await system.metrics())[RECONCILES] > before[RECONCILES]

    await eventually(reconciled, REPAIR_SECONDS)
    await system.wait_idle()
    assert (await system.metrics()).get(CHANGES) == before.get(CHANGES)
    assert await snapshot(stack) == versions


async def snapshot(stack: Stack) -> dict[str, str]:
    """Return the resourceVersion of every owned resource by uid, and the status of the LiveScore."""
    found = [one["metadata"] for kind in CHECKED_KINDS for one in await stack.kube.list(kind, stack.selector)]
    status = str((await stack.get())["status"])
    return {**{one["uid"]: one["resourceVersion"] for one in found}, "status": status}


async def time_repair(stack: Stack, kind: str, name: str) -> float:
    """Delete an owned resource and return the seconds until it is recreated."""
    before = (await stack.kube.get(kind, name))["metadata"]["uid"]
    started = time.monotonic()
    await stack.kube.delete(kind, name, propagationPolicy="Background")

    async def probe() -> bool:
        found = await stack.kube.find(kind, name)
        return bool(found and found["metadata"]["uid"] != before)

    await eventually(probe, REPAIR_SECONDS)
    return time.monotonic() - started
