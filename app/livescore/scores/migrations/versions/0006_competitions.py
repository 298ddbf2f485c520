"""Competitions, their standings, and the changes of matches after which standings are due.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Columns from which a table or an aggregate follows. Statements that set none of them, such as those of neutral
# entries, do not run the trigger at all.
_INPUTS = (
    "competition",
    "season",
    "stage",
    '"group"',
    "round",
    "leg",
    "home_team",
    "away_team",
    "start_time",
    "status",
    "home_score",
    "away_score",
    "fold",
)


def upgrade() -> None:
    op.create_table(
        "competition",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "competition_season",
        sa.Column("competition", sa.Text(), nullable=False),
        sa.Column("season", sa.Text(), nullable=False),
        sa.Column("rule_set", sa.Text(), nullable=True),
        sa.Column("adjustments", sa.JSON(), server_default=sa.text("'[]'::json"), nullable=False),
        sa.Column("orders", sa.JSON(), server_default=sa.text("'{}'::json"), nullable=False),
        sa.Column("conduct", sa.JSON(), server_default=sa.text("'{}'::json"), nullable=False),
        sa.ForeignKeyConstraint(["competition"], ["competition.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("competition", "season"),
    )
    op.create_table(
        "standings",
        sa.Column("competition", sa.Text(), nullable=False),
        sa.Column("season", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("group", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("as_of", postgresql.TIMESTAMP(timezone=True, precision=3), nullable=False),
        sa.Column("rows", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["competition", "season"],
            ["competition_season.competition", "competition_season.season"],
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("competition", "season", "live", "kind", "stage", "group"),
    )
    op.create_table(
        "standings_due",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("competition", sa.Text(), nullable=False),
        sa.Column("season", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "match_competition",
        "match",
        ["competition", "season", sa.text("created_at DESC"), sa.text("id DESC")],
        unique=False,
        postgresql_where=sa.text("competition IS NOT NULL"),
    )
    schema = _schema()
    # The name of a schema cannot be a parameter.
    op.execute(f"""
        CREATE FUNCTION {schema}.livescore_standings_due() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            moved boolean := TG_OP = 'INSERT';
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                moved := (OLD.competition, OLD.season) IS DISTINCT FROM (NEW.competition, NEW.season);
                IF moved AND OLD.competition IS NOT NULL THEN
                    INSERT INTO {schema}.standings_due (competition, season)
                    VALUES (OLD.competition, coalesce(OLD.season, ''));
                END IF;
            END IF;
            IF NEW.competition IS NOT NULL THEN
                IF moved THEN
                    INSERT INTO {schema}.competition (id) VALUES (NEW.competition) ON CONFLICT DO NOTHING;
                    INSERT INTO {schema}.competition_season (competition, season)
                    VALUES (NEW.competition, coalesce(NEW.season, '')) ON CONFLICT DO NOTHING;
                END IF;
                INSERT INTO {schema}.standings_due (competition, season)
                VALUES (NEW.competition, coalesce(NEW.season, ''));
            END IF;
            RETURN NULL;
        END $$
    """)  # noqa: S608  # the schema is the database's own name
    # The database calls it for every write, also those of an older version of the service.
    op.execute(f"""
        CREATE TRIGGER match_standings_insert AFTER INSERT ON match FOR EACH ROW
        WHEN (NEW.competition IS NOT NULL) EXECUTE FUNCTION {schema}.livescore_standings_due()
    """)
    # The type json has no comparison.
    before, after = (", ".join(f"{row}.{name}" for name in (*_INPUTS[:-1], "fold::text")) for row in ("OLD", "NEW"))
    op.execute(f"""
        CREATE TRIGGER match_standings_update AFTER UPDATE OF {", ".join(_INPUTS)} ON match FOR EACH ROW
        WHEN ((OLD.competition IS NOT NULL OR NEW.competition IS NOT NULL)
            AND ({before}) IS DISTINCT FROM ({after}))
        EXECUTE FUNCTION {schema}.livescore_standings_due()
    """)


def downgrade() -> None:
    op.execute("DROP TRIGGER match_standings_update ON match")
    op.execute("DROP TRIGGER match_standings_insert ON match")
    op.execute(f"DROP FUNCTION {_schema()}.livescore_standings_due()")
    op.drop_index("match_competition", table_name="match", postgresql_where=sa.text("competition IS NOT NULL"))
    for name in ("standings_due", "standings", "competition_season", "competition"):
        op.drop_table(name)


def _schema() -> str:
    """Return the schema of the tables, quoted where it must be."""
    query = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'match'::regclass"
    return str(op.get_bind().execute(sa.text(query)).scalar_one())
