"""The history of the database schema, and the upgrade to its latest revision.

Alembic and SQLAlchemy are imported where they are used: API processes never migrate, and the two take 30 MB of memory.
"""

from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import structlog
from psycopg.errors import LockNotAvailable

from livescore.scores import schema, sessions
from livescore.scores.migrations import locks

if TYPE_CHECKING:
    import psycopg
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

log = structlog.get_logger(__name__)

# A revision may take any time, for example to build an index.
PROFILE = sessions.Profile(timeout=0, prepared="off")

# Any number that all versions of this program share: "lsco" in ASCII.
ADVISORY_LOCK = 0x6C73636F

# Seconds that a statement of a migration waits for a lock. ALTER TABLE waits for all transactions that use its table,
# and every later use of the table waits behind it. So this is less than DATABASE_TIMEOUT_SECONDS (5 s), for requests
# not to fail, and more than deadlock_timeout (1 s), after which PostgreSQL cancels an autovacuum that is in the way.
LOCK_SECONDS = 2.0

# Seconds between two attempts, in which the service reads and writes without delay.
RETRY_SECONDS = 5.0

# Seconds after which a migration gives up. The operator's Job allows ten minutes for all of its attempts.
PATIENCE_SECONDS = 240.0


class UnknownRevision(Exception):
    """The schema has a revision that is not one of LiveScore's."""


class SchemaLocked(Exception):
    """Another transaction kept its locks for too long. The text names the transaction and the remedy."""


def upgrade(database_url: str, patience: float = PATIENCE_SECONDS) -> str:
    """Upgrade the schema to the latest revision. Safe to repeat and to run in several processes at once.

    All revisions share one transaction. If it has to wait for a lock for long, it is rolled back and tried again, so
    that the service is not blocked meanwhile. A newer schema is left as it is.

    Args:
        database_url: URL of the database.
        patience: Seconds after which no further attempt is made.

    Returns:
        The revision of the schema afterwards.

    Raises:
        UnknownRevision: Another program has migrated the database.
        SchemaLocked: Another transaction still held a lock at the last attempt.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.pool import NullPool

    def connect() -> "psycopg.Connection[Any]":
        connection, _ = sessions.connect_sync(database_url, PROFILE)
        connection.autocommit = False
        return connection

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    deadline = monotonic() + patience
    while True:
        try:
            return _attempt(engine)
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
        reason = _lock_reason(database_url)
        if monotonic() >= deadline:
            raise SchemaLocked(f"the schema was not changed, because other transactions use its tables: {reason}")
        log.warning("migration waits for a lock, trying again", reason=reason, retry_seconds=RETRY_SECONDS)
        sleep(RETRY_SECONDS)


def _attempt(engine: "Engine") -> str:
    """Upgrade the schema in one transaction. Returns its revision.

    Raises:
        sqlalchemy.exc.OperationalError: A lock was not available within :data:`LOCK_SECONDS`, among other reasons.
    """
    from alembic import command
    from sqlalchemy import text

    with engine.begin() as connection:
        # Behind a pooler neither settings nor locks outlive a transaction.
        connection.exec_driver_sql(sessions.APPLY, PROFILE.settings(local=True))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        found = _revision(connection)
        if found and not schema.is_known(found):
            raise UnknownRevision(schema.unknown(found))
        if found and schema.is_newer(found):
            return found
        # Not before the advisory lock: the migration that holds it may take its time.
        milliseconds = round(LOCK_SECONDS * 1000)
        connection.execute(text("SELECT set_config('lock_timeout', :value, true)"), {"value": str(milliseconds)})
        command.upgrade(config(connection), "head")
    return schema.HEAD


def _lock_reason(database_url: str) -> str:
    connection, _ = sessions.connect_sync(database_url, PROFILE)
    with connection:
        holder = locks.oldest_holder(connection, LOCK_SECONDS)
    return str(holder) if holder else "their transactions have ended meanwhile"


def _revision(connection: "Connection") -> str:
    exists = connection.exec_driver_sql(schema.EXISTS).scalar_one()
    return str(connection.exec_driver_sql(schema.REVISION).scalar_one()) if exists else ""


def config(connection: "Connection | None" = None) -> "Config":
    """Return Alembic's configuration, which has no file."""
    from alembic.config import Config

    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent))
    configuration.attributes["connection"] = connection
    return configuration
