"""A new image cannot migrate: the old one goes on serving, the status says why, and a good spec supersedes it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.e2e.environment import APP_IMAGE, NEXT_IMAGE
from tests.e2e.stack import READY_SECONDS, Stack
from tests.e2e.writer import Writer
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(900)

GIVE_UP_SECONDS = 360.0
"""A Job's five attempts with the pauses between them, which double from 10 s."""

ABSENT_IMAGE = "livescore.invalid/livescore:absent"


@asynccontextmanager
async def serving(stack: Stack) -> AsyncIterator[None]:
    """Somebody writes all the time, and no write fails."""
    async with stack.entered() as entrance, Writer(entrance, await entrance.create_match()) as writer:
        yield
        await writer.writes(5)
    assert writer.failures == []


async def test_a_migration_that_fails_takes_nothing_away(stack: Stack) -> None:
    await stack.up()
    async with serving(stack):
        await password(stack, "elsewhere")
        await stack.edit(image=NEXT_IMAGE)
        failed = await stack.stands("SchemaCurrent", "False", "MigrationFailed", GIVE_UP_SECONDS)
        assert "password authentication failed" in failed["message"]
        assert f"{APP_IMAGE} goes on serving" in failed["message"]
        assert (await stack.condition("Stalled"))["status"] == "True"
        assert await images(stack) == {APP_IMAGE}
    await password(stack, await known(stack))
    await stack.edit(image=APP_IMAGE)
    await stack.ready()
    assert (await stack.condition("Stalled"))["status"] == "False"


async def test_an_image_that_is_not_there_takes_nothing_away(stack: Stack) -> None:
    await stack.up()
    async with serving(stack):
        await stack.edit(image=ABSENT_IMAGE)
        await stack.stands("SchemaCurrent", "False", "Migrating")
        await eventually(lambda: waits_for(stack, ABSENT_IMAGE), READY_SECONDS)
        assert await images(stack) == {APP_IMAGE}
        await stack.edit(image=NEXT_IMAGE)
        await stack.ready()
        assert await images(stack) == {NEXT_IMAGE}


async def password(stack: Stack, text: str) -> None:
    """Give PostgreSQL's role another password: open connections stay, new ones need it."""
    statement = f"ALTER ROLE livescore PASSWORD '{text}'"
    psql = ["psql", "-U", "livescore", "-d", "livescore", "-c", statement]
    await stack.kubectl("exec", f"{stack.name}-postgres-0", "--", *psql)


async def known(stack: Stack) -> str:
    """The password in the Secret."""
    field = 'go-template={{index .data "postgres-password" | base64decode}}'
    return await stack.kubectl("get", "secret", f"{stack.name}-credentials", "-o", field)


async def images(stack: Stack) -> set[str]:
    """What the Deployments run."""
    found = (await stack.deployments()).values()
    return {one["spec"]["template"]["spec"]["containers"][0]["image"] for one in found}


async def waits_for(stack: Stack, image: str) -> bool:
    """Whether a migration waits for an image that no registry has."""
    pods = await stack.pods("migration")
    statuses = [one for pod in pods for one in pod["status"].get("containerStatuses", [])]
    return any(one["image"] == image and "waiting" in one["state"] for one in statuses)
