"""Matches, commentary, the feed, idempotency keys and API keys.

Revision: 0001, the first.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


class Xid8(sa.types.UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction id. Migrations do not import the models, which change."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "catalog",
        sa.Column("one_row", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("last_match_id", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("incarnation", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.CheckConstraint("one_row", name="catalog_one_row"),
        sa.PrimaryKeyConstraint("one_row"),
    )
    op.create_table(
        "idempotency_key",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("scope", "key"),
    )
    op.create_index("idempotency_key_age", "idempotency_key", ["created_at"], unique=False)
    op.create_table(
        "match",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sport", sa.Text(), nullable=False),
        sa.Column("home_team", sa.Text(), nullable=False),
        sa.Column("away_team", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("start_time", postgresql.TIMESTAMP(timezone=True, precision=3), nullable=False),
        sa.Column("end_time", postgresql.TIMESTAMP(timezone=True, precision=3), nullable=False),
        sa.Column("home_score", sa.Integer(), nullable=False),
        sa.Column("away_score", sa.Integer(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True, precision=3), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True, precision=3), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("pinned", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("pruned_seq", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "status IN ('scheduled', 'live', 'finished', 'postponed', 'cancelled')", name="match_status"
        ),
        sa.CheckConstraint("end_time > start_time", name="match_times"),
        sa.CheckConstraint("home_score >= 0 AND away_score >= 0", name="match_scores"),
        sa.PrimaryKeyConstraint("id"),
        postgresql_with={"fillfactor": "60"},
    )
    op.create_index("match_away", "match", ["away_team"], unique=False)
    op.create_index("match_home", "match", ["home_team"], unique=False)
    op.create_index(
        "match_newest", "match", [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")], unique=False
    )
    op.create_index("match_start", "match", ["start_time"], unique=False)
    op.create_index(
        "match_to_finish",
        "match",
        ["end_time"],
        unique=False,
        postgresql_where=sa.text("status = 'live' AND NOT pinned"),
    )
    op.create_index(
        "match_to_start",
        "match",
        ["start_time"],
        unique=False,
        postgresql_where=sa.text("status = 'scheduled' AND NOT pinned"),
    )
    op.create_table(
        "commentary",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("match_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("period", sa.Integer(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=True),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True, precision=3), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True, precision=3), nullable=False),
        sa.ForeignKeyConstraint(["match_id"], ["match.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "commentary_newest",
        "commentary",
        ["match_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_table(
        "event",
        sa.Column("match_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("txid", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.ForeignKeyConstraint(["match_id"], ["match.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("match_id", "seq"),
    )
    op.create_index("event_txid", "event", ["txid"], unique=False)
    op.execute("INSERT INTO catalog DEFAULT VALUES")


def downgrade() -> None:
    op.drop_index("event_txid", table_name="event")
    op.drop_table("event")
    op.drop_index("commentary_newest", table_name="commentary")
    op.drop_table("commentary")
    op.drop_index("match_to_start", table_name="match", postgresql_where=sa.text("status = 'scheduled' AND NOT pinned"))
    op.drop_index("match_to_finish", table_name="match", postgresql_where=sa.text("status = 'live' AND NOT pinned"))
    op.drop_index("match_start", table_name="match")
    op.drop_index("match_newest", table_name="match")
    op.drop_index("match_home", table_name="match")
    op.drop_index("match_away", table_name="match")
    op.drop_table("match")
    op.drop_index("idempotency_key_age", table_name="idempotency_key")
    op.drop_table("idempotency_key")
    op.drop_table("catalog")
    op.drop_table("api_key")
