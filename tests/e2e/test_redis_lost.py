"""Deleting Redis' pod interrupts no client and loses none of Redis' data."""

import pytest

from tests.e2e.stack import Stack, following
from tests.e2e.test_database_lost import replace_pod
from tests.e2e.writer import Writer, assert_received_all

pytestmark = pytest.mark.timeout(600)

_CLIENT = "import os, redis; client = redis.Redis.from_url(os.environ['REDIS_URL']); print({})"


async def test_writes_and_events_continue_while_the_redis_pod_is_replaced(stack: Stack) -> None:
    await stack.up()
    await redis(stack, "client.set('kept', 'yes')")
    async with stack.endpoint() as endpoint:
        match_id = await endpoint.create_match()
        async with following(endpoint, match_id) as listener, Writer(endpoint, match_id) as writer:
            await writer.wait_for_writes(5)
            await replace_pod(stack, "redis")
            await writer.wait_for_writes(5)
            await stack.wait_ready()
        await assert_received_all(listener, writer, endpoint)
    assert (writer.failures, listener.closes) == ([], [])
    assert (await redis(stack, "client.get('kept')")).strip() == "b'yes'"
    assert await stack.restarts("api") == 0


async def redis(stack: Stack, expression: str) -> str:
    """Evaluate a Redis client expression in an API pod and return its output."""
    command = ["python", "-c", _CLIENT.format(expression)]
    return await stack.kubectl("exec", f"deployment/{stack.name}-api", "--", *command)
