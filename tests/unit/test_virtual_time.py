"""The virtual clock of an event loop passes without waiting, and timers are due in their order."""

import asyncio
import time

import pytest

from tests.support.virtual_time import VirtualTime


async def test_hours_pass_at_once(virtual_clock: VirtualTime) -> None:
    started, before = time.monotonic(), virtual_clock.now
    await asyncio.sleep(7200)
    assert virtual_clock.now - before == pytest.approx(7200)
    assert time.monotonic() - started < 60


async def test_timers_are_due_in_order(virtual_clock: VirtualTime) -> None:
    seen: list[tuple[float, int]] = []

    async def note(seconds: float) -> None:
        before = virtual_clock.now
        await asyncio.sleep(seconds)
        seen.append((seconds, round(virtual_clock.now - before)))

    await asyncio.gather(note(30), note(10), note(20))
    assert seen == [(10, 10), (20, 20), (30, 30)]


async def test_a_wait_for_what_never_happens_times_out(virtual_clock: VirtualTime) -> None:
    before = virtual_clock.now
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await asyncio.Event().wait()
    assert virtual_clock.now - before == pytest.approx(60)


async def test_busy_time_does_not_count(virtual_clock: VirtualTime) -> None:
    before = virtual_clock.now
    sum(range(1_000_000))
    await asyncio.sleep(0)
    assert virtual_clock.now == before
