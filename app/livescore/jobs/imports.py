"""Imports as jobs: one at a time, continued at their last checkpoint after a crash."""

from typing import Annotated

from pydantic import Field, Strict

from livescore.deployment import Deployment, Origin
from livescore.imports.importer import Importer, next_import
from livescore.jobs.context import JobCall, JobContext
from livescore.scores.competitions import Competitions
from livescore.scores.rules import INT4_MAX

NAME = "imports.run"
"""Name of :func:`run` in jobs."""

Arguments = tuple[Annotated[int, Strict(), Field(ge=1, le=INT4_MAX)]]
"""Arguments of :func:`run` in a job: the id of the import."""

# Time limit in seconds. A larger import continues at its checkpoint in the next job.
SECONDS = 3_600.0


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
    return [] if import_id is None else [JobCall(NAME, (import_id,), id=f"import-{import_id}")]


async def _importer(context: JobContext) -> Importer:
    deployment_id, epoch = await context.store.origin()
    origin = Origin(Deployment(context.settings.redis_prefix, deployment_id), epoch)
    return Importer(context.store, Competitions(context.database), lambda events: context.publish(events, origin))
