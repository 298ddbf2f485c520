"""The queues of jobs, most urgent first.

Each queue has a thread of its own in every worker, so a job waits only for jobs of its own queue: a webhook receiver
that hangs or an import of minutes never delays a transition. Limits bound the work on PostgreSQL, not on threads.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobQueue:
    """A queue.

    Attributes:
        name: Name within the deployment.
        limit: Most jobs of this queue that one worker runs at once; None for ``WORKER_CONCURRENCY``.
    """

    name: str
    limit: int | None = None


TRANSITIONS = JobQueue("transitions", limit=4)
WEBHOOKS = JobQueue("webhooks")
STANDINGS = JobQueue("standings", limit=2)
IMPORTS = JobQueue("imports", limit=2)
RETENTION = JobQueue("retention", limit=1)

QUEUES = (TRANSITIONS, WEBHOOKS, STANDINGS, IMPORTS, RETENTION)
