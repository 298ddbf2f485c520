"""The types of jobs: a call of a job function, and what job functions use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # these modules import this one
    from livescore.jobs.schedule import Schedule
    from livescore.jobs.transitions import Publish, Transitions
    from livescore.jobs.webhooks.worker import WebhookWorker
    from livescore.scores.database import Database
    from livescore.scores.store import Store
    from livescore.settings import Settings


@dataclass(frozen=True, slots=True)
class JobCall:
    """One job: a function of :data:`livescore.jobs.functions.FUNCTIONS` and its arguments.

    Attributes:
        name: Name of the function.
        arguments: Arguments after the context, as the function's declaration describes them.
        id: Identifies the work, not the attempt, such as ``webhook-7``. At most one job of an id waits and at most one
            runs. Only letters, digits, hyphens and underscores.
        at: Earliest start; None for now.
    """

    name: str
    arguments: tuple[Any, ...]
    id: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobContext:
    """What job functions use. Everything belongs to the event loop of the process.

    Attributes:
        settings: Settings of this process.
        database: PostgreSQL, with connections apart from those of transitions.
        store: The operations of the service on this database.
        transitions: Moves matches by the clock.
        publish: Publishes committed events with the database they come from. Never waits.
        schedule: Enqueues further jobs: ``context.schedule.enqueue(…)``.
        webhooks: Delivers webhooks; None in a process that does not.
    """

    settings: Settings
    database: Database
    store: Store
    transitions: Transitions
    publish: Publish
    schedule: Schedule
    webhooks: WebhookWorker | None = None


Due = Callable[[JobContext], Awaitable[Sequence[JobCall]]]
"""Returns the jobs that the tables ask for. Jobs that already wait, run or have failed recently are left alone."""
