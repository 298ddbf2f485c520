"""The status of a match by the clock, as a function.

Revision: 0004.
"""

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # PostgreSQL replaces a call by this expression, as it is a single immutable one. Its operators are qualified, so
    # that it means the same for every search_path.
    op.execute(f"""
        CREATE FUNCTION {_schema()}.livescore_status(start_time timestamptz, end_time timestamptz, now timestamptz)
        RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
            SELECT CASE
                WHEN now OPERATOR(pg_catalog.<) start_time THEN 'scheduled'
                WHEN now OPERATOR(pg_catalog.<) end_time THEN 'live'
                ELSE 'finished'
            END
        $$
    """)


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {_schema()}.livescore_status(timestamptz, timestamptz, timestamptz)")


def _schema() -> str:
    """Return the schema of the tables, quoted where it must be."""
    query = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'match'::regclass"
    return str(op.get_bind().execute(text(query)).scalar_one())
