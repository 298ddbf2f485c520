"""The parts of deliveries on a real database: refused events, leases, restores, and endpoints that fail for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from livescore.jobs.webhooks import outcomes
from livescore.jobs.webhooks.deliveries import Deliveries
from livescore.jobs.webhooks.dispatcher import ADVISORY_LOCK, Dispatcher
from livescore.jobs.webhooks.sender import Sender
from livescore.scores import webhook_statements as sql
from livescore.scores.database import Database, fetch
from livescore.scores.store import Store
from livescore.scores.webhooks import Webhook, WebhookStore
from livescore.security.destinations import Destinations
from livescore.security.signatures import generate_secret
from tests.support.databases import opened
from tests.support.receivers import Receiver, Reply

TIMEOUT_SECONDS = 5.0
RETRY_HOURS = 72.0


@dataclass
class Workers:
    """A database, a receiver, and workers that deliver only when a test says so."""

    database: Database
    receiver: Receiver
    open: list[tuple[Deliveries, Sender]] = field(default_factory=list)

    @property
    def webhooks(self) -> WebhookStore:
        return WebhookStore(self.database)

    async def create_webhook(self, path: str = "/", **fields: Any) -> Webhook:
        values = {"event_types": None, "competition": None, "match_id": None, "description": "", "enabled": True}
        return await self.webhooks.create({"url": self.receiver.url(path), **values, **fields}, generate_secret())

    async def create_match(self) -> int:
        now = datetime.now(UTC).replace(microsecond=0)
        times = {"start": now - timedelta(hours=1), "end": now + timedelta(hours=1)}
        teams = {"sport": "football", "home_team": "Home", "away_team": "Away", "home_score": 0, "away_score": 0}
        return (await Store(self.database).create_match({**teams, **times}, "test")).events[0].match_id

    async def comment(self, match_id: int, count: int = 1) -> None:
        plain = {"minute": 1, "sequence": 0, "period": 1, "event_type": "commentary", "message": "a chance"}
        absent = dict.fromkeys(("actor", "team", "metadata", "tags", "side", "period_code", "stoppage"))
        for _ in range(count):
            await Store(self.database).create_commentary(match_id, {**plain, **absent}, "test")

    def worker(self) -> Deliveries:
        """Return a worker of its own."""
        sender = Sender(Destinations([ip_network("127.0.0.0/8")]), TIMEOUT_SECONDS)
        worker = Deliveries(
            self.database, sender, timeout=TIMEOUT_SECONDS, retry_hours=RETRY_HOURS, on_free=lambda: None
        )
        self.open.append((worker, sender))
        return worker

    async def dispatch(self) -> int:
        return await Dispatcher(self.database).dispatch()

    async def deliver(self, worker: Deliveries) -> None:
        """Dispatch, and deliver everything that is due now, including retries."""
        await self.dispatch()
        while await worker.claim():
            while worker.in_flight:
                await asyncio.sleep(0.01)

    async def make_due(self) -> None:
        await self.database.execute("UPDATE webhook_cursor SET next_attempt_at = now()")

    async def cursor(self) -> tuple[int, int, int, int, bool]:
        """Return seq, target, attempts and fence of the only cursor, and True if it is leased."""
        rows = await self.database.rows(
            "SELECT seq, target, attempts, fence, coalesce(lease_until > now(), false) FROM webhook_cursor"
        )
        ((seq, target, attempts, fence, leased),) = rows
        return seq, target, attempts, fence, leased


@asynccontextmanager
async def _workers(database_url: str) -> AsyncIterator[Workers]:
    async with opened(database_url, size=8, timeout=10) as database, Receiver() as receiver:
        workers = Workers(database, receiver)
        yield workers
        for worker, sender in workers.open:
            await worker.drain(0)
            await sender.close()


@pytest.fixture
async def workers(database_url: str) -> AsyncIterator[Workers]:
    async with _workers(database_url) as made:
        yield made


async def test_refused_event_is_recorded_as_failed_and_its_match_goes_on(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "REFUSAL_ATTEMPTS", 3)
    webhook = await workers.create_webhook()
    workers.receiver.behave("/", lambda request, _: Reply(422 if request.event["seq"] == 2 else 204))
    match_id = await workers.create_match()
    await workers.comment(match_id, 2)
    worker = workers.worker()
    for _ in range(3):
        await workers.deliver(worker)
        await workers.make_due()
    assert workers.receiver.all_seqs("/", match_id) == [1, 3]
    log = await workers.webhooks.attempts(webhook.id, 100, 2**53, None)
    assert [(entry.seq, entry.attempt, entry.outcome) for entry in reversed(log)] == [
        (1, 1, "delivered"),
        (2, 1, "retrying"),
        (2, 2, "retrying"),
        (2, 3, "failed"),
        (3, 1, "delivered"),
    ]


async def test_endpoint_that_fails_for_days_is_disabled_and_keeps_its_cursor(workers: Workers) -> None:
    webhook = await workers.create_webhook()
    workers.receiver.behave("/", lambda request, _: Reply(500))
    match_id = await workers.create_match()
    worker = workers.worker()
    await workers.deliver(worker)
    await workers.database.execute(
        "UPDATE webhook SET failing_since = now() - interval '73 hours', last_failure_at = now() - interval '5 hours'"
    )
    await workers.make_due()
    await workers.deliver(worker)
    disabled = await workers.webhooks.read(webhook.id)
    assert (disabled.enabled, disabled.disabled_reason) == (False, "no delivery succeeded for 3.0 days")
    await workers.comment(match_id)
    await workers.make_due()
    await workers.deliver(worker)
    assert len(workers.receiver.requests["/"]) == 2
    workers.receiver.heal("/")
    await workers.webhooks.change(webhook.id, {"enabled": True})
    await workers.deliver(worker)
    assert workers.receiver.all_seqs("/", match_id) == [1, 2]


async def test_event_that_alone_fails_for_days_is_recorded_as_failed(workers: Workers) -> None:
    webhook = await workers.create_webhook()
    broken = await workers.create_match()
    workers.receiver.behave("/", lambda request, _: Reply(500 if request.event["matchId"] == broken else 204))
    worker = workers.worker()
    await workers.deliver(worker)
    await workers.create_match()
    await workers.deliver(worker)
    await workers.database.execute(
        f"UPDATE webhook_cursor SET first_failed_at = now() - interval '73 hours' WHERE match_id = {broken}"
    )
    await workers.make_due()
    await workers.deliver(worker)
    (failed,) = await workers.webhooks.attempts(webhook.id, 100, 2**53, "failed")
    assert (failed.match_id, failed.seq) == (broken, 1)
    assert (await workers.webhooks.read(webhook.id)).enabled


async def test_retry_after_pauses_all_matches_of_the_endpoint(workers: Workers) -> None:
    webhook = await workers.create_webhook()
    workers.receiver.behave("/", lambda request, _: Reply(429, {"Retry-After": "600"}))
    worker = workers.worker()
    await workers.create_match()
    await workers.deliver(worker)
    await workers.create_match()
    await workers.make_due()
    await workers.deliver(worker)
    assert len(workers.receiver.requests["/"]) == 1
    paused_until = (await workers.webhooks.read(webhook.id)).paused_until
    assert paused_until is not None
    assert timedelta(seconds=500) < paused_until - datetime.now(UTC) < timedelta(seconds=601)


async def test_holder_of_an_ended_lease_changes_nothing(workers: Workers) -> None:
    await workers.create_webhook()
    release = asyncio.Event()

    async def wait_once(_: Any, number: int) -> Reply:
        if number == 1:
            await release.wait()
        return Reply()

    workers.receiver.behave("/", wait_once)
    match_id = await workers.create_match()
    await workers.comment(match_id, 2)
    await workers.dispatch()
    stalled, second = workers.worker(), workers.worker()
    await stalled.claim()
    await workers.receiver.is_asked("/", 1)
    assert await second.claim() == 0  # one request in flight per webhook and match
    await workers.database.execute("UPDATE webhook_cursor SET lease_until = now()")  # as if the first had stalled
    await workers.deliver(second)
    release.set()
    while stalled.in_flight:
        await asyncio.sleep(0.01)
    assert workers.receiver.all_seqs("/", match_id) == [1, 2, 3, 1]  # the first request is answered last
    seq, target, attempts, fence, leased = await workers.cursor()
    assert (seq, target, attempts, leased) == (3, 3, 0, False)
    assert fence >= 2


async def test_stopped_worker_hands_back_its_leases(workers: Workers) -> None:
    await workers.create_webhook()
    workers.receiver.behave("/", lambda request, _: Reply(delay=10))
    await workers.create_match()
    await workers.dispatch()
    worker = workers.worker()
    assert await worker.claim() == 1
    await workers.receiver.is_asked("/", 1)
    await worker.drain(0.1)
    assert (await workers.cursor())[4] is False
    workers.receiver.heal("/")
    await workers.deliver(workers.worker())
    await workers.receiver.receives("/", 1)


async def test_redelivery_during_a_delivery_is_not_lost(workers: Workers) -> None:
    webhook = await workers.create_webhook()
    match_id = await workers.create_match()
    await workers.comment(match_id, 2)
    worker = workers.worker()
    await workers.deliver(worker)
    await workers.comment(match_id)
    workers.receiver.behave("/", lambda request, _: Reply(delay=0.3))
    await workers.dispatch()
    await worker.claim()
    await workers.receiver.is_asked("/", 4)
    await workers.webhooks.redeliver(webhook.id, datetime.now(UTC) - timedelta(hours=1), None)
    workers.receiver.heal("/")
    while worker.in_flight:
        await asyncio.sleep(0.01)
    await workers.deliver(worker)
    assert workers.receiver.all_seqs("/", match_id) == [1, 2, 3, 4, 1, 2, 3, 4]


async def test_restored_database_neither_loses_nor_repeats_events(workers: Workers) -> None:
    """Transaction ids of another cluster mean nothing: the events around the last dispatch are compared instead."""
    await workers.create_webhook()
    match_id = await workers.create_match()
    worker = workers.worker()
    await workers.deliver(worker)
    await workers.comment(match_id)
    later = await workers.create_match()
    # As in a dump that is loaded into another cluster, with a horizon that would show all events.
    await workers.database.execute("UPDATE webhook_dispatch SET cluster = 'other', horizon = '900000000:900000000:'")
    await workers.database.execute("UPDATE catalog SET cluster = 'other'")
    await workers.deliver(worker)
    await workers.comment(match_id)
    await workers.deliver(worker)
    assert workers.receiver.all_seqs("/", match_id) == [1, 2, 3]
    assert workers.receiver.all_seqs("/", later) == [1]


async def test_late_commit_is_not_skipped(workers: Workers) -> None:
    """The transaction of an event may end after those of later ones."""
    await workers.create_webhook()
    first, second = await workers.create_match(), await workers.create_match()
    worker = workers.worker()
    await workers.deliver(worker)
    committed = asyncio.Event()
    started = asyncio.Event()

    async def write_slowly(connection: Any) -> None:
        async with connection.transaction():
            await connection.execute(f"UPDATE match SET seq = seq + 1 WHERE id = {first}")
            await connection.execute(
                "INSERT INTO event (match_id, seq, type, data, created_at) "
                f"VALUES ({first}, 2, 'match_updated', '{{}}', now())"
            )
            started.set()
            await committed.wait()

    slow = asyncio.create_task(workers.database.use(write_slowly))
    await started.wait()
    await workers.comment(second)
    await workers.deliver(worker)
    assert workers.receiver.all_seqs("/", first) == [1]
    assert workers.receiver.all_seqs("/", second) == [1, 2]
    committed.set()
    await slow
    await workers.deliver(worker)
    assert workers.receiver.all_seqs("/", first) == [1, 2]


async def test_only_one_process_dispatches_at_a_time(workers: Workers) -> None:
    await workers.create_webhook()
    await workers.dispatch()
    await workers.create_match()

    async def while_locked(connection: Any) -> int:
        async with connection.transaction():
            await fetch(connection, "SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": ADVISORY_LOCK})
            return await workers.dispatch()

    assert await workers.database.use(while_locked) == 0
    assert await workers.dispatch() == 1


async def test_wider_filter_does_not_deliver_older_events(workers: Workers) -> None:
    webhook = await workers.create_webhook(event_types=["match_created"])
    match_id = await workers.create_match()
    worker = workers.worker()
    await workers.deliver(worker)
    await workers.comment(match_id, 2)
    await workers.deliver(worker)
    await workers.webhooks.change(webhook.id, {"event_types": None})
    await workers.comment(match_id)
    await workers.deliver(worker)
    assert workers.receiver.all_seqs("/", match_id) == [1, 4]


async def test_horizon_is_forgotten_without_webhooks(workers: Workers) -> None:
    webhook = await workers.create_webhook()
    await workers.dispatch()
    await workers.webhooks.delete(webhook.id)
    await workers.dispatch()
    assert await workers.database.rows("SELECT horizon FROM webhook_dispatch") == [(None,)]


async def test_retry_that_is_far_away_comes_soon_when_its_match_is_live(workers: Workers) -> None:
    await workers.create_webhook()
    match_id = await workers.create_match()
    await workers.dispatch()
    await workers.database.execute("UPDATE webhook_cursor SET next_attempt_at = now() + interval '5 hours'")
    await workers.comment(match_id)
    await workers.dispatch()
    ((seconds,),) = await workers.database.rows(
        "SELECT extract(epoch FROM next_attempt_at - now())::float8 FROM webhook_cursor"
    )
    assert 0 < seconds <= 60


async def test_oldest_undelivered_event_has_its_age(workers: Workers) -> None:
    await workers.create_webhook()
    assert await workers.database.rows(sql.OLDEST_UNDELIVERED) == [(None,)]
    await workers.create_match()
    await workers.dispatch()
    ((seconds,),) = await workers.database.rows(sql.OLDEST_UNDELIVERED)
    assert 0 <= seconds < 60
