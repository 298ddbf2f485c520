"""Checks that clients notice nothing while parts are replaced."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.e2e.stack import Stack, following
from tests.e2e.writer import Writer, assert_received_all


@asynccontextmanager
async def no_interruption(stack: Stack) -> AsyncIterator[Writer]:
    """Write and receive throughout the block; assert that each event was received once and no request failed."""
    async with stack.endpoint() as endpoint:
        match_id = await endpoint.create_match()
        async with following(endpoint, match_id) as listener:
            async with Writer(endpoint, match_id) as writer:
                yield writer
                await writer.wait_for_writes(5)
            await assert_received_all(listener, writer, endpoint)
            assert writer.failures == []


async def pod_uids(stack: Stack) -> set[str]:
    """Return the uids of all pods, including the servers': a replaced pod has another uid."""
    return {pod["metadata"]["uid"] for pod in await stack.kube.list("Pod", stack.selector)}
