"""Alembic's entry: runs a service's revisions on the connection that `open_database` hands over."""

from alembic import context
from sqlmodel import SQLModel

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    transactional_ddl=True,  # on SQLite too, where `open_database` begins transactions itself
)
with context.begin_transaction():
    context.run_migrations()
