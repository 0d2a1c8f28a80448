"""A backup that is made while people name holds every row and object, and becomes an installation again."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from onoma.client import Client
from onoma.v1 import naming_pb2
from services import backup
from services.backup import SUMMARY, back_up, copy_objects, run_postgresql_tool
from services.restore import restore
from services.runtime.database import SERVICES_WITH_DATABASE, open_database
from services.runtime.directory_store import DirectoryStore
from services.runtime.errors import DataLoss, FailedPrecondition, Unavailable
from services.runtime.objects import open_object_store
from services.runtime.settings import RuntimeSettings
from services.up import local_settings
from tests.services.installations import CATEGORY, Installation, installation, objects, rows, running

__all__ = ["installation"]  # a fixture


def name_on(
    client: Client, study_id: str, annotator_id: str, stop: threading.Event, answered: list[str]
) -> None:
    """Makes concepts until it is told to stop, and tells the ids of those that were answered."""
    naming = client.get_naming(study_id, annotator_id, CATEGORY)
    while not stop.is_set():
        concept_id = str(uuid.uuid4())
        create = naming_pb2.CreateConcept(concept_id=concept_id, name=f"concept {len(answered)}")
        naming = client.act(naming, naming_pb2.Command(create=create))
        answered.append(concept_id)


def test_a_backup_made_while_people_name_has_every_answered_act_and_becomes_an_installation(
    installation: Installation, tmp_path: Path
) -> None:
    study_id, stop = installation.study_id, threading.Event()
    answered: list[str] = []
    with running(installation.settings) as client:
        annotator_id = client.invite_annotator(study_id, "one who names on").annotator.annotator_id
        before = name_on_for(client, study_id, annotator_id, acts=5)
        namer = threading.Thread(target=name_on, args=(client, study_id, annotator_id, stop, answered))
        namer.start()
        while not answered and namer.is_alive():
            time.sleep(0.01)
        made, damaged = back_up(installation.settings, tmp_path / "backups")
        stop.set()
        namer.join()
        shown = client.list_activations(study_id)
    assert damaged == []
    assert answered
    restored = installation.empty()
    restore(restored, made)
    with running(restored) as client:
        naming = client.get_naming(study_id, annotator_id, CATEGORY)
        there = [concept.concept_id for concept in naming.concepts]
        logged = [act.command.create.concept_id for act in client.list_acts(study_id, annotator_id, CATEGORY)]
        assert list(client.list_activations(study_id).activation_id) == list(shown.activation_id)
        for _ in client.get_maps(study_id, list(shown.activation_id)):
            pass  # every map is read, its bytes checked
    assert there == logged == [*before, *answered][: len(there)]
    assert len(there) >= len(before)


def name_on_for(client: Client, study_id: str, annotator_id: str, acts: int) -> list[str]:
    """Makes so many concepts."""
    naming, made = client.get_naming(study_id, annotator_id, CATEGORY), []
    for number in range(acts):
        create = naming_pb2.CreateConcept(concept_id=str(uuid.uuid4()), name=f"early concept {number}")
        naming = client.act(naming, naming_pb2.Command(create=create))
        made.append(create.concept_id)
    return made


def test_every_row_and_object_is_there_again(installation: Installation, tmp_path: Path) -> None:
    made, _ = back_up(installation.settings, tmp_path)
    restored = installation.empty()
    restore(restored, made)
    there = rows(installation.settings)
    assert sum(map(len, there.values())) > 100
    assert rows(restored) == there
    assert objects(restored) == objects(installation.settings)


def test_what_is_there_is_not_written_over(installation: Installation, tmp_path: Path) -> None:
    made, _ = back_up(installation.settings, tmp_path)
    before = rows(installation.settings)
    with pytest.raises(FailedPrecondition, match="already"):
        restore(installation.settings, made)
    assert rows(installation.settings) == before


def test_an_object_store_of_others_is_refused(installation: Installation, tmp_path: Path) -> None:
    made, _ = back_up(installation.settings, tmp_path)
    others = installation.empty()
    open_object_store(others).put(b"somebody's")
    with pytest.raises(FailedPrecondition, match="1 objects that are not of"):
        restore(others, made)


def test_a_second_backup_keeps_objects_once(installation: Installation, tmp_path: Path) -> None:
    made, _ = back_up(installation.settings, tmp_path)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "objects").glob("??/*")}
    made.rename(made.with_name("first"))  # a second one may fall into the same second
    back_up(installation.settings, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "objects").glob("??/*")} == files
    assert len(files) == len(objects(installation.settings))


def test_a_damaged_object_of_a_backup_restores_no_row(installation: Installation, tmp_path: Path) -> None:
    made, _ = back_up(installation.settings, tmp_path)
    victim = next((tmp_path / "objects").glob("??/*"))
    victim.write_bytes(b"damaged" + victim.read_bytes()[7:])
    restored = installation.empty()
    with pytest.raises(DataLoss, match=victim.name):
        restore(restored, made)
    victim.unlink()
    with pytest.raises(DataLoss, match=victim.name):  # begun again: what was copied is no hindrance
        restore(restored, made)
    good, _ = back_up(installation.settings, tmp_path / "good")
    restore(restored, good)
    assert rows(restored) == rows(installation.settings)


def test_a_backup_that_was_cut_off_is_none(installation: Installation, tmp_path: Path) -> None:
    made, _ = back_up(installation.settings, tmp_path)
    (made / SUMMARY).unlink()
    with pytest.raises(FailedPrecondition, match="no whole backup"):
        restore(installation.empty(), made)


def test_what_a_backup_that_was_cut_off_has_torn_is_put_again(
    installation: Installation, tmp_path: Path
) -> None:
    """As after the power went away: the file has its name, and not its bytes."""
    made, _ = back_up(installation.settings, tmp_path)
    (made / SUMMARY).unlink()
    torn = next((tmp_path / "objects").glob("??/*"))
    torn.write_bytes(b"")
    made.rename(made.with_name("cut off"))
    made, damaged = back_up(installation.settings, tmp_path)
    assert damaged == []
    restored = installation.empty()
    restore(restored, made)
    assert objects(restored) == objects(installation.settings)


def test_a_restoring_that_was_cut_off_between_two_databases_goes_on(tmp_path: Path) -> None:
    settings = [RuntimeSettings(data_dir=tmp_path / name) for name in ("first", "second")]
    for name in SERVICES_WITH_DATABASE:
        open_database(settings[0], name).dispose()
    open_object_store(settings[0]).put(b"an object")
    made, _ = back_up(settings[0], tmp_path / "backups")
    restore(settings[1], made)
    (settings[1].data_dir / "naming.db").unlink()
    restore(settings[1], made)
    assert rows(settings[1]) == rows(settings[0])
    (settings[1].data_dir / "naming.db").unlink()
    with closing(sqlite3.connect(settings[1].data_dir / "inference.db")) as changed:
        changed.execute("CREATE TABLE since_then (id)")
    with pytest.raises(FailedPrecondition, match="already"):
        restore(settings[1], made)


def test_what_sqlite_left_beside_a_database_is_not_put_into_the_restored_one(tmp_path: Path) -> None:
    settings = RuntimeSettings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    (settings.data_dir / "naming.db-wal").write_bytes(b"of another")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / SUMMARY).write_text('{"database": "sqlite", "objects": []}')
    with pytest.raises(FailedPrecondition, match=r"naming\.db-wal"):
        restore(settings, tmp_path / "one")


def test_an_object_that_is_damaged_in_use_is_named_and_the_rest_backed_up(tmp_path: Path) -> None:
    settings = local_settings(tmp_path / "data")
    for name in SERVICES_WITH_DATABASE:
        (tmp_path / "data").mkdir(exist_ok=True)
        sqlite3.connect(tmp_path / "data" / f"{name}.db").close()
    store = open_object_store(settings)
    good, bad = store.put(b"good"), store.put(b"bad")
    (tmp_path / "data" / "objects" / bad[:2] / bad).write_bytes(b"worse")
    made, damaged = back_up(settings, tmp_path / "backups")
    assert damaged == [bad]
    summary = json.loads((made / SUMMARY).read_text())
    assert (summary["objects"], summary["damaged"]) == ([good], [bad])


def test_large_objects_are_in_memory_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "_LARGE_BYTES", 1000)
    source, target = DirectoryStore(tmp_path / "source"), DirectoryStore(tmp_path / "target")
    large = [source.put(bytes([number]) * 1000) for number in range(6)]
    small = [source.put(bytes([number]) * 999) for number in range(6)]
    get, lock, held, most = source.get, threading.Lock(), Counter(), Counter()

    def slowly(key: str) -> bytes:
        kind = "large" if key in large else "small"
        with lock:
            held[kind] += 1
            most[kind] = max(most[kind], held[kind])
        time.sleep(0.05)
        with lock:
            held[kind] -= 1
        return get(key)

    monkeypatch.setattr(source, "get", slowly)
    assert copy_objects([*large, *small], source, target) == []
    assert sorted(target.keys()) == sorted([*large, *small])
    assert most["large"] == 1
    assert most["small"] > 1


def test_a_backup_goes_to_its_own_kind_of_database(tmp_path: Path) -> None:
    (tmp_path / SUMMARY).write_text('{"database": "sqlite", "objects": []}')
    elsewhere = RuntimeSettings(
        database_url="postgresql+psycopg://onoma@/nowhere", data_dir=tmp_path / "data"
    )
    with pytest.raises(FailedPrecondition, match="is of sqlite"):
        restore(elsewhere, tmp_path)


def test_a_password_is_told_to_postgresql_by_no_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "pg_dump"
    tool.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/arguments\necho "$PGPASSWORD" >{tmp_path}/password\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run_postgresql_tool("postgresql+psycopg://onoma:s3cret@db:5432/onoma", "pg_dump", "--format=custom")
    assert (
        tmp_path / "arguments"
    ).read_text() == "--format=custom --dbname=postgresql://onoma@db:5432/onoma\n"
    assert (tmp_path / "password").read_text() == "s3cret\n"


def test_without_the_tools_of_postgresql_a_backup_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match="there is no pg_dump here"):
        run_postgresql_tool("postgresql+psycopg://onoma@/onoma", "pg_dump")


def test_an_empty_installation_goes_by_commands(tmp_path: Path) -> None:
    def run(command: str, data: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"services.{command}", *arguments],
            env={**os.environ, "ONOMA_DATA_DIR": str(tmp_path / data)},
            capture_output=True,
            text=True,
        )

    nothing = run("backup", "first", str(tmp_path / "backups"))
    assert (nothing.returncode, nothing.stderr.count("\n")) == (1, 1)
    assert "say where it is with ONOMA_DATA_DIR" in nothing.stderr
    for _ in range(2):  # the second finds nothing to do
        assert run("migrate", "first").returncode == 0
    unmounted = run("backup", "first", str(tmp_path / "backups"))
    assert (unmounted.returncode, "mount it again" in unmounted.stderr) == (1, True)
    DirectoryStore(tmp_path / "first" / "objects")  # as services make it that start
    made = run("backup", "first", str(tmp_path / "backups"))
    assert made.returncode == 0, made.stderr
    assert run("restore", "second", made.stdout.strip()).returncode == 0
    again = run("restore", "second", made.stdout.strip())
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "already" in again.stderr
    first, second = (RuntimeSettings(data_dir=tmp_path / name) for name in ("first", "second"))
    assert rows(second) == rows(first)
    assert set(rows(first)) >= {f"{name}.alembic_version" for name in SERVICES_WITH_DATABASE}
