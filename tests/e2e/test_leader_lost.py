"""A standby replica takes over within the Lease duration when the leader's node dies."""

import time
from collections.abc import AsyncIterator

import pytest

from tests.e2e.measurements import MEASUREMENTS
from tests.e2e.stack import Stack
from tests.e2e.system import TAKEOVER_SECONDS, System
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def pair(system: System) -> AsyncIterator[System]:
    """The operator with two replicas."""
    await system.restart(replicas=2)
    yield system
    await system.restart(replicas=1)


async def test_standby_replica_takes_over_when_the_leader_is_killed(pair: System, stack: Stack) -> None:
    # The ConfigMap is enough to show that the operator works, so the LiveScore needs no processes.
    await stack.up(api={"replicas": 0}, worker={"replicas": 0}, scheduler={"replicas": 0})
    name = f"{stack.name}-config"
    before = (await stack.kube.present("ConfigMap", name))["metadata"]["uid"]

    killed = await pair.kill_leader()
    started = time.monotonic()
    await stack.kube.delete("ConfigMap", name)
    leader = await pair.wait_for_leader(other_than=killed)
    await eventually(lambda: recreated(stack, name, before), TAKEOVER_SECONDS)
    MEASUREMENTS.record_seconds("leader killed to the next reconcile", [time.monotonic() - started])
    assert leader != killed


async def recreated(stack: Stack, name: str, before: str) -> bool:
    """Return True if the ConfigMap exists with another uid."""
    found = await stack.kube.find("ConfigMap", name)
    return bool(found and found["metadata"]["uid"] != before)
