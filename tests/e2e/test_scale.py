"""``kubectl scale`` works on the LiveScore itself."""

import pytest

from tests.e2e.stack import Stack

pytestmark = pytest.mark.timeout(600)


async def test_the_resource_can_be_scaled(stack: Stack) -> None:
    await stack.up(api={"replicas": 1})
    for replicas in (3, 0, 1):
        await stack.kubectl("scale", "lsc/demo", f"--replicas={replicas}")
        await stack.ready()
        await stack.replicated()
        resource = await stack.get()
        assert (resource["spec"]["api"]["replicas"], resource["status"]["replicas"]) == (replicas, replicas)
        assert resource["status"]["api"] == f"{replicas}/{replicas}"
    scale = await stack.kubectl("get", "--raw", f"{path(stack)}/scale")
    assert '"selector":"' in scale
    assert len(await stack.pods("api")) == 1


def path(stack: Stack) -> str:
    return f"/apis/livescore.dev/v1/namespaces/{stack.kubectl.namespace}/livescores/{stack.name}"
