"""Transitions on real PostgreSQL and Valkey: one event each, however many sweepers run, and hints reach the sweeper."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
import redis

from livescore.jobs.database import Database
from livescore.jobs.publish import Publisher
from livescore.jobs.queue import Job, warn_of_eviction
from livescore.jobs.schedule import LOCK_SECONDS, Hints, Plan, Schedule, Scheduler, reconcile
from livescore.jobs.sweep import Sweeper
from livescore.redis_clients import rq_client
from livescore.scores import feed
from livescore.settings import Settings, load
from tests.support.deployments import DEPLOYMENT, deployment_of, origin_of
from tests.support.jobs import Match, change_match, create_match, seqs, soon, transitions, wait_for_status
from tests.support.servers import Valkey
from tests.support.service import Kind, Start, eventually

SWEEPERS = 8
MATCHES = 60


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return load(database_url=database_url, redis_url=redis_url)


@pytest.fixture
def sweeper(settings: Settings) -> Iterator[Sweeper]:
    made = Sweeper(settings, Publisher(settings).send)
    yield made
    made.close()


@pytest.fixture
def hints(settings: Settings) -> Hints:
    return Hints(rq_client(settings), settings, DEPLOYMENT)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    made = Database(settings)
    yield made
    made.close()


def move(database_url: str, match_id: int, start: float, end: float) -> None:
    """Set a match's times to ``start`` and ``end`` seconds from now without changing its status."""
    statement = "UPDATE match SET start_time = %s, end_time = %s WHERE id = %s"
    with closing(psycopg.connect(database_url, autocommit=True)) as connection:
        connection.execute(statement, [soon(start), soon(end), match_id])


def run(sql: str, database_url: str) -> list[tuple[Any, ...]]:
    with closing(psycopg.connect(database_url, autocommit=True)) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


async def scheduled(database_url: str, start: float, end: float) -> Match:
    """Create a match that is still scheduled although its times may have passed."""
    match = await create_match(database_url, 100, 200)
    move(database_url, match.id, start, end)
    return match


async def test_a_match_starts_and_then_ends(database_url: str, sweeper: Sweeper) -> None:
    match = await scheduled(database_url, -1, 100)
    assert sweeper.sweep() == 1
    move(database_url, match.id, -10, -1)
    assert sweeper.sweep() == 1
    found = transitions(database_url, match.id)
    assert [(change.old, change.new) for change in found] == [("scheduled", "live"), ("live", "finished")]
    assert seqs(database_url, match.id) == [1, 2, 3]


async def test_match_past_its_start_and_end_finishes_in_one_step(database_url: str, sweeper: Sweeper) -> None:
    match = await scheduled(database_url, -10, -5)
    assert sweeper.sweep() == 1
    assert sweeper.sweep() == 0
    assert [(change.old, change.new) for change in transitions(database_url, match.id)] == [("scheduled", "finished")]


async def test_nothing_happens_before_the_moment(database_url: str, sweeper: Sweeper) -> None:
    match = await scheduled(database_url, 100, 200)
    assert sweeper.sweep() == 0
    assert transitions(database_url, match.id) == []


@pytest.mark.parametrize("status", ["postponed", "cancelled", "finished"])
async def test_manually_set_status_is_kept(database_url: str, sweeper: Sweeper, status: str) -> None:
    match = await create_match(database_url, 100, 200)
    await change_match(database_url, match.id, status=status)
    move(database_url, match.id, -10, -5)
    assert sweeper.sweep() == 0
    assert [change.new for change in transitions(database_url, match.id)] == [status]


async def test_eight_concurrent_sweepers_create_one_event_per_transition(database_url: str, settings: Settings) -> None:
    matches = [await scheduled(database_url, -1, 100) for _ in range(MATCHES)]
    assert sum(sweep_together(settings)) == MATCHES
    assert [len(transitions(database_url, match.id)) for match in matches] == [1] * MATCHES
    assert all(seqs(database_url, match.id) == [1, 2] for match in matches)


def sweep_together(settings: Settings, beside: Callable[[], None] | None = None) -> list[int]:
    """Run the sweepers at the same time, together with ``beside``, and return the number of transitions of each."""
    barrier, moved = threading.Barrier(SWEEPERS + (beside is not None)), [0] * SWEEPERS

    def sweep(place: int) -> None:
        with closing(Sweeper(settings, Publisher(settings).send)) as sweeper:
            barrier.wait(10)
            for _ in range(5):
                moved[place] += sweeper.sweep()

    threads = [threading.Thread(target=sweep, args=(place,)) for place in range(SWEEPERS)]
    for thread in threads:
        thread.start()
    if beside is not None:
        barrier.wait(10)
        beside()
    for thread in threads:
        thread.join(30)
    return moved


async def test_fault_5_status_check_and_update_do_not_race(database_url: str, settings: Settings) -> None:
    """Every match is cancelled by hand at the moment when eight sweepers try to start it."""
    matches = [await scheduled(database_url, -1, 100) for _ in range(20)]

    def cancel_all() -> None:
        async def cancel() -> None:
            await asyncio.gather(*(change_match(database_url, match.id, status="cancelled") for match in matches[:10]))

        asyncio.run(cancel())

    await asyncio.to_thread(sweep_together, settings, cancel_all)
    for match in matches[:10]:
        found = [(change.old, change.new) for change in transitions(database_url, match.id)]
        assert found in ([("scheduled", "cancelled")], [("scheduled", "live"), ("live", "cancelled")])
    for match in matches:
        numbers = seqs(database_url, match.id)
        assert numbers == list(range(1, len(numbers) + 1))
    assert all(transitions(database_url, match.id)[-1].new == "live" for match in matches[10:])


async def test_locked_match_does_not_delay_others(database_url: str, sweeper: Sweeper) -> None:
    locked, free = await scheduled(database_url, -1, 100), await scheduled(database_url, -1, 100)
    with closing(psycopg.connect(database_url)) as connection:
        connection.execute("SELECT 1 FROM match WHERE id = %s FOR UPDATE", [locked.id])
        assert sweeper.sweep() == 1
        connection.rollback()  # closing the connection would release the lock with a delay
    assert sweeper.sweep() == 1
    assert len(transitions(database_url, free.id)) == len(transitions(database_url, locked.id)) == 1


async def test_transition_is_published_to_its_match_and_to_all_matches(
    database_url: str, sweeper: Sweeper, redis_client: redis.Redis
) -> None:
    match = await scheduled(database_url, -1, 100)
    origin = origin_of(database_url)
    names = {origin.deployment.name(feed.channel(match.id)), origin.deployment.name(feed.EVERYTHING)}
    with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(*names)
        for _ in range(2):  # the acknowledgements
            pubsub.get_message(timeout=5)
        sweeper.sweep()
        messages = [message for _ in range(50) if (message := pubsub.get_message(timeout=0.1))][:2]
    assert {message["channel"].decode() for message in messages} == names
    stamp, event = feed.unpack(messages[0]["data"])
    assert (event.match_id, event.seq, event.type) == (match.id, 2, "match_status_changed")
    assert stamp == origin.stamp


async def test_fault_3_a_transition_needs_no_redis(database_url: str) -> None:
    match = await scheduled(database_url, -1, 100)
    settings = load(database_url=database_url, redis_url="unix:///nonexistent.sock")
    with closing(Sweeper(settings, Publisher(settings).send)) as sweeper:
        assert sweeper.sweep() == 1
    assert transitions(database_url, match.id)[0].new == "live"


def test_old_idempotency_keys_and_events_are_deleted(database_url: str, redis_url: str) -> None:
    settings = load(database_url=database_url, redis_url=redis_url, event_retention_days=1, idempotency_ttl_hours=1)
    run(
        """INSERT INTO idempotency_key (scope, key, fingerprint, status, body, created_at)
        SELECT 's', n::text, '', 201, '', now() - make_interval(hours => n % 3) FROM generate_series(0, 2) n""",
        database_url,
    )
    match = asyncio.run(create_match(database_url, -200, -100))
    run(f"UPDATE match SET updated_at = now() - interval '2 days' WHERE id = {match.id}", database_url)
    with closing(Sweeper(settings, Publisher(settings).send)) as sweeper:
        while sweeper._keep_house():
            pass
    assert run("SELECT key FROM idempotency_key", database_url) == [("0",)]
    assert run("SELECT pruned_seq, seq FROM match", database_url) == [(1, 1)]
    assert seqs(database_url, match.id) == []


# Hints


async def test_planned_jobs_are_scheduled_as_json(hints: Hints, redis_client: redis.Redis) -> None:
    start, end = soon(100), soon(200)
    hints.write(Plan(7, "scheduled", start, end))
    assert hints.known() == {"match-7-start": int(start.timestamp()), "match-7-end": int(end.timestamp())}
    job = Job.fetch(DEPLOYMENT.job_id("match-7-start"), connection=redis_client)
    assert job.args == [7, start.isoformat()]
    assert (job.origin, job.result_ttl, job.failure_ttl) == (DEPLOYMENT.namespace, 0, 60)
    assert redis_client.ttl(Job.key_for(DEPLOYMENT.job_id("match-7-start"))) == -1


async def test_changed_times_move_the_jobs_and_cancellation_removes_them(
    hints: Hints, redis_client: redis.Redis
) -> None:
    hints.write(Plan(7, "scheduled", soon(100), soon(200)))
    later = soon(500)
    hints.write(Plan(7, "live", soon(-1), later))
    assert hints.known() == {"match-7-end": int(later.timestamp())}
    hints.write(Plan(7, "cancelled", soon(-1), later))
    assert hints.known() == {}
    assert redis_client.keys("rq:job:*") == []


async def test_schedule_writes_planned_jobs(settings: Settings, hints: Hints) -> None:
    schedule = Schedule(settings, lambda: DEPLOYMENT)
    await schedule.start()
    schedule.plan(7, "scheduled", soon(100), soon(200))
    await eventually(lambda: set(hints.known()) == {"match-7-start", "match-7-end"})
    schedule.plan(7, "postponed", soon(100), soon(200))
    await eventually(lambda: not hints.known())
    await schedule.stop()


async def test_reconciling_restores_lost_hints_and_removes_stale_ones(
    database_url: str, hints: Hints, database: Database
) -> None:
    match = await create_match(database_url, 100, 200)
    cancelled = await create_match(database_url, 100, 200)
    hints.write(Plan(cancelled.id, "scheduled", cancelled.start, cancelled.end))
    hints.write(Plan(match.id, "scheduled", soon(50), match.end))
    await change_match(database_url, cancelled.id, status="cancelled")
    assert reconcile(hints, database) == 3
    start, end = int(match.start.timestamp()), int(match.end.timestamp())
    assert hints.known() == {f"match-{match.id}-start": start, f"match-{match.id}-end": end}
    assert reconcile(hints, database) == 0


async def test_reconciling_ignores_matches_beyond_the_next_day(
    database_url: str, hints: Hints, database: Database
) -> None:
    far = await create_match(database_url, 200_000, 300_000)
    hints.write(Plan(far.id, "scheduled", far.start, far.end))
    assert reconcile(hints, database) == 0
    assert len(hints.known()) == 2


async def test_job_wakes_the_sweeper_of_the_worker(start: Start, settings: Settings) -> None:
    """Sweeps run once a minute, so only a hint can start a match within the second."""
    kinds: tuple[Kind, ...] = ("worker", "scheduler")
    for service in [await start(kind, SWEEP_INTERVAL_SECONDS="60") for kind in kinds]:
        await service.logged("process started")
    url = settings.database_url.get_secret_value()
    deployment = deployment_of(url)
    schedule = Schedule(settings, lambda: deployment)
    await schedule.start()
    match = await create_match(url, 0.5, 100)
    schedule.plan(match.id, "scheduled", match.start, match.end)
    (change,) = await wait_for_status(url, match.id, "live")
    await schedule.stop()
    assert 0 <= change.at - match.start.timestamp() + 0.001 < 2


async def test_transitions_are_on_time(start: Start, settings: Settings) -> None:
    services = [await start("worker"), await start("scheduler")]
    for service in services:
        await service.logged("process started")
    url = settings.database_url.get_secret_value()
    matches = [await create_match(url, 1 + number / 20, 2 + number / 20) for number in range(20)]
    lateness: list[float] = []
    for match in matches:
        first, last = await wait_for_status(url, match.id, "finished")
        lateness += [first.at - match.start.timestamp(), last.at - match.end.timestamp()]
    assert len(lateness) == 40
    assert min(lateness) > -0.001
    assert sorted(lateness)[20] < 0.3


def test_lock_of_a_crashed_scheduler_expires_within_a_second(settings: Settings, redis_client: redis.Redis) -> None:
    connection = rq_client(settings)
    crashed = Scheduler(connection, settings, DEPLOYMENT)
    assert crashed._lock.acquire(blocking=False)
    assert 0 < redis_client.pttl(crashed.scheduler_lock_key) <= LOCK_SECONDS * 1000


def test_one_unreadable_job_does_not_stop_the_scheduler(
    settings: Settings, hints: Hints, redis_client: redis.Redis
) -> None:
    hints.schedule(Plan(7, "live", soon(-9), soon(-5)).hints()[0])
    redis_client.hset(Job.key_for(DEPLOYMENT.job_id("match-7-end")), "created_at", b"\xff not a time")
    Scheduler(rq_client(settings), settings, DEPLOYMENT)._enqueue_due()
    assert hints.known() == {}


# Fault 8


def test_fault_8_eviction_policy_of_redis_is_warned_about(
    own_valkey: Valkey, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with redis.Redis.from_url(own_valkey.url) as client:
        warn_of_eviction(client)
        assert "noeviction" not in said(caplog, capsys)
        client.config_set("maxmemory-policy", "allkeys-lru")
        warn_of_eviction(client)
        assert "set maxmemory-policy to noeviction" in said(caplog, capsys)


def test_fault_8_redis_that_forbids_config_is_accepted(own_valkey: Valkey) -> None:
    with redis.Redis.from_url(own_valkey.url) as admin:
        admin.execute_command("ACL SETUSER hosted on nopass ~* &* +@all -config")
    with redis.Redis.from_url(own_valkey.url, username="hosted", password="any") as client:
        warn_of_eviction(client)


def said(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> str:
    """Return everything that was logged, through any handler of this process."""
    return caplog.text + capsys.readouterr().out
