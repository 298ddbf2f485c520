"""A match in depth: competitions, rules and the fold of its entries; the sides and periods of entries; overrides.

Revision: 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BEFORE = "'scheduled', 'live', 'finished', 'postponed', 'cancelled'"
_STATUSES = f"{_BEFORE}, 'delayed', 'interrupted', 'abandoned', 'awarded'"

_TEXTS = ("competition", "season", "stage", "group", "round", "venue", "referee", "external_id")
_INTEGERS = ("leg", "match_number", "attendance")
_DOCUMENTS = ("rules", "metadata", "aggregate", "fold")
_SCORES = ("initial_home", "initial_away")


def upgrade() -> None:
    for name in _TEXTS:
        op.add_column("match", sa.Column(name, sa.Text(), nullable=True))
    for name in _INTEGERS:
        op.add_column("match", sa.Column(name, sa.Integer(), nullable=True))
    for name in _DOCUMENTS:
        op.add_column("match", sa.Column(name, sa.JSON(), nullable=True))
    for name in _SCORES:
        op.add_column("match", sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column(
        "match", sa.Column("start_time_confirmed", sa.Boolean(), server_default=sa.text("true"), nullable=False)
    )
    _replace_statuses(_STATUSES)
    op.create_index(
        "match_external",
        "match",
        ["external_id"],
        unique=True,
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.create_index("match_live", "match", ["start_time"], unique=False, postgresql_where=sa.text("status = 'live'"))
    op.add_column("commentary", sa.Column("side", sa.Text(), nullable=True))
    op.add_column("commentary", sa.Column("period_code", sa.Text(), nullable=True))
    op.add_column("commentary", sa.Column("stoppage", sa.Integer(), nullable=True))
    op.add_column("commentary", sa.Column("warnings", postgresql.ARRAY(sa.Text()), nullable=True))
    op.create_table(
        "match_override",
        sa.Column("match_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True, precision=3),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["match_id"], ["match.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("match_id", "id"),
    )


def downgrade() -> None:
    op.drop_table("match_override")
    for name in ("warnings", "stoppage", "period_code", "side"):
        op.drop_column("commentary", name)
    op.drop_index("match_live", table_name="match", postgresql_where=sa.text("status = 'live'"))
    op.drop_index("match_external", table_name="match", postgresql_where=sa.text("external_id IS NOT NULL"))
    op.execute("UPDATE match SET status = 'scheduled' WHERE status = 'delayed'")
    op.execute("UPDATE match SET status = 'live' WHERE status = 'interrupted'")
    op.execute("UPDATE match SET status = 'cancelled' WHERE status = 'abandoned'")
    op.execute("UPDATE match SET status = 'finished' WHERE status = 'awarded'")
    _replace_statuses(_BEFORE)
    for name in (*_TEXTS, *_INTEGERS, *_DOCUMENTS, *_SCORES, "start_time_confirmed"):
        op.drop_column("match", name)


def _replace_statuses(statuses: str) -> None:
    op.drop_constraint("match_status", "match", type_="check")
    op.create_check_constraint("match_status", "match", f"status IN ({statuses})")
