"""Overdue deliveries, as jobs: the loops of the workers deliver, and jobs call for more of them.

A webhook has a job only if its events wait although nothing forbids their delivery: the worker that dispatched them is
busy, or was killed. Any worker runs the job, and the queue shows which webhooks wait.
"""

import asyncio
from time import monotonic
from typing import Annotated

from pydantic import Field, Strict

from livescore.jobs.context import JobCall, JobContext
from livescore.scores import webhook_statements as sql
from livescore.scores.rules import INT4_MAX

NAME = "webhooks.deliver"
"""Name of :func:`deliver` in jobs. Jobs outlive updates, so it stays the same."""

Arguments = tuple[Annotated[int, Strict(), Field(ge=1, le=INT4_MAX)]]
"""Arguments of :func:`deliver` in a job: the id of the webhook."""

# Seconds that an event waits before it calls for a job: longer than the interval at which every worker looks.
OVERDUE_SECONDS = 2.0

# Jobs that one turn of the safety net enqueues.
BATCH = 100

# Seconds between two looks of a job, and the seconds after which it ends in any case.
PAUSE_SECONDS = 0.5
LIMIT_SECONDS = 50.0


async def deliver(context: JobContext, webhook_id: int) -> None:
    """Let this worker deliver to a webhook until nothing of it is overdue: the job function.

    Raises:
        DatabaseAway, psycopg.Error: PostgreSQL is away or refuses the statement.
    """
    ends = monotonic() + LIMIT_SECONDS
    while context.webhooks is not None and monotonic() < ends and await _overdue(context, webhook_id):
        context.webhooks.hint()
        await asyncio.sleep(PAUSE_SECONDS)


async def due(context: JobContext) -> list[JobCall]:
    """Return the jobs of the webhooks whose events are overdue."""
    return [JobCall(NAME, (id_,), id=f"webhook-{id_}") for id_ in await _overdue(context)]


async def _overdue(context: JobContext, webhook_id: int | None = None) -> list[int]:
    """Return the ids of webhooks with overdue events: of all, or only the given one."""
    parameters = {"webhook_id": webhook_id, "seconds": OVERDUE_SECONDS, "limit": BATCH}
    return [id_ for (id_,) in await context.database.rows(sql.OVERDUE, parameters)]
