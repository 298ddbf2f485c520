"""A failed migration leaves the old image serving, the status says why, and a valid spec recovers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.e2e.environment import APP_IMAGE, NEXT_IMAGE
from tests.e2e.stack import READY_SECONDS, Stack
from tests.e2e.writer import Writer
from tests.support.kubernetes.kube import eventually

pytestmark = pytest.mark.timeout(900)

GIVE_UP_SECONDS = 360.0
"""The five attempts of a Job and the pauses between them, which double from 10 s."""

ABSENT_IMAGE = "livescore.invalid/livescore:absent"


@asynccontextmanager
async def serving(stack: Stack) -> AsyncIterator[None]:
    """Write continuously, and assert at the end that no write failed."""
    async with stack.endpoint() as endpoint, Writer(endpoint, await endpoint.create_match()) as writer:
        yield
        await writer.wait_for_writes(5)
    assert writer.failures == []


async def test_failed_migration_leaves_the_old_version_serving(stack: Stack) -> None:
    await stack.up()
    async with serving(stack):
        await set_password(stack, "elsewhere")
        await stack.edit(image=NEXT_IMAGE)
        failed = await stack.wait_for_condition("SchemaCurrent", "False", "MigrationFailed", GIVE_UP_SECONDS)
        assert "password authentication failed" in failed["message"]
        assert f"{APP_IMAGE} keeps serving" in failed["message"]
        assert (await stack.condition("Stalled"))["status"] == "True"
        assert await images(stack) == {APP_IMAGE}
    await set_password(stack, await secret_password(stack))
    await stack.edit(image=APP_IMAGE)
    await stack.wait_ready()
    assert (await stack.condition("Stalled"))["status"] == "False"


async def test_missing_image_leaves_the_old_version_serving(stack: Stack) -> None:
    await stack.up()
    async with serving(stack):
        await stack.edit(image=ABSENT_IMAGE)
        await stack.wait_for_condition("SchemaCurrent", "False", "Migrating")
        await eventually(lambda: waits_for_image(stack, ABSENT_IMAGE), READY_SECONDS)
        assert await images(stack) == {APP_IMAGE}
        await stack.edit(image=NEXT_IMAGE)
        await stack.wait_ready()
        assert await images(stack) == {NEXT_IMAGE}


async def set_password(stack: Stack, text: str) -> None:
    """Set the password of PostgreSQL's role: open connections stay, new ones need the new password."""
    statement = f"ALTER ROLE livescore PASSWORD '{text}'"
    psql = ["psql", "-U", "livescore", "-d", "livescore", "-c", statement]
    await stack.kubectl("exec", f"{stack.name}-postgres-0", "--", *psql)


async def secret_password(stack: Stack) -> str:
    """Return the password in the Secret."""
    field = 'go-template={{index .data "postgres-password" | base64decode}}'
    return await stack.kubectl("get", "secret", f"{stack.name}-credentials", "-o", field)


async def images(stack: Stack) -> set[str]:
    """Return the images of the Deployments."""
    found = (await stack.deployments()).values()
    return {one["spec"]["template"]["spec"]["containers"][0]["image"] for one in found}


async def waits_for_image(stack: Stack, image: str) -> bool:
    """Return True if a migration pod is waiting for an image that cannot be pulled."""
    pods = await stack.pods("migration")
    statuses = [one for pod in pods for one in pod["status"].get("containerStatuses", [])]
    return any(one["image"] == image and "waiting" in one["state"] for one in statuses)
