"""Deleting a LiveScore removes everything but its data, and a new LiveScore of the same name reuses the data."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import install
from tests.e2e.stack import GONE_SECONDS, Stack
from tests.e2e.system import DEPLOYMENT, NAME, System
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(900)

RETAINED = {
    "PersistentVolumeClaim/data-demo-postgres-0",
    "PersistentVolumeClaim/data-demo-redis-0",
    "Secret/demo-credentials",
}


async def test_recreated_resource_reuses_retained_data(stack: Stack) -> None:
    await stack.up()
    async with stack.endpoint() as endpoint:
        match_id = await endpoint.create_match(homeTeam="Kept")
    before = await stack.kube.get("Secret", "demo-credentials")
    await stack.delete()
    await eventually(lambda: only_retained(stack), GONE_SECONDS)

    await stack.up()
    async with stack.endpoint() as endpoint:
        assert [(one["id"], one["homeTeam"]) for one in await endpoint.matches()] == [(match_id, "Kept")]
    assert (await stack.kube.get("Secret", "demo-credentials"))["data"] == before["data"]


async def test_resource_recreated_immediately_becomes_ready(stack: Stack) -> None:
    await stack.up(api={"replicas": 1})
    async with stack.endpoint() as endpoint:
        match_id = await endpoint.create_match()
    await stack.delete()
    await stack.up(api={"replicas": 1})
    await stack.assert_replicas_current()
    async with stack.endpoint() as endpoint:
        assert [one["id"] for one in await endpoint.matches()] == [match_id]


@pytest.fixture
def removable(system: System) -> Iterator[System]:
    """The operator, reinstalled after the test."""
    yield system
    install(system.kubectl)


async def test_deletion_completes_without_the_operator(stack: Stack, removable: System) -> None:
    await stack.up(api={"replicas": 1})
    await removable.kubectl("delete", DEPLOYMENT, "--cascade=foreground", "--timeout=60s")
    await stack.delete()
    await eventually(lambda: only_retained(stack), GONE_SECONDS)
    assert await removable.kubectl("get", "deployment", NAME, "--ignore-not-found") == ""


async def only_retained(stack: Stack) -> bool:
    """Return True if only the retained data is left."""
    return await stack.owned_resources() == RETAINED
