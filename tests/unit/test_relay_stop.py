"""The relay stops when requested, even if an event arrives at the same moment."""

import asyncio
import time

from livescore import application
from livescore.settings import load


async def test_stop_arriving_with_an_event_is_honoured() -> None:
    settings = load(database_url="postgresql://127.0.0.1:1/livescore", redis_url="redis://127.0.0.1:1")
    relay = application.assemble(settings).live.relay
    relay._compared = time.monotonic()  # as after an audit, so that it waits for events
    healing = asyncio.create_task(relay._heal())
    await asyncio.sleep(0.05)  # until it waits, well within the poll interval

    relay.audit()
    healing.cancel()

    done, _ = await asyncio.wait({healing}, timeout=2)
    assert done == {healing}
    assert healing.cancelled()
