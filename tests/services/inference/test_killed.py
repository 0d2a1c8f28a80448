"""A job whose process is killed goes on in the next one."""

import json
import shutil
import signal

import pytest

from onoma.v1 import inference_pb2 as pb
from onoma.v1 import jobs_pb2
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from tests.services.inference import folders
from tests.services.processes import server_process, states

IMAGE_COUNT = 6000


def inference_process(folder, **settings):
    return server_process(
        "inference",
        InferenceServiceStub,
        data_dir=str(folder / "onoma-data"),
        import_roots=json.dumps([str(folder)]),
        **settings,
    )


def test_an_import_goes_on_after_its_process_was_killed(tmp_path):
    folder = folders.idx(tmp_path / "digits", [number % 3 for number in range(IMAGE_COUNT)], [0, 1, 2])
    with inference_process(tmp_path) as (process, calls, jobs):
        job = calls.ImportDataset(pb.ImportDatasetRequest(name="digits", path=str(folder))).job
        next(state for state in states(jobs, job.job_id) if state.done > 600)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with inference_process(tmp_path) as (_, calls, jobs):
        *_, ended = states(jobs, job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert ended.attempts == 2
        dataset = calls.GetDataset(pb.GetDatasetRequest(name="digits")).dataset
        assert list(dataset.train_counts) == [IMAGE_COUNT // 3] * 3


@pytest.mark.slow  # a training that is stopped without a kill runs each time (test_training_interrupted.py)
def test_a_training_that_was_killed_ends_with_the_weights_of_one_that_was_not(tmp_path, registered_dir):
    """Those of every class: done before the kill, cut off by it, and begun after it."""
    shutil.copytree(registered_dir, tmp_path / "onoma-data")
    settings = pb.XnnSettings(epochs=6, batch_size=24)

    def train(calls, name):
        request = pb.TrainXnnRequest(name=name, model="tiny", dataset="shapes", settings=settings)
        return calls.TrainXnn(request).job

    def xnns(calls, name):
        return calls.GetXnnSet(pb.GetXnnSetRequest(name=name)).xnn_set.xnns

    one_after_another = {"training_workers": "1"}
    with inference_process(tmp_path, **one_after_another) as (process, calls, jobs):
        job = train(calls, "killed")
        before = next(
            kept
            for state in states(jobs, job.job_id)
            if state.stage == "training xNNs"
            and state.done > settings.epochs
            and (kept := xnns(calls, "killed"))
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(before) < 3
    with inference_process(tmp_path) as (_, calls, jobs):
        *_, ended = states(jobs, job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert ended.attempts == 2
        *_, ended = states(jobs, train(calls, "whole").job_id)
        assert (ended.state, ended.attempts) == (jobs_pb2.JOB_STATE_SUCCEEDED, 1)
        found, wanted = xnns(calls, "killed"), xnns(calls, "whole")
    assert [xnn.class_name for xnn in wanted] == ["circle", "cross", "square"]
    assert list(found) == list(wanted)
