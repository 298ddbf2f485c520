"""Standings, as a job: computes the tables and aggregates that are due."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import psycopg
import structlog

from livescore.deployment import Deployment, Origin
from livescore.jobs.context import JobCall, JobContext
from livescore.scores.competitions import Competitions
from livescore.scores.feed import Event

if TYPE_CHECKING:  # it imports the functions of jobs, and so this module
    from livescore.jobs.schedule import Schedule

log = structlog.get_logger(__name__)

NAME = "standings"
"""Name of :func:`compute` in jobs, and the id of the only job of this kind."""

# Events after which standings or an aggregate may be due. Others are left to the safety net of all jobs.
_EVENTS = frozenset({"match_created", "score_update", "match_updated", "match_status_changed"})


def enqueue(schedule: Schedule, events: Iterable[Event]) -> None:
    """Enqueue the job if standings may be due after these events; whether they are, is in ``standings_due``."""
    if any(event.type in _EVENTS for event in events):
        schedule.enqueue(NAME, id=NAME)


async def compute(context: JobContext) -> None:
    """Compute everything that is due: the job function.

    Raises:
        DatabaseAway: PostgreSQL is away.
        psycopg.Error: A season could not be computed. The others have been.
    """
    competitions = Competitions(context.database)
    failed: dict[tuple[str, str], psycopg.Error] = {}
    while seasons := [season for season in await competitions.due() if season not in failed]:
        for season in seasons:
            try:
                events, (deployment, epoch) = await competitions.update(*season)
            except psycopg.Error as error:
                log.warning("standings failed", competition=season[0], season=season[1], error=str(error))
                failed[season] = error
            else:
                if events:
                    context.publish(events, Origin(Deployment(context.settings.redis_prefix, deployment), epoch))
    for reason in failed.values():
        raise reason


async def due(context: JobContext) -> list[JobCall]:
    """Return the job if anything is due."""
    return [JobCall(NAME, (), id=NAME)] if await Competitions(context.database).due(1) else []
