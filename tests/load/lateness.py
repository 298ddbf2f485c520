"""Lateness of transitions: matches start and end at random moments, and the feed's own times are compared.

    python -m tests.load.lateness [--matches 200] [--seconds 10] [--without-redis]

It starts its own PostgreSQL, Valkey, worker and scheduler; jobs are written as the API writes them.
"""

import argparse
import asyncio
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from livescore.jobs.schedule import Schedule
from livescore.scores.store import Store
from livescore.settings import load
from tests.support.databases import opened
from tests.support.deployments import deployment_of
from tests.support.servers import OwnPostgres, Valkey
from tests.support.service import Kind, Service, eventually

KINDS: tuple[Kind, ...] = ("worker", "scheduler")

LATE_SECONDS = 0.3
"""Target: at most 1 % of the transitions are later than this."""

CREATE_SECONDS = 0.01
"""More than the creation of a match takes, so that all exist before the first one starts."""

LATENESS = """
SELECT extract(epoch FROM event.created_at
    - CASE event.data->>'newStatus' WHEN 'live' THEN match.start_time ELSE match.end_time END)::float8
FROM event JOIN match ON match.id = event.match_id WHERE event.type = 'match_status_changed' ORDER BY 1
"""
UNFINISHED = "SELECT count(*) FROM match WHERE status <> 'finished'"


async def create_matches(database_url: str, redis_url: str, count: int, seconds: float) -> None:
    """Create ``count`` matches that start and end within ``seconds``, and plan their jobs."""
    deployment = deployment_of(database_url)
    schedule = Schedule(load(database_url=database_url, redis_url=redis_url), lambda: deployment)
    await schedule.start()
    async with opened(database_url, size=2, timeout=5) as database:
        store, now = Store(database), datetime.now(UTC)
        lead = 0.5 + count * CREATE_SECONDS
        for _ in range(count):
            start, end = (now + timedelta(seconds=lead + at) for at in sorted(random.uniform(0, seconds) for _ in "12"))
            end = max(end, start + timedelta(milliseconds=10))
            match = await store.create_match(_values(start, end), "lateness")
            schedule.plan(match.events[0].match_id, "scheduled", start, end)
    await asyncio.sleep(seconds)
    await schedule.stop()


def _values(start: datetime, end: datetime) -> dict[str, Any]:
    teams = {"sport": "football", "home_team": "Home", "away_team": "Away", "home_score": 0, "away_score": 0}
    return {**teams, "start": start, "end": end}


def lateness(database_url: str) -> list[float]:
    """Return the lateness of every transition in seconds, sorted."""
    with psycopg.connect(database_url) as connection:
        return [row[0] for row in connection.execute(LATENESS)]


def unfinished(database_url: str) -> int:
    """Return the number of matches that have not ended."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(UNFINISHED).fetchone()
        return int(row[0]) if row else 0


def report(values: list[float], expected: int) -> str:
    """Return the distribution in one line."""
    quantiles = {name: values[min(len(values) - 1, int(len(values) * part))] for name, part in _PARTS.items()}
    late = sum(value > LATE_SECONDS for value in values) / len(values)
    figures = " ".join(f"{name} {value * 1000:.1f} ms" for name, value in quantiles.items())
    return f"{len(values)} of {expected} transitions: {figures}; later than {LATE_SECONDS} s: {late:.2%}"


_PARTS = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@asynccontextmanager
async def stack(directory: Path) -> AsyncIterator[tuple[OwnPostgres, Valkey]]:
    """Run both servers, a worker and a scheduler."""
    postgres, valkey = OwnPostgres(directory), Valkey(directory)
    postgres.open()
    valkey.server.start()
    urls = {"DATABASE_URL": postgres.url, "REDIS_URL": valkey.url}
    services = [Service(kind, directory, kind, urls) for kind in KINDS]
    for service in services:
        service.launch()
        await service.logged("process started")
    try:
        yield postgres, valkey
    finally:
        for service in services:
            service.close()
            service.release()
        valkey.close()
        postgres.close()


async def measure(matches: int, seconds: float, redis: bool) -> str:
    """Run one measurement and return its report."""
    with tempfile.TemporaryDirectory() as directory:
        async with stack(Path(directory)) as (postgres, valkey):
            if not redis:
                await valkey.stop()
            await create_matches(postgres.url, valkey.url, matches, seconds)
            await eventually(lambda: not unfinished(postgres.url), timeout=30)
            return report(lateness(postgres.url), 2 * matches)


def main() -> None:
    """Parse the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matches", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--without-redis", action="store_true")
    arguments = parser.parse_args()
    print(asyncio.run(measure(arguments.matches, arguments.seconds, not arguments.without_redis)))


if __name__ == "__main__":
    main()
