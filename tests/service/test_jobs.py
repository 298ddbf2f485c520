"""Jobs of any function: ids, repetition, retries, killed and stopped workers, and the sweep that finds missing jobs."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis
from pydantic import TypeAdapter
from rq import Queue
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from livescore import outages
from livescore.jobs import functions, queues
from livescore.jobs import queue as rq_adapter
from livescore.jobs.backlog import JobList, queue_states
from livescore.jobs.context import JobCall, JobContext
from livescore.jobs.due import DueJobs
from livescore.jobs.enqueue import FAILED_PAUSE_SECONDS, FAILED_SECONDS, Enqueuer
from livescore.jobs.functions import JobFunction
from livescore.jobs.queue import MOST_KILLS, RETRY_SECONDS, Worker
from livescore.jobs.runner import HandedBack, Runner
from livescore.jobs.schedule import Schedule
from livescore.jobs.scheduler import Scheduler
from livescore.redis_clients import rq_client
from livescore.settings import Settings, load
from tests.support.deployments import DEPLOYMENT
from tests.support.service import eventually

NAME = "test.work"

WAIT_SECONDS = 20.0
"""Timeout for what takes milliseconds, on a busy machine."""

QUEUE = DEPLOYMENT.name("webhooks")

Run = Callable[[str, JobFunction, tuple[Any, ...]], None]


async def work(context: JobContext, number: int) -> None:
    """Be the job function of these tests; they replace its execution."""


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare a job function for the queue of webhooks."""
    function = JobFunction(work, TypeAdapter(tuple[int]), queues.WEBHOOKS, seconds=30.0)
    monkeypatch.setattr(functions, "FUNCTIONS", {**functions.FUNCTIONS, NAME: function})


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return load(database_url="postgresql://localhost/none", redis_url=redis_url)


@pytest.fixture
def enqueuer(settings: Settings) -> Enqueuer:
    return Enqueuer(rq_client(settings), DEPLOYMENT)


@pytest.fixture
def rq_queue(redis_client: redis.Redis) -> Queue:
    """The queue as RQ's tools and dashboards open it, apart from the serializer, which they can be told."""
    return Queue(QUEUE, connection=redis_client, serializer=JSONSerializer)


def call(number: int = 7, after: float | None = None) -> JobCall:
    """Return a call of the id ``work-<number>``, now or in ``after`` seconds."""
    at = None if after is None else datetime.now(UTC) + timedelta(seconds=after)
    return JobCall(NAME, (number,), f"work-{number}", at)


def job_id(number: int = 7) -> str:
    return DEPLOYMENT.job_id(f"work-{number}")


def open_worker(settings: Settings, run: Run, limit: int = 1) -> Worker:
    worker = Worker(rq_client(settings, wait=1), DEPLOYMENT, queues.WEBHOOKS, limit, run)
    worker.register_birth()  # type: ignore[no-untyped-call]  # RQ has no annotation for it
    return worker


def ignore(_name: str, _function: JobFunction, _arguments: tuple[Any, ...]) -> None:
    """Do nothing for a job."""


def fail(_name: str, _function: JobFunction, _arguments: tuple[Any, ...]) -> None:
    raise RuntimeError("the receiver has gone")


def planned_in(enqueuer: Enqueuer, number: int = 7) -> float:
    """Return the seconds until a planned job is due."""
    return enqueuer.planned(queues.WEBHOOKS)[f"work-{number}"] - time.time()


# One id


def test_job_that_waits_is_not_added_again(enqueuer: Enqueuer, rq_queue: Queue) -> None:
    enqueuer.enqueue([call(), call(), call(8)])
    enqueuer.enqueue([call()])
    assert rq_queue.job_ids == [job_id(), job_id(8)]


def test_job_that_is_enqueued_while_it_runs_runs_once_more(
    settings: Settings, enqueuer: Enqueuer, rq_queue: Queue
) -> None:
    runs: list[tuple[Any, ...]] = []

    def run(_name: str, _function: JobFunction, arguments: tuple[Any, ...]) -> None:
        runs.append(arguments)
        if len(runs) == 1:
            enqueuer.enqueue([call(), call()])
            assert rq_queue.job_ids == []

    worker = open_worker(settings, run)
    enqueuer.enqueue([call()])
    worker.run_next()
    assert rq_queue.job_ids == [job_id()]
    worker.run_next()
    assert runs == [(7,), (7,)]
    assert rq_queue.job_ids == []


def test_job_may_plan_its_own_next_run(settings: Settings, enqueuer: Enqueuer, rq_queue: Queue) -> None:
    worker = open_worker(settings, lambda *_: enqueuer.enqueue([call(after=100), call(after=50)]))
    enqueuer.enqueue([call()])
    worker.run_next()
    assert rq_queue.job_ids == []
    assert 40 < planned_in(enqueuer) < 51


def test_earlier_moment_of_a_planned_job_counts(enqueuer: Enqueuer, rq_queue: Queue) -> None:
    enqueuer.enqueue([call(after=100)])
    enqueuer.enqueue([call(after=50)])
    enqueuer.enqueue([call(after=200)])
    assert 40 < planned_in(enqueuer) < 51
    enqueuer.enqueue([call()])
    assert enqueuer.planned(queues.WEBHOOKS) == {}
    assert rq_queue.job_ids == [job_id()]


def test_moved_job_follows_the_new_moment(enqueuer: Enqueuer, rq_queue: Queue) -> None:
    enqueuer.enqueue([call()])
    enqueuer.enqueue([call(after=200)], "moved")
    assert rq_queue.job_ids == []
    assert planned_in(enqueuer) > 190


def test_due_job_goes_to_its_own_queue(settings: Settings, enqueuer: Enqueuer, rq_queue: Queue) -> None:
    enqueuer.enqueue([call(after=-1), call(8, after=100)])
    Scheduler(rq_client(settings), settings, DEPLOYMENT).enqueue_due_jobs()
    assert rq_queue.job_ids == [job_id()]
    assert list(enqueuer.planned(queues.WEBHOOKS)) == ["work-8"]


@pytest.mark.parametrize("wrong", [JobCall("unknown", (), "a"), JobCall(NAME, ("seven",), "b"), JobCall(NAME, (), "c")])
def test_call_that_fits_no_function_is_dropped(wrong: JobCall, enqueuer: Enqueuer, rq_queue: Queue) -> None:
    enqueuer.enqueue([wrong, call()])
    assert rq_queue.job_ids == [job_id()]


async def test_schedule_enqueues_without_waiting(settings: Settings, rq_queue: Queue) -> None:
    schedule = Schedule(settings, lambda: DEPLOYMENT)
    await schedule.start()
    schedule.enqueue(NAME, 7, id="work-7", at=datetime.now(UTC) + timedelta(seconds=100))
    schedule.enqueue(NAME, 7, id="work-7")
    schedule.enqueue(NAME, 7, id="work-7", at=datetime.now(UTC) + timedelta(seconds=100))
    schedule.enqueue_missing(call(8))
    await eventually(lambda: set(rq_queue.job_ids) == {job_id(), job_id(8)})
    await schedule.stop()


# Failures


def test_job_that_raises_is_repeated_and_then_kept_with_its_error(
    settings: Settings, enqueuer: Enqueuer, rq_queue: Queue, redis_client: redis.Redis
) -> None:
    worker, scheduler = open_worker(settings, fail), Scheduler(rq_client(settings), settings, DEPLOYMENT)
    enqueuer.enqueue([call()])
    for seconds in RETRY_SECONDS:
        worker.run_next()
        assert seconds - 1 < planned_in(enqueuer) <= seconds
        redis_client.zadd(rq_queue.scheduled_job_registry.key, {job_id(): 1})
        scheduler.enqueue_due_jobs()
    worker.run_next()
    assert enqueuer.planned(queues.WEBHOOKS) == {}
    assert rq_queue.failed_job_registry.get_job_ids() == [job_id()]
    assert FAILED_SECONDS - 60 < redis_client.ttl(RqJob.key_for(job_id())) <= FAILED_SECONDS
    (job,) = JobList(redis_client, DEPLOYMENT).jobs(10)
    assert (job.queue, job.id, job.state, job.call) == ("webhooks", "work-7", "failed", "test.work(7)")
    assert job.error == "RuntimeError: the receiver has gone"


def failed_job(settings: Settings, enqueuer: Enqueuer, redis_client: redis.Redis) -> None:
    """Let the job fail for good."""
    enqueuer.enqueue([call()])
    redis_client.hset(RqJob.key_for(job_id()), "number_of_retries", len(RETRY_SECONDS))
    open_worker(settings, fail).run_next()


def test_failed_job_is_retried_by_hand(
    settings: Settings, enqueuer: Enqueuer, rq_queue: Queue, redis_client: redis.Redis
) -> None:
    failed_job(settings, enqueuer, redis_client)
    jobs = JobList(redis_client, DEPLOYMENT)
    assert jobs.failed_ids() == ["work-7"]
    assert jobs.retry("work-8") == "there is no failed job of this id"
    assert jobs.retry("work-7") is None
    assert jobs.failed_ids() == []
    assert rq_queue.job_ids == [job_id()]
    open_worker(settings, ignore).run_next()
    assert redis_client.keys("rq:job:*") == []


def test_missing_job_is_enqueued_and_a_present_one_is_left_alone(
    enqueuer: Enqueuer, rq_queue: Queue, redis_client: redis.Redis
) -> None:
    enqueuer.enqueue([call(after=100)])
    enqueuer.enqueue([call(), call(8)], "missing")
    assert rq_queue.job_ids == [job_id(8)]
    assert planned_in(enqueuer) > 90
    redis_client.zadd(rq_queue.scheduled_job_registry.key, {job_id(): time.time() - 60})  # there is no scheduler
    enqueuer.enqueue([call()], "missing")
    assert rq_queue.job_ids == [job_id(8), job_id()]


def test_missing_job_that_failed_is_tried_again_after_a_pause(
    settings: Settings, enqueuer: Enqueuer, rq_queue: Queue, redis_client: redis.Redis
) -> None:
    failed_job(settings, enqueuer, redis_client)
    enqueuer.enqueue([call()], "missing")
    assert rq_queue.job_ids == []
    redis_client.zincrby(rq_queue.failed_job_registry.key, -FAILED_PAUSE_SECONDS - 1, job_id())
    enqueuer.enqueue([call()], "missing")
    assert rq_queue.job_ids == [job_id()]
    assert rq_queue.failed_job_registry.get_job_ids() == []


# Killed and stopped workers


class Killed(BaseException):
    """The process ends here: nothing after it happens."""


def kill(_name: str, _function: JobFunction, _arguments: tuple[Any, ...]) -> None:
    raise Killed


def run_and_die(settings: Settings, redis_client: redis.Redis) -> None:
    """Let a worker start the job and vanish, and let the time pass after which it counts as dead."""
    with pytest.raises(Killed):
        open_worker(settings, kill).run_next()
    registry = f"rq:wip:{QUEUE}"
    entries: Any = redis_client.zrange(registry, 0, -1)
    redis_client.zadd(registry, dict.fromkeys(entries, 1))


def test_job_of_a_killed_worker_is_taken_by_another_one(
    settings: Settings, enqueuer: Enqueuer, rq_queue: Queue, redis_client: redis.Redis
) -> None:
    enqueuer.enqueue([call()])
    run_and_die(settings, redis_client)
    worker = open_worker(settings, ignore)
    worker.maintain()
    assert rq_queue.job_ids == [job_id()]
    worker.run_next()
    assert redis_client.keys("rq:job:*") == []


def test_job_that_kills_its_workers_fails(
    settings: Settings, enqueuer: Enqueuer, rq_queue: Queue, redis_client: redis.Redis
) -> None:
    enqueuer.enqueue([call()])
    for _ in range(MOST_KILLS + 1):
        run_and_die(settings, redis_client)
        open_worker(settings, ignore).maintain()
    assert rq_queue.job_ids == []
    (job,) = JobList(redis_client, DEPLOYMENT).jobs(10)
    assert job.state == "failed"
    assert "workers were killed" in job.error


def test_job_that_was_fetched_but_never_started_returns_to_the_queue(
    settings: Settings, enqueuer: Enqueuer, rq_queue: Queue, redis_client: redis.Redis
) -> None:
    enqueuer.enqueue([call()])
    redis_client.lmove(rq_queue.key, rq_queue.intermediate_queue_key)
    enqueuer.enqueue([call()])
    worker = open_worker(settings, ignore)
    worker.maintain()
    assert rq_queue.job_ids == []  # it may just have been fetched
    worker.maintain()
    assert rq_queue.job_ids == [job_id()]


def test_running_job_with_signs_of_life_is_left_alone(
    settings: Settings, enqueuer: Enqueuer, rq_queue: Queue, redis_client: redis.Redis
) -> None:
    enqueuer.enqueue([call()])
    runs: list[int] = []

    def run(_name: str, _function: JobFunction, _arguments: tuple[Any, ...]) -> None:
        runs.append(1)
        entries: Any = redis_client.zrange(f"rq:wip:{QUEUE}", 0, -1)
        redis_client.zadd(f"rq:wip:{QUEUE}", dict.fromkeys(entries, 1))
        worker.maintain()
        open_worker(settings, ignore).maintain()
        assert rq_queue.job_ids == []

    worker = open_worker(settings, run)
    worker.run_next()
    assert runs == [1]
    assert redis_client.keys("rq:job:*") == []


def test_job_that_cannot_end_returns_to_the_head_of_its_queue(
    settings: Settings, enqueuer: Enqueuer, rq_queue: Queue, redis_client: redis.Redis
) -> None:
    def stop(_name: str, _function: JobFunction, _arguments: tuple[Any, ...]) -> None:
        raise HandedBack

    enqueuer.enqueue([call(), call(8)])
    open_worker(settings, stop).run_next()
    assert rq_queue.job_ids == [job_id(), job_id(8)]
    assert redis_client.zcard(f"rq:wip:{QUEUE}") == 0


@dataclass
class Serving:
    """A worker that serves in a thread; its jobs wait until they are released."""

    started: list[int] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, name: str, function: JobFunction, arguments: tuple[Any, ...]) -> None:
        self.started.append(arguments[0])
        assert self.released.wait(WAIT_SECONDS)


@contextmanager
def serving(settings: Settings, limit: int) -> Iterator[Serving]:
    state = Serving()
    worker = Worker(rq_client(settings, wait=1), DEPLOYMENT, queues.WEBHOOKS, limit, state.run)
    thread = threading.Thread(target=worker.serve, args=(state.stop, lambda: None))
    thread.start()
    try:
        yield state
    finally:
        state.stop.set()
        state.released.set()
        thread.join(WAIT_SECONDS)
    assert not thread.is_alive()


async def test_worker_runs_several_jobs_at_once_up_to_its_limit(
    settings: Settings, enqueuer: Enqueuer, rq_queue: Queue, redis_client: redis.Redis
) -> None:
    with serving(settings, limit=3) as state:
        enqueuer.enqueue([call(number) for number in range(5)])
        await eventually(lambda: len(state.started) == 3)
        (queued,) = [one for one in queue_states(redis_client, DEPLOYMENT) if one.name == "webhooks"]
        assert queued.depth == 2
        state.released.set()
        await eventually(lambda: sorted(state.started) == [0, 1, 2, 3, 4])
    assert rq_queue.job_ids == []
    assert redis_client.keys("rq:job:*") == []


async def test_stopped_worker_waits_for_its_running_job(settings: Settings, enqueuer: Enqueuer) -> None:
    with serving(settings, limit=1) as state:
        enqueuer.enqueue([call(), call(8)])
        await eventually(lambda: state.started)
        state.stop.set()
        state.released.set()
    assert state.started == [7]


async def test_flushed_redis_does_not_stop_a_worker(
    settings: Settings, enqueuer: Enqueuer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rq_adapter, "HEARTBEAT_SECONDS", 0.1)
    with serving(settings, limit=2) as state:
        enqueuer.enqueue([call()])
        await eventually(lambda: state.started)
        redis_client.flushall()
        enqueuer.enqueue([call(8)])
        await eventually(lambda: state.started == [7, 8])
        await eventually(lambda: Queue.all(connection=redis_client) and redis_client.smembers("rq:workers"))


# The event loop


def context(schedule: Schedule | None = None, settings: Settings | None = None) -> JobContext:
    return cast(JobContext, SimpleNamespace(schedule=schedule, settings=settings))


def job_function(function: Callable[..., Any], seconds: float = 30.0) -> JobFunction:
    return JobFunction(function, TypeAdapter(tuple[()]), queues.WEBHOOKS, seconds)


@pytest.fixture
async def runner() -> AsyncIterator[Runner]:
    made = Runner(context())
    yield made
    await made.drain(0)


async def test_job_that_ends_within_the_grace_time_is_done(runner: Runner) -> None:
    async def take_a_moment(_: JobContext) -> None:
        await asyncio.sleep(0.1)

    running = asyncio.create_task(asyncio.to_thread(runner.run, NAME, job_function(take_a_moment), ()))
    await eventually(lambda: runner.running)
    await runner.drain(WAIT_SECONDS)
    await running


async def test_job_that_does_not_end_within_the_grace_time_is_handed_back(runner: Runner) -> None:
    async def hang(_: JobContext) -> None:
        await asyncio.sleep(WAIT_SECONDS)

    running = asyncio.create_task(asyncio.to_thread(runner.run, NAME, job_function(hang), ()))
    await eventually(lambda: runner.running)
    await runner.drain(0.05)
    with pytest.raises(HandedBack):
        await running
    with pytest.raises(HandedBack):
        await asyncio.to_thread(runner.run, NAME, job_function(hang), ())


async def test_job_fails_at_its_time_limit(runner: Runner) -> None:
    async def hang(_: JobContext) -> None:
        await asyncio.sleep(WAIT_SECONDS)

    with pytest.raises(TimeoutError):
        await asyncio.to_thread(runner.run, NAME, job_function(hang, seconds=0.05), ())


async def test_cancelled_task_within_a_job_is_a_failure(runner: Runner) -> None:
    async def cancel(_: JobContext) -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError):
        await asyncio.to_thread(runner.run, NAME, job_function(cancel), ())


# The sweep


async def test_due_jobs_are_enqueued_if_they_are_missing(settings: Settings, rq_queue: Queue) -> None:
    outages.REDIS.answered(time.monotonic())
    schedule = Schedule(settings, lambda: DEPLOYMENT)
    await schedule.start()

    async def due(_: JobContext) -> list[JobCall]:
        return [call(), call(8)]

    jobs = DueJobs(context(schedule, settings), has_queues=True, runner=None)
    for _ in range(2):
        await jobs.turn(due)
    await eventually(lambda: set(rq_queue.job_ids) == {job_id(), job_id(8)})
    await schedule.stop()


async def test_worker_runs_due_jobs_itself_while_redis_cannot_hold_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    release = asyncio.Event()

    async def record(_: JobContext, number: int) -> None:
        ran.append(number)
        await release.wait()

    function = JobFunction(record, TypeAdapter(tuple[int]), queues.STANDINGS)
    monkeypatch.setattr(functions, "FUNCTIONS", {NAME: function})

    async def due(_: JobContext) -> list[JobCall]:
        return [call(number) for number in (1, 2, 3) if number not in ran or not release.is_set()]

    runner = Runner(context())
    jobs = DueJobs(context(settings=settings), has_queues=False, runner=runner)
    for _ in range(3):  # neither twice nor more than the limit of the queue
        await jobs.turn(due)
        await asyncio.sleep(0.01)
    assert ran == [1, 2]
    release.set()
    await eventually(lambda: runner.running == 0)
    await jobs.turn(due)
    await eventually(lambda: 3 in ran)
    await runner.drain(0)


# What people see


def test_rq_tools_find_queued_and_planned_jobs(enqueuer: Enqueuer, redis_client: redis.Redis) -> None:
    """These are the queries of `rq info` and of rq-dashboard."""
    enqueuer.register_queues()
    names = {found.name for found in Queue.all(connection=redis_client)}
    assert names == {DEPLOYMENT.name(known.name) for known in queues.QUEUES}
    enqueuer.enqueue([call(), call(8, after=100)])
    found = Queue(QUEUE, connection=redis_client)
    assert found.count == 1
    registry = found.scheduled_job_registry
    assert registry.get_job_ids() == [job_id(8)]
    assert 90 < (registry.get_scheduled_time(job_id(8)) - datetime.now(UTC)).total_seconds() <= 100
    (job,) = RqJob.fetch_many([job_id(8)], connection=redis_client, serializer=JSONSerializer)
    assert job is not None
    assert (job.description, job.get_status(), job.origin) == ("test.work(8)", "scheduled", QUEUE)


def test_list_shows_jobs_of_every_state(settings: Settings, enqueuer: Enqueuer, redis_client: redis.Redis) -> None:
    shown: list[tuple[str, str]] = []

    def look(_name: str, _function: JobFunction, _arguments: tuple[Any, ...]) -> None:
        shown.extend((job.id, job.state) for job in JobList(redis_client, DEPLOYMENT).jobs(10))

    enqueuer.enqueue([call(), call(8), call(9, after=100)])
    open_worker(settings, look).run_next()
    assert shown == [("work-8", "queued"), ("work-7", "running"), ("work-9", "planned")]


def test_age_is_that_of_the_oldest_waiting_job(enqueuer: Enqueuer, redis_client: redis.Redis) -> None:
    enqueuer.enqueue([call(), call(8), call(9, after=100)])
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    redis_client.hset(RqJob.key_for(job_id()), "enqueued_at", hour_ago)
    states = {state.name: state for state in queue_states(redis_client, DEPLOYMENT)}
    assert states["webhooks"].depth == 2
    assert 3590 < states["webhooks"].oldest_age_seconds < 3700
    assert (states["imports"].depth, states["imports"].oldest_age_seconds) == (0, 0.0)
    redis_client.delete(RqJob.key_for(job_id()), RqJob.key_for(job_id(8)))  # their data has expired
    assert queue_states(redis_client, DEPLOYMENT)[1].oldest_age_seconds == 86_400


def test_list_survives_planted_entries(redis_client: redis.Redis) -> None:
    redis_client.rpush(f"rq:queue:{QUEUE}", b"\xff\x1b[31m", "missing")
    redis_client.hset("rq:job:missing", mapping={"description": "[red]\x1b[2J", "exc_info": b"\xff" * 10})
    redis_client.set(f"rq:failed:{QUEUE}", "text")
    jobs = list(JobList(redis_client, DEPLOYMENT).jobs(10))
    assert [job.call for job in jobs] == ["?", "[red]?[2J"]
    assert all(job.id.isprintable() for job in jobs)
    queue_states(redis_client, DEPLOYMENT)
