"""Edits roll the API while somebody writes and somebody listens: no request fails and no event is lost or doubled."""

import pytest

from tests.e2e.environment import NEXT_IMAGE
from tests.e2e.stack import Stack, listening
from tests.e2e.writer import Writer, heard_all

pytestmark = pytest.mark.timeout(900)


async def test_a_connected_client_hears_everything_once_while_edits_roll_the_api(stack: Stack) -> None:
    await stack.up(api={"replicas": 2})
    async with stack.entered() as entrance:
        match_id = await entrance.create_match()
        async with listening(entrance, match_id) as listener, Writer(entrance, match_id) as writer:
            await rolls(stack, writer, api={"env": [{"name": "RECENT_EVENTS", "value": "64"}]})
            await rolls(stack, writer, api={"replicas": 3})
            await rolls(stack, writer, image=NEXT_IMAGE)
            assert (await stack.get())["status"]["schema"] == NEXT_IMAGE
            assert listener.closes, "all pods were replaced, and nobody sent the client away"
            assert set(listener.closes) == {1012}
        await heard_all(listener, writer, entrance)
        assert writer.failures == []


async def rolls(stack: Stack, writer: Writer, **edit: object) -> None:
    """Edit, and wait until all pods are as the spec says."""
    await stack.edit(**edit)
    await stack.ready()
    await stack.replicated()
    await writer.writes(5)
