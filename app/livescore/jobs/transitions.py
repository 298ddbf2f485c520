"""What a job does."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import structlog
from pydantic import AwareDatetime, Field, Strict

from livescore.scores.rules import INT4_MAX

log = structlog.get_logger(__name__)

PATH = "livescore.jobs.transitions.transition"
"""How RQ finds the job's function."""

Arguments = tuple[Annotated[int, Strict(), Field(ge=1, le=INT4_MAX)], AwareDatetime]
"""What :func:`transition` takes: the id of a match and the moment of the change."""

_wakes: list[Callable[[], None]] = []


def attach(wake: Callable[[], None]) -> None:
    """Let jobs of this process call ``wake``, its sweeper's."""
    _wakes[:] = [wake]


def transition(match_id: int, moment: datetime) -> None:
    """Wake the sweeper, because the match changes at ``moment``.

    A job is only a hint: it neither reads nor decides. rq-scheduler knows whole seconds only, so the job may come up
    to a second early; the sweeper then finds the moment in the table and sleeps until then, to the millisecond, while
    the worker is free for the next job.

    Raises:
        LookupError: in a process without a sweeper.
    """
    if not _wakes:
        raise LookupError("no sweeper runs in this process: start it with `livescore worker`")
    log.debug("transition due", match_id=match_id, moment=moment.isoformat())
    _wakes[0]()
