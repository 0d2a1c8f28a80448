"""Features computed on a Ray of two machines, for a training by a server."""

import logging
import os
import shutil
import sys
from functools import partial

import grpc
import pytest
from sqlmodel import Session, select

from onoma.v1 import inference_pb2, jobs_pb2, types_pb2
from services.inference import feature_shards, features, tables
from services.runtime import ray_engine
from services.runtime.database import open_database
from services.runtime.errors import Unavailable
from services.runtime.objects import store_place
from services.runtime.settings import RuntimeSettings
from tests.services.inference.test_features import Road, assert_same
from tests.services.inference.test_training import refusal


@pytest.fixture
def road(registered_dir, tmp_path, monkeypatch):
    shutil.copytree(registered_dir, tmp_path / "onoma-data")
    opened = Road(tmp_path / "onoma-data", monkeypatch)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def no_cluster(monkeypatch):
    """An address where nobody listens."""
    monkeypatch.setattr(ray_engine, "ANSWER_S", 0.5)
    monkeypatch.setenv("ONOMA_RAY_ADDRESS", "127.0.0.1:9")


@pytest.mark.slow  # its twin for maps, over the same engine, runs each time
def test_with_a_machine_killed_over_its_shards_the_xnns_are_those_of_the_local_engine(
    open_server, registered_dir, tmp_path, monkeypatch, caplog, killing_the_second
):
    monkeypatch.setattr(features, "_SHARD_IMAGES", 4)
    servers = [
        open_server(shutil.copytree(registered_dir, tmp_path / name), None) for name in ("local", "ray")
    ]
    with caplog.at_level(logging.WARNING, logger=features.__name__):
        for server, engine in zip(servers, (types_pb2.ENGINE_LOCAL, types_pb2.ENGINE_RAY), strict=True):
            job = server.trained(engine=engine, keep_cells_of=types_pb2.DATASET_PART_TEST)
            assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
            assert [line for line in job.warnings if not line.startswith("fewer than 100 images")] == []
            monkeypatch.setattr(features, "see_shard", None)  # on Ray nothing is computed here
    again = [
        record for record in caplog.records if "is computed again: a worker on Ray ended" in record.message
    ]
    assert again  # a worker of that machine was at one
    local, on_ray = (rows(server.data_dir) for server in servers)
    assert len(local[tables.FeatureShard]) == 18 + 6
    assert len(local[tables.KeptCells]) == 24
    assert on_ray == local
    assert [xnn.weights_key for xnn in servers[1].xnn_set().xnns] == [
        xnn.weights_key for xnn in servers[0].xnn_set().xnns
    ]


@pytest.mark.slow  # the engine's own test of it runs each time (test_shard_work.py)
def test_a_picture_that_ends_its_worker_each_time_is_named_and_the_other_shards_are_kept(
    road, ray_environment, monkeypatch
):
    monkeypatch.setenv("ONOMA_RAY_WORKERS", "1")
    monkeypatch.setattr(features, "_SHARD_IMAGES", 20)
    images = road.images()
    monkeypatch.setattr(features, "worker_elsewhere", partial(worker_that_dies_of, images[30].path))
    with pytest.raises(Unavailable) as error:
        road.part(on="ray")
    assert str(error.value).startswith(
        f"the features of pictures {images[20].path} to {images[39].path} ended their worker 3 times, the last time "
        "so: a worker on Ray ended (Actor"
    )
    assert [shard.shard for shard in road.shards()] == [0, 2, 3]
    assert len(road.part().features) == 72
    assert road.images_run == 20


def worker_that_dies_of(bad, place, of):
    return partial(see_or_die, feature_shards.worker_elsewhere(place, of), bad)


def see_or_die(see, bad, images):
    if bad in dict(images).values():
        os._exit(1)
    return see(images)


def test_a_worker_has_as_many_threads_as_ray_tells_torch_of(road, monkeypatch):
    monkeypatch.setattr(feature_shards.torch, "get_num_threads", lambda: 3)
    place = store_place(RuntimeSettings(data_dir=road.data_dir))
    worker = feature_shards.worker_elsewhere(place, feature_shards.Seeing(road.model, 1, keep=False))
    onnx = worker.args[1]
    assert onnx.get_session_options().intra_op_num_threads == 3


def test_features_that_are_there_are_not_asked_of_ray(road, no_cluster):
    first = road.part()
    assert_same(road.part(on="ray"), first)
    assert road.images_run == 72


def test_a_cluster_that_does_not_answer_is_named_and_nothing_is_computed_here(road, no_cluster):
    with pytest.raises(Unavailable, match=r"no Ray answers at 127\.0\.0\.1:9 within 0\.5 s") as error:
        road.part(on="ray")
    assert "--engine local" in str(error.value)
    assert (road.images_run, road.shards()) == (0, [])


def test_an_engine_that_there_is_not_is_refused_and_starts_no_job(registered, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    request = inference_pb2.TrainXnnRequest(name="tiny", model="tiny", dataset="shapes")
    before = len(registered.jobs.ListJobs(jobs_pb2.ListJobsRequest(), timeout=60).jobs)
    refusals = []
    for engine in (7, types_pb2.ENGINE_RAY):
        request.engine = engine
        refusals.append(refusal(lambda: registered.calls.TrainXnn(request, timeout=60)))
    assert refusals == [
        (grpc.StatusCode.INVALID_ARGUMENT, "engine 7 is none of ENGINE_LOCAL, ENGINE_RAY"),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "--engine ray needs Ray where the service runs: pip install 'WHEEL[ray]' there, of the wheel that Onoma "
            "was installed from, or take --engine local, which does the same work",
        ),
    ]
    assert len(registered.jobs.ListJobs(jobs_pb2.ListJobsRequest(), timeout=60).jobs) == before


def rows(data_dir):
    """What a pass leaves in the tables: where shards are is a hash of what is in them."""
    engine = open_database(RuntimeSettings(data_dir=data_dir), "inference")
    with Session(engine) as opened:
        found = {
            table: sorted(tuple(sorted(row.model_dump().items())) for row in opened.exec(select(table)))
            for table in (tables.FeatureShard, tables.KeptCells)
        }
    engine.dispose()
    return found
