"""Run by Alembic for every command: gives it the connection that the caller has opened.

Never opens a connection by itself, and never runs from a shell.
"""

from alembic import context

from xmpprelay.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():  # the caller's own, when he has begun one
    context.run_migrations()
