"""No event is lost when a process is killed during a drain or a rollout starts during a scale-up."""

import json
from contextlib import suppress

import pytest

from tests.e2e.kubectl import CommandError
from tests.e2e.load_scenario import MIN_PODS, SETTLE_SECONDS, LoadScenario, load_scenario, spec, start_at_minimum
from tests.e2e.measurements import MEASUREMENTS
from tests.e2e.stack import READY_SECONDS, Stack
from tests.e2e.system import System
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(1200)

TARGET, MAX_PODS, WINDOW_SECONDS = 10, 4, 15

CLIENTS = TARGET * MAX_PODS

# The init process of a container cannot be killed by a signal from inside, but it can by an exhausted CPU limit.
# The command ends with the container.
KILL = "import resource, time; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1)); time.sleep(30)"


@pytest.fixture
async def full(stack: Stack) -> Stack:
    """A LiveScore that scales on connections, with the minimum number of pods."""
    await start_at_minimum(stack, **spec("connections", TARGET, MAX_PODS, WINDOW_SECONDS))
    return stack


async def fill_all_pods(scenario: LoadScenario) -> set[str]:
    """Connect enough clients for the maximum number of pods, and return the names of the pods."""
    await scenario.clients.join(CLIENTS, seconds=5)
    await scenario.wait_for_pods({MAX_PODS})
    await scenario.wait_balanced()
    return await scenario.pods()


async def test_next_leader_finishes_a_drain(full: Stack, system: System) -> None:
    async with load_scenario(full) as scenario:
        before = await fill_all_pods(scenario)
        await scenario.clients.leave(CLIENTS // 2)
        draining = await scenario.wait_for_drain()
        killed = await system.kill_leader()
        left = (await full.get())["status"]["draining"]
        assert {one["pod"] for one in left} == set(draining)
        assert not any(one.get("released") for one in left), "the drain had finished before the leader was killed"
        await system.wait_for_leader(other_than=killed)
        await scenario.wait_for_pods({MIN_PODS})
        assert await scenario.pods() == before - set(draining)
        assert await scenario.event_messages("DrainCancelled") == []
        assert await scenario.event_messages("OtherPodRemoved") == []
        await scenario.assert_received()
        assert scenario.clients.dropped == []


async def test_no_event_is_lost_when_a_draining_pod_is_killed(full: Stack) -> None:
    """A killed pod cannot send hints, so its sockets end without one. Sockets of all other pods get theirs."""
    async with load_scenario(full) as scenario:
        await fill_all_pods(scenario)
        await scenario.clients.leave(CLIENTS // 2)
        draining = await scenario.wait_for_drain()
        killed = max(draining.values(), key=lambda one: int(one["connections"]))["pod"]
        await kill(full, killed)
        await scenario.wait_for_pods({MIN_PODS})
        assert not await scenario.pods() & set(draining)
        await scenario.assert_received()
        dropped = scenario.clients.dropped
        MEASUREMENTS.record("sockets that ended with a killed API pod, without a hint", str(len(dropped)))
        assert {one.instance for one in dropped} <= {killed}


async def test_evicted_pod_sends_hints_before_it_closes_sockets(full: Stack) -> None:
    """Eviction is what the drain of a node does to each pod on it."""
    async with load_scenario(full) as scenario:
        before = await fill_all_pods(scenario)
        evicted = min(before)
        await evict(full, evicted)
        await full.kube.gone("Pod", evicted)
        await scenario.wait_for_pods({MAX_PODS})
        assert before - await scenario.pods() == {evicted}
        await scenario.assert_received()
        assert scenario.clients.dropped == []
        assert any(one.instance == evicted for one in scenario.clients.closes)


async def evict(stack: Stack, pod: str) -> None:
    """Evict a pod as ``kubectl drain`` does, but without cordoning the only node."""
    namespace = stack.kubectl.namespace
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    await stack.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


async def kill(stack: Stack, pod: str) -> None:
    """Kill a pod as if its node had failed: no signal reaches it, and it does not restart."""
    with suppress(CommandError):
        await stack.kubectl("exec", pod, "--", "python", "-c", KILL)
    await stack.kube.delete("Pod", pod, gracePeriodSeconds=0)


async def test_rollout_during_a_scale_up_drains_no_pod(full: Stack) -> None:
    async with load_scenario(full) as scenario:
        await scenario.clients.join(CLIENTS, seconds=5)
        await eventually(lambda: is_scaling_up(scenario), SETTLE_SECONDS)
        before = await scenario.pods()
        await full.edit(api={"env": [{"name": "RECENT_EVENTS", "value": "64"}]})
        await eventually(lambda: has_edit(full), SETTLE_SECONDS)
        await scenario.wait_for_pods({MAX_PODS}, READY_SECONDS)
        assert not await scenario.pods() & before
        await full.wait_ready()
        await scenario.wait_balanced()
        assert [one for one in scenario.timeline.samples if one.draining] == []
        assert await scenario.event_messages("Draining") == []
        await scenario.assert_received()
        assert scenario.clients.dropped == []


async def is_scaling_up(scenario: LoadScenario) -> bool:
    """Return True if more pods are desired than ready."""
    sample = await scenario.timeline.sample()
    return sample.wanted > sample.ready


async def has_edit(stack: Stack) -> bool:
    """Return True if the Deployment contains the edit."""
    deployment = await stack.kube.get("Deployment", f"{stack.name}-api")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return any(one["name"] == "RECENT_EVENTS" for one in container.get("env", []))
