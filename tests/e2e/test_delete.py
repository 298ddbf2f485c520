"""A LiveScore is deleted: all goes but its data, and whoever makes it again finds that."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import install
from tests.e2e.stack import GONE_SECONDS, Stack
from tests.e2e.system import DEPLOYMENT, NAME, System
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(900)

KEPT = {
    "PersistentVolumeClaim/data-demo-postgres-0",
    "PersistentVolumeClaim/data-demo-redis-0",
    "Secret/demo-credentials",
}


async def test_what_is_kept_is_taken_back(stack: Stack) -> None:
    await stack.up()
    async with stack.entered() as entrance:
        match_id = await entrance.create_match(homeTeam="Kept")
    before = await stack.kube.get("Secret", "demo-credentials")
    await stack.delete()
    await eventually(lambda: only_kept(stack), GONE_SECONDS)

    await stack.up()
    async with stack.entered() as entrance:
        assert [(one["id"], one["homeTeam"]) for one in await entrance.matches()] == [(match_id, "Kept")]
    assert (await stack.kube.get("Secret", "demo-credentials"))["data"] == before["data"]


async def test_a_resource_that_is_made_again_at_once_comes_up(stack: Stack) -> None:
    await stack.up(api={"replicas": 1})
    async with stack.entered() as entrance:
        match_id = await entrance.create_match()
    await stack.delete()
    await stack.up(api={"replicas": 1})
    await stack.replicated()
    async with stack.entered() as entrance:
        assert [one["id"] for one in await entrance.matches()] == [match_id]


@pytest.fixture
def removable(system: System) -> Iterator[System]:
    """The operator, which is there again after the test."""
    yield system
    install(system.kubectl)


async def test_nothing_hangs_without_the_operator(stack: Stack, removable: System) -> None:
    await stack.up(api={"replicas": 1})
    await removable.kubectl("delete", DEPLOYMENT, "--cascade=foreground", "--timeout=60s")
    await stack.delete()
    await eventually(lambda: only_kept(stack), GONE_SECONDS)
    assert await removable.kubectl("get", "deployment", NAME, "--ignore-not-found") == ""


async def only_kept(stack: Stack) -> bool:
    """Whether nothing is left but the data."""
    return await stack.children() == KEPT
