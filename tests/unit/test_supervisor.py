"""Background loops are restarted with back-off, and end with the process."""

import asyncio

import pytest
from structlog.testing import capture_logs

from livescore.supervisor import FIRST_DELAY_SECONDS, HEALTHY_SECONDS, MAX_DELAY_SECONDS, Supervisor
from tests.support.clock import ManualClock, settle


class Loop:
    """A loop that fails, or returns, each time it runs for ``seconds``."""

    def __init__(self, clock: ManualClock, error: Exception | None, seconds: float = 0.0) -> None:
        self.starts: list[float] = []
        self.seconds = seconds
        self._clock = clock
        self._error = error

    async def run(self) -> None:
        self.starts.append(self._clock.now())
        if self.seconds:
            await self._clock.sleep(self.seconds)
        if self._error is not None:
            raise self._error

    @property
    def pauses(self) -> list[float]:
        return [round(later - earlier, 3) for earlier, later in zip(self.starts, self.starts[1:], strict=False)]


@pytest.mark.parametrize("error", [ZeroDivisionError(), None], ids=["raises", "returns"])
async def test_a_loop_that_ends_is_logged_counted_and_restarted_with_back_off(error: Exception | None) -> None:
    clock, failures = ManualClock(), list[str]()
    supervisor, loop = Supervisor(clock, failures.append), Loop(clock, error)
    with capture_logs() as logs:
        supervisor.run("listener", loop.run)
        await clock.advance(30)
    assert loop.pauses[:7] == [FIRST_DELAY_SECONDS, 0.5, 1.0, 2.0, 4.0, MAX_DELAY_SECONDS, MAX_DELAY_SECONDS]
    assert failures == ["listener"] * len(loop.starts)
    assert {entry["loop"] for entry in logs if entry["log_level"] == "error"} == {"listener"}
    await supervisor.stop()


async def test_a_loop_that_was_healthy_for_long_starts_again_at_the_first_delay() -> None:
    clock = ManualClock()
    supervisor, loop = Supervisor(clock, lambda _: None), Loop(clock, ZeroDivisionError())
    supervisor.run("healer", loop.run)
    await clock.advance(10)
    loop.seconds = HEALTHY_SECONDS
    await clock.advance(3 * HEALTHY_SECONDS)
    assert loop.pauses[-1] == HEALTHY_SECONDS + FIRST_DELAY_SECONDS
    await supervisor.stop()


async def test_a_background_task_that_fails_is_logged_and_disturbs_nothing() -> None:
    clock = ManualClock()
    supervisor, loop = Supervisor(clock, lambda _: None), Loop(clock, ZeroDivisionError())
    with capture_logs() as logs:
        supervisor.spawn(loop.run())
        await settle()
    assert [entry["event"] for entry in logs] == ["background task failed"]
    assert len(loop.starts) == 1
    await supervisor.stop()


async def test_a_stop_ends_loops_and_tasks() -> None:
    clock = ManualClock()
    supervisor, loop, task = Supervisor(clock, lambda _: None), Loop(clock, None, 60), Loop(clock, None, 60)
    supervisor.run("heartbeat", loop.run)
    supervisor.spawn(task.run())
    await settle()
    async with asyncio.timeout(5):
        await supervisor.stop()
    await clock.advance(600)
    assert len(loop.starts) == len(task.starts) == 1
