"""Transitions while worker, scheduler, Valkey and PostgreSQL are killed, stopped, flushed and frozen.

Each test asserts the guarantee: exactly one event per transition, within two seconds of the recovery.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

import httpx
import pytest
import redis

from livescore.deployment import Deployment
from livescore.jobs.schedule import Schedule
from livescore.jobs.transition_jobs import Plan, TransitionJobs
from livescore.redis_clients import rq_client
from livescore.settings import Settings, load
from tests.support.deployments import deployment_of
from tests.support.jobs import (
    RECOVERY_SECONDS,
    Match,
    Transition,
    change_match,
    create_match,
    seqs,
    soon,
    transitions,
    wait_for_status,
)
from tests.support.servers import OwnPostgres, Valkey
from tests.support.service import Kind, Service, Start, eventually
from tests.support.stopwatch import Stopwatch

KINDS: tuple[Kind, ...] = ("worker", "scheduler")

STOP_SECONDS = 2.0
"""Guarantee: SIGTERM ends a process within this time; the rest is tolerance for a busy machine."""
SLACK_SECONDS = 3.0


@dataclass
class Stack:
    """Servers to break, a worker and a scheduler, and functions that plan matches as the API does."""

    postgres: OwnPostgres
    valkey: Valkey
    worker: Service
    scheduler: Service
    schedule: Schedule
    settings: Settings
    deployment: Deployment

    async def plan(self, start: float, end: float) -> Match:
        """Create a match as the API does."""
        match = await create_match(self.postgres.url, start, end)
        self.schedule.plan(match.id, "scheduled" if start > 0 else "live", match.start, match.end)
        return match

    def jobs(self) -> dict[str, int]:
        """Return the scheduled jobs; none while Valkey is away."""
        try:
            return TransitionJobs(rq_client(self.settings), self.deployment).known()
        except (redis.RedisError, OSError):
            return {}

    async def has_job(self, match: Match) -> None:
        """Wait until the job for the match's end is scheduled."""
        await eventually(lambda: f"match-{match.id}-end" in self.jobs())


@pytest.fixture
async def stack(start: Start, own_postgres: OwnPostgres, own_valkey: Valkey) -> AsyncIterator[Stack]:
    """All processes and servers running, without matches."""
    worker, scheduler = [await start(kind, DATABASE_URL=own_postgres.url, REDIS_URL=own_valkey.url) for kind in KINDS]
    for service in (worker, scheduler):
        await service.logged("process started")
    settings = load(database_url=own_postgres.url, redis_url=own_valkey.url)
    deployment = deployment_of(own_postgres.url)
    schedule = Schedule(settings, lambda: deployment)
    await schedule.start()
    yield Stack(own_postgres, own_valkey, worker, scheduler, schedule, settings, deployment)
    await schedule.stop()


def lateness(change: Transition, moment: datetime) -> float:
    """Return the seconds from a moment to the commit of its transition."""
    return change.at - moment.timestamp()


def assert_transitions(stack: Stack, match: Match, *statuses: str) -> None:
    """Assert that exactly these transitions happened, each once, and that no seq is missing."""
    assert [change.new for change in transitions(stack.postgres.url, match.id)] == list(statuses)
    assert seqs(stack.postgres.url, match.id) == list(range(1, len(statuses) + 2))


async def wait_until(moment: datetime) -> None:
    """Sleep until a moment has passed; the tests cover moments that pass during an outage."""
    await asyncio.sleep(max(0.0, moment.timestamp() - time.time()) + 0.05)


async def test_fault_3_transition_happens_although_scheduling_failed(stack: Stack) -> None:
    await stack.valkey.stop()
    match = await stack.plan(0.5, 1.0)
    first, last = await wait_for_status(stack.postgres.url, match.id, "finished")
    assert lateness(first, match.start) < RECOVERY_SECONDS
    assert lateness(last, match.end) < RECOVERY_SECONDS
    assert_transitions(stack, match, "live", "finished")


async def test_fault_4_match_ends_after_downtime_of_all_workers(stack: Stack) -> None:
    match = await stack.plan(-1, 1.0)
    await asyncio.gather(stack.worker.kill(), stack.scheduler.kill())
    await wait_until(match.end)
    assert transitions(stack.postgres.url, match.id) == []
    recovered = time.time()
    await stack.worker.start()
    (change,) = await wait_for_status(stack.postgres.url, match.id, "finished")
    starting = 5.0  # seconds a process may need for its imports on a busy machine
    assert change.at - recovered < starting + RECOVERY_SECONDS
    assert_transitions(stack, match, "finished")


async def test_match_missed_entirely_finishes_in_one_step(stack: Stack) -> None:
    match = await stack.plan(0.8, 1.0)
    await asyncio.gather(stack.worker.kill(), stack.scheduler.kill())
    await wait_until(match.end)
    await stack.scheduler.start()
    await wait_for_status(stack.postgres.url, match.id, "finished")
    assert_transitions(stack, match, "finished")


@pytest.mark.parametrize("kind", KINDS)
async def test_transition_happens_when_one_process_is_killed(stack: Stack, kind: Kind) -> None:
    match = await stack.plan(1.0, 2.0)
    victim = stack.worker if kind == "worker" else stack.scheduler
    await victim.kill()
    await wait_until(match.start)
    await victim.start()
    first, last = await wait_for_status(stack.postgres.url, match.id, "finished")
    assert lateness(first, match.start) < RECOVERY_SECONDS
    assert lateness(last, match.end) < RECOVERY_SECONDS
    assert_transitions(stack, match, "live", "finished")


async def test_jobs_are_restored_after_redis_is_flushed(stack: Stack) -> None:
    soon_due, later = await stack.plan(1.0, 2.0), await stack.plan(100, 200)
    await stack.has_job(later)
    stack.valkey.flush()
    await stack.has_job(later)
    assert set(stack.jobs()) >= {f"match-{later.id}-start", f"match-{later.id}-end"}
    first, _ = await wait_for_status(stack.postgres.url, soon_due.id, "finished")
    assert lateness(first, soon_due.start) < RECOVERY_SECONDS
    assert_transitions(stack, soon_due, "live", "finished")


async def test_transition_happens_while_redis_is_killed(stack: Stack) -> None:
    match = await stack.plan(0.5, 2.0)
    await stack.valkey.kill()
    first = (await wait_for_status(stack.postgres.url, match.id, "live"))[0]
    assert lateness(first, match.start) < RECOVERY_SECONDS
    await stack.valkey.start()
    _, last = await wait_for_status(stack.postgres.url, match.id, "finished")
    assert lateness(last, match.end) < RECOVERY_SECONDS
    assert_transitions(stack, match, "live", "finished")


async def test_frozen_redis_does_not_delay_transitions(stack: Stack) -> None:
    matches = [await stack.plan(0.5 + number / 10, 1.5 + number / 10) for number in range(5)]
    stack.valkey.pause()
    for match in matches:
        first, last = await wait_for_status(stack.postgres.url, match.id, "finished")
        assert max(lateness(first, match.start), lateness(last, match.end)) < RECOVERY_SECONDS
    stack.valkey.resume()
    for match in matches:
        assert_transitions(stack, match, "live", "finished")


async def test_matches_created_during_a_redis_outage_get_jobs_afterwards(stack: Stack) -> None:
    await stack.valkey.stop()
    match = await stack.plan(100, 200)
    # A scheduler that has not noticed the outage would plan the missed jobs only with its next sweep, within a minute.
    await stack.scheduler.logged("server is away")
    await stack.valkey.start()
    await stack.has_job(match)


async def test_processes_reconnect_to_redis_after_an_outage(stack: Stack) -> None:
    await stack.valkey.stop()
    for service in (stack.worker, stack.scheduler):
        await service.logged("server is away")
    await stack.valkey.start()
    for service in (stack.worker, stack.scheduler):
        await service.logged("server is back")
    match = await stack.plan(0.5, 1.0)
    await wait_for_status(stack.postgres.url, match.id, "finished")
    await eventually(lambda: not stack.jobs())
    with rq_client(stack.settings) as client:
        await eventually(lambda: not client.keys("rq:job:*"))


@pytest.mark.parametrize("fault", ["restart", "kill"])
async def test_transition_happens_after_an_outage_of_postgresql(stack: Stack, fault: str) -> None:
    match = await stack.plan(0.5, 100)
    await (stack.postgres.kill() if fault == "kill" else stack.postgres.stop())
    await wait_until(match.start)
    await stack.postgres.start()
    recovered = time.time()
    (change,) = await wait_for_status(stack.postgres.url, match.id, "live")
    assert change.at - recovered < RECOVERY_SECONDS
    assert_transitions(stack, match, "live")


async def test_transition_happens_after_postgresql_was_frozen(stack: Stack) -> None:
    match = await stack.plan(0.5, 100)
    stack.postgres.pause()
    await wait_until(match.start)
    stack.postgres.resume()
    recovered = time.time()
    (change,) = await wait_for_status(stack.postgres.url, match.id, "live")
    assert change.at - recovered < RECOVERY_SECONDS
    assert_transitions(stack, match, "live")


async def test_changed_times_move_the_transition(stack: Stack) -> None:
    # Far enough ahead that a busy machine moves the start before it has come.
    match = await stack.plan(4.0, 100)
    start = soon(5.0)
    await change_match(stack.postgres.url, match.id, start_time=start)
    stack.schedule.plan(match.id, "scheduled", start, match.end)
    await eventually(lambda: stack.jobs().get(f"match-{match.id}-start") == int(start.timestamp()))
    (change,) = await wait_for_status(stack.postgres.url, match.id, "live")
    assert -0.001 < lateness(change, start) < RECOVERY_SECONDS


@pytest.mark.parametrize("status", ["cancelled", "postponed"])
async def test_match_that_is_called_off_never_starts(stack: Stack, status: str) -> None:
    # Far enough in the future that a busy machine changes the status before the start.
    match, other = await stack.plan(3.0, 3.5), await stack.plan(3.0, 3.6)
    await stack.has_job(match)
    await change_match(stack.postgres.url, match.id, status=status)
    stack.schedule.plan(match.id, status, match.start, match.end)
    await wait_for_status(stack.postgres.url, other.id, "finished")
    assert_transitions(stack, match, status)
    await eventually(lambda: not stack.jobs())


@pytest.mark.parametrize("fault", ["none", "redis", "frozen redis", "postgresql", "frozen postgresql"])
async def test_sigterm_ends_both_processes_promptly_during_an_outage(stack: Stack, fault: str) -> None:
    if fault == "redis":
        await stack.valkey.stop()
    if fault == "frozen redis":
        stack.valkey.pause()
    if fault == "postgresql":
        await stack.postgres.stop()
    if fault == "frozen postgresql":
        stack.postgres.pause()
    watch = Stopwatch()
    codes = await asyncio.gather(stack.worker.terminate(), stack.scheduler.terminate())
    took = watch.seconds()
    print(f"stopped after {took:.2f} s")
    assert took < STOP_SECONDS + SLACK_SECONDS
    assert list(codes) == [0, 0]


async def test_fault_8_worker_and_scheduler_warn_if_redis_may_evict_jobs(
    start: Start, own_postgres: OwnPostgres, own_valkey: Valkey
) -> None:
    with redis.Redis.from_url(own_valkey.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    for kind in KINDS:
        service = await start(kind, DATABASE_URL=own_postgres.url, REDIS_URL=own_valkey.url)
        await service.logged("set maxmemory-policy to noeviction")


@pytest.mark.parametrize("kind", KINDS)
async def test_probes_report_the_result_of_the_last_sweep(
    start: Start, own_postgres: OwnPostgres, own_valkey: Valkey, kind: Kind
) -> None:
    await own_postgres.stop()
    service = await start(kind, ready=False, DATABASE_URL=own_postgres.url, REDIS_URL=own_valkey.url)
    await service.logged("process started")
    async with httpx.AsyncClient(base_url=service.management_url, timeout=5) as http:
        assert (await http.get("/health/ready")).status_code == 503
        assert (await http.get("/health/live")).status_code == 200
        await own_postgres.start()
        async with asyncio.timeout(30):
            while (await http.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.05)
        metrics = (await http.get("/metrics")).text
        assert (await http.get("/unknown")).status_code == 404
    for name in ("livescore_transition_lateness_seconds", "livescore_transitions_total", "livescore_queue_depth"):
        assert name in metrics


async def test_next_scheduler_recovers_the_job_of_a_killed_one(stack: Stack) -> None:
    await stack.scheduler.kill()
    jobs = TransitionJobs(rq_client(stack.settings), stack.deployment)
    jobs.write([Plan(99, "live", soon(-9), soon(-5))])
    await stack.scheduler.start()
    await eventually(lambda: not jobs.known())
