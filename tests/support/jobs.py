"""Creates matches directly in the database and reads their transitions from the feed, without an API."""

import asyncio
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from livescore.scores.match_state import MatchState
from livescore.scores.rules import Revision, revise
from livescore.scores.store import Store
from tests.support.databases import opened

RECOVERY_SECONDS = 2.0
"""Guarantee: a transition happens at most this long after the end of an outage."""

PATIENCE_SECONDS = 15.0
"""Timeout for what should take two seconds, on two cores shared with other work."""

_TRANSITIONS = """
SELECT data->>'oldStatus', data->>'newStatus', seq, extract(epoch FROM created_at)::float8
FROM event WHERE match_id = %s AND type = 'match_status_changed' ORDER BY seq
"""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of status in the feed; ``at`` in seconds since 1970."""

    old: str
    new: str
    seq: int
    at: float


@dataclass(frozen=True, slots=True)
class Match:
    """A match of a test."""

    id: int
    start: datetime
    end: datetime


def soon(seconds: float) -> datetime:
    """Return the time ``seconds`` from now, in milliseconds as stored in the table."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


async def create_match(database_url: str, start: float, end: float) -> Match:
    """Create a match that starts and ends in ``start`` and ``end`` seconds."""
    match = Match(0, soon(start), soon(end))
    values = {"sport": "football", "home_team": "Home", "away_team": "Away", "home_score": 0, "away_score": 0}
    async with opened(database_url, size=1, timeout=5) as database:
        written = await Store(database).create_match({**values, "start": match.start, "end": match.end}, "test")
    return Match(written.events[0].match_id, match.start, match.end)


async def change_match(database_url: str, match_id: int, **change: Any) -> None:
    """Change a match as PATCH does."""

    def apply(before: MatchState, now: datetime) -> Revision:
        return revise(before, change, now)

    async with opened(database_url, size=1, timeout=5) as database:
        await Store(database).revise_match(match_id, apply, "test")


def transitions(database_url: str, match_id: int) -> list[Transition]:
    """Return the changes of status in the feed, in order."""
    with closing(psycopg.connect(database_url)) as connection:
        return [Transition(*row) for row in connection.execute(_TRANSITIONS, [match_id])]


def seqs(database_url: str, match_id: int) -> list[int]:
    """Return the seqs of all events of a match."""
    with closing(psycopg.connect(database_url)) as connection:
        rows = connection.execute("SELECT seq FROM event WHERE match_id = %s ORDER BY seq", [match_id])
        return [row[0] for row in rows]


async def wait_for_status(
    database_url: str, match_id: int, status: str, timeout: float = PATIENCE_SECONDS
) -> list[Transition]:
    """Wait until a match has changed to ``status``, and return all its transitions.

    Raises:
        TimeoutError: after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = await asyncio.to_thread(transitions, database_url, match_id)
        if found and found[-1].new == status:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"match {match_id} did not become {status}; its transitions: {found}")
        await asyncio.sleep(0.02)
