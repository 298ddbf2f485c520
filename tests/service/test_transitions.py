"""Transitions on a real PostgreSQL and Valkey: exactly one event each, by jobs and by sweeps; the jobs in Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
import redis

from livescore import broker
from livescore.deployment import Origin
from livescore.jobs.context import JobContext
from livescore.jobs.enqueue import FAILED_SECONDS
from livescore.jobs.functions import FUNCTIONS
from livescore.jobs.publisher import Publisher
from livescore.jobs.queue import Job, warn_of_eviction
from livescore.jobs.schedule import Schedule
from livescore.jobs.scheduler import LOCK_SECONDS, Scheduler
from livescore.jobs.sweep import Sweeper
from livescore.jobs.transition_jobs import Plan, Query, TransitionJobs, reconcile
from livescore.jobs.transitions import PATH, Transitions, transition
from livescore.redis_clients import rq_client
from livescore.scores import feed
from livescore.scores.database import Parameters, Row
from livescore.scores.feed import Event
from livescore.settings import Settings, load
from tests.support.databases import opened
from tests.support.deployments import DEPLOYMENT, deployment_of, origin_of
from tests.support.jobs import (
    RECOVERY_SECONDS,
    Match,
    change_match,
    create_match,
    seqs,
    soon,
    transitions,
    wait_for_status,
)
from tests.support.servers import Valkey
from tests.support.service import Kind, Start, eventually

SWEEPERS = 8
MATCHES = 60

SOON_SECONDS = 1.5
"""Until the moment of a match whose job waits for it: less than the job waits, and enough for a busy machine."""


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return load(database_url=database_url, redis_url=redis_url)


@asynccontextmanager
async def moving(settings: Settings) -> AsyncIterator[Transitions]:
    """Transitions on connections of their own, without a publisher."""
    async with opened(settings.database_url.get_secret_value(), size=2, timeout=5) as database:
        made = Transitions(settings, database, lambda events, origin: None)
        yield made
        await made.close()


@pytest.fixture
async def moves(settings: Settings) -> AsyncIterator[Transitions]:
    async with moving(settings) as made:
        yield made


def context_of(transitions: Transitions) -> JobContext:
    """Return a context that offers transitions only."""
    return cast(JobContext, SimpleNamespace(transitions=transitions))


@pytest.fixture
def jobs(settings: Settings) -> TransitionJobs:
    return TransitionJobs(rq_client(settings), DEPLOYMENT)


@pytest.fixture
def query(database_url: str) -> Query:
    """Return the rows of a statement."""

    def rows(statement: str, parameters: Parameters) -> list[Row]:
        with closing(psycopg.connect(database_url)) as connection:
            return connection.execute(statement, dict(parameters)).fetchall()

    return rows


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


async def test_a_match_starts_and_then_ends(database_url: str, moves: Transitions) -> None:
    match = await scheduled(database_url, -1, 100)
    assert await moves.sweep() == 1
    move(database_url, match.id, -10, -1)
    assert await moves.sweep() == 1
    found = transitions(database_url, match.id)
    assert [(change.old, change.new) for change in found] == [("scheduled", "live"), ("live", "finished")]
    assert seqs(database_url, match.id) == [1, 2, 3]


async def test_match_past_its_start_and_end_finishes_in_one_step(database_url: str, moves: Transitions) -> None:
    match = await scheduled(database_url, -10, -5)
    assert await moves.sweep() == 1
    assert await moves.sweep() == 0
    assert [(change.old, change.new) for change in transitions(database_url, match.id)] == [("scheduled", "finished")]


async def test_nothing_happens_before_the_moment(database_url: str, moves: Transitions) -> None:
    match = await scheduled(database_url, 100, 200)
    assert await moves.sweep() == 0
    assert transitions(database_url, match.id) == []


@pytest.mark.parametrize("status", ["postponed", "cancelled", "finished"])
async def test_manually_set_status_is_kept(database_url: str, moves: Transitions, status: str) -> None:
    match = await create_match(database_url, 100, 200)
    await change_match(database_url, match.id, status=status)
    move(database_url, match.id, -10, -5)
    assert await moves.sweep() == 0
    assert [change.new for change in transitions(database_url, match.id)] == [status]


async def test_eight_concurrent_sweepers_create_one_event_per_transition(database_url: str, settings: Settings) -> None:
    matches = [await scheduled(database_url, -1, 100) for _ in range(MATCHES)]
    assert await sweep_together(settings) == MATCHES
    assert [len(transitions(database_url, match.id)) for match in matches] == [1] * MATCHES
    assert all(seqs(database_url, match.id) == [1, 2] for match in matches)


async def sweep_together(settings: Settings, *others: Awaitable[object]) -> int:
    """Let eight sweepers sweep at once while ``others`` happen. Returns the number of matches they moved."""
    async with AsyncExitStack() as stack:
        sweepers = [await stack.enter_async_context(moving(settings)) for _ in range(SWEEPERS)]

        async def sweep(moves: Transitions) -> int:
            return sum([await moves.sweep() for _ in range(5)])

        sweeps = asyncio.gather(*map(sweep, sweepers))
        await asyncio.gather(*others)
        return sum(await sweeps)


async def test_fault_5_status_check_and_update_do_not_race(database_url: str, settings: Settings) -> None:
    """Every match is cancelled by hand at the moment when eight sweepers try to start it."""
    matches = [await scheduled(database_url, -1, 100) for _ in range(20)]

    cancels = [change_match(database_url, match.id, status="cancelled") for match in matches[:10]]
    await sweep_together(settings, *cancels)
    for match in matches[:10]:
        found = [(change.old, change.new) for change in transitions(database_url, match.id)]
        assert found in ([("scheduled", "cancelled")], [("scheduled", "live"), ("live", "cancelled")])
    for match in matches:
        numbers = seqs(database_url, match.id)
        assert numbers == list(range(1, len(numbers) + 1))
    assert all(transitions(database_url, match.id)[-1].new == "live" for match in matches[10:])


async def test_locked_match_does_not_delay_others(database_url: str, moves: Transitions) -> None:
    locked, free = await scheduled(database_url, -1, 100), await scheduled(database_url, -1, 100)
    with closing(psycopg.connect(database_url)) as connection:
        connection.execute("SELECT 1 FROM match WHERE id = %s FOR UPDATE", [locked.id])
        assert await moves.sweep() == 1
        connection.rollback()  # closing releases the lock a little later
    assert await moves.sweep() == 1
    assert len(transitions(database_url, free.id)) == len(transitions(database_url, locked.id)) == 1


async def test_transition_is_published_to_its_match_and_to_all_matches(
    database_url: str, settings: Settings, redis_client: redis.Redis
) -> None:
    match = await scheduled(database_url, -1, 100)
    origin = origin_of(database_url)
    names = {origin.deployment.name(feed.channel(match.id)), origin.deployment.name(feed.EVERYTHING)}
    redis_broker, committed = broker.create(settings), list[tuple[list[Event], Origin]]()
    with redis_client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(*names)
        for _ in range(2):  # the acknowledgements
            pubsub.get_message(timeout=5)
        async with opened(database_url, size=1, timeout=5) as database:
            await Transitions(settings, database, lambda events, origin: committed.append((events, origin))).sweep()
        await Publisher(redis_broker).send(*committed[0])
        messages = [message for _ in range(50) if (message := pubsub.get_message(timeout=0.1))][:2]
    await redis_broker.close()
    assert {message["channel"].decode() for message in messages} == names
    stamp, event = feed.unpack(messages[0]["data"])
    assert (event.match_id, event.seq, event.type) == (match.id, 2, "match_status_changed")
    assert stamp == origin.stamp


async def test_fault_3_a_transition_needs_no_redis(database_url: str) -> None:
    match = await scheduled(database_url, -1, 100)
    settings = load(database_url=database_url, redis_url="unix:///nonexistent.sock")
    publisher = Publisher(broker.create(settings))
    async with opened(database_url, size=1, timeout=5) as database:
        assert await Transitions(settings, database, publisher.put).sweep() == 1
        async with asyncio.timeout(10):
            await publisher.send([], origin_of(database_url))
    assert transitions(database_url, match.id)[0].new == "live"


FAILING_WRITES = {
    "PostgreSQL denies the service's role a right: see the log": "REVOKE INSERT ON event FROM livescore",
    "PostgreSQL has no disk space left": """
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION fail()""",
    "PostgreSQL is read-only": """DO $$ BEGIN EXECUTE format(
        'ALTER ROLE livescore IN DATABASE %I SET default_transaction_read_only = on', current_database()); END $$""",
    "the database refuses queries: see the log": "ALTER TABLE match RENAME COLUMN pinned TO other",
}


@pytest.mark.parametrize(("reason", "fault"), FAILING_WRITES.items(), ids=range(len(FAILING_WRITES)))
async def test_readiness_gives_the_reason_for_failing_statements(
    database_url: str, settings: Settings, reason: str, fault: str
) -> None:
    await scheduled(database_url, -1, 100)
    run(fault, database_url)
    async with opened(database_url, size=1, timeout=1) as database:
        sweeper = Sweeper(settings, database, Transitions(settings, database, lambda events, origin: None))
        sweeping = asyncio.create_task(sweeper.run())
        try:
            await eventually(lambda: sweeper.objection() == reason)
        finally:
            sweeping.cancel()


# Jobs


async def test_a_job_moves_its_own_match_at_its_moment_and_no_other(database_url: str, moves: Transitions) -> None:
    match, other = await scheduled(database_url, SOON_SECONDS, 100), await scheduled(database_url, -1, 100)
    await transition(context_of(moves), match.id, match.start)
    assert transitions(database_url, match.id) == []  # it does not wait for the moment
    start = run(f"SELECT extract(epoch FROM start_time)::float8 FROM match WHERE id = {match.id}", database_url)[0][0]
    (change,) = await wait_for_status(database_url, match.id, "live")
    assert 0 <= change.at - start + 0.001 < RECOVERY_SECONDS
    assert transitions(database_url, other.id) == []


async def test_an_overdue_job_has_moved_its_match_when_it_ends(database_url: str, moves: Transitions) -> None:
    match = await scheduled(database_url, -1, 100)
    await transition(context_of(moves), match.id, match.start)
    assert [(change.old, change.new) for change in transitions(database_url, match.id)] == [("scheduled", "live")]


@pytest.mark.parametrize("change", ["postponed", "later", "unknown"])
async def test_outdated_job_does_nothing(database_url: str, moves: Transitions, change: str) -> None:
    match = await scheduled(database_url, 0.2, 100)
    moment = match.start
    if change == "postponed":
        await change_match(database_url, match.id, status="postponed")
    if change == "later":
        move(database_url, match.id, 50, 100)
    await transition(context_of(moves), 2_000_000_000 if change == "unknown" else match.id, moment)
    await asyncio.sleep(0.4)
    assert [event.new for event in transitions(database_url, match.id)] in ([], ["postponed"])


async def test_match_rescheduled_while_its_job_waits_is_not_changed(database_url: str, moves: Transitions) -> None:
    match = await scheduled(database_url, SOON_SECONDS, 100)
    await transition(context_of(moves), match.id, match.start)
    move(database_url, match.id, 50, 100)
    await asyncio.sleep(SOON_SECONDS + 0.2)
    assert transitions(database_url, match.id) == []


async def test_jobs_and_sweepers_at_once_make_exactly_one_event_of_each_transition(
    database_url: str, settings: Settings, moves: Transitions
) -> None:
    matches = [await scheduled(database_url, -1, 100) for _ in range(20)]
    jobs = [transition(context_of(moves), match.id, match.start) for match in matches for _ in range(3)]
    await sweep_together(settings, *jobs)
    assert [len(transitions(database_url, match.id)) for match in matches] == [1] * len(matches)
    assert all(seqs(database_url, match.id) == [1, 2] for match in matches)


async def test_a_job_waits_for_a_write_to_its_match(database_url: str, moves: Transitions) -> None:
    match = await scheduled(database_url, -1, 100)
    with closing(psycopg.connect(database_url)) as connection:
        connection.execute("UPDATE match SET home_team = 'Changed' WHERE id = %s", [match.id])
        moving_match = asyncio.create_task(moves.move(match.id))
        await eventually(lambda: run("SELECT 1 FROM pg_locks WHERE NOT granted", database_url) != [])
        assert not moving_match.done()
        connection.commit()
    assert await moving_match
    assert run(f"SELECT home_team, status FROM match WHERE id = {match.id}", database_url) == [("Changed", "live")]
    assert seqs(database_url, match.id) == [1, 2]


async def test_a_job_without_postgresql_is_left_to_the_sweep(redis_url: str) -> None:
    settings = load(database_url="postgresql://127.0.0.1:1/none", redis_url=redis_url)
    async with opened("postgresql://127.0.0.1:1/none", size=1, timeout=0.2) as database:
        moves = Transitions(settings, database, lambda events, origin: None)
        await transition(context_of(moves), 7, soon(0))


# Jobs in Redis


async def test_planned_jobs_are_scheduled_as_json(jobs: TransitionJobs, redis_client: redis.Redis) -> None:
    start, end = soon(100), soon(200)
    jobs.write([Plan(7, "scheduled", start, end)])
    assert jobs.known() == {"match-7-start": int(start.timestamp()), "match-7-end": int(end.timestamp())}
    job = Job.fetch(DEPLOYMENT.job_id("match-7-start"), connection=redis_client)
    assert job.call() == (PATH, FUNCTIONS[PATH], (7, start))
    assert (job.origin, job.result_ttl, job.failure_ttl) == (DEPLOYMENT.name("transitions"), 0, FAILED_SECONDS)
    assert redis_client.ttl(Job.key_for(DEPLOYMENT.job_id("match-7-start"))) == -1


async def test_changed_times_move_the_jobs_and_cancellation_removes_them(
    jobs: TransitionJobs, redis_client: redis.Redis
) -> None:
    jobs.write([Plan(7, "scheduled", soon(100), soon(200))])
    later = soon(500)
    jobs.write([Plan(7, "live", soon(-1), later)])
    assert jobs.known() == {"match-7-end": int(later.timestamp())}
    jobs.write([Plan(7, "cancelled", soon(-1), later)])
    assert jobs.known() == {}
    assert redis_client.keys("rq:job:*") == []


async def test_schedule_writes_planned_jobs(settings: Settings, jobs: TransitionJobs) -> None:
    schedule = Schedule(settings, lambda: DEPLOYMENT)
    await schedule.start()
    schedule.plan(7, "scheduled", soon(100), soon(200))
    await eventually(lambda: set(jobs.known()) == {"match-7-start", "match-7-end"})
    schedule.plan(7, "postponed", soon(100), soon(200))
    await eventually(lambda: not jobs.known())
    await schedule.stop()


async def test_reconciling_restores_lost_jobs_and_removes_stale_ones(
    database_url: str, jobs: TransitionJobs, query: Query
) -> None:
    match = await create_match(database_url, 100, 200)
    cancelled = await create_match(database_url, 100, 200)
    jobs.write([Plan(cancelled.id, "scheduled", cancelled.start, cancelled.end)])
    jobs.write([Plan(match.id, "scheduled", soon(50), match.end)])
    await change_match(database_url, cancelled.id, status="cancelled")
    assert reconcile(jobs, query) == 3
    start, end = int(match.start.timestamp()), int(match.end.timestamp())
    assert jobs.known() == {f"match-{match.id}-start": start, f"match-{match.id}-end": end}
    assert reconcile(jobs, query) == 0


async def test_reconciling_ignores_matches_beyond_the_next_day(
    database_url: str, jobs: TransitionJobs, query: Query
) -> None:
    far = await create_match(database_url, 200_000, 300_000)
    jobs.write([Plan(far.id, "scheduled", far.start, far.end)])
    assert reconcile(jobs, query) == 0
    assert len(jobs.known()) == 2


async def test_job_makes_the_transition_of_a_match_unknown_to_the_sweeps(start: Start, settings: Settings) -> None:
    """With one sweep a minute, only a job can start a match within its second."""
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
    # The first sweep comes after 60 s.
    assert 0 <= change.at - match.start.timestamp() + 0.001 < 20


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
    assert crashed.lock.acquire(blocking=False)
    assert 0 < redis_client.pttl(crashed.scheduler_lock_key) <= LOCK_SECONDS * 1000


def test_one_unreadable_job_does_not_stop_the_scheduler(
    settings: Settings, jobs: TransitionJobs, redis_client: redis.Redis
) -> None:
    jobs.write([Plan(7, "live", soon(-9), soon(-5))])
    redis_client.hset(Job.key_for(DEPLOYMENT.job_id("match-7-end")), "created_at", b"\xff not a time")
    Scheduler(rq_client(settings), settings, DEPLOYMENT).enqueue_due_jobs()
    assert jobs.known() == {}


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
