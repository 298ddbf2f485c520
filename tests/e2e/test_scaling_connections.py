"""The operator scales on real sockets: up before pods are overloaded, rebalanced, and down without dropping sockets."""

import pytest

from tests.e2e.load_scenario import (
    MAX_PODS,
    TARGET,
    WINDOW_SECONDS,
    assert_within_bounds,
    grow,
    load_scenario,
    shrink,
    spec,
    start_at_minimum,
)
from tests.e2e.stack import Stack

pytestmark = pytest.mark.timeout(1500)

NAME = "mode connections"


async def test_pods_follow_the_sockets_and_no_socket_is_dropped(stack: Stack) -> None:
    await start_at_minimum(stack, **spec("connections", TARGET, MAX_PODS, WINDOW_SECONDS))
    async with load_scenario(stack) as scenario:
        # 300 clients, 40 a pod.
        assert await grow(scenario, NAME, {MAX_PODS}) == MAX_PODS
        going = scenario.timeline.now
        await shrink(scenario, NAME)
        await scenario.record(NAME)
        scenario.timeline.save("cluster-connections", "mode connections: 300 clients come, 280 of them go; seconds")
        await scenario.assert_received()
        assert scenario.clients.dropped == []
        assert_within_bounds(scenario.timeline.samples)
        assert any(one.draining for one in scenario.timeline.since(going)), "pods were removed without a drain"
        assert await scenario.event_messages("OtherPodRemoved") == []
        assert (await stack.get())["status"]["scaling"]["reason"] == "AtMinimum"
        await stack.wait_ready()
