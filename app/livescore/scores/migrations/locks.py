"""Transactions that keep a migration from the locks that it needs."""

from dataclasses import dataclass
from typing import Any

import psycopg

# Transactions with a lock on a table of the current schema, oldest first. Prepared transactions have no process. Other
# roles' transactions show their start only to superusers and members of pg_read_all_stats.
_HOLDERS = """
SELECT held.pid, activity.application_name, activity.usename, activity.state,
    extract(epoch FROM clock_timestamp() - activity.xact_start)::float8 AS age,
    string_agg(DISTINCT relation.relname, ', ' ORDER BY relation.relname)
FROM pg_locks held
JOIN pg_class relation ON relation.oid = held.relation AND relation.relkind = 'r'
JOIN pg_namespace schema ON schema.oid = relation.relnamespace AND schema.nspname = current_schema()
LEFT JOIN pg_stat_activity activity ON activity.pid = held.pid
WHERE held.granted AND held.pid IS DISTINCT FROM pg_backend_pid()
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (activity.xact_start IS NULL OR activity.xact_start <= clock_timestamp() - make_interval(secs => %(seconds)s))
GROUP BY held.pid, activity.application_name, activity.usename, activity.state, activity.xact_start
ORDER BY activity.xact_start NULLS LAST LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """A transaction that holds locks on tables of the service.

    Attributes:
        pid: Process id of its connection on the server; None for a prepared transaction.
        state: As in ``pg_stat_activity``, for example ``idle in transaction``.
        age: Seconds since the transaction started; None if this role may not see it.
        tables: Names of the locked tables.
    """

    pid: int | None
    application: str | None
    user: str | None
    state: str | None
    age: float | None
    tables: str

    def __str__(self) -> str:
        if self.pid is None:
            return (
                f"a prepared transaction holds locks on {self.tables}: "
                "find it in pg_prepared_xacts and end it with COMMIT PREPARED or ROLLBACK PREPARED"
            )
        known = [f"application {self.application or 'unnamed'}", f"user {self.user}"]
        if self.state:
            known.append(self.state)
        if self.age is not None:
            known.append(f"open for {self.age:.0f} s")
        return (
            f"process {self.pid} ({', '.join(known)}) holds locks on {self.tables}: "
            f"end its transaction, for example with SELECT pg_terminate_backend({self.pid})"
        )


def oldest_holder(connection: psycopg.Connection[Any], seconds: float) -> Holder | None:
    """Return the oldest transaction that has been open for ``seconds`` and locks tables of the service."""
    row = connection.execute(_HOLDERS, {"seconds": seconds}).fetchone()
    return Holder(*row) if row else None
