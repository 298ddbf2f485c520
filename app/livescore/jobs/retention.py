"""Deletion of old rows, as a job that plans its next run itself."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from livescore.jobs.context import JobCall, JobContext
from livescore.scores import statements as sql
from livescore.scores import webhook_statements
from livescore.scores.database import Parameters
from livescore.settings import Settings

log = structlog.get_logger(__name__)

NAME = "retention"
"""Name of :func:`delete_old_rows` in jobs."""

# Seconds between two runs.
INTERVAL_SECONDS = 60.0

# Time limit of one run in seconds. The next run continues where this one ended.
SECONDS = 600.0

# Matches whose events one statement deletes, and idempotency keys: short enough not to delay a write.
PRUNE_BATCH = 20
EXPIRE_BATCH = 1_000

_DAY_SECONDS = 86_400.0
_HOUR_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class Cleanup:
    """A statement that deletes one batch of old rows. It is repeated until it deletes nothing.

    Attributes:
        name: Name in the log.
        statement: The statement, from :mod:`livescore.scores.statements`.
        parameters: Returns its parameters, or None if these rows are kept for ever.
    """

    name: str
    statement: str
    parameters: Callable[[Settings], Parameters | None]


def _prune(settings: Settings) -> Parameters | None:
    days = settings.event_retention_days
    return None if days is None else {"age": days * _DAY_SECONDS, "limit": PRUNE_BATCH}


def _expire(settings: Settings) -> Parameters:
    return {"age": settings.idempotency_ttl_hours * _HOUR_SECONDS, "limit": EXPIRE_BATCH}


def _expire_attempts(settings: Settings) -> Parameters:
    return {"age": settings.webhook_log_days * _DAY_SECONDS, "limit": EXPIRE_BATCH}


CLEANUPS = (
    Cleanup("events", sql.PRUNE, _prune),
    Cleanup("idempotency keys", sql.EXPIRE_KEYS, _expire),
    Cleanup("attempts of webhooks", webhook_statements.EXPIRE_ATTEMPTS, _expire_attempts),
    Cleanup("secrets of webhooks", webhook_statements.EXPIRE_SECRETS, lambda _: {}),
)
"""What is deleted. A part of the service that keeps records adds its statement here."""


async def delete_old_rows(context: JobContext) -> None:
    """Delete all old rows, and plan the next run: the job function.

    Raises:
        DatabaseAway, psycopg.Error: PostgreSQL is away or refuses a statement.
    """
    for cleanup in CLEANUPS:
        parameters = cleanup.parameters(context.settings)
        if parameters is None:
            continue
        total = 0
        while deleted := await context.database.execute(cleanup.statement, parameters):
            total += deleted
        log.debug("old rows deleted", rows=cleanup.name, count=total)
    context.schedule.enqueue(NAME, id=NAME, at=datetime.now(UTC) + timedelta(seconds=INTERVAL_SECONDS))


async def due(_: JobContext) -> list[JobCall]:
    """Return the job, which is enqueued at once unless a run is planned: the first one, or the next one was lost."""
    return [JobCall(NAME, (), id=NAME)]
