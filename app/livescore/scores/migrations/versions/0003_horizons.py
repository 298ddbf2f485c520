"""Columns that make horizons valid after a restore and after pruning.

Revision: 0003.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


class Xid8(sa.types.UserDefinedType[str]):
    """PostgreSQL's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


def upgrade() -> None:
    op.add_column("catalog", sa.Column("cluster", sa.Text(), nullable=True))
    op.add_column("match", sa.Column("pruned_txid", Xid8(), nullable=True))
    op.add_column("match", sa.Column("restored_seq", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.create_index(
        "match_pruned",
        "match",
        ["pruned_txid"],
        unique=False,
        postgresql_where=sa.text("pruned_seq > restored_seq"),
    )


def downgrade() -> None:
    op.drop_index("match_pruned", table_name="match", postgresql_where=sa.text("pruned_seq > restored_seq"))
    op.drop_column("match", "restored_seq")
    op.drop_column("match", "pruned_txid")
    op.drop_column("catalog", "cluster")
