"""The jobs of a match, their ids, and a schedule that never blocks."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from livescore import redis_clients
from livescore.jobs import schedule, transition_jobs
from livescore.jobs.attempts import LONGEST_PAUSE, Attempts
from livescore.jobs.schedule import Schedule
from livescore.jobs.transition_jobs import Plan, TransitionJob
from livescore.outages import OutageTracker
from livescore.settings import Settings, load
from tests.support.deployments import DEPLOYMENT
from tests.support.stopwatch import Stopwatch

START = datetime(2026, 6, 11, 19, 0, 0, 999_000, tzinfo=UTC)
END = START + timedelta(hours=2)


@pytest.fixture
def nowhere() -> Settings:
    """Settings with a Redis that does not exist."""
    return load(database_url="postgresql://nobody@/none", redis_url="unix:///nonexistent/redis.sock")


def names(status: str) -> list[str]:
    return [job.name for job in Plan(7, status, START, END).jobs()]


def test_scheduled_match_has_jobs_for_its_start_and_end() -> None:
    assert names("scheduled") == ["match-7-start", "match-7-end"]


def test_live_match_has_a_job_only_for_its_end() -> None:
    assert names("live") == ["match-7-end"]
    assert Plan(7, "live", START, END).unwanted() == {"match-7-start"}


@pytest.mark.parametrize("status", ["finished", "postponed", "cancelled"])
def test_match_not_driven_by_the_clock_has_no_job(status: str) -> None:
    assert names(status) == []
    assert Plan(7, status, START, END).unwanted() == {"match-7-start", "match-7-end"}


@pytest.mark.parametrize("edge", transition_jobs.EDGES)
def test_job_ids_use_characters_allowed_by_rq(edge: str) -> None:
    name = TransitionJob(2_147_483_647, edge, START).name
    assert re.fullmatch(r"[A-Za-z0-9_-]+", DEPLOYMENT.job_id(name))


def test_job_time_is_truncated_to_whole_seconds() -> None:
    assert TransitionJob(7, "start", START).score == int(START.timestamp()) <= START.timestamp()


async def test_planning_returns_at_once_while_redis_is_away(nowhere: Settings) -> None:
    planned = Schedule(nowhere, lambda: DEPLOYMENT)
    await planned.start()
    watch = Stopwatch()
    for match_id in range(100):
        planned.plan(match_id, "scheduled", START, END)
    assert watch.seconds() < 0.5
    await asyncio.sleep(0)
    await planned.stop()


async def test_failed_plan_is_dropped_and_the_next_one_is_tried(
    nowhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    twice = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail(_: Settings, **__: Any) -> None:
        tried.append(1)
        if len(tried) == 2:
            loop.call_soon_threadsafe(twice.set)
        raise ConnectionRefusedError

    monkeypatch.setattr(redis_clients, "rq_client", fail)
    planned = Schedule(nowhere, lambda: DEPLOYMENT)
    await planned.start()
    async with asyncio.timeout(30):
        while not twice.is_set():
            planned.plan(7, "scheduled", START, END)
            await asyncio.sleep(0.01)
    await planned.stop()


async def test_queued_plans_are_bounded_and_the_latest_per_match_wins(
    nowhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "CAPACITY", 2)
    planned = Schedule(nowhere, lambda: DEPLOYMENT)
    for match_id in (1, 2, 3):
        planned.plan(match_id, "scheduled", START, END)
    planned.plan(1, "cancelled", START, END)
    assert {plan.match_id: plan.status for plan in planned._pending.plans.values()} == {1: "cancelled", 2: "scheduled"}


async def test_schedule_can_be_stopped_without_a_start(nowhere: Settings) -> None:
    await Schedule(nowhere, lambda: DEPLOYMENT).stop()


def test_attempts_during_an_outage_are_spaced_out_up_to_a_bound_and_start_again() -> None:
    attempts = Attempts(OutageTracker("a server"))
    pauses = [attempts.failed(OSError()) for _ in range(6)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    attempts.succeeded()
    assert attempts.failed(OSError()) == pauses[0]
