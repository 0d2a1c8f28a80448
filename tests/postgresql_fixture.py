"""A real PostgreSQL server for tests, and in it a database that is empty at the start of each."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from deploy.local.postgresql import NoPostgresql, running_postgresql


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Folder of a running server's socket; the test is skipped with the reason where none can be started."""
    try:
        with running_postgresql() as server:
            yield server.folder
    except NoPostgresql as error:
        pytest.skip(str(error))


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """URL of a database without any schema of a service; those of the test before are dropped."""
    with psycopg.connect(host=postgresql_server, user="onoma", dbname="postgres") as connection:
        connection.execute("SET lock_timeout = '20s'")
        schemas = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        ).fetchall()
        for (name,) in schemas:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
    return f"postgresql+psycopg://onoma@/postgres?host={postgresql_server}"
