"""What is killed in the middle of a drain, and what is rolled in the middle of a scale-up, costs nobody an event."""

import json
from contextlib import suppress

import pytest

from tests.e2e.kubectl import CommandError
from tests.e2e.measures import MEASURES
from tests.e2e.rush import LEAST, SETTLE_SECONDS, Rush, rush, spec, up
from tests.e2e.stack import READY_SECONDS, Stack
from tests.e2e.system import System
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(1200)

TARGET, MOST, WINDOW_SECONDS = 10, 4, 15

CROWD = TARGET * MOST

# No signal from within kills the first process of a container; a limit on processor time that is used up does. The
# command ends with it.
KILL = "import resource, time; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1)); time.sleep(30)"


@pytest.fixture
async def full(stack: Stack) -> Stack:
    """A LiveScore that scales itself."""
    await up(stack, **spec("connections", TARGET, MOST, WINDOW_SECONDS))
    return stack


async def crowded(found: Rush) -> set[str]:
    """Let so many come that all pods are needed; the names of these."""
    await found.crowd.join(CROWD, seconds=5)
    await found.settled({MOST})
    await found.spread()
    return await found.pods()


async def test_the_next_operator_finishes_a_drain(full: Stack, system: System) -> None:
    async with rush(full) as found:
        before = await crowded(found)
        await found.crowd.leave(CROWD // 2)
        victims = await found.draining()
        killed = await system.kill_leader()
        left = (await full.get())["status"]["draining"]
        assert {one["pod"] for one in left} == set(victims)
        assert not any(one.get("released") for one in left), "it was killed too late to be in the middle"
        await system.led(otherwise_than=killed)
        await found.settled({LEAST})
        assert await found.pods() == before - set(victims)
        assert await found.told("DrainCancelled") == []
        assert await found.told("OtherPodRemoved") == []
        await found.holds()
        assert found.crowd.dropped == []


async def test_an_api_pod_that_dies_while_it_drains_costs_no_event(full: Stack) -> None:
    """Its sockets end without a hint, as nothing can tell what is killed: those of no other pod do."""
    async with rush(full) as found:
        await crowded(found)
        await found.crowd.leave(CROWD // 2)
        victims = await found.draining()
        killed = max(victims.values(), key=lambda one: int(one["connections"]))["pod"]
        await kill(full, killed)
        await found.settled({LEAST})
        assert not await found.pods() & set(victims)
        await found.holds()
        dropped = found.crowd.dropped
        MEASURES.note("sockets that ended with a killed API pod, without a hint", str(len(dropped)))
        assert {one.instance for one in dropped} <= {killed}


async def test_an_evicted_pod_sends_its_clients_elsewhere_first(full: Stack) -> None:
    """What the drain of a node does to each pod on it."""
    async with rush(full) as found:
        before = await crowded(found)
        evicted = min(before)
        await evict(full, evicted)
        await full.kube.gone("Pod", evicted)
        await found.settled({MOST})
        assert before - await found.pods() == {evicted}
        await found.holds()
        assert found.crowd.dropped == []
        assert any(one.instance == evicted for one in found.crowd.closes)


async def evict(stack: Stack, pod: str) -> None:
    """As ``kubectl drain`` does, which would first close the only node here."""
    namespace = stack.kubectl.namespace
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    await stack.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(body))


async def kill(stack: Stack, pod: str) -> None:
    """Let a pod die as with its node: no signal that it could hear, and it does not come back."""
    with suppress(CommandError):
        await stack.kubectl("exec", pod, "--", "python", "-c", KILL)
    await stack.kube.delete("Pod", pod, gracePeriodSeconds=0)


async def test_a_roll_out_during_a_scale_up_drains_nothing(full: Stack) -> None:
    async with rush(full) as found:
        await found.crowd.join(CROWD, seconds=5)
        await eventually(lambda: grows(found), SETTLE_SECONDS)
        before = await found.pods()
        await full.edit(api={"env": [{"name": "RECENT_EVENTS", "value": "64"}]})
        await eventually(lambda: rolled(full), SETTLE_SECONDS)
        await found.settled({MOST}, READY_SECONDS)
        assert not await found.pods() & before
        await full.ready()
        await found.spread()
        assert [one for one in found.timeline.samples if one.draining] == []
        assert await found.told("Draining") == []
        await found.holds()
        assert found.crowd.dropped == []


async def grows(found: Rush) -> bool:
    """Whether more pods are wanted than there are."""
    sample = await found.timeline.sample()
    return sample.wanted > sample.ready


async def rolled(stack: Stack) -> bool:
    """Whether the Deployment has the edit."""
    deployment = await stack.kube.get("Deployment", f"{stack.name}-api")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return any(one["name"] == "RECENT_EVENTS" for one in container.get("env", []))
