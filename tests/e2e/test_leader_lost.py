"""The node of the leading operator dies: another replica takes over within the time of the Lease."""

import time
from collections.abc import AsyncIterator

import pytest

from tests.e2e.measures import MEASURES
from tests.e2e.stack import Stack
from tests.e2e.system import TAKEOVER_SECONDS, System
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def pair(system: System) -> AsyncIterator[System]:
    """The operator with a second replica."""
    await system.restart(replicas=2)
    yield system
    await system.restart(replicas=1)


async def test_the_other_replica_goes_on(pair: System, stack: Stack) -> None:
    # Whoever makes the ConfigMap again works; processes are not needed for that.
    await stack.up(api={"replicas": 0}, worker={"replicas": 0}, scheduler={"replicas": 0})
    name = f"{stack.name}-config"
    before = (await stack.kube.present("ConfigMap", name))["metadata"]["uid"]

    killed = await pair.kill_leader()
    started = time.monotonic()
    await stack.kube.delete("ConfigMap", name)
    leader = await pair.led(otherwise_than=killed)
    await eventually(lambda: remade(stack, name, before), TAKEOVER_SECONDS)
    MEASURES.seconds("leader killed to the next reconcile", [time.monotonic() - started])
    assert leader != killed


async def remade(stack: Stack, name: str, before: str) -> bool:
    """Whether there is another ConfigMap of this name."""
    found = await stack.kube.find("ConfigMap", name)
    return bool(found and found["metadata"]["uid"] != before)
