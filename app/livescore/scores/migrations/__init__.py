"""The schema's history, and the way to its present state.

Alembic and SQLAlchemy are imported where they are used: an API process never migrates, and they are 30 MB of it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

# The revision that this program was made for; a test keeps it equal to the latest file in versions/.
HEAD = "0002"

# Any number, as long as every version of this program uses the same: "lsco" in ASCII.
ADVISORY_LOCK = 0x6C73636F


def upgrade(database_url: str) -> str:
    """Bring the schema to the latest revision; safe to run again and from several processes at once.

    Returns:
        The revision reached.
    """
    from alembic import command
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(sqlalchemy_url(database_url), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()
        try:
            command.upgrade(config(connection), "head")
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
    return HEAD


def sqlalchemy_url(database_url: str) -> str:
    """The same database by SQLAlchemy's name of the psycopg 3 driver."""
    scheme, _, rest = database_url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else database_url


def config(connection: "Connection | None" = None) -> "Config":
    """Alembic's configuration; there is no file of it."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent))
    made.attributes["connection"] = connection
    return made
