"""``kubectl scale`` works on the LiveScore resource itself."""

from functools import partial

import pytest

from tests.e2e.stack import Stack
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(600)


async def test_the_resource_can_be_scaled(stack: Stack) -> None:
    await stack.up(api={"replicas": 1})
    for replicas in (3, 0, 1):
        await stack.kubectl("scale", "lsc/demo", f"--replicas={replicas}")
        # Ready stays True while further pods start.
        await eventually(partial(status_reports, stack, replicas), 60)
        await stack.kubectl("rollout", "status", "deployment/demo-api", "--timeout=60s")
        await stack.wait_ready()
        await stack.assert_replicas_current()
        assert (await stack.get())["spec"]["api"]["replicas"] == replicas
    scale = await stack.kubectl("get", "--raw", f"{path(stack)}/scale")
    assert '"selector":"' in scale
    assert len(await stack.pods("api")) == 1


async def status_reports(stack: Stack, replicas: int) -> bool:
    status = (await stack.get())["status"]
    return (status["replicas"], status["api"]) == (replicas, f"{replicas}/{replicas}")


def path(stack: Stack) -> str:
    return f"/apis/livescore.dev/v1/namespaces/{stack.kubectl.namespace}/livescores/{stack.name}"
