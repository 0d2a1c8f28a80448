"""The migrations and the table classes say the same, on both databases."""

from services.runtime.database import open_database
from services.runtime.settings import RuntimeSettings
from tests.migrations import assert_migrations_match


def test_migrations_make_the_tables_of_the_classes_on_sqlite(tmp_path):
    engine = open_database(RuntimeSettings(data_dir=tmp_path), "attribution")
    assert_migrations_match(engine, "attribution")
    engine.dispose()


def test_migrations_make_the_tables_of_the_classes_on_postgresql(tmp_path, postgresql_url):
    settings = RuntimeSettings(data_dir=tmp_path, database_url=postgresql_url)
    engine = open_database(settings, "attribution")
    assert_migrations_match(engine, "attribution")
    engine.dispose()
