"""Deletion of old rows, as a job of the worker."""

from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import psycopg
import pytest

from livescore.jobs import retention
from livescore.jobs.context import JobContext
from livescore.settings import Settings, load
from tests.support.databases import opened
from tests.support.jobs import create_match, seqs
from tests.support.service import Start, eventually


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return load(database_url=database_url, redis_url=redis_url, event_retention_days=1, idempotency_ttl_hours=1)


@pytest.fixture
async def context(settings: Settings) -> AsyncIterator[JobContext]:
    async with opened(settings.database_url.get_secret_value(), size=1, timeout=5) as database:
        yield cast(JobContext, SimpleNamespace(settings=settings, database=database, schedule=Mock()))


def run(sql: str, database_url: str) -> list[tuple[Any, ...]]:
    with closing(psycopg.connect(database_url, autocommit=True)) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


OLD_KEYS = """
INSERT INTO idempotency_key (scope, key, fingerprint, status, body, created_at)
SELECT 's', n::text, '', 201, '', now() - make_interval(hours => n) FROM generate_series(0, 2) n
"""


async def test_old_idempotency_keys_and_events_are_deleted(
    database_url: str, context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EXPIRE_BATCH", 1)
    run(OLD_KEYS, database_url)
    match = await create_match(database_url, -200, -100)
    run(f"UPDATE match SET updated_at = now() - interval '2 days' WHERE id = {match.id}", database_url)
    await retention.delete_old_rows(context)
    assert run("SELECT key FROM idempotency_key", database_url) == [("0",)]
    assert run("SELECT pruned_seq, seq FROM match", database_url) == [(1, 1)]
    assert seqs(database_url, match.id) == []


async def test_each_run_plans_the_next_one(context: JobContext) -> None:
    schedule = cast(Mock, context.schedule)
    earliest = datetime.now(UTC) + timedelta(seconds=retention.INTERVAL_SECONDS)
    await retention.delete_old_rows(context)
    (call,) = await retention.due(context)
    assert (call.id, call.at) == (retention.NAME, None)
    assert schedule.enqueue.call_args.kwargs["id"] == call.id
    assert earliest <= schedule.enqueue.call_args.kwargs["at"] < earliest + timedelta(seconds=10)


@pytest.mark.timeout(240)
async def test_worker_deletes_old_rows_without_redis(start: Start, database_url: str) -> None:
    await start("worker", REDIS_URL="redis://127.0.0.1:1", IDEMPOTENCY_TTL_HOURS="1")
    run(OLD_KEYS, database_url)
    await eventually(lambda: run("SELECT key FROM idempotency_key", database_url) == [("0",)], timeout=150)
