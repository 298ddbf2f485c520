"""The successor of an operator killed mid-reconcile continues its work, and nothing is done twice."""

from collections.abc import Awaitable, Callable

import pytest

from tests.e2e.stack import READY_SECONDS, Stack
from tests.e2e.system import System
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(900)

Phase = Callable[[Stack], Awaitable[None]]


async def servers_starting(stack: Stack) -> None:
    await stack.apply()
    await stack.kube.present("StatefulSet", f"{stack.name}-postgres")


async def migrating(stack: Stack) -> None:
    await stack.apply()
    await eventually(lambda: jobs(stack), READY_SECONDS)


async def rolling(stack: Stack) -> None:
    await stack.up()
    await stack.edit(api={"env": [{"name": "RECENT_EVENTS", "value": "64"}]})
    await stack.kube.present("Deployment", f"{stack.name}-api", lambda found: found["metadata"]["generation"] == 2)


async def jobs(stack: Stack) -> list[Json]:
    """Return the migration Jobs."""
    return await stack.kube.list("Job", stack.selector)


@pytest.mark.parametrize("phase", [servers_starting, migrating, rolling], ids=lambda phase: phase.__name__)
async def test_stack_becomes_ready_when_the_operator_is_killed_while(
    phase: Phase, stack: Stack, system: System
) -> None:
    await phase(stack)
    killed = await system.kill_leader()
    await system.wait_for_leader(other_than=killed)
    await stack.wait_ready()
    await stack.assert_replicas_current()
    assert len(await jobs(stack)) == 1
    # One rollout for the first spec and one per edit: the new operator computed exactly the same desired state.
    generations = {part: one["metadata"]["generation"] for part, one in (await stack.deployments()).items()}
    assert generations == {"api": 2 if phase is rolling else 1, "worker": 1, "scheduler": 1}
