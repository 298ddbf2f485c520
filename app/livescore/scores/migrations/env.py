"""Alembic's environment: runs migrations on the connection of :func:`livescore.scores.migrations.upgrade`."""

from alembic import context

from livescore.scores.models import Match

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Match.metadata,
    compare_server_default=True,
    transactional_ddl=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
