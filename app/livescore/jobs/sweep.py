"""The sweep: the safety net of transitions, and the deletion of old rows.

The table is the truth. Whatever happened to the jobs, every due match is moved to the status that the clock gives it.
A sweep runs in every worker and scheduler, so transitions happen as long as either is alive. Sweeps find due matches by
an index and skip locked rows, so several cost little and never block each other.
"""

import asyncio
import time

import psycopg

from livescore import outages
from livescore.jobs.transitions import MARGIN_SECONDS, Transitions
from livescore.scores import statements as sql
from livescore.scores.database import Database, DatabaseAway, readiness_reason
from livescore.settings import Settings

# Seconds between two deletions of old rows.
HOUSEKEEPING_SECONDS = 60.0

# Matches whose events one statement deletes, and idempotency keys: short enough not to delay a transition.
PRUNE_BATCH = 20
EXPIRE_BATCH = 1_000

# Seconds. While jobs work, they make a transition at its moment; the sweep then comes after them.
JOBS_FIRST_SECONDS = 0.05

# Seconds. Another session holds the row of an overdue match for a moment; the sweep does not wait for its lock.
LOCKED_PAUSE = 0.02

# Seconds between two attempts while PostgreSQL is away. The Database itself waits for the end of a short outage.
AWAY_PAUSE = 0.1

# Seconds without a successful sweep after which a process is not ready.
READY_SECONDS = 10.0

_DAY_SECONDS = 86_400.0
_HOUR_SECONDS = 3_600.0


class Sweeper:
    """Sweeps at every due moment. Any number of sweepers may run at once.

    Args:
        settings: Settings of this process.
        database: PostgreSQL.
        transitions: Moves the matches.
        has_jobs: False if RQ makes no transitions, because Redis is a cluster.

    Attributes:
        turned_at: Start of the latest turn of the loop, by :func:`time.monotonic`.
    """

    def __init__(
        self, settings: Settings, database: Database, transitions: Transitions, *, has_jobs: bool = False
    ) -> None:
        self._settings = settings
        self._database = database
        self._transitions = transitions
        self._has_jobs = has_jobs
        self._housekeeping_at = 0.0
        self.turned_at = time.monotonic()
        self._succeeded_at = float("-inf")
        self._fault = "PostgreSQL was not reached yet"

    async def run(self) -> None:
        """Sweep at every due moment, and at least every ``SWEEP_INTERVAL_SECONDS``, until cancelled."""
        while True:
            seconds = await self._turn()
            await asyncio.sleep(seconds)

    def objection(self) -> str | None:
        """Return why this process is not ready, or None while sweeps succeed."""
        return None if time.monotonic() - self._succeeded_at < READY_SECONDS else self._fault

    async def delete_old_rows(self) -> bool:
        """Delete one batch of pruned events and one of expired idempotency keys. Returns True if more may be left."""
        more_events = await self._prune_events()
        more_keys = await self._expire_keys()
        return more_events or more_keys

    async def _turn(self) -> float:
        """Sweep, and delete old rows when it is time. Returns the seconds until the next turn."""
        self.turned_at = started = time.monotonic()
        try:
            await self._transitions.sweep()
            self._succeeded_at = time.monotonic()
            if started >= self._housekeeping_at:
                if await self.delete_old_rows():
                    return 0.0
                self._housekeeping_at = time.monotonic() + HOUSEKEEPING_SECONDS
            return await self._pause()
        except DatabaseAway as error:
            self._fault = readiness_reason(error)
        except psycopg.Error as error:
            self._fault = readiness_reason(error)
            outages.POSTGRESQL_WRITES.failed(error, started)
        return AWAY_PAUSE

    async def _pause(self) -> float:
        """Return the seconds until the next transition or the end of the interval."""
        ((seconds,),) = await self._database.rows(sql.NEXT_TRANSITION)
        interval = self._settings.sweep_interval_seconds
        if seconds is None:
            return interval
        if seconds < 0:
            return LOCKED_PAUSE
        jobs_first = JOBS_FIRST_SECONDS if self._has_jobs and outages.REDIS.up else MARGIN_SECONDS
        return min(interval, float(seconds) + jobs_first)

    async def _prune_events(self) -> bool:
        days = self._settings.event_retention_days
        if days is None:
            return False
        deleted = await self._database.execute(sql.PRUNE, {"age": days * _DAY_SECONDS, "limit": PRUNE_BATCH})
        return deleted > 0

    async def _expire_keys(self) -> bool:
        age = self._settings.idempotency_ttl_hours * _HOUR_SECONDS
        deleted = await self._database.execute(sql.EXPIRE_KEYS, {"age": age, "limit": EXPIRE_BATCH})
        return deleted == EXPIRE_BATCH
