"""LiveScores in one namespace, or with the same name in two namespaces, do not affect each other."""

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


async def test_livescores_sharing_a_namespace_or_a_name_are_isolated(
    kubectl: Kubectl, kube: Kube, make_namespace: Make, access: Access
) -> None:
    other = make_namespace()
    async with Kube(access, other.namespace) as elsewhere:
        stacks = [Stack(kubectl, kube, "one"), Stack(kubectl, kube, "two"), Stack(other, elsewhere, "one")]
        await asyncio.gather(*(stack.up(api={"replicas": 1}) for stack in stacks))
        await assert_data_is_isolated(stacks)

        one, *others = stacks
        before = [await generations(stack) for stack in others]
        await one.edit(api={"env": [{"name": "RECENT_EVENTS", "value": "64"}]})
        await one.wait_ready()
        await one.delete()
        await eventually(lambda: is_gone(one), GONE_SECONDS)
        assert [await generations(stack) for stack in others] == before
        for stack in others:
            async with stack.endpoint() as endpoint:
                assert await endpoint.is_up()


async def assert_data_is_isolated(stacks: list[Stack]) -> None:
    """Assert that data written to one LiveScore is visible in no other."""
    for number, stack in enumerate(stacks):
        async with stack.endpoint() as endpoint:
            await endpoint.create_match(homeTeam=f"Team {number}")
    for number, stack in enumerate(stacks):
        async with stack.endpoint() as endpoint:
            assert [match["homeTeam"] for match in await endpoint.matches()] == [f"Team {number}"]
    secrets = [await stack.kube.get("Secret", f"{stack.name}-credentials") for stack in stacks]
    assert len({one["data"]["postgres-password"] for one in secrets}) == len(stacks)


async def generations(stack: Stack) -> Json:
    """Return the generations of the owned resources by uid."""
    found = [one["metadata"] for kind in KINDS for one in await stack.kube.list(kind, stack.selector)]
    assert found
    return {one["uid"]: one.get("generation") for one in found}


async def is_gone(stack: Stack) -> bool:
    """Return True if no pod, Deployment or StatefulSet is left."""
    return not any(name.startswith(("Pod/", "Deployment/", "StatefulSet/")) for name in await stack.owned_resources())
