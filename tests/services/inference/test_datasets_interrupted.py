"""Imports that are killed, cancelled, overtaken or out of disk: nothing half-written is read as whole."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from sqlmodel import Session, func, select

from services.inference import datasets, import_rows, importing, registry, tables
from services.inference.settings import InferenceSettings
from services.runtime.database import open_database, session
from services.runtime.decoding import Decoders
from services.runtime.errors import Aborted, AlreadyExists, NotFound, ResourceExhausted, Unavailable
from services.runtime.jobs import Cancelled, Job, JobContext
from services.runtime.objects import DirectoryStore
from services.runtime.settings import RuntimeSettings
from tests.services.inference import folders
from tests.services.inference.interruptions import Interrupted


@pytest.fixture
def engine(tmp_path):
    engine = open_database(RuntimeSettings(data_dir=tmp_path / "onoma-data"), "inference")
    yield engine
    engine.dispose()


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "onoma-data" / "objects")


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(importing, "BATCH_SIZE", 4)


@pytest.fixture
def folder(tmp_path):
    counts = {"train/hat": 6, "train/bag": 6, "test/hat": 3, "test/bag": 3}
    return folders.image_folder(tmp_path / "garments", counts)


def job(folder, job_id="job-1"):
    return Job(job_id=job_id, kind="import_dataset", params=asdict(importing.Plan("garments", str(folder))))


def run(context, engine, store, folder):
    decoders = Decoders(2)
    try:
        return importing.import_dataset(
            context, engine, store, [folder], Path("onoma-data"), InferenceSettings(), decoders
        )
    finally:
        decoders.close()


def listed(engine):
    dataset = registry.find(engine, tables.Dataset, "garments")
    rows, _ = datasets.images(engine, dataset, "", "", 0, "")
    return [row.path for row in rows]


def row_count(engine):
    with Session(engine) as opened:
        return opened.exec(select(func.count()).select_from(tables.DatasetImage)).one()


def add_model(engine):
    network = dict.fromkeys(tables.Model.model_fields, 0)
    texts = dict.fromkeys(("model_hash", "onnx_key", "attachment_layer", "map_layer", "mode"), "0")
    with session(engine) as opened:
        opened.add(tables.Model(**network | texts | {"name": "net", "preprocessing": {}, "classes": []}))


def xnn_set():
    return tables.XnnSet(name="mine", model="net", dataset="garments", settings={}, summary={})


def test_an_import_whose_folder_goes_away_is_not_published_short(engine, store, folder, monkeypatch):
    away, write = folder.with_name("away"), import_rows.write

    def write_then_lose_the_folder(*arguments):
        write(*arguments)
        if folder.exists():
            folder.rename(away)

    monkeypatch.setattr(import_rows, "write", write_then_lose_the_folder)
    with pytest.raises(Unavailable, match="went away during the import"):
        run(JobContext(job(folder)), engine, store, folder)
    with pytest.raises(NotFound):
        listed(engine)
    monkeypatch.setattr(import_rows, "write", write)
    away.rename(folder)
    run(JobContext(job(folder)), engine, store, folder)
    assert len(listed(engine)) == 18


@pytest.mark.parametrize("error", [Cancelled(), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 5, 17])
def test_a_first_import_that_was_cut_off_is_no_data_set_and_completes_when_taken_up(
    engine, store, folder, after, error
):
    with pytest.raises(type(error)):
        run(Interrupted(job(folder), after, error), engine, store, folder)
    with pytest.raises(NotFound):
        listed(engine)
    assert run(JobContext(job(folder)), engine, store, folder)["image_count"] == 18
    assert len(listed(engine)) == row_count(engine) == 18


def test_an_import_that_was_cut_off_leaves_the_data_set_as_it_was(engine, store, folder):
    run(JobContext(job(folder, "job-1")), engine, store, folder)
    before = listed(engine)
    (folder / "train" / "hat" / "new.png").write_bytes(folders.png(900))
    with pytest.raises(Cancelled):
        run(Interrupted(job(folder, "job-2"), 9, Cancelled()), engine, store, folder)
    assert listed(engine) == before
    run(JobContext(job(folder, "job-2")), engine, store, folder)
    assert len(listed(engine)) == row_count(engine) == 19


def test_other_content_is_refused_where_xnns_were_trained_on_what_is_there(engine, store, folder):
    run(JobContext(job(folder, "job-1")), engine, store, folder)
    before = listed(engine)
    add_model(engine)
    with session(engine) as opened:
        opened.add(xnn_set())
    run(JobContext(job(folder, "job-2")), engine, store, folder)
    (folder / "train" / "hat" / "new.png").write_bytes(folders.png(900))
    with pytest.raises(
        AlreadyExists, match=r"'garments' is there with other content, and the xNNs of mine .*another name"
    ):
        run(JobContext(job(folder, "job-3")), engine, store, folder)
    assert listed(engine) == before


@pytest.fixture
def shared(postgresql_url, tmp_path, store, folder):
    """A database in which transactions run beside each other, with the data set and a network."""
    settings = RuntimeSettings(database_url=postgresql_url, data_dir=tmp_path / "onoma-data")
    engine = open_database(settings, "inference")
    run(JobContext(job(folder)), engine, store, folder)
    add_model(engine)
    yield engine
    engine.dispose()


def test_other_content_waits_for_a_set_that_is_being_claimed(shared, store, folder):
    dataset = registry.find(shared, tables.Dataset, "garments")
    (folder / "train" / "hat" / "new.png").write_bytes(folders.png(900))
    with ThreadPoolExecutor(1) as pool:
        with session(shared) as opened:
            registry.check_there(opened, dataset)
            opened.add(xnn_set())
            opened.flush()
            importing = pool.submit(run, JobContext(job(folder, "job-2")), shared, store, folder)
            with pytest.raises(TimeoutError):
                importing.result(4)
        with pytest.raises(AlreadyExists, match="is there with other content"):
            importing.result(60)


def test_a_set_that_is_claimed_while_other_content_is_published_is_refused(shared):
    dataset = registry.find(shared, tables.Dataset, "garments")

    def claim():
        with session(shared) as opened:
            registry.check_there(opened, dataset)

    with ThreadPoolExecutor(1) as pool:
        with session(shared) as opened:
            opened.get_one(tables.Dataset, "garments").content_hash = "other"
            opened.flush()
            claiming = pool.submit(claim)
            with pytest.raises(TimeoutError):
                claiming.result(1)
        with pytest.raises(Aborted, match="'garments' was imported anew in the meantime"):
            claiming.result(60)


def test_what_an_abandoned_import_wrote_goes_with_the_next_one(engine, store, folder):
    with pytest.raises(Cancelled):
        run(Interrupted(job(folder, "job-1"), 9, Cancelled()), engine, store, folder)
    run(JobContext(job(folder, "job-2")), engine, store, folder)
    assert row_count(engine) == 18


def test_a_job_killed_after_it_had_published_gives_the_same_result_again(engine, store, folder):
    first = run(JobContext(job(folder)), engine, store, folder)
    (folder / "train" / "hat" / "000.png").write_bytes(b"changed since")
    assert run(JobContext(job(folder)), engine, store, folder) == first


def test_an_import_overtaken_by_another_is_told_and_leaves_the_others_content(
    engine, store, folder, monkeypatch
):
    publish = import_rows.publish

    def overtaken(*arguments):
        monkeypatch.setattr(import_rows, "publish", publish)
        run(JobContext(job(folder, "job-2")), engine, store, folder)
        return publish(*arguments)

    monkeypatch.setattr(import_rows, "publish", overtaken)
    with pytest.raises(Aborted, match="another import of data set 'garments' ended in the meantime"):
        run(JobContext(job(folder, "job-1")), engine, store, folder)
    assert len(listed(engine)) == row_count(engine) == 18


def test_a_worker_that_lost_the_job_may_write_its_last_batch_under_the_next_one(
    engine, store, folder, monkeypatch
):
    forget, write = import_rows.forget, import_rows.write
    first_batch = []

    def remember(*arguments):
        first_batch.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(import_rows, "write", remember)
    with pytest.raises(KeyboardInterrupt):
        run(JobContext(job(folder)), engine, store, folder)

    def forget_too_early(*arguments):
        forget(*arguments)
        write(*first_batch[0])

    monkeypatch.setattr(import_rows, "write", write)
    monkeypatch.setattr(import_rows, "forget", forget_too_early)
    assert run(JobContext(job(folder)), engine, store, folder)["image_count"] == 18
    assert len(listed(engine)) == row_count(engine) == 18


def test_a_full_disk_ends_the_import_and_taking_it_up_completes_it(engine, store, folder, monkeypatch):
    put, stored = DirectoryStore.put, []

    def filling_up(self, data):
        if len(stored) >= 7:
            raise ResourceExhausted("the disk is full")
        stored.append(put(self, data))
        return stored[-1]

    monkeypatch.setattr(DirectoryStore, "put", filling_up)
    with pytest.raises(ResourceExhausted, match="the disk is full"):
        run(JobContext(job(folder)), engine, store, folder)
    with pytest.raises(NotFound):
        listed(engine)
    monkeypatch.setattr(DirectoryStore, "put", put)
    run(JobContext(job(folder)), engine, store, folder)
    assert len(listed(engine)) == 18


def test_rows_are_committed_only_when_their_objects_are_durable(engine, store, folder, monkeypatch):
    events = []
    flush, write = DirectoryStore.flush, import_rows.write
    monkeypatch.setattr(DirectoryStore, "flush", lambda self: (events.append("flush"), flush(self)))
    monkeypatch.setattr(import_rows, "write", lambda *a: (events.append("rows"), write(*a)))
    run(JobContext(job(folder)), engine, store, folder)
    assert events == ["flush", "rows"] * 5
