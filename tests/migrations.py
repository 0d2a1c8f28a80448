"""What holds for the migrations of every service."""

import importlib
import sys

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect
from sqlmodel import SQLModel

from services.runtime import job_table, shard_ledger
from services.runtime.database import migrate


def assert_migrations_match(engine: Engine, service: str) -> None:
    """The migrated schema is that of the service's table classes, and goes down to nothing and up again."""
    tables = _tables(service)
    migrated = set(inspect(engine).get_table_names()) - {"alembic_version"}
    of_the_runtime = {job_table.Job.__tablename__, shard_ledger.WorkShard.__tablename__}
    tables |= of_the_runtime & migrated
    assert migrated == tables
    assert schema_differences(engine, tables) == []
    migrate(engine, service, "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    migrate(engine, service)
    assert schema_differences(engine, tables) == []


def schema_differences(engine: Engine, tables: set[str]) -> list[object]:
    """What the migrated schema of the named tables lacks or has beside their classes; empty when both agree."""

    def is_asked_for(_object: object, name: str | None, kind: str, _reflected: bool, _to: object) -> bool:
        return kind != "table" or name in tables

    with engine.connect() as connection:
        options = {"include_object": is_asked_for, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, SQLModel.metadata))


def _tables(service: str) -> set[str]:
    """Names of the tables whose classes the service's modules define."""
    importlib.import_module(f"services.{service}.tables")
    package = f"services.{service}."
    return {
        mapper.local_table.name
        for mapper in SQLModel._sa_registry.mappers
        if sys.modules[mapper.class_.__module__].__name__.startswith(package)
    }
