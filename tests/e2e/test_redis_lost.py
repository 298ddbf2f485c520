"""Redis' pod is deleted: nobody notices, and what was in it is still there."""

import pytest

from tests.e2e.stack import Stack, listening
from tests.e2e.test_database_lost import replace
from tests.e2e.writer import Writer, heard_all

pytestmark = pytest.mark.timeout(600)

_CLIENT = "import os, redis; client = redis.Redis.from_url(os.environ['REDIS_URL']); print({})"


async def test_writes_and_events_go_on_without_the_pod_of_redis(stack: Stack) -> None:
    await stack.up()
    await redis(stack, "client.set('kept', 'yes')")
    async with stack.entered() as entrance:
        match_id = await entrance.create_match()
        async with listening(entrance, match_id) as listener, Writer(entrance, match_id) as writer:
            await writer.writes(5)
            await replace(stack, "redis")
            await writer.writes(5)
            await stack.ready()
        await heard_all(listener, writer, entrance)
    assert (writer.failures, listener.closes) == ([], [])
    assert (await redis(stack, "client.get('kept')")).strip() == "b'yes'"
    assert await stack.restarts("api") == 0


async def redis(stack: Stack, expression: str) -> str:
    """What a client within an API pod gets."""
    command = ["python", "-c", _CLIENT.format(expression)]
    return await stack.kubectl("exec", f"deployment/{stack.name}-api", "--", *command)
