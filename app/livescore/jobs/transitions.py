"""What a job does."""

from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

PATH = "livescore.jobs.transitions.transition"
"""How RQ finds the job's function."""

_wakes: list[Callable[[], None]] = []


def attach(wake: Callable[[], None]) -> None:
    """Let jobs of this process call ``wake``, its sweeper's."""
    _wakes[:] = [wake]


def transition(match_id: int, moment: str) -> None:
    """Have the table looked at, because the match changes at ``moment``.

    A job is a hint and no more: it neither reads nor decides. rq-scheduler knows whole seconds only, so it may come up
    to a second early; the sweeper then finds the moment in the table and sleeps until it, to the millisecond, while
    the worker is free for the next job.

    Raises:
        LookupError: in a process without a sweeper.
    """
    if not _wakes:
        raise LookupError("no sweeper runs in this process: start it with `livescore worker`")
    log.debug("transition due", match_id=match_id, moment=moment)
    _wakes[0]()
