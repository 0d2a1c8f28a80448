"""A server process that is killed while it draws maps, or takes those that were made elsewhere."""

import signal

import pytest
from sqlmodel import Session, select

from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import jobs_pb2, types_pb2
from onoma.v1.attribution_pb2_grpc import AttributionServiceStub
from services.attribution.tables import Activation, ExplainedImage
from services.runtime.database import open_database
from services.runtime.settings import RuntimeSettings
from tests.archives_of_maps import entries, packed, random_maps
from tests.services.attribution.stand_ins import STUDY_ID, make_world
from tests.services.processes import server_process, states


@pytest.fixture
def world(store):
    """Enough pictures that a kill falls between two commits."""
    return make_world(store, pictures_a_class=60)


def attribution_process(data_dir, address, before=""):
    return server_process(
        "attribution",
        AttributionServiceStub,
        before,
        data_dir=str(data_dir),
        inference_address=address,
        naming_address=address,
    )


def stored(data_dir):
    """Explained images and activations as a file of the database has them."""
    engine = open_database(RuntimeSettings(data_dir=data_dir), "attribution")
    with Session(engine) as opened:
        found = list(opened.exec(select(ExplainedImage))), list(opened.exec(select(Activation)))
    engine.dispose()
    return found


def test_drawing_maps_goes_on_after_its_process_was_killed(
    tmp_path, store, world, stand_ins_address, monkeypatch
):
    monkeypatch.setenv("ONOMA_MAP_BATCH_IMAGES", "2")
    monkeypatch.setenv("ONOMA_MAP_SHARD_IMAGES", "4")
    with attribution_process(tmp_path, stand_ins_address) as (process, calls, jobs):
        job = calls.ComputeMaps(pb.ComputeMapsRequest(study_id=STUDY_ID)).job
        next(state for state in states(jobs, job.job_id) if state.done > 20)
        process.send_signal(signal.SIGKILL)
        process.wait()
    images, before = stored(tmp_path)
    assert 0 < len(images) < 180
    assert sum(image.significant_count for image in images) == len(before)
    assert all(store.exists(row.shard_key) for row in before)
    assert world.publish_count == 0
    with attribution_process(tmp_path, stand_ins_address) as (_, calls, jobs):
        *_, ended = states(jobs, job.job_id)
    assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, ended.error
    assert ended.attempts == 2
    images, after = stored(tmp_path)
    assert len(images) == 180
    assert {row.activation_id for row in before} <= {row.activation_id for row in after}
    assert set(world.published) == {row.activation_id for row in after}


def test_an_import_of_maps_goes_on_after_its_process_was_killed(tmp_path, store, world, stand_ins_address):
    one_by_one = "from services.attribution import importing; importing._SHARD_MAPS = 1"
    world.study.xnn_set = ""
    images = [(path, category) for category, listed in world.images.items() for path, _ in listed]
    rows = [(*image, unit, 1.0 + unit) for image in images for unit in range(4)]
    maps = random_maps(len(rows))
    key = store.put(packed(entries(rows, maps, already_significant=True)))
    with attribution_process(tmp_path, stand_ins_address, one_by_one) as (process, calls, jobs):
        job = calls.ImportMaps(pb.ImportMapsRequest(study_id=STUDY_ID, object_key=key)).job
        next(state for state in states(jobs, job.job_id) if state.stage == "storing maps" and state.done)
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, before = stored(tmp_path)
    assert 0 < len(before) < len(rows)
    assert all(store.exists(row.shard_key) for row in before)
    assert world.publish_count == 0
    with attribution_process(tmp_path, stand_ins_address) as (_, calls, jobs):
        *_, ended = states(jobs, job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, ended.error
        assert ended.attempts == 2
        columns = types_pb2.ActivationColumns()
        for response in calls.ListActivations(pb.ListActivationsRequest(study_id=STUDY_ID), timeout=60):
            columns.MergeFrom(response.activations)
    explained, after = stored(tmp_path)
    assert (len(explained), len(after)) == (len(images), len(rows))
    assert {row.activation_id for row in before} <= {row.activation_id for row in after}
    assert set(world.published) == {row.activation_id for row in after}
    paths = {image_id: path for listed in world.images.values() for path, image_id in listed}
    sums = {row[0::2][:2]: array.sum() for row, array in zip(rows, maps, strict=True)}
    for image_id, unit, found in zip(columns.image_id, columns.x_feature, columns.map_sum, strict=True):
        assert found == pytest.approx(sums[paths[image_id], unit], rel=1e-5)
