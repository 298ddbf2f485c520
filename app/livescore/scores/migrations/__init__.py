"""The schema's history, and the way to its present state.

Alembic and SQLAlchemy are imported where they are used: an API process never migrates, and they are 30 MB of it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from livescore.scores import schema, sessions

if TYPE_CHECKING:
    import psycopg
    from alembic.config import Config
    from sqlalchemy import Connection

# A migration takes as long as it takes, and waits for another one.
PROFILE = sessions.Profile(timeout=0, prepared="off", migrated=False)

# Any number, as long as every version of this program uses the same: "lsco" in ASCII.
ADVISORY_LOCK = 0x6C73636F


class UnknownRevision(Exception):
    """The schema is at a revision that is none of LiveScore's."""


def upgrade(database_url: str) -> str:
    """Bring the schema to the latest revision; safe to run again and from several processes at once.

    All revisions and the lock share one transaction. A newer schema is left as it is.

    Returns:
        The revision of the schema afterwards.

    Raises:
        UnknownRevision: if something else has migrated the database.
    """
    from alembic import command
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    def connect() -> "psycopg.Connection[Any]":
        connection, _ = sessions.connect_sync(database_url, PROFILE)
        connection.autocommit = False
        return connection

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    with engine.begin() as connection:
        # Behind a pooler nothing outlives a transaction, neither settings nor locks.
        connection.exec_driver_sql(sessions.APPLY, PROFILE.settings(local=True))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        found = _revision(connection)
        if found and not schema.is_known(found):
            raise UnknownRevision(schema.unknown(found))
        if found and schema.is_newer(found):
            return found
        command.upgrade(config(connection), "head")
    return schema.HEAD


def _revision(connection: "Connection") -> str:
    exists = connection.exec_driver_sql(schema.EXISTS).scalar_one()
    return str(connection.exec_driver_sql(schema.REVISION).scalar_one()) if exists else ""


def config(connection: "Connection | None" = None) -> "Config":
    """Alembic's configuration; there is no file of it."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent))
    made.attributes["connection"] = connection
    return made
