"""Somebody deletes and edits children by hand: within seconds all is as the spec says, and then nothing is written."""

import time

import pytest

from tests.e2e.measures import MEASURES
from tests.e2e.stack import Stack
from tests.e2e.system import System
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(600)

REPAIR_SECONDS = 15.0
"""Within seconds, on a slow machine."""

REPAIRS = 3

RECONCILES, CHANGES = "livescore_operator_reconciles_total", "livescore_operator_changes_total"

WRITTEN = (
    *("ConfigMap", "Secret", "ServiceAccount", "Service", "NetworkPolicy", "PodDisruptionBudget"),
    *("Deployment", "StatefulSet", "Job", "PersistentVolumeClaim"),
)


async def test_deleted_children_come_back(stack: Stack) -> None:
    await stack.up(api={"replicas": 1})
    taken = [await repaired(stack, "Deployment", f"{stack.name}-worker") for _ in range(REPAIRS)]
    MEASURES.seconds("deleted Deployment to its repair", taken)
    for kind, name in (("Service", "demo"), ("ConfigMap", "demo-config"), ("NetworkPolicy", "demo-api")):
        await repaired(stack, kind, name)
    started = time.monotonic()
    await repaired(stack, "Deployment", f"{stack.name}-api")
    await stack.ready()
    MEASURES.seconds("deleted API Deployment to Ready", [time.monotonic() - started])
    await stack.replicated()
    async with stack.entered() as entrance:
        assert await entrance.answers()


async def test_what_the_spec_decides_is_taken_back_and_the_rest_is_left(stack: Stack) -> None:
    await stack.up(api={"replicas": 1})
    await stack.kubectl("annotate", "deployment/demo-api", "example.com/mine=yes")
    await stack.kubectl("scale", "deployment/demo-api", "--replicas=3")

    def mended(found: dict[str, dict[str, object]]) -> bool:
        return found["spec"]["replicas"] == 1

    await stack.kube.present("Deployment", "demo-api", mended)
    await stack.ready()
    found = await stack.kube.get("Deployment", "demo-api")
    assert found["metadata"]["annotations"]["example.com/mine"] == "yes"
    events = await stack.kubectl("get", "events", "--field-selector", "reason=FieldConflict", "-o", "name")
    assert events.strip(), "nobody was told who had changed it"


async def test_a_reconcile_that_finds_nothing_to_do_writes_nothing(stack: Stack, system: System) -> None:
    await stack.up(api={"replicas": 1})
    await system.quiet()
    before, versions = await system.metrics(), await written(stack)
    await stack.kubectl("annotate", "lsc/demo", "example.com/look=again")

    async def looked() -> bool:
        return (await system.metrics())[RECONCILES] > before[RECONCILES]

    await eventually(looked, REPAIR_SECONDS)
    await system.quiet()
    assert (await system.metrics()).get(CHANGES) == before.get(CHANGES)
    assert await written(stack) == versions


async def written(stack: Stack) -> dict[str, str]:
    """The resourceVersion of every child, and the status of the LiveScore."""
    found = [one["metadata"] for kind in WRITTEN for one in await stack.kube.list(kind, stack.selector)]
    status = str((await stack.get())["status"])
    return {**{one["uid"]: one["resourceVersion"] for one in found}, "status": status}


async def repaired(stack: Stack, kind: str, name: str) -> float:
    """Delete a child; the seconds until it is there again."""
    before = (await stack.kube.get(kind, name))["metadata"]["uid"]
    started = time.monotonic()
    await stack.kube.delete(kind, name, propagationPolicy="Background")

    async def probe() -> bool:
        found = await stack.kube.find(kind, name)
        return bool(found and found["metadata"]["uid"] != before)

    await eventually(probe, REPAIR_SECONDS)
    return time.monotonic() - started
