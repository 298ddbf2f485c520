"""The sweep: the safety net of transitions.

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

# Seconds. While jobs work, they make a transition at its moment; the sweep then comes after them.
JOBS_FIRST_SECONDS = 0.05

# Seconds. Another session holds the row of an overdue match for a moment; the sweep does not wait for its lock.
LOCKED_PAUSE = 0.02

# Seconds between two attempts while PostgreSQL is away. The Database itself waits for the end of a short outage.
AWAY_PAUSE = 0.1

# Seconds without a successful sweep after which a process is not ready.
READY_SECONDS = 10.0


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

    async def _turn(self) -> float:
        """Sweep. Returns the seconds until the next turn."""
        self.turned_at = started = time.monotonic()
        try:
            await self._transitions.sweep()
            self._succeeded_at = time.monotonic()
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
