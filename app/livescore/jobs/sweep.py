"""The table is the truth: every due match is moved to where the clock says it is, whatever happened to the jobs."""

import time
from collections.abc import Callable
from threading import Event as Flag

import psycopg

from livescore import outages
from livescore.deployment import Deployment, Origin
from livescore.jobs.database import Database
from livescore.jobs.outage import Outage
from livescore.scores import statements as sql
from livescore.scores.database import Row
from livescore.scores.feed import Event
from livescore.scores.sessions import UnusableDatabase, has_read_only_fault
from livescore.settings import Settings
from livescore.telemetry import metrics

# Matches that one statement moves: some 20 ms.
BATCH = 500

# Between two looks for what is too old, in seconds; nobody waits for it.
HOUSEKEEPING_SECONDS = 60.0
# Matches whose events, and idempotency keys, that one statement deletes: short enough not to delay a transition.
PRUNE_BATCH = 20
EXPIRE_BATCH = 1_000

# Seconds. The moment is truncated to microseconds on its way here: a little later is certainly due.
_AFTERWARDS = 0.001
# Seconds. Who changes the row now is done soon; the sweep does not wait for its lock.
_LOCKED_PAUSE = 0.02

# Seconds without a successful sweep after which a process is not ready.
READY_SECONDS = 10.0

_DAY_SECONDS = 86_400.0
_HOUR_SECONDS = 3_600.0


class Sweeper:
    """Sweeps, and deletes what is too old, in one thread. Any number of them may run at once.

    Args:
        publish: takes the events of every batch, once they are committed, and the database they come from; it must
            not wait.
        on_deployment: called with the deployment of the database before every sweep.

    Attributes:
        turned: when the loop last began a turn, by :func:`time.monotonic`.
    """

    def __init__(
        self,
        settings: Settings,
        publish: Callable[[list[Event], Origin], None],
        on_deployment: Callable[[Deployment], None] = lambda deployment: None,
    ) -> None:
        self._settings = settings
        self._database = Database(settings)
        self._publish = publish
        self._on_deployment = on_deployment
        self._database_outage = Outage(outages.POSTGRESQL)
        self._housekeeping_at = 0.0
        self._wake = Flag()
        self.turned = time.monotonic()
        self._succeeded = float("-inf")
        self._fault = "PostgreSQL was not reached yet"

    def wake(self) -> None:
        """Sweep now, from any thread."""
        self._wake.set()

    def run(self, stop: Flag) -> None:
        """Sweep at every moment that is due, and at least every ``sweep_interval_seconds``.

        Ends when ``stop`` is set, at once if :meth:`wake` is called then.
        """
        while not stop.is_set():
            self._wake.wait(self._turn())
            self._wake.clear()
        self.close()

    def sweep(self) -> int:
        """Move every due match and publish its event. Returns how many matches were moved.

        Raises:
            psycopg.Error: when PostgreSQL is away.
        """
        origin = self._read_origin()
        total, rows = 0, self._sweep_batch()
        while rows:
            total += len(rows)
            self._announce(rows, origin)
            rows = self._sweep_batch() if len(rows) == BATCH else []
        return total

    def objection(self) -> str | None:
        """Why this process is not ready; None while sweeps succeed."""
        return None if time.monotonic() - self._succeeded < READY_SECONDS else self._fault

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _turn(self) -> float:
        """One sweep and what else is to do; how many seconds nothing is."""
        self.turned = time.monotonic()
        self._database_outage.start()
        try:
            self.sweep()
            self._succeed()
            return 0.0 if self._keep_house() else self._pause()
        except psycopg.Error as error:
            self._fault = _reason(error)
            return self._database_outage.begin(error)

    def _succeed(self) -> None:
        self._database_outage.end()
        self._succeeded = time.monotonic()

    def _pause(self) -> float:
        seconds = self._database.rows(sql.NEXT_TRANSITION)[0][0]
        longest = self._settings.sweep_interval_seconds
        if seconds is None:
            return longest
        return _LOCKED_PAUSE if seconds < 0 else min(longest, seconds + _AFTERWARDS)

    def _read_origin(self) -> Origin:
        """Read what this database is; it may have been restored since the last sweep."""
        deployment_id, epoch = self._database.rows(sql.ORIGIN)[0]
        deployment = Deployment(self._settings.redis_prefix, deployment_id)
        self._on_deployment(deployment)
        return Origin(deployment, epoch)

    def _sweep_batch(self) -> list[Row]:
        return self._database.rows(sql.SWEEP, {"limit": BATCH})

    def _announce(self, rows: list[Row], origin: Origin) -> None:
        for *_, status, lateness in rows:
            metrics.TRANSITIONS.labels(status).inc()
            metrics.TRANSITION_LATENESS_SECONDS.observe(max(0.0, lateness))
        self._publish([Event.from_row(*row[:6]) for row in rows], origin)

    def _keep_house(self) -> bool:
        """Delete one batch of each kind when it is time; whether there may be more."""
        if time.monotonic() < self._housekeeping_at:
            return False
        more = [self._prune(), self._expire()]
        if not any(more):
            self._housekeeping_at = time.monotonic() + HOUSEKEEPING_SECONDS
        return any(more)

    def _prune(self) -> bool:
        days = self._settings.event_retention_days
        if days is None:
            return False
        return self._database.execute(sql.PRUNE, {"age": days * _DAY_SECONDS, "limit": PRUNE_BATCH}) > 0

    def _expire(self) -> bool:
        age = self._settings.idempotency_ttl_hours * _HOUR_SECONDS
        return self._database.execute(sql.EXPIRE_KEYS, {"age": age, "limit": EXPIRE_BATCH}) == EXPIRE_BATCH


def _reason(error: psycopg.Error) -> str:
    """What a probe says about an error; what the driver says may name hosts and users."""
    if isinstance(error, UnusableDatabase):
        return str(error)
    return "PostgreSQL is read-only" if has_read_only_fault(error) else "database away"
