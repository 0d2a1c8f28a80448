"""How many connections to PostgreSQL a process of a service may open."""

from __future__ import annotations

from sqlalchemy.pool import QueuePool

from services.runtime.database import _connect
from services.runtime.settings import RuntimeSettings


def most_connections() -> int:
    """Those that it keeps, and those that it opens beside them where all are in use; none is opened here."""
    pool = _connect(RuntimeSettings(database_url="postgresql+psycopg://x@127.0.0.1/x"), "naming").pool
    assert isinstance(pool, QueuePool)
    return pool.size() + pool._max_overflow
