"""What `onoma doctor` finds in an installation, and what it mends."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
import sqlalchemy as sa

from onoma.client import JobFailed
from services import doctor
from services.backup import back_up
from services.doctor import look_over
from services.runtime.database import SERVICES_WITH_DATABASE, migrate, open_database, session
from services.runtime.errors import FailedPrecondition, ResourceExhausted, Unavailable
from services.runtime.job_table import Job
from services.runtime.objects import ObjectStore, open_object_store
from services.up import local_settings
from tests.services.installations import Installation, installation, objects, rows, running

__all__ = ["installation"]  # a fixture


def named(of: Installation) -> dict[str, list[str]]:
    """Object keys by the column that names them; of every kind there is one at least."""
    found: dict[str, list[str]] = {}
    for service in SERVICES_WITH_DATABASE:
        engine = open_database(of.settings, service)
        for table, row in doctor._rows(engine, service):
            for column, text in row.items():
                found.setdefault(f"{service}.{table}.{column}", []).extend(doctor._KEY.findall(text or ""))
        engine.dispose()
    assert all(found[column] for column in doctor._WAYS_OUT)
    return found


def spoil(store: ObjectStore, of: Installation, key: str) -> None:
    """Overwrites an object from outside with as many other bytes."""
    other = bytes(byte ^ 1 for byte in store.get(key))
    if of.settings.object_store == "s3":
        bucket = of.settings.s3_bucket
        store._client.put_object(bucket_name=bucket, object_name=key, data=BytesIO(other), length=len(other))
    else:
        (of.settings.data_dir / "objects" / key[:2] / key).write_bytes(other)


def test_nothing_is_wrong_with_what_is_in_use(installation: Installation) -> None:
    stages = []
    with running(installation.settings):
        found = look_over(installation.settings, lambda *progress: stages.append(progress))
    assert (found.faults, found.orphans) == ([], {})
    assert found.object_count == len(objects(installation.settings)) > 100
    assert all(found.row_counts[service] > 0 for service in SERVICES_WITH_DATABASE)
    assert {stage for stage, _, _ in stages} == {"rows", "objects"}


@pytest.mark.parametrize("column", doctor._WAYS_OUT)
def test_what_is_missing_or_damaged_is_found_and_comes_back_from_a_backup(
    installation: Installation, tmp_path: Path, column: str
) -> None:
    before = objects(installation.settings)
    back_up(installation.settings, tmp_path)
    store = open_object_store(installation.settings)
    key = named(installation)[column][0]
    for what, harm in (("missing", store.delete), ("damaged", lambda key: spoil(store, installation, key))):
        harm(key)
        found = look_over(installation.settings)
        [fault] = found.faults
        assert (fault.object_key, fault.what) == (key, what)
        assert fault.named_by.endswith(column.rpartition(".")[2])  # pictures are named by two tables
        assert "{" not in fault.way_out
        mended = look_over(installation.settings, backups=tmp_path)
        assert (mended.faults, mended.restored) == ([], [key])
        assert objects(installation.settings) == before


def test_a_fault_that_no_backup_mends_stays(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    store = open_object_store(installation.settings)
    key = named(installation)["inference.dataset_image.image_id"][0]
    data = store.get(key)
    spoil(store, installation, key)
    try:
        found = look_over(installation.settings, backups=tmp_path)
        assert [fault.object_key for fault in found.faults] == [key]
        assert found.restored == []
        assert store.exists(key)
    finally:
        store.delete(key)
        store.put(data)


def test_a_lost_cache_is_no_fault(installation: Installation) -> None:
    store = open_object_store(installation.settings)
    key = named(installation)["inference.feature_shard.object_key"][0]
    data = store.get(key)
    store.delete(key)
    assert look_over(installation.settings).faults == []
    store.put(data)


def test_orphans_go_when_they_are_old_and_nothing_else_does(installation: Installation) -> None:
    before, rows_before = objects(installation.settings), rows(installation.settings)
    orphan = open_object_store(installation.settings).put(b"nobody names this")
    young = look_over(installation.settings, remove_orphans=True)
    assert (young.orphans, young.freed) == ({orphan: 17}, [])
    old = look_over(installation.settings, remove_orphans=True, grace_s=-1)
    assert (old.orphans, old.freed) == ({}, [orphan])
    assert objects(installation.settings) == before
    assert rows(installation.settings) == rows_before
    with running(installation.settings) as client:
        shown = client.list_activations(installation.study_id)
        for _ in client.get_maps(installation.study_id, list(shown.activation_id)):
            pass  # every map is read, its bytes checked


def test_what_a_job_that_may_resume_was_given_is_no_orphan(installation: Installation) -> None:
    with running(installation.settings) as client:
        key = client.upload_object(b"not a program")
        with pytest.raises(JobFailed):
            client.register_model("broken", b"not a program").wait()
    assert look_over(installation.settings, remove_orphans=True, grace_s=-1).orphans == {}
    assert open_object_store(installation.settings).exists(key)


def test_shards_that_an_import_still_needs_are_no_orphans(installation: Installation) -> None:
    store = open_object_store(installation.settings)
    shard = store.put(b"maps of a study that is being imported")
    document = store.put(f'{{"activations": {{"shard_key": ["{shard}"]}}}}'.encode())
    engine = open_database(installation.settings, "attribution")
    with session(engine) as opened:
        opened.add(Job(job_id="waits", kind="import_study_maps", params={"object_key": document}))
    assert look_over(installation.settings, remove_orphans=True, grace_s=-1).freed == []
    with session(engine) as opened:
        opened.delete(opened.get(Job, "waits"))
    engine.dispose()
    assert sorted(look_over(installation.settings, remove_orphans=True, grace_s=-1).freed) == sorted(
        [shard, document]
    )


def test_another_installations_store_is_left_alone(installation: Installation, tmp_path: Path) -> None:
    settings = local_settings(tmp_path)
    for service in SERVICES_WITH_DATABASE:
        open_database(settings, service).dispose()
    with pytest.raises(Unavailable, match="is not there now"):  # nor is one made where a disk is not mounted
        look_over(settings)
    assert not (tmp_path / "objects").exists()
    other = installation.settings.model_copy(update={"data_dir": settings.data_dir, "database_url": ""})
    if other.object_store == "directory":
        shutil.copytree(installation.settings.data_dir / "objects", tmp_path / "objects")
    before = objects(other)
    with pytest.raises(FailedPrecondition, match="looks like the store of another installation"):
        look_over(other, remove_orphans=True, grace_s=-1)
    assert objects(other) == before


def test_orphans_stay_while_a_database_is_not_the_right_one(tmp_path: Path) -> None:
    settings = local_settings(tmp_path)
    for service in SERVICES_WITH_DATABASE:
        open_database(settings, service).dispose()
    orphan = open_object_store(settings).put(b"weights of a set that this database does not know")
    engine = open_database(settings, "attribution")
    with engine.begin() as connection:
        columns = {column["name"]: column for column in sa.inspect(engine).get_columns("map_run")}
        values = {name: "" if isinstance(of["type"], sa.String) else 0 for name, of in columns.items()}
        table = sa.table("map_run", *map(sa.column, columns))
        connection.execute(table.insert().values(values | {"study_id": "a study"}))
    engine.dispose()
    [problem] = look_over(settings).problems
    assert "names 'a study', and the database of naming has no such study" in problem
    with pytest.raises(FailedPrecondition, match="no orphan is removed while a database lacks rows"):
        look_over(settings, remove_orphans=True, most=True, grace_s=-1)
    assert open_object_store(settings).exists(orphan)


def test_most_objects_go_where_that_is_said(tmp_path: Path) -> None:
    settings = local_settings(tmp_path)
    for service in SERVICES_WITH_DATABASE:
        open_database(settings, service).dispose()
    orphan = open_object_store(settings).put(b"an upload that nothing came of")
    assert look_over(settings, remove_orphans=True, most=True, grace_s=-1).freed == [orphan]


def test_what_cannot_be_read_or_written_is_said_beside_the_rest(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = type(open_object_store(installation.settings))
    key = named(installation)["inference.xnn.weights_key"][0]
    get = store.get

    def unreadable(of: ObjectStore, wanted: str) -> bytes:
        if wanted == key:
            raise OSError(5, "Input/output error")
        return get(of, wanted)

    def full(of: ObjectStore) -> None:
        raise ResourceExhausted("the disk is full")

    monkeypatch.setattr(store, "get", unreadable)
    monkeypatch.setattr(store, "prove", full)
    found = look_over(installation.settings)
    assert found.problems == ["the disk is full"]
    assert [(fault.object_key, fault.what) for fault in found.faults] == [
        (key, "unreadable (Input/output error)")
    ]


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    settings = local_settings(tmp_path)
    for service in SERVICES_WITH_DATABASE:
        open_database(settings, service).dispose()
    open_object_store(settings)
    with sqlite3.connect(tmp_path / "inference.db") as connection:
        page, size = connection.execute(
            "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_master WHERE type = 'index' "
            "AND sql IS NOT NULL LIMIT 1"
        ).fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with (tmp_path / "inference.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x0a" + b"\xff" * (size - 1))
    [problem] = look_over(settings).problems
    assert "inference.db is damaged" in problem


def test_an_installation_of_another_version_is_left_alone(tmp_path: Path) -> None:
    settings = local_settings(tmp_path)
    with pytest.raises(FailedPrecondition, match=r"no .*attribution\.db"):
        look_over(settings)
    for service in SERVICES_WITH_DATABASE:
        engine = open_database(settings, service)
        migrate(engine, service, "base")
        engine.dispose()
    with pytest.raises(FailedPrecondition, match="database is empty"):
        look_over(settings)
    with pytest.raises(FailedPrecondition, match="no folder 'objects'"):
        look_over(settings, backups=tmp_path / "elsewhere")


def test_the_command_says_what_it_found(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "onoma", "doctor", "--data", str(tmp_path), *arguments],
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
        )

    nothing = run()
    assert nothing.returncode == 1
    assert nothing.stderr.splitlines()[-1].startswith("onoma: there is no ")
    settings = local_settings(tmp_path)
    for service in SERVICES_WITH_DATABASE:
        open_database(settings, service).dispose()
    orphan = open_object_store(settings).put(b"orphan")
    said = run()
    assert said.returncode == 0, said.stderr
    assert "1 object (6 bytes) that no row names" in said.stdout
    assert "every object that cannot be made again is there and whole" in said.stdout
    found = json.loads(run("--json").stdout)
    assert (found["orphans"], found["faults"]) == ({orphan: 6}, [])
    missing = "0" * 64
    engine = open_database(settings, "inference")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO image VALUES ('{missing}', 1, 1, '[]')")
        connection.exec_driver_sql(
            "INSERT INTO dataset_image (import_id, path, dataset, part, class_index, image_id) "
            f"VALUES ('i', 'coat/1.png', 'photos', 'train', 0, '{missing}')"
        )
    engine.dispose()
    bad = run()
    assert bad.returncode == 1
    assert "1 object missing (inference.dataset_image.image_id): import data set 'photos' again" in bad.stdout
