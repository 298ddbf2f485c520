"""A migration while an older version of the service reads and writes.

    git worktree add /tmp/older v1.2.0
    python -m tests.load.migration --source /tmp/older/app --revision 0004 [--matches 100000] [--events 1000000]

It fills a database of the older schema, starts one API process of the older version, keeps it busy with reads and
writes, and migrates meanwhile. It reports the duration of the migration, the slowest request before, during and after
it, every answer that is not a success, and every acknowledged write that the feed lacks.
"""

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from alembic import command
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from livescore.scores import migrations
from livescore_dev.servers import Postgres, Valkey
from tests.load.http_load import connect, request
from tests.load.scenarios import COMMENTARY, SCORED
from tests.load.servers import SERVICE_ENVIRONMENT
from tests.support.service import Service

CONNECTIONS = 8

MATCHES = """
INSERT INTO match (id, sport, home_team, away_team, status, start_time, end_time, home_score, away_score, created_at,
    updated_at, seq)
SELECT n, 'football', 'Home ' || n, 'Away ' || n, 'live', now() - interval '1 hour', now() + interval '1 day', 0, 0,
    now(), now(), %(each)s
FROM generate_series(1, %(matches)s::int) n
"""

EVENTS = """
INSERT INTO event (match_id, seq, type, data, created_at)
SELECT n, seq, 'commentary', json_build_object('id', n, 'minute', seq, 'message', repeat('x', 200)), now()
FROM generate_series(1, %(matches)s::int) n, generate_series(1, %(each)s::int) seq
"""

ENTRIES = """
INSERT INTO commentary (match_id, seq, minute, sequence, period, event_type, message, metadata, created_at, updated_at)
SELECT n, seq, seq, 0, 1, 'commentary', repeat('x', 200), '{"x":1}', now(), now()
FROM generate_series(1, %(matches)s::int) n, generate_series(1, %(each)s::int) seq
"""


@dataclass
class Load:
    """Reads and writes without a pause.

    Attributes:
        answers: Start of each request by the monotonic clock, its duration in seconds and its status.
        written: Match id and seq of every acknowledged entry.
    """

    port: int
    matches: int
    answers: list[tuple[float, float, int]] = field(default_factory=list)
    written: list[tuple[int, int]] = field(default_factory=list)
    is_over: bool = False

    async def run(self) -> None:
        """Send requests on all connections until :attr:`is_over`."""
        async with asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(self._requests(number))

    async def _requests(self, number: int) -> None:
        connection = await connect(self.port)
        turn = number
        while not self.is_over:
            match_id = 1 + turn * 7919 % self.matches
            path = f"/matches/{match_id}"
            body = SCORED if turn % 4 == 0 else COMMENTARY
            writes = turn % 2 == 0
            raw = request("POST", f"{path}/commentary", body) if writes else request("GET", path)
            started = time.monotonic()
            answer = await connection.ask(raw)
            self.answers.append((started, time.monotonic() - started, answer.status))
            if answer.status == 201:
                self.written.append((match_id, answer.json()["data"]["seq"]))
            turn += CONNECTIONS + 1
        connection.close()

    def report(self, name: str, begin: float, end: float) -> None:
        """Print the requests that started within a period."""
        chosen = [(seconds, status) for started, seconds, status in self.answers if begin <= started < end]
        refused = sorted({status for _, status in chosen if status >= 400})
        slowest = max((seconds for seconds, _ in chosen), default=0.0)
        print(f"{name}: {len(chosen)} requests, slowest {slowest * 1000:.0f} ms, errors {refused or 'none'}")


def fill(url: str, revision: str, matches: int, events: int) -> None:
    """Create the older schema and its rows."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    with engine.connect() as connection:
        command.upgrade(migrations.config(connection), revision)
        connection.commit()
    size = {"matches": matches, "each": max(1, events // matches)}
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (MATCHES, EVENTS, ENTRIES):
            connection.execute(statement.encode(), size)
        connection.execute("UPDATE catalog SET last_match_id = %(matches)s", size)
        connection.execute("VACUUM ANALYZE")


async def measure(url: str, port: int, matches: int, seconds: float) -> None:
    """Migrate under load and print the figures."""
    load = Load(port, matches)
    task = asyncio.create_task(load.run())
    begin = time.monotonic()
    await asyncio.sleep(seconds)
    before = time.monotonic()
    revision = await asyncio.to_thread(migrations.upgrade, url)
    after = time.monotonic()
    await asyncio.sleep(seconds)
    load.is_over = True
    await task
    print(f"migrated to {revision} in {after - before:.2f} s")
    load.report("before", begin, before)
    load.report("during", before - 1.0, after)
    load.report("after", after, time.monotonic())
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT match_id, seq FROM event WHERE seq > 1").fetchall()
    lost = set(load.written) - {(match_id, seq) for match_id, seq in rows}
    print(f"{len(load.written)} acknowledged writes, {len(lost)} of them lost: {json.dumps(sorted(lost)[:10])}")


def main() -> None:
    """Parse the arguments and run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="folder `app` of the older version")
    parser.add_argument("--revision", required=True, help="revision of its schema")
    parser.add_argument("--matches", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="duration of the load before and after the migration"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="livescore-migration-") as path, ExitStack() as stack:
        directory = Path(path)
        postgres, valkey = Postgres(directory, durable=False), Valkey(directory, durable=False)
        for server in (postgres, valkey):
            server.start()
            stack.callback(server.stop)
        postgres.create_database("livescore")
        url = postgres.url("livescore")
        fill(url, arguments.revision, arguments.matches, arguments.events)
        urls = {"DATABASE_URL": url, "REDIS_URL": valkey.url(), "PYTHONPATH": arguments.source}
        service = Service("api", directory, "older", {**SERVICE_ENVIRONMENT, **urls})
        stack.callback(service.release)
        stack.callback(service.close, 5.0)
        service.launch()
        service.wait_ready(60.0)
        asyncio.run(measure(url, service.port, arguments.matches, arguments.seconds))


if __name__ == "__main__":
    main()
