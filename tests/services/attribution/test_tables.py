"""The migrations and the table classes say the same, on both databases."""

from sqlalchemy import text
from sqlmodel import Session

from services.attribution.tables import Activation, MapRun
from services.runtime.database import migrate, open_database, session
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


def test_going_down_leaves_computed_maps_and_takes_imported_ones_on_sqlite(tmp_path):
    assert_imported_maps_go(RuntimeSettings(data_dir=tmp_path))


def test_going_down_leaves_computed_maps_and_takes_imported_ones_on_postgresql(tmp_path, postgresql_url):
    assert_imported_maps_go(RuntimeSettings(data_dir=tmp_path, database_url=postgresql_url))


def assert_imported_maps_go(settings):
    """The revision before knows neither imported maps nor shards with a header."""
    engine = open_database(settings, "attribution")
    with session(engine) as opened:
        for study_id, archive_hash, shard_start in (("bare", "", 0), ("headed", "", 80), ("came", "ab", 80)):
            opened.add(run_of(study_id, archive_hash))
            opened.flush()
            opened.add(activation_of(study_id, None if archive_hash else 1.0, shard_start))
    migrate(engine, "attribution", "0002")
    with engine.connect() as connection:
        for table in ("map_run", "activation"):
            assert connection.execute(text(f"SELECT study_id FROM {table}")).scalars().all() == ["bare"]
    migrate(engine, "attribution")
    with Session(engine) as opened:
        assert opened.get_one(MapRun, "bare").method == "Excitation Backprop"
        assert opened.get_one(Activation, ("bare", "a")).shard_start == 0
    engine.dispose()


def run_of(study_id, archive_hash):
    texts = (
        "salt", "model", "model_hash", "xnn_set", "xnn_hash", "dataset", "dataset_hash", "attachment_layer",
        "map_layer", "mode", "version", "method",
    )  # fmt: skip
    return MapRun(
        study_id=study_id,
        archive_hash=archive_hash,
        **dict.fromkeys(texts, ""),
        map_height=1,
        map_width=1,
        contrastive=False,
        is_complete=True,
        significant_share=0.9,
    )


def activation_of(study_id, x, shard_start):
    numbers = ("x_feature", "contribution", "share", "map_sum", "map_scale", "shard_index", "crc32")
    return Activation(
        study_id=study_id,
        activation_id="a",
        category="c",
        image_id="i",
        x=x,
        shard_key="k",
        shard_start=shard_start,
        **dict.fromkeys(numbers, 0),
    )
