"""A server process that is killed while it draws maps."""

import signal

import pytest
from sqlmodel import Session, select

from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import jobs_pb2
from onoma.v1.attribution_pb2_grpc import AttributionServiceStub
from services.attribution.tables import Activation, ExplainedImage
from services.runtime.database import open_database
from services.runtime.settings import RuntimeSettings
from tests.services.attribution.stand_ins import STUDY_ID, make_world
from tests.services.processes import server_process, states


@pytest.fixture
def world(store):
    """Enough pictures that a kill falls between two commits."""
    return make_world(store, pictures_a_class=60)


def attribution_process(data_dir, address):
    return server_process(
        "attribution",
        AttributionServiceStub,
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
