"""Scheduled jobs for the moments at which matches start and end.

A job makes a transition precise, and nothing depends on it: if a job is lost, late or wrong, the sweep makes the
transition 50 milliseconds later.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis

from livescore.deployment import Deployment
from livescore.jobs import transitions
from livescore.jobs.context import JobCall
from livescore.jobs.enqueue import Enqueuer
from livescore.jobs.queues import TRANSITIONS
from livescore.scores import statements as sql
from livescore.scores.database import Parameters, Row

# Lost jobs are replaced this many seconds ahead, a day. Later ones are replaced later.
HORIZON_SECONDS = 86_400.0

EDGES = ("start", "end")

# Matches per query.
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class TransitionJob:
    """One job: a match, the edge (start or end) at which its status changes, and the moment of the change."""

    match_id: int
    edge: str
    moment: datetime

    @property
    def name(self) -> str:
        """Name of the job within its deployment: letters, digits and hyphens."""
        return _name(self.match_id, self.edge)

    @property
    def score(self) -> int:
        """Time of the job in whole seconds since 1970, rounded down: the job itself waits for the moment."""
        return math.floor(self.moment.timestamp())

    def call(self) -> JobCall:
        """Return the job as it is planned."""
        at = datetime.fromtimestamp(self.score, UTC)
        return JobCall(transitions.PATH, (self.match_id, self.moment), self.name, at)


def _name(match_id: int, edge: str) -> str:
    return f"match-{match_id}-{edge}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The times and the status of a match, from which its jobs follow."""

    match_id: int
    status: str
    start: datetime
    end: datetime

    def jobs(self) -> list[TransitionJob]:
        """Return the jobs that the match should have."""
        start = TransitionJob(self.match_id, "start", self.start)
        end = TransitionJob(self.match_id, "end", self.end)
        return {"scheduled": [start, end], "live": [end]}.get(self.status, [])

    def unwanted(self) -> set[str]:
        """Return the names of the jobs that the match should not have."""
        return {_name(self.match_id, edge) for edge in EDGES} - {job.name for job in self.jobs()}


class TransitionJobs:
    """The planned jobs of matches in Redis. Every method raises RedisError or OSError while Redis is away."""

    def __init__(self, connection: Redis, deployment: Deployment) -> None:
        self.deployment = deployment
        self._enqueuer = Enqueuer(connection, deployment)

    def write(self, plans: Iterable[Plan]) -> None:
        """Create, move and delete the jobs of matches as their plans say."""
        plans = list(plans)
        self.schedule([job for plan in plans for job in plan.jobs()])
        self.cancel([name for plan in plans for name in plan.unwanted()])

    def schedule(self, jobs: Iterable[TransitionJob]) -> None:
        """Create or move jobs."""
        self._enqueuer.enqueue([job.call() for job in jobs], "moved")

    def cancel(self, names: Iterable[str]) -> None:
        """Delete jobs if they exist."""
        self._enqueuer.cancel(TRANSITIONS, names)

    def known(self) -> dict[str, int]:
        """Return the names of all planned jobs, and their moments in whole seconds since 1970."""
        return {name: int(moment) for name, moment in self._enqueuer.planned(TRANSITIONS).items()}


Query = Callable[[str, Parameters], list[Row]]
"""Returns the rows of a statement; blocks the calling thread."""


def reconcile(jobs: TransitionJobs, query: Query) -> int:
    """Make the jobs of the next day match the table. Returns the number of jobs that were wrong.

    Raises:
        RedisError, OSError: Redis is away.
        DatabaseAway, psycopg.Error: PostgreSQL is away or refuses the statement.
    """
    # Read before the table, or jobs that are planned meanwhile would look stale.
    known = jobs.known()
    wanted = _upcoming(query)
    now = time.time()
    corrections = 0
    for job in wanted.values():
        if job.score > now and job.score != known.get(job.name):
            jobs.schedule([job])
            corrections += 1
    for name, due in known.items():
        if name not in wanted and now < due < now + HORIZON_SECONDS:
            jobs.cancel([name])
            corrections += 1
    return corrections


def _upcoming(query: Query) -> dict[str, TransitionJob]:
    """Return the jobs that the table asks for within the horizon, by name."""
    wanted: dict[str, TransitionJob] = {}
    last_id = 0
    while True:
        rows = query(sql.UPCOMING, {"after": last_id, "limit": BATCH, "horizon": HORIZON_SECONDS})
        if not rows:
            return wanted
        last_id = rows[-1][0]
        for row in rows:
            wanted.update({job.name: job for job in Plan(*row).jobs()})
