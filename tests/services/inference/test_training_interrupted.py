"""Trainings that are killed, cancelled or out of disk end as those that were not; pictures are synthetic."""

import shutil
from threading import Semaphore

import pytest
from sqlalchemy.pool import NullPool
from sqlmodel import Session, create_engine, select

from onoma.v1 import jobs_pb2
from services.inference import tables, training
from services.inference.settings import InferenceSettings
from services.runtime.database import open_database
from services.runtime.errors import ResourceExhausted
from services.runtime.jobs import Cancelled, Job, JobContext
from services.runtime.objects import DirectoryStore
from services.runtime.settings import RuntimeSettings
from tests.services.inference.interruptions import Interrupted

SETTINGS = {"epochs": 4, "batch_size": 24}


def train(context, engine, store):
    return training.train(context, engine, store, InferenceSettings())


def job():
    params = {"name": "tiny", "model": "tiny", "dataset": "shapes", "classes": [], "settings": SETTINGS}
    return Job(job_id="job-1", kind="train_xnn", params=params)


@pytest.fixture
def road(registered_dir, tmp_path):
    """Database and store with the data set and the network, without a server."""
    data_dir = tmp_path / "onoma-data"
    shutil.copytree(registered_dir, data_dir)
    engine = open_database(RuntimeSettings(data_dir=data_dir), "inference")
    yield engine, DirectoryStore(data_dir / "objects")
    engine.dispose()


def weights_keys(engine):
    with Session(engine) as opened:
        return {xnn.class_name: xnn.weights_key for xnn in opened.exec(select(tables.Xnn))}


def whole(trained_dir):
    """The database of a training that nothing cut off."""
    return create_engine(f"sqlite:///{trained_dir / 'inference.db'}", poolclass=NullPool)


@pytest.mark.parametrize("error", [Cancelled(), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [3, 8, 12, 18])
def test_a_training_that_was_cut_off_ends_as_one_that_was_not(road, trained_dir, after, error):
    engine, store = road
    with pytest.raises(type(error)):
        train(Interrupted(job(), after, error), engine, store)
    kept = weights_keys(engine)
    assert train(JobContext(job()), engine, store) == {"xnn_set": "tiny", "classes": 3}
    resumed = weights_keys(engine)
    assert resumed == weights_keys(whole(trained_dir))
    assert kept.items() <= resumed.items()


def test_a_set_that_is_being_trained_has_no_figures_of_the_whole(road):
    engine, store = road
    with pytest.raises(Cancelled):
        train(Interrupted(job(), 18, Cancelled()), engine, store)
    with Session(engine) as opened:
        assert opened.get(tables.XnnSet, "tiny").summary == {}


def test_a_full_disk_ends_the_job_with_its_line_and_resuming_completes_it(registered, monkeypatch):
    put, room = DirectoryStore.put, Semaphore(3)  # two shards of features and one xNN fit

    def filling_up(self, data):
        if not room.acquire(blocking=False):
            raise ResourceExhausted("the disk is full: 99 more bytes do not fit into objects")
        return put(self, data)

    monkeypatch.setattr(DirectoryStore, "put", filling_up)
    failed = registered.trained()
    assert failed.state == jobs_pb2.JOB_STATE_FAILED
    assert failed.error == "the disk is full: 99 more bytes do not fit into objects"
    assert len(registered.xnn_set().xnns) == 1
    monkeypatch.setattr(DirectoryStore, "put", put)
    request = jobs_pb2.ResumeJobRequest(job_id=failed.job_id)
    resumed = registered.ended(registered.jobs.ResumeJob(request).job)
    assert resumed.state == jobs_pb2.JOB_STATE_SUCCEEDED, resumed.error
    assert len(registered.xnn_set().xnns) == 3


def test_a_cancelled_job_resumes_to_the_same_xnns(registered, trained_dir, monkeypatch):
    train_one, calls = training.train_one, []

    def cancelling(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise Cancelled
        return train_one(*arguments, **named)

    monkeypatch.setattr(training, "train_one", cancelling)
    cancelled = registered.trained()
    assert cancelled.state == jobs_pb2.JOB_STATE_CANCELLED
    kept, before = len(registered.xnn_set().xnns), len(calls)
    request = jobs_pb2.ResumeJobRequest(job_id=cancelled.job_id)
    assert registered.ended(registered.jobs.ResumeJob(request).job).state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert len(calls) - before == 3 - kept
    resumed = {xnn.class_name: xnn.weights_key for xnn in registered.xnn_set().xnns}
    assert resumed == weights_keys(whole(trained_dir))
