"""The work queue: events of one object are merged, objects are never processed concurrently, failures back off."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from livescore_operator import queue as module
from livescore_operator.errors import NotLeading, Terminal, Transient
from livescore_operator.queue import FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS, Key, Queue, Reconcile
from livescore_operator.telemetry import metrics

DEMO, OTHER, ELSEWHERE = ("sport", "demo"), ("sport", "other"), ("news", "demo")

MERGE = 0.01
"""Merge window in seconds that replaces the production value, to keep the tests short."""

QUIET = 0.05
"""Time in seconds after which nothing more is expected."""

LATER = 30.0
"""A delay in seconds that no test waits for."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Queue.add, "__defaults__", (MERGE,))


async def always() -> None:
    """Permit work."""


@asynccontextmanager
async def run_workers(
    queue: Queue, reconcile: Reconcile, count: int = 2, allowed: Callable[[], Awaitable[None]] = always
) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(queue.work(reconcile, allowed)) for _ in range(count)]
    try:
        yield
        assert not any(task.done() for task in tasks), "a worker never ends"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Work:
    """A reconcile that records its calls and continues only while the gate is open."""

    def __init__(self, *results: float | Exception | None) -> None:
        self.done: list[Key] = []
        self.begun: list[Key] = []
        self.running: list[Key] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._results = list(results)

    async def __call__(self, key: Key) -> float | None:
        assert key not in self.running, "never twice at once"
        self.begun.append(key)
        self.running.append(key)
        try:
            await self.gate.wait()
        finally:
            self.running.remove(key)
        self.done.append(key)
        result = self._results.pop(0) if self._results else None
        if isinstance(result, Exception):
            raise result
        return result


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


# Causes


async def test_simultaneous_events_are_merged() -> None:
    queue, work = Queue(), Work()
    async with run_workers(queue, work):
        for _ in range(100):
            queue.add(DEMO)
        queue.add(OTHER)
        await until(lambda: len(work.done) == 2)
        await asyncio.sleep(QUIET)

    assert sorted(work.done) == [DEMO, OTHER]


async def test_events_while_waiting_for_a_worker_are_merged() -> None:
    queue, work = Queue(), Work()
    work.gate.clear()
    async with run_workers(queue, work, count=1):
        queue.add(OTHER)
        await until(lambda: work.running)
        for _ in range(5):
            queue.add(DEMO)
            await asyncio.sleep(MERGE * 1.5)
        assert metrics.QUEUED._value.get() == 1
        work.gate.set()
        await until(lambda: DEMO in work.done)
        await asyncio.sleep(QUIET)

    assert work.done == [OTHER, DEMO]
    assert metrics.QUEUED._value.get() == 0


async def test_events_during_processing_cause_one_more_round() -> None:
    queue, work = Queue(), Work()
    work.gate.clear()
    async with run_workers(queue, work):
        queue.add(DEMO)
        await until(lambda: work.running)
        for _ in range(5):
            queue.add(DEMO)
            await asyncio.sleep(MERGE * 1.5)
        assert work.begun == [DEMO], "never two at once, even with idle workers"
        work.gate.set()
        await until(lambda: len(work.done) == 2)
        await asyncio.sleep(QUIET)

    assert work.done == [DEMO, DEMO]


async def test_objects_are_processed_in_parallel() -> None:
    queue, work = Queue(), Work()
    work.gate.clear()
    async with run_workers(queue, work, count=2):
        for key in (DEMO, OTHER, ELSEWHERE):
            queue.add(key)
        await until(lambda: len(work.running) == 2)
        await asyncio.sleep(QUIET)
        assert len(work.begun) == 2, "as many as there are workers"
        work.gate.set()
        await until(lambda: len(work.done) == 3)


KEYS = st.sampled_from([DEMO, OTHER, ELSEWHERE])


@settings(max_examples=20)
@given(st.lists(st.tuples(KEYS, st.integers(0, 3)), max_size=12), st.lists(st.sampled_from([None, "fail"]), max_size=6))
def test_no_event_is_lost(causes: list[tuple[Key, int]], results: list[str | None]) -> None:
    """For any timing, every object was processed after its last event, and never concurrently."""

    async def scenario() -> None:
        work = Work(*(Terminal("X", "x") if result else None for result in results))
        queue, caused = RecordingQueue(), dict.fromkeys((key for key, _ in causes), 0)
        async with run_workers(queue, work):
            for key, pause in causes:
                caused[key] = len(work.begun)
                queue.add(key, 0)
                for _ in range(pause):
                    await asyncio.sleep(0)
            await until(lambda: all(key in work.begun[seen:] for key, seen in caused.items()))
            await until(lambda: not work.running)

    asyncio.run(scenario())


class RecordingQueue(Queue):
    """Records requested delays instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []

    def add(self, key: Key, after: float = MERGE) -> None:
        self.delays.append(after)
        super().add(key, 0)


# Timing


async def test_earliest_time_wins() -> None:
    queue, work = Queue(), Work()
    async with run_workers(queue, work):
        queue.add(DEMO, LATER)
        queue.add(DEMO)
        queue.add(DEMO, LATER)
        await until(lambda: work.done)
        await asyncio.sleep(QUIET)

    assert work.done == [DEMO]
    assert queue._due == {}


async def test_replaced_later_time_does_not_trigger() -> None:
    queue, work = Queue(), Work()
    async with run_workers(queue, work):
        queue.add(DEMO, QUIET / 2)
        queue.add(DEMO, 0)
        await until(lambda: work.done)
        await asyncio.sleep(QUIET * 2)

    assert work.done == [DEMO]


async def test_requested_requeue_happens() -> None:
    queue, work = Queue(), Work(0.02)
    started = time.monotonic()
    async with run_workers(queue, work):
        queue.add(DEMO, 0)
        await until(lambda: len(work.done) == 2)
        assert time.monotonic() - started >= 0.02
        await asyncio.sleep(QUIET)

    assert work.done == [DEMO, DEMO], "once more, and then only after an event"


async def test_event_takes_precedence_over_a_planned_requeue() -> None:
    queue, work = Queue(), Work(LATER)
    async with run_workers(queue, work):
        queue.add(DEMO, 0)
        await until(lambda: work.done)
        queue.add(DEMO)
        await until(lambda: len(work.done) == 2)


async def test_all_known_objects_can_be_requeued() -> None:
    queue, work = Queue(), Work()
    async with run_workers(queue, work):
        for key in (DEMO, OTHER, ELSEWHERE):
            queue.add(key)
        await until(lambda: len(work.done) == 3)
        queue.add_namespace("sport")
        await until(lambda: len(work.done) == 5)
        assert sorted(work.done[3:]) == [DEMO, OTHER]
        queue.add_all()
        await until(lambda: len(work.done) == 8)
        await asyncio.sleep(QUIET)

    assert sorted(work.done[5:]) == sorted([DEMO, OTHER, ELSEWHERE])


async def test_deleted_object_is_not_requeued() -> None:
    queue, work = Queue(), Work(0.0, 0.0)
    queue.add(DEMO)
    queue.add(OTHER, LATER)
    queue.forget(DEMO)
    async with run_workers(queue, work):
        await until(lambda: work.done)
        queue.add_all()
        queue.add_namespace("sport")
        await until(lambda: OTHER in work.done)
        await asyncio.sleep(QUIET)

    assert work.done.count(DEMO) == 1, "although another round was requested"
    assert queue.known == {OTHER}


# Failures

FAILURES = 12
"""Enough to reach the maximum delay, which comes after nine."""


async def failing(error: type[Exception], times: int) -> list[float]:
    """Return the delays after this many failures of one object."""
    queue, work = RecordingQueue(), Work(*(error("Bad", "a fault") for _ in range(times)))
    async with run_workers(queue, work):
        queue.add(DEMO)
        await until(lambda: len(work.done) == times + 1)
    return queue.delays[1:]


@pytest.mark.parametrize("error", [Transient, Terminal, ZeroDivisionError])
async def test_failures_back_off_up_to_a_bound(error: type[Exception]) -> None:
    delays = await failing(error, FAILURES)

    bounds = [min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0**number) for number in range(FAILURES)]
    assert len(delays) == FAILURES
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    assert len(set(delays)) == FAILURES, "jittered, so that simultaneous failures are not retried simultaneously"


async def test_success_resets_the_backoff() -> None:
    error = Transient("Http500", "no")
    queue, work = RecordingQueue(), Work(error, error, error, None, error)
    async with run_workers(queue, work):
        queue.add(DEMO)
        await until(lambda: len(work.done) == 4)
        queue.add(DEMO)
        await until(lambda: len(work.done) == 6)

    assert queue.delays[-1] <= FIRST_RETRY_SECONDS


async def test_failures_of_one_object_delay_no_other() -> None:
    queue, work = RecordingQueue(), Work(*[Transient("Http500", "no")] * 5)
    async with run_workers(queue, work, count=1):
        queue.add(DEMO)
        await until(lambda: len(work.done) == 6)
        work._results = [Transient("Http500", "no")]
        queue.add(OTHER)
        await until(lambda: work.done.count(OTHER) == 2)

    assert queue.delays[-1] <= FIRST_RETRY_SECONDS


async def test_event_is_processed_before_the_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_SECONDS", LATER)
    queue, work = Queue(), Work(Transient("Http500", "no"))
    async with run_workers(queue, work):
        queue.add(DEMO)
        await until(lambda: work.done)
        queue.add(DEMO)
        await until(lambda: len(work.done) == 2)


async def test_work_continues_when_leadership_returns() -> None:
    """No other process has led meanwhile, so the work is still to be done."""
    queue, leading, done = RecordingQueue(), asyncio.Event(), list[Key]()
    leading.set()

    async def allowed() -> None:
        await leading.wait()

    async def lost_at_first(key: Key) -> None:
        done.append(key)
        if len(done) == 1:
            leading.clear()
            raise NotLeading

    async with run_workers(queue, lost_at_first, allowed=allowed):
        queue.add(DEMO)
        await until(lambda: done)
        await asyncio.sleep(QUIET)
        assert done == [DEMO]
        leading.set()
        await until(lambda: len(done) == 2)


async def test_no_work_starts_before_it_is_permitted() -> None:
    queue, work, leading = Queue(), Work(), asyncio.Event()

    async def allowed() -> None:
        await leading.wait()

    async with run_workers(queue, work, allowed=allowed):
        queue.add(DEMO)
        await asyncio.sleep(QUIET)
        assert work.begun == []
        leading.set()
        await until(lambda: work.done)


# Liveness


async def test_overlong_work_counts_as_stuck() -> None:
    queue, work = Queue(), Work()
    work.gate.clear()
    async with run_workers(queue, work):
        assert queue.stuck(0) == []
        queue.add(DEMO)
        await until(lambda: work.running)
        await asyncio.sleep(0.02)
        assert queue.stuck(0.01) == ["sport/demo"]
        assert queue.stuck(LATER) == []
        work.gate.set()
        await until(lambda: work.done)
        await until(lambda: not queue.stuck(0))


async def test_cancelled_worker_leaves_nothing_behind() -> None:
    queue, work = Queue(), Work()
    work.gate.clear()
    async with run_workers(queue, work):
        queue.add(DEMO)
        await until(lambda: work.running)

    assert queue.stuck(0) == []


async def test_log_lines_name_the_object() -> None:
    names: list[dict[str, Any]] = []

    async def reconcile(_: Key) -> None:
        names.append(structlog.contextvars.get_contextvars())

    queue = Queue()
    async with run_workers(queue, reconcile):
        queue.add(DEMO, 0)
        await until(lambda: names)

    assert names == [{"namespace": "sport", "name": "demo"}]
