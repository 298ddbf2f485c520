"""Transitions: matches move to the status that the clock gives them. The sweep and the jobs both use this module.

One statement moves a match and appends its event. The row lock and the condition on the status make each transition
happen exactly once, however many sweeps and jobs try.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import structlog
from psycopg import AsyncConnection
from pydantic import AwareDatetime, Field, Strict

from livescore.deployment import Deployment, Origin
from livescore.jobs.context import JobContext
from livescore.scores import statements as sql
from livescore.scores.database import Database, Parameters, Row, fetch
from livescore.scores.feed import Event
from livescore.scores.rules import INT4_MAX
from livescore.settings import Settings
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)

# Matches that one statement of the sweep moves: some 20 ms.
BATCH = 500

# Seconds. Jobs are planned for whole seconds, so one comes up to a second before its moment, and never much earlier.
LONGEST_WAIT = 2.0

# Seconds. The moment loses digits beyond microseconds on its way here; a little later the match is certainly due.
MARGIN_SECONDS = 0.001

# Jobs that wait for their moment at the same time. Further ones are left to the sweep.
CAPACITY = 10_000

PATH = "livescore.jobs.transitions.transition"
"""Name of :func:`transition` in jobs. Jobs outlive updates, so it stays the same."""

Arguments = tuple[Annotated[int, Strict(), Field(ge=1, le=INT4_MAX)], AwareDatetime]
"""Arguments of :func:`transition` in a job: the id of the match and the moment of the change."""

Publish = Callable[[list[Event], Origin], None]


class Transitions:
    """Moves due matches and passes their events to the publisher. Every method belongs to the event loop's thread.

    Args:
        settings: Settings of this process.
        database: PostgreSQL.
        publish: Takes committed events and the database they come from. Must not wait.
        on_deployment: Called with the deployment of the database after every use of it.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        publish: Publish,
        on_deployment: Callable[[Deployment], None] = lambda deployment: None,
    ) -> None:
        self._redis_prefix = settings.redis_prefix
        self._database = database
        self._publish = publish
        self._on_deployment = on_deployment
        # Match id → task that waits for the moment of the match.
        self._waiting: dict[int, asyncio.Task[None]] = {}

    async def sweep(self) -> int:
        """Move every due match. Returns the number of matches that were moved.

        Raises:
            DatabaseAway, psycopg.Error: PostgreSQL is away or refuses the statement.
        """
        total = 0
        while True:
            moved = await self._move(sql.SWEEP, {"limit": BATCH})
            total += moved
            if moved < BATCH:
                return total

    async def move(self, match_id: int) -> bool:
        """Move one match. Returns False if it is not due.

        Raises:
            DatabaseAway, psycopg.Error: PostgreSQL is away or refuses the statement.
        """
        return await self._move(sql.TRANSITION, {"match_id": match_id}) > 0

    async def move_in_time(self, match_id: int) -> None:
        """Move one match now if it is due, or in the background if it is due within :data:`LONGEST_WAIT` seconds.

        The caller does not wait for a moment that is still to come, so it can handle the jobs of other matches.

        Raises:
            DatabaseAway, psycopg.Error: PostgreSQL is away or refuses a statement.
        """
        row = await self._database.row(sql.UNTIL_TRANSITION, {"match_id": match_id})
        seconds = None if row is None else float(row[0])
        if seconds is None or seconds > LONGEST_WAIT:
            log.debug("job is out of date", match_id=match_id)
        elif seconds <= 0:
            await self.move(match_id)
        elif match_id not in self._waiting and len(self._waiting) < CAPACITY:
            task = asyncio.create_task(self._move_later(match_id, seconds + MARGIN_SECONDS))
            self._waiting[match_id] = task

    async def close(self) -> None:
        """Cancel the moves that wait for their moment; the sweep of another process makes them."""
        for task in list(self._waiting.values()):
            task.cancel()
        await asyncio.gather(*self._waiting.values(), return_exceptions=True)

    async def _move_later(self, match_id: int, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            await self.move(match_id)
        except Exception as error:
            log.debug("transition left to the sweep", match_id=match_id, error=str(error))
        finally:
            del self._waiting[match_id]

    async def _move(self, statement: str, parameters: Parameters) -> int:
        rows, origin = await self._database.use(lambda connection: self._run(connection, statement, parameters))
        self._on_deployment(origin.deployment)
        if rows:
            for *_, status, lateness in rows:
                metrics.TRANSITIONS.labels(status).inc()
                metrics.TRANSITION_LATENESS_SECONDS.observe(max(0.0, lateness))
            self._publish([Event.from_row(*row[:6]) for row in rows], origin)
        return len(rows)

    async def _run(
        self, connection: AsyncConnection[Row], statement: str, parameters: Parameters
    ) -> tuple[list[Row], Origin]:
        """Return the rows of a statement, and the origin of the database that this very connection leads to."""
        rows = await fetch(connection, statement, parameters)
        ((deployment_id, epoch),) = await fetch(connection, sql.ORIGIN)
        return rows, Origin(Deployment(self._redis_prefix, deployment_id), epoch)


async def transition(context: JobContext, match_id: int, moment: datetime) -> None:
    """Make the transition of a match: the job function.

    ``moment`` is only logged. The table decides when the match changes, and whether it still does.
    """
    log.debug("transition due", match_id=match_id, moment=moment.isoformat())
    try:
        await context.transitions.move_in_time(match_id)
    except Exception as error:
        # Not a failed job: it would be kept for a week, while the sweep has long made the transition.
        log.debug("transition left to the sweep", match_id=match_id, error=str(error))
