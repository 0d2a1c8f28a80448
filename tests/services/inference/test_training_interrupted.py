"""Trainings that are killed, cancelled or out of disk end as those that were not; pictures are synthetic."""

import shutil
from threading import Semaphore

import pytest
import torch
from safetensors.torch import load as load_tensors
from sqlalchemy.pool import NullPool
from sqlmodel import Session, create_engine, select

from onoma.science import xnn_training
from onoma.science.xnn import from_tensors, score
from onoma.v1 import jobs_pb2
from services.inference import registry, rounds, tables, training
from services.inference.features import kept_features
from services.inference.settings import InferenceSettings
from services.runtime.database import open_database, session
from services.runtime.errors import Aborted, ResourceExhausted
from services.runtime.jobs import Cancelled, Job, JobContext
from services.runtime.objects import DirectoryStore
from services.runtime.settings import RuntimeSettings
from tests.services.inference.interruptions import Interrupted

SETTINGS = {"epochs": 4, "batch_size": 24}


def train(context, engine, store, **limits):
    return training.train(context, engine, store, {}, InferenceSettings(**limits))


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


@pytest.mark.parametrize(
    ("table", "name", "change", "words"),
    [
        (tables.Dataset, "shapes", {"content_hash": "other"}, "data set 'shapes' was imported anew"),
        (tables.Model, "tiny", {"attachment_layer": "other"}, "model 'tiny' was registered anew"),
    ],
)
def test_what_was_replaced_since_its_features_were_read_gets_no_xnns(
    road, monkeypatch, table, name, change, words
):
    engine, store = road
    read = training.part_features

    def read_and_replaced(*arguments):
        found = read(*arguments)
        with session(engine) as opened:
            opened.get_one(table, name).sqlmodel_update(change)
        return found

    monkeypatch.setattr(training, "part_features", read_and_replaced)
    with pytest.raises(Aborted, match=words):
        train(JobContext(job()), engine, store)
    with Session(engine) as opened:
        assert opened.get(tables.XnnSet, "tiny") is None


def fitted(monkeypatch):
    """The number of classes of each fit from now on."""
    fit_round, seen = xnn_training._fit_round, []

    def recorded(examples, *rest):
        seen.append(examples.scores.shape[1])
        return fit_round(examples, *rest)

    monkeypatch.setattr(xnn_training, "_fit_round", recorded)
    return seen


@pytest.fixture
def never_accepted(monkeypatch):
    """Every class takes both rounds that the tests allow."""
    monkeypatch.setattr(xnn_training, "mattering", lambda _: 1)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_training_goes_on_after_its_last_whole_round(road, tmp_path, monkeypatch, never_accepted, size):
    """Killed after each number of rounds: what is kept is not fitted again, and the weights are the same."""
    engine, store = road
    keep, limits = rounds.keep, {"training_group": size, "training_workers": 1}
    groups = [size] * (3 // size) + [3 % size] * (3 % size > 0)
    planned = [classes for classes in groups for _ in range(2)]
    whole_fits = fitted(monkeypatch)
    train(JobContext(job()), engine, store, **limits)
    assert whole_fits == planned
    wanted, objects = weights_keys(engine), set(store.keys())
    for until in range(1, len(planned)):
        with session(engine) as opened:
            for row in opened.exec(select(tables.Xnn)):
                opened.delete(row)
        kept = []

        def killed(*arguments, kept=kept, until=until):
            keep(*arguments)
            kept.append(1)
            if len(kept) == until:
                raise KeyboardInterrupt

        monkeypatch.setattr(rounds, "keep", killed)
        with pytest.raises(KeyboardInterrupt):
            train(JobContext(job()), engine, store, **limits)
        monkeypatch.setattr(rounds, "keep", keep)
        resumed_fits = fitted(monkeypatch)
        train(JobContext(job()), engine, store, **limits)
        assert resumed_fits == planned[until:]
        assert weights_keys(engine) == wanted
        assert set(store.keys()) == objects, "objects of rounds that were not chosen are left behind"
        with Session(engine) as opened:
            assert not opened.exec(select(tables.XnnRound)).all()


def test_a_class_that_is_asked_for_later_leaves_those_of_its_group_as_they_are(road, monkeypatch):
    """Also where the later training is killed, which then ends as one that was not."""
    engine, store = road
    first = job()
    first.params["classes"] = ["circle"]
    train(JobContext(first), engine, store, training_group=2)
    alone = weights_keys(engine)
    fits, keep = fitted(monkeypatch), rounds.keep

    def killed(*arguments):
        keep(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        train(JobContext(job()), engine, store, training_group=2, training_workers=1)
    monkeypatch.setattr(rounds, "keep", keep)
    train(JobContext(job()), engine, store, training_group=2, training_workers=1)
    resumed = weights_keys(engine)
    assert set(fits) == {1}, "a class that had its xNN was fitted again"
    assert resumed["circle"] == alone["circle"]
    with session(engine) as opened:
        for row in opened.exec(select(tables.Xnn).where(tables.Xnn.class_name != "circle")):
            opened.delete(row)
    train(JobContext(job()), engine, store, training_group=2, training_workers=1)
    assert weights_keys(engine) == resumed


def test_a_lost_round_is_fitted_again(road, monkeypatch, never_accepted):
    engine, store = road
    keep = rounds.keep

    def killed(*arguments):
        keep(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        train(JobContext(job()), engine, store, training_workers=1)
    monkeypatch.setattr(rounds, "keep", keep)
    with Session(engine) as opened:
        store.delete(opened.exec(select(tables.XnnRound)).one().object_key)
    fits = fitted(monkeypatch)
    train(JobContext(job()), engine, store, training_workers=1)
    assert fits == [1] * 6


def test_classes_trained_in_groups_have_the_xnns_that_they_have_alone(road, trained_dir):
    """Scores of the test images within a ten-thousandth of their range."""
    engine, store = road
    train(JobContext(job()), engine, store, training_group=3)
    kept = registry.find(engine, tables.Model, "tiny"), registry.find(engine, tables.Dataset, "shapes")
    features = torch.cat(
        [torch.from_numpy(part.features) for part in kept_features(engine, store, *kept, tables.TEST)]
    )
    alone_store = DirectoryStore(trained_dir / "objects")
    for class_name, key in weights_keys(whole(trained_dir)).items():
        wanted = score(from_tensors(load_tensors(alone_store.get(key))), features)
        found = score(from_tensors(load_tensors(store.get(weights_keys(engine)[class_name]))), features)
        assert float((found - wanted).abs().max()) < 1e-4 * float(wanted.max() - wanted.min())


def test_a_set_that_is_being_trained_has_no_figures_of_the_whole(road):
    engine, store = road
    with pytest.raises(Cancelled):
        train(Interrupted(job(), 18, Cancelled()), engine, store)
    with Session(engine) as opened:
        assert opened.get(tables.XnnSet, "tiny").summary == {}


def test_a_full_disk_ends_the_job_with_its_line_and_resuming_completes_it(registered, monkeypatch):
    put, room = DirectoryStore.put, Semaphore(2)  # two shards of features fit

    def filling_up(self, data):
        if not room.acquire(blocking=False):
            raise ResourceExhausted("the disk is full: 99 more bytes do not fit into objects")
        return put(self, data)

    monkeypatch.setattr(DirectoryStore, "put", filling_up)
    failed = registered.trained()
    assert failed.state == jobs_pb2.JOB_STATE_FAILED
    assert failed.error == "the disk is full: 99 more bytes do not fit into objects"
    monkeypatch.setattr(DirectoryStore, "put", put)
    request = jobs_pb2.ResumeJobRequest(job_id=failed.job_id)
    resumed = registered.ended(registered.jobs.ResumeJob(request).job)
    assert resumed.state == jobs_pb2.JOB_STATE_SUCCEEDED, resumed.error
    assert len(registered.xnn_set().xnns) == 3


def test_a_cancelled_job_resumes_to_the_same_xnns(registered, trained_dir, monkeypatch):
    train_group, calls = training.train_group, []

    def cancelling(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise Cancelled
        return train_group(*arguments, **named)

    monkeypatch.setattr(training, "train_group", cancelling)
    cancelled = registered.trained()
    assert cancelled.state == jobs_pb2.JOB_STATE_CANCELLED
    kept, before = len(registered.xnn_set().xnns), len(calls)
    request = jobs_pb2.ResumeJobRequest(job_id=cancelled.job_id)
    assert registered.ended(registered.jobs.ResumeJob(request).job).state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert len(calls) - before == 3 - kept
    resumed = {xnn.class_name: xnn.weights_key for xnn in registered.xnn_set().xnns}
    assert resumed == weights_keys(whole(trained_dir))
