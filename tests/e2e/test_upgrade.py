"""Edits roll the API during writes: no request fails, and no event is lost or duplicated."""

import pytest

from tests.e2e.environment import NEXT_IMAGE
from tests.e2e.stack import Stack, following
from tests.e2e.writer import Writer, assert_received_all

pytestmark = pytest.mark.timeout(900)


async def test_connected_client_receives_each_event_once_during_rollouts(stack: Stack) -> None:
    await stack.up(api={"replicas": 2})
    async with stack.endpoint() as endpoint:
        match_id = await endpoint.create_match()
        async with following(endpoint, match_id) as listener, Writer(endpoint, match_id) as writer:
            await edit_and_wait(stack, writer, api={"env": [{"name": "RECENT_EVENTS", "value": "64"}]})
            await edit_and_wait(stack, writer, api={"replicas": 3})
            await edit_and_wait(stack, writer, image=NEXT_IMAGE)
            assert (await stack.get())["status"]["schema"] == NEXT_IMAGE
            assert listener.closes, "all pods were replaced, but the client's socket was never closed"
            assert set(listener.closes) == {1012}
        await assert_received_all(listener, writer, endpoint)
        assert writer.failures == []


async def edit_and_wait(stack: Stack, writer: Writer, **edit: object) -> None:
    """Edit the spec, and wait until all pods match it."""
    await stack.edit(**edit)
    await stack.wait_ready()
    await stack.assert_replicas_current()
    await writer.wait_for_writes(5)
