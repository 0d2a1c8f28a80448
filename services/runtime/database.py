"""Databases: SQLite on one machine, PostgreSQL beyond it, the same tables and migrations on both.

SQLite: one file a service, WAL, one writer at a time. PostgreSQL: one schema a service in one database.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlmodel import Session, SQLModel

from services.runtime.errors import FailedPrecondition
from services.runtime.settings import RuntimeSettings

_BUSY_TIMEOUT_MS = 30_000
_MIGRATION_LOCK = 0x0E0A  # PostgreSQL's advisory lock that migrations hold


def open_database(settings: RuntimeSettings, service: str) -> Engine:
    """The service's database with its migrations run.

    Args:
        settings: `database_url`, or else `data_dir`, say where.
        service: its name: the SQLite file's, or the PostgreSQL schema's.
    Raises:
        FailedPrecondition: the database was migrated by a newer version than this one.
    """
    if settings.database_url:
        engine = _postgresql(settings.database_url, service)
    else:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        engine = _sqlite(settings.data_dir / f"{service}.db")
    with _migration_lock(engine):
        migrate(engine, service)
    return engine


@contextmanager
def session(engine: Engine) -> Iterator[Session]:
    """A transaction that will write: committed at the end, rolled back on an exception.

    On SQLite it takes the write lock at its start, so it cannot fail half-way for another writer.
    """
    with Session(engine.execution_options(immediate=True)) as opened, opened.begin():
        yield opened


def migrate(engine: Engine, service: str, revision: str = "head") -> None:
    """Brings the schema to a revision, up or (to an older one, or "base") down."""
    config = _config(service)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        current = MigrationContext.configure(connection).get_current_revision()
        if revision == "head":
            try:
                command.upgrade(config, "head")
            except command.util.CommandError as error:
                raise FailedPrecondition(
                    f"the {service} database is at revision {current}, which this version does not know; "
                    "install the version that wrote it, or a newer one",
                    "NEWER_DATABASE",
                ) from error
        else:
            command.downgrade(config, revision)


def schema_differences(engine: Engine, service_tables: set[str]) -> list[Any]:
    """What the migrated schema of the named tables lacks or has beside their SQLModel classes.

    For tests: empty when the migrations and the classes say the same.
    """

    def of_service(_object: object, name: str | None, kind: str, _reflected: bool, _to: object) -> bool:
        return kind != "table" or name in service_tables

    with engine.connect() as connection:
        options = {"include_object": of_service, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, SQLModel.metadata))


def _config(service: str) -> Config:
    here = Path(__file__).parent
    config = Config()
    config.set_main_option("script_location", str(here / "alembic"))
    config.set_main_option("version_locations", str(here.parent / service / "migrations"))
    config.set_main_option("path_separator", "newline")
    return config


def _sqlite(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_MS / 1000}
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:  # the driver's own connection
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in (
            "journal_mode = WAL",
            f"busy_timeout = {_BUSY_TIMEOUT_MS}",
            "foreign_keys = ON",
            "synchronous = FULL",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _postgresql(url: str, service: str) -> Engine:
    engine = create_engine(
        make_url(url).update_query_dict({"options": f"-csearch_path={service}"}), pool_pre_ping=True
    )
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {service}"))
    return engine


@contextmanager
def _migration_lock(engine: Engine) -> Iterator[None]:
    """Keeps two processes from migrating at once."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.execute(text(f"SELECT pg_advisory_lock({_MIGRATION_LOCK})"))
            try:
                yield
            finally:
                connection.execute(text(f"SELECT pg_advisory_unlock({_MIGRATION_LOCK})"))
        return
    with Path(f"{engine.url.database}.migration-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
