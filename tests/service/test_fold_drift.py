"""Matches of an older version: its rows from before the migration, and its writes during a rolling update."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

import orjson
import psycopg
import pytest
from alembic import command
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from livescore.scores import migrations, schema
from livescore.scores.match_state import MatchState
from livescore.scores.rules import Revision, revise, set_score
from livescore.scores.state import Score
from livescore.scores.store import Store
from tests.service.test_fold_properties import check_feed, check_match
from tests.support.databases import opened
from tests.support.servers import Postgres

BEFORE = "0004"

MATCH = """
WITH catalog AS (UPDATE catalog SET last_match_id = last_match_id + 1 RETURNING last_match_id AS id), m AS (
    INSERT INTO match (id, sport, home_team, away_team, status, start_time, end_time, home_score, away_score,
        created_at, updated_at, seq)
    SELECT id, 'football', 'Home', 'Away', 'live', now() - interval '1 hour', now() + interval '1 hour', 1, 0, now(),
        now(), 1 FROM catalog RETURNING *)
INSERT INTO event (match_id, seq, type, data, created_at)
SELECT m.id, 1, 'match_created', json_build_object('status', 'live', 'homeScore', 1, 'awayScore', 0, 'cards', NULL,
    'sport', 'football', 'period', NULL, 'clock', NULL, 'shootout', NULL, 'state', NULL), now() FROM m
RETURNING match_id
"""
"""A live match as version 0004 of the schema stores it, with a score of 1–0."""

ENTRY = """
WITH m AS (
    UPDATE match SET seq = seq + 2, home_score = home_score + %(home)s, updated_at = now() WHERE id = %(match_id)s
    RETURNING *
), c AS (
    INSERT INTO commentary (match_id, seq, minute, sequence, period, event_type, message, metadata, created_at,
        updated_at)
    SELECT id, seq - 1, 10, 0, 1, 'goal', 'Goal!', json_build_object('scoreDelta', json_build_object('home',
        %(home)s::int)), now(), now() FROM m RETURNING *
), e AS (
    INSERT INTO event (match_id, seq, type, data, created_at)
    SELECT m.id, m.seq - 1, 'commentary', '{}', now() FROM m
    UNION ALL SELECT m.id, m.seq, 'score_update', json_build_object('homeScore', m.home_score, 'awayScore',
        m.away_score, 'shootout', NULL, 'state', NULL), now() FROM m
)
SELECT id FROM c
"""
"""A goal as the older version writes it: it knows nothing of the fold."""

SCORE = """
WITH m AS (UPDATE match SET seq = seq + 1, away_score = %(away)s WHERE id = %(match_id)s RETURNING *)
INSERT INTO event (match_id, seq, type, data, created_at)
SELECT id, seq, 'score_update', json_build_object('homeScore', home_score, 'awayScore', away_score, 'shootout', NULL,
    'state', NULL), now() FROM m
"""

STATUS = """
WITH m AS (UPDATE match SET seq = seq + 1, status = %(status)s, pinned = true WHERE id = %(match_id)s RETURNING *)
INSERT INTO event (match_id, seq, type, data, created_at)
SELECT id, seq, 'match_status_changed', json_build_object('newStatus', status), now() FROM m
"""


class OlderVersion:
    """The writes of an older version of the service."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def create(self) -> int:
        return self._run(MATCH)

    def goal(self, match_id: int, home: int = 1) -> int:
        return self._run(ENTRY, match_id=match_id, home=home)

    def set_away_score(self, match_id: int, away: int) -> None:
        self._connection.execute(SCORE, {"match_id": match_id, "away": away})

    def set_status(self, match_id: int, status: str) -> None:
        self._connection.execute(STATUS, {"match_id": match_id, "status": status})

    def _run(self, statement: str, **parameters: int) -> int:
        row = self._connection.execute(statement.encode(), parameters).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def old_url(postgres_server: Postgres) -> Iterator[str]:
    """A database with the schema of the older version."""
    postgres_server.server.create_database("older")
    url = postgres_server.url_of("older")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    with engine.connect() as connection:
        command.upgrade(migrations.config(connection), BEFORE)
        connection.commit()
    yield url
    postgres_server.drop_database("older")


@pytest.fixture
def older(old_url: str) -> Iterator[OlderVersion]:
    """An instance of the older version that goes on writing after the migration."""
    with psycopg.connect(old_url, autocommit=True) as connection:
        yield OlderVersion(connection)


@pytest.fixture
async def store(old_url: str) -> AsyncIterator[Store]:
    """The store of this version; the database must be migrated first."""
    async with opened(old_url, size=2, timeout=30) as database:
        yield Store(database)


async def score(store: Store, match_id: int) -> tuple[int, int]:
    found = await store.match(match_id)
    assert found is not None
    match = orjson.loads(found[0])
    return match["homeScore"], match["awayScore"]


async def say(store: Store, match_id: int, event_type: str, **fields: Any) -> int:
    plain = {"minute": 20, "sequence": 0, "period": 1, "message": "m", "event_type": event_type}
    written = await store.create_commentary(match_id, {**plain, **fields}, "test")
    return int(orjson.loads(written.body)["id"])


async def test_scores_of_an_older_version_survive_every_write_of_this_one(
    old_url: str, older: OlderVersion, store: Store
) -> None:
    match_id = older.create()
    first, second = older.goal(match_id), older.goal(match_id, 2)
    older.set_away_score(match_id, 3)
    assert migrations.upgrade(old_url) == schema.HEAD
    assert await score(store, match_id) == (4, 3)
    third = older.goal(match_id)

    await say(store, match_id, "goal", side="away")
    assert await score(store, match_id) == (5, 4)
    await check_match(store, match_id)

    await store.delete_commentary(match_id, first, "test")
    assert await score(store, match_id) == (4, 4)
    await store.update_commentary(match_id, second, {"metadata": {"scoreDelta": {"home": 1}}}, "test")
    assert await score(store, match_id) == (3, 4)

    fourth = older.goal(match_id)
    older.set_away_score(match_id, 6)
    await say(store, match_id, "yellow_card", side="home")
    assert await score(store, match_id) == (4, 6)
    await store.delete_commentary(match_id, fourth, "test")
    await store.delete_commentary(match_id, third, "test")
    assert await score(store, match_id) == (2, 6)
    await check_match(store, match_id)


async def test_a_score_set_by_hand_follows_the_writes_of_an_older_version(
    old_url: str, older: OlderVersion, store: Store
) -> None:
    match_id = older.create()
    goal = older.goal(match_id)
    migrations.upgrade(old_url)

    def set_to_four(before: MatchState, now: datetime) -> Revision:
        return set_score(before, Score(4, 4), now)

    await store.revise_match(match_id, set_to_four, "test")
    older.goal(match_id)
    await store.delete_commentary(match_id, goal, "test")
    assert await score(store, match_id) == (5, 4)
    await check_match(store, match_id)


@pytest.mark.parametrize("status", ["postponed", "cancelled", "finished"])
async def test_a_status_of_an_older_version_stays_in_force(
    old_url: str, older: OlderVersion, store: Store, status: str
) -> None:
    match_id = older.create()
    migrations.upgrade(old_url)
    await say(store, match_id, "yellow_card", side="home")
    older.set_status(match_id, status)
    await say(store, match_id, "yellow_card", side="away")
    found = await store.match(match_id)
    assert found is not None
    assert orjson.loads(found[0])["status"] == status
    await check_match(store, match_id)
    await store.revise_match(match_id, lambda before, now: revise(before, {"status": "live"}, now), "test")
    await check_match(store, match_id)


async def test_a_match_that_only_the_older_version_wrote_is_shown_as_it_was(
    old_url: str, older: OlderVersion, store: Store
) -> None:
    match_id = older.create()
    older.goal(match_id)
    migrations.upgrade(old_url)
    found = await store.match(match_id)
    assert found is not None
    match = orjson.loads(found[0])
    assert (match["homeScore"], match["scores"], match["state"], match["rules"]) == (2, [], None, None)
    await check_feed(store, match_id)
