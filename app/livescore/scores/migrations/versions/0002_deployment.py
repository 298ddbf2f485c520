"""The id of the deployment, which separates deployments that share a Redis.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "catalog", sa.Column("deployment", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False)
    )


def downgrade() -> None:
    op.drop_column("catalog", "deployment")
