"""The functions that jobs may call. A job can make this service do nothing else.

How to add a job
================

1. Write a coroutine function ``async def deliver(context: JobContext, endpoint_id: int) -> None``. The context offers
   settings, database, store, ``publish`` and ``schedule``, see :class:`livescore.jobs.context.JobContext`. It runs in
   the event loop of the worker, together with the transitions: work that keeps the CPU busy for more than some
   milliseconds belongs into :func:`asyncio.to_thread` or is divided by ``await asyncio.sleep(0)``.
2. Declare it in :data:`FUNCTIONS` with its queue (:mod:`livescore.jobs.queues`), the types of its arguments and its
   time limit. Names stay the same for ever, because jobs outlive updates. Arguments are few and small, such as ids.
3. Enqueue it from the API (``services.schedule``) or from a job (``context.schedule``)::

       schedule.enqueue("webhooks.deliver", 7, id="webhook-7")               # now
       schedule.enqueue("webhooks.deliver", 7, id="webhook-7", at=moment)    # later

   This never raises and never waits. The id names the work: while a job of this id waits, nothing is added; while it
   runs, it runs once more afterwards, so that it sees what has changed meanwhile; a planned job is moved forward.
4. Add a function to :data:`DUE` that returns the jobs for which the tables ask. Every worker and scheduler calls it
   every five seconds and enqueues those that are missing. So jobs may get lost at any time, and Redis may be flushed.
   While Redis is away, or is a cluster, the workers run these jobs without it.
5. Add the statement that deletes old records, if there are any, to :data:`livescore.jobs.retention.CLEANUPS`.

A job may run twice, even at the same time: after a worker was killed, frozen or cut off. So it keeps its progress in
PostgreSQL and locks what must not happen twice there. A job that raises is repeated after 1, 10 and 60 seconds
and then kept as failed for a week (``livescore jobs``); :data:`DUE` brings it back after five minutes. When a
worker stops, its jobs are cancelled after ``WORKER_GRACE_SECONDS`` (``CancelledError``) and return to their queue.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from livescore.jobs import imports, queues, retention, standings, transitions
from livescore.jobs.context import Due
from livescore.jobs.queues import JobQueue
from livescore.jobs.webhooks import job as webhook_jobs


@dataclass(frozen=True, slots=True)
class JobFunction:
    """A coroutine function for jobs.

    Attributes:
        function: The function. Its first argument is a :class:`livescore.jobs.context.JobContext`.
        arguments: Type of its other arguments, as a tuple. They are positional and have a form in JSON.
        queue: The queue of its jobs.
        seconds: Time limit. A job that takes longer is cancelled and fails.
    """

    function: Callable[..., Coroutine[Any, Any, None]]
    arguments: TypeAdapter[tuple[Any, ...]]
    queue: JobQueue
    seconds: float = 60.0


FUNCTIONS: Mapping[str, JobFunction] = {
    transitions.PATH: JobFunction(
        transitions.transition, TypeAdapter(transitions.Arguments), queues.TRANSITIONS, seconds=30.0
    ),
    standings.NAME: JobFunction(standings.compute, TypeAdapter(tuple[()]), queues.STANDINGS),
    imports.NAME: JobFunction(imports.run, TypeAdapter(imports.Arguments), queues.IMPORTS, seconds=imports.SECONDS),
    webhook_jobs.NAME: JobFunction(webhook_jobs.deliver, TypeAdapter(webhook_jobs.Arguments), queues.WEBHOOKS),
    retention.NAME: JobFunction(
        retention.delete_old_rows, TypeAdapter(tuple[()]), queues.RETENTION, seconds=retention.SECONDS
    ),
}
"""Job functions by their name in jobs."""

DUE: tuple[Due, ...] = (retention.due, standings.due, imports.due, webhook_jobs.due)
"""Functions that return the jobs for which the tables ask."""
