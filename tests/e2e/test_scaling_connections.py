"""The operator scales on real sockets: up before they are too many, even afterwards, and down without dropping one."""

import pytest

from tests.e2e.rush import MOST, TARGET, WINDOW_SECONDS, bounded, grow, rush, shrink, spec, up
from tests.e2e.stack import Stack

pytestmark = pytest.mark.timeout(1500)

NAME = "mode connections"


async def test_pods_follow_the_sockets_and_nobody_is_dropped(stack: Stack) -> None:
    await up(stack, **spec("connections", TARGET, MOST, WINDOW_SECONDS))
    async with rush(stack) as found:
        # 300 clients, 40 a pod.
        assert await grow(found, NAME, {MOST}) == MOST
        going = found.timeline.now
        await shrink(found, NAME)
        await found.note(NAME)
        found.timeline.keep("cluster-connections", "mode connections: 300 clients come, 280 of them go; seconds")
        await found.holds()
        assert found.crowd.dropped == []
        bounded(found.timeline.samples)
        assert any(one.draining for one in found.timeline.since(going)), "pods were removed that were not emptied"
        assert await found.told("OtherPodRemoved") == []
        assert (await stack.get())["status"]["scaling"]["reason"] == "AtMinimum"
        await stack.ready()
