"""The operator dies in the middle of everything: the next one goes on where it stopped, and nothing is done twice."""

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
    """The migrations that there are."""
    return await stack.kube.list("Job", stack.selector)


@pytest.mark.parametrize("phase", [servers_starting, migrating, rolling], ids=lambda phase: phase.__name__)
async def test_a_stack_comes_up_although_the_operator_is_killed_while(
    phase: Phase, stack: Stack, system: System
) -> None:
    await phase(stack)
    killed = await system.kill_leader()
    await system.led(otherwise_than=killed)
    await stack.ready()
    await stack.replicated()
    assert len(await jobs(stack)) == 1
    # One roll-out for the first spec and one for each edit: the new operator wanted the very same.
    generations = {part: one["metadata"]["generation"] for part, one in (await stack.deployments()).items()}
    assert generations == {"api": 2 if phase is rolling else 1, "worker": 1, "scheduler": 1}
