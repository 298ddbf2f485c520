"""The clock of background work."""

import asyncio

from livescore.clock import Clock


async def test_a_cancellation_that_arrives_together_with_the_event_is_not_lost() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(Clock().wait(event, 60))
    await asyncio.sleep(0.01)
    event.set()
    waiting.cancel()
    done, _ = await asyncio.wait({waiting}, timeout=2)
    assert done == {waiting}
    assert waiting.cancelled()


async def test_a_wait_ends_with_the_event_or_with_its_time() -> None:
    event = asyncio.Event()
    assert not await Clock().wait(event, 0.01)
    event.set()
    assert await Clock().wait(event, 60)
