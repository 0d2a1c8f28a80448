"""A server process that is killed while it draws maps."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from sqlmodel import Session, select

from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import jobs_pb2
from onoma.v1.attribution_pb2_grpc import AttributionServiceStub
from onoma.v1.jobs_pb2_grpc import JobServiceStub
from services.attribution.tables import Activation, ExplainedImage
from services.runtime.database import open_database
from services.runtime.settings import RuntimeSettings
from tests.services.attribution.conftest import DEADLINE_S
from tests.services.attribution.stand_ins import STUDY_ID, make_world


@pytest.fixture
def world(store):
    """Enough pictures that a kill falls between two commits."""
    return make_world(store, pictures_a_class=150)


@contextmanager
def server_process(data_dir, address):
    """`python -m services.attribution` in a process of its own: its process, and stubs for it."""
    environment = os.environ | {
        "ONOMA_DATA_DIR": str(data_dir),
        "ONOMA_INFERENCE_ADDRESS": address,
        "ONOMA_NAMING_ADDRESS": address,
        "ONOMA_ATTRIBUTION_ADDRESS": "127.0.0.1:0",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "services.attribution"],
        env=environment,
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            ready = next(json.loads(line)["address"] for line in process.stderr if "is ready" in line)
            with grpc.insecure_channel(ready) as channel:
                yield process, AttributionServiceStub(channel), JobServiceStub(channel)
        finally:
            process.kill()


def states(jobs, job_id):
    """The job, again and again until it has ended."""
    while True:
        request = jobs_pb2.WatchJobRequest(job_id=job_id)
        for response in jobs.WatchJob(request, timeout=DEADLINE_S):
            yield response.job
            if response.job.state not in (jobs_pb2.JOB_STATE_PENDING, jobs_pb2.JOB_STATE_RUNNING):
                return


def stored(data_dir):
    """Explained images and activations as a file of the database has them."""
    engine = open_database(RuntimeSettings(data_dir=data_dir), "attribution")
    with Session(engine) as opened:
        found = list(opened.exec(select(ExplainedImage))), list(opened.exec(select(Activation)))
    engine.dispose()
    return found


def test_drawing_maps_goes_on_after_its_process_was_killed(
    tmp_path, store, world, stand_ins_address, small_shards
):
    with server_process(tmp_path, stand_ins_address) as (process, calls, jobs):
        job = calls.ComputeMaps(pb.ComputeMapsRequest(study_id=STUDY_ID)).job
        next(state for state in states(jobs, job.job_id) if state.done > 20)
        process.send_signal(signal.SIGKILL)
        process.wait()
    images, before = stored(tmp_path)
    assert 0 < len(images) < 450
    assert sum(image.significant_count for image in images) == len(before)
    assert all(store.exists(row.shard_key) for row in before)
    assert world.publish_count == 0
    with server_process(tmp_path, stand_ins_address) as (_, calls, jobs):
        *_, ended = states(jobs, job.job_id)
    assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED, ended.error
    assert ended.attempts == 2
    images, after = stored(tmp_path)
    assert len(images) == 450
    assert {row.activation_id for row in before} <= {row.activation_id for row in after}
    assert set(world.published) == {row.activation_id for row in after}
