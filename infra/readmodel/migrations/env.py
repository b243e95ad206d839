"""Run migrations over the connection that `infra.readmodel.migrate` opened, in its transaction."""

from alembic import context

from infra.readmodel.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
