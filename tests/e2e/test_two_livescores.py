"""LiveScores side by side, in one namespace and under one name in two, know nothing of each other."""

import asyncio

import pytest

from tests.e2e.conftest import Make
from tests.e2e.kubectl import Kubectl
from tests.e2e.stack import GONE_SECONDS, Stack
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube, eventually

KINDS = ("ConfigMap", "Secret", "Service", "Deployment", "StatefulSet", "Job")

pytestmark = pytest.mark.timeout(900)


async def test_neighbours_and_namesakes_stay_apart(
    kubectl: Kubectl, kube: Kube, make_namespace: Make, access: Access
) -> None:
    other = make_namespace()
    async with Kube(access, other.namespace) as elsewhere:
        stacks = [Stack(kubectl, kube, "one"), Stack(kubectl, kube, "two"), Stack(other, elsewhere, "one")]
        await asyncio.gather(*(stack.up(api={"replicas": 1}) for stack in stacks))
        await their_data_is_their_own(stacks)

        one, *others = stacks
        before = [await untouched(stack) for stack in others]
        await one.edit(api={"env": [{"name": "RECENT_EVENTS", "value": "64"}]})
        await one.ready()
        await one.delete()
        await eventually(lambda: gone(one), GONE_SECONDS)
        assert [await untouched(stack) for stack in others] == before
        for stack in others:
            async with stack.entered() as entrance:
                assert await entrance.answers()


async def their_data_is_their_own(stacks: list[Stack]) -> None:
    """What is written into one is seen in no other."""
    for number, stack in enumerate(stacks):
        async with stack.entered() as entrance:
            await entrance.create_match(homeTeam=f"Team {number}")
    for number, stack in enumerate(stacks):
        async with stack.entered() as entrance:
            assert [match["homeTeam"] for match in await entrance.matches()] == [f"Team {number}"]
    secrets = [await stack.kube.get("Secret", f"{stack.name}-credentials") for stack in stacks]
    assert len({one["data"]["postgres-password"] for one in secrets}) == len(stacks)


async def untouched(stack: Stack) -> Json:
    """Its children and the generations of their specs."""
    found = [one["metadata"] for kind in KINDS for one in await stack.kube.list(kind, stack.selector)]
    assert found
    return {one["uid"]: one.get("generation") for one in found}


async def gone(stack: Stack) -> bool:
    """Whether nothing runs any more."""
    return not any(name.startswith(("Pod/", "Deployment/", "StatefulSet/")) for name in await stack.children())
