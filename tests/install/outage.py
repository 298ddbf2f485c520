"""What must not be noticed: somebody writes and somebody listens while parts are replaced."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.e2e.stack import Stack, listening
from tests.e2e.writer import Writer, heard_all


@asynccontextmanager
async def unnoticed(stack: Stack) -> AsyncIterator[Writer]:
    """Write and listen meanwhile; afterwards all was heard, once, and no request was refused or lost."""
    async with stack.entered() as entrance:
        match_id = await entrance.create_match()
        async with listening(entrance, match_id) as listener:
            async with Writer(entrance, match_id) as writer:
                yield writer
                await writer.writes(5)
            await heard_all(listener, writer, entrance)
            assert writer.failures == []


async def identities(stack: Stack) -> set[str]:
    """Of every pod that it has, servers too: a pod that is replaced has another one."""
    return {pod["metadata"]["uid"] for pod in await stack.kube.list("Pod", stack.selector)}
