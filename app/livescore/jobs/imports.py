"""Imports as jobs: one at a time, continued at their last checkpoint after a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, Strict

from livescore.deployment import Deployment, Origin
from livescore.imports.importer import Importer, next_import
from livescore.jobs.context import JobCall, JobContext
from livescore.scores.competitions import Competitions
from livescore.scores.rules import INT4_MAX

if TYPE_CHECKING:  # it imports the functions of jobs, and so this module
    from livescore.jobs.schedule import Schedule

NAME = "imports.run"
"""Name of :func:`run` in jobs."""

Arguments = tuple[Annotated[int, Strict(), Field(ge=1, le=INT4_MAX)]]
"""Arguments of :func:`run` in a job: the id of the import."""

# Time limit in seconds. A larger import continues at its checkpoint in the next job.
SECONDS = 3_600.0


def enqueue(schedule: Schedule, import_id: int) -> None:
    """Enqueue the job of an import."""
    schedule.enqueue(NAME, import_id, id=_job_id(import_id))


async def run(context: JobContext, import_id: int) -> None:
    """Run an import: the job function.

    Raises:
        DatabaseAway, psycopg.Error: PostgreSQL is away or refuses a statement.
    """
    importer = await _importer(context)
    await importer.run(import_id)


async def due(context: JobContext) -> list[JobCall]:
    """Return the job of the oldest import that has not ended, unless one is running."""
    import_id = await next_import(context.database)
    return [] if import_id is None else [JobCall(NAME, (import_id,), id=_job_id(import_id))]


def _job_id(import_id: int) -> str:
    return f"import-{import_id}"


async def _importer(context: JobContext) -> Importer:
    deployment_id, epoch = await context.store.origin()
    origin = Origin(Deployment(context.settings.redis_prefix, deployment_id), epoch)
    return Importer(context.store, Competitions(context.database), lambda events: context.publish(events, origin))
