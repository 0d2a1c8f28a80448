"""Databases: SQLite on one machine, PostgreSQL beyond it, the same tables and migrations on both.

SQLite: one file a service, WAL, one writer at a time. PostgreSQL: one schema a service in one database.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlmodel import Session

from services.runtime.errors import (
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    ServiceError,
    Unavailable,
)
from services.runtime.settings import RuntimeSettings

# Those that have migrations.
SERVICES_WITH_DATABASE = tuple(
    sorted(folder.parent.name for folder in Path(__file__).parent.parent.glob("*/migrations"))
)
_log = logging.getLogger(__name__)
_BUSY_TIMEOUT_MS = 30_000
_LEAST_FREE_BYTES = (
    256 * 1024
)  # what SQLite may want at once beside its file: the log's next pages and their index
# Of PostgreSQL's client library: text is UTF-8 whatever the database has, so that the database can be asked what it
# has; and how long it takes for a server that is gone without a word to count as gone.
_CONNECTION = {
    "client_encoding": "utf8",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
# PostgreSQL's advisory locks: that migrations hold, and that what deletes keeps what adds out by.
_MIGRATION_LOCK, _DELETION_LOCK = 0x0E0A, 0x0E0B
# Of PostgreSQL: what is there is another's, and nothing that the role may look into is in its search path.
_NO_RIGHT = ("42501", "3F000")
# What passes by itself: SQLite's result codes, and PostgreSQL's classes 08 (connection), 40 (two waited for each
# other), 53 (resources), 57 (an operator stepped in).
_PASSING = (
    "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "08", "40", "53", "57"
)  # fmt: skip


def open_database(settings: RuntimeSettings, service: str) -> Engine:
    """The service's database with its migrations run.

    Args:
        settings: `database_url`, or else `data_dir`, say where.
        service: its name: the SQLite file's, or the PostgreSQL schema's.
    Raises:
        FailedPrecondition: the database was migrated by a newer version than this one, cannot hold every word, grants
            too little, or is none at all.
        Unavailable: it does not answer.
        ResourceExhausted: its disk is full.
    """
    if not settings.database_url:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        if _is_on_full_disk(settings.data_dir):  # SQLite maps a file there: the process would end by SIGBUS
            raise _disk_full(str(settings.data_dir))
    engine = _connect(settings, service)
    with _migration_lock(engine):
        if engine.dialect.name == "postgresql":
            with engine.begin() as connection:
                _check_encoding(connection)
                _make_schema(connection, service)
        migrate(engine, service)
    return engine


def open_migrated_database(settings: RuntimeSettings, service: str) -> Engine:
    """The service's database as it is, for what looks at it from outside the service.

    Raises:
        FailedPrecondition: there is none, or it is at another revision than this version's.
        Unavailable: it does not answer.
    """
    file = settings.data_dir / f"{service}.db"
    if not settings.database_url and not file.exists():
        raise FailedPrecondition(
            f"there is no {file}: give the data folder of an installation (--data, or ONOMA_DATA_DIR)"
        )
    engine = _connect(settings, service)
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current is None:
        raise FailedPrecondition(
            f"the {service} database is empty; restore it from a backup, or start the services to begin anew"
        )
    expected = ScriptDirectory.from_config(_config(service)).get_current_head()
    if current != expected:
        raise FailedPrecondition(
            f"the {service} database is at revision {current}, and this version's is {expected}: start the services "
            "of this version on it once, or take the version that wrote it"
        )
    return engine


def _connect(settings: RuntimeSettings, service: str) -> Engine:
    # Those of the jobs beside those of the calls. SQLAlchemy opens 10 more where all are in use: a thread may hold two.
    connections = settings.grpc_workers + 4
    if settings.database_url:
        engine = _postgresql(settings.database_url, service, connections)
    else:
        engine = _sqlite(settings.data_dir / f"{service}.db", connections)
    event.listen(engine, "handle_error", _translate)
    return engine


@contextmanager
def session(engine: Engine) -> Iterator[Session]:
    """A transaction that will write: committed at the end, rolled back on an exception.

    On SQLite it takes the write lock at its start, so it cannot fail half-way for another writer.
    What only reads takes a plain `Session(engine)`, which waits for nobody.
    """
    with Session(engine.execution_options(immediate=True)) as opened, opened.begin():
        yield opened


def keep_deletions_out(opened: Session) -> None:
    """Until the transaction ends nothing is deleted that it finds; for PostgreSQL, as SQLite's are alone anyway."""
    if opened.get_bind().dialect.name == "postgresql":
        opened.connection().execute(text(f"SELECT pg_advisory_xact_lock_shared({_DELETION_LOCK})"))


def keep_additions_out(opened: Session) -> None:
    """Until the transaction ends nobody who keeps deletions out comes in, and no other deletion."""
    if opened.get_bind().dialect.name == "postgresql":
        opened.connection().execute(text(f"SELECT pg_advisory_xact_lock({_DELETION_LOCK})"))


def migrate(engine: Engine, service: str, revision: str = "head") -> None:
    """Brings the schema to a revision, up or (to an older one, or "base") down.

    Raises:
        FailedPrecondition: the database is at a revision that this version does not know.
    """
    config = _config(service)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        if revision != "head":
            command.downgrade(config, revision)
            return
        current = MigrationContext.configure(connection).get_current_revision()
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise FailedPrecondition(
                f"the {service} database is at revision {current}, which this version does not know; "
                "install the version that wrote it, or a newer one",
                "NEWER_DATABASE",
            ) from error
        reached = MigrationContext.configure(connection).get_current_revision()
    if reached != current:
        _log.info("the %s database went from revision %s to %s", service, current, reached)


def _config(service: str) -> Config:
    here = Path(__file__).parent
    config = Config()
    config.set_main_option("script_location", str(here / "alembic"))
    config.set_main_option("version_locations", str(here.parent / service / "migrations"))
    config.set_main_option("path_separator", "newline")
    return config


def _sqlite(path: Path, connections: int) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_MS / 1000},
        pool_size=connections,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:  # the driver's own connection
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in (
            f"busy_timeout = {_BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "foreign_keys = ON",
            "synchronous = FULL",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _postgresql(url: str, service: str, connections: int) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise FailedPrecondition(
            "ONOMA_DATABASE_URL is no database URL; it looks like postgresql+psycopg://user:password@host/name"
        ) from error
    if parsed.get_backend_name() != "postgresql":
        raise FailedPrecondition(
            f"ONOMA_DATABASE_URL names {parsed.get_backend_name()}; it takes postgresql+psycopg://... "
            "(leave it empty for a SQLite file a service in ONOMA_DATA_DIR)"
        )
    engine = create_engine(
        parsed.set(drivername="postgresql+psycopg").update_query_dict(
            {"options": f"-csearch_path={service}"}
        ),
        pool_pre_ping=True,
        pool_size=connections,
        connect_args=_CONNECTION,
    )
    engine.dialect.use_insertmanyvalues_wo_returning = (
        True  # many rows a statement, as psycopg2's dialect does
    )
    return engine


def _check_encoding(connection: Connection) -> None:
    """Refuses a database that does not know what letters are: lengths and comparisons would be of bytes."""
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        where = connection.engine.url.render_as_string(hide_password=True)
        raise FailedPrecondition(
            f"the database {where} is in {encoding}, which does not hold every word: make one by "
            "`createdb --template=template0 --encoding=UTF8 NAME` and name it in ONOMA_DATABASE_URL (rows that are in "
            "this one go there by pg_dump and pg_restore)",
            "DATABASE_ENCODING",
        )


def _make_schema(connection: Connection, service: str) -> None:
    """Where there is none: what is asked for even so takes a right that nothing needs any more."""
    known = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
    if connection.scalar(known, {"name": service}) is None:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {service}"))


def _translate(context: ExceptionContext) -> ServiceError | None:
    """A service error for what goes wrong with the database itself; None for a wrong statement."""
    if context.is_pre_ping or context.engine is None:
        return None
    error = context.original_exception
    where = context.engine.url.render_as_string(hide_password=True)
    line = " ".join(str(error).split())
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None) or ""
    file = context.engine.url.database or ""
    if code in ("SQLITE_FULL", "53100") or (
        code.startswith("SQLITE_IOERR") and _is_on_full_disk(Path(file).parent)
    ):
        return _disk_full(where)
    if code in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return FailedPrecondition(
            f"the database {where} is damaged ({line}); restore it from a backup, or move it away to begin anew",
            "DATABASE_DAMAGED",
        )
    if code in _NO_RIGHT:
        return FailedPrecondition(
            f"the database {where} does not let its role do what is needed ({line}): GRANT CREATE ON DATABASE to the "
            f"role, or CREATE SCHEMA ... AUTHORIZATION the role for {', '.join(SERVICES_WITH_DATABASE)}",
            "DATABASE_RIGHTS",
        )
    if isinstance(error, psycopg.DataError) and "NUL" in line:
        return InvalidArgument("a text of the request holds a zero byte (NUL), as no id or name does")
    away = isinstance(error, psycopg.OperationalError) and not code  # never reached, or cut off
    if away or context.is_disconnect or code.startswith(_PASSING):
        return Unavailable(f"the database {where} is not to be had now: {line}", "DATABASE_UNAVAILABLE")
    return None


def _is_on_full_disk(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < _LEAST_FREE_BYTES


def _disk_full(where: str) -> ResourceExhausted:
    return ResourceExhausted(
        f"the disk of the database {where} is full; free space there and repeat the work", "DISK_FULL"
    )


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
