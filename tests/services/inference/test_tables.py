"""The migrations and the table classes say the same."""

from sqlmodel import SQLModel

from services.inference import tables
from services.runtime.database import migrate, open_database
from services.runtime.settings import RuntimeSettings
from tests.migrations import schema_differences

TABLES = {
    table.__tablename__
    for table in vars(tables).values()
    if isinstance(table, type) and issubclass(table, SQLModel) and table is not SQLModel
} | {"job"}


def test_migrations_make_the_tables_of_the_classes(tmp_path):
    engine = open_database(RuntimeSettings(data_dir=tmp_path), "inference")
    assert schema_differences(engine, TABLES) == []


def test_migrations_go_down_to_nothing_and_up_again(tmp_path):
    engine = open_database(RuntimeSettings(data_dir=tmp_path), "inference")
    migrate(engine, "inference", "base")
    assert len(schema_differences(engine, TABLES)) >= len(TABLES)
    migrate(engine, "inference")
    assert schema_differences(engine, TABLES) == []
