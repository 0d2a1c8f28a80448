"""A job whose process is killed goes on in the next one."""

import json
import shutil
import signal

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


def test_a_training_goes_on_after_its_process_was_killed(tmp_path, registered_dir):
    shutil.copytree(registered_dir, tmp_path / "onoma-data")
    settings = pb.XnnSettings(epochs=40, batch_size=24)
    request = pb.TrainXnnRequest(name="tiny", model="tiny", dataset="shapes", settings=settings)
    get = pb.GetXnnSetRequest(name="tiny")
    one_after_another = {"training_workers": "1"}
    with inference_process(tmp_path, **one_after_another) as (process, calls, jobs):
        job = calls.TrainXnn(request).job
        before = next(
            kept
            for state in states(jobs, job.job_id)
            if state.done > 40 and (kept := calls.GetXnnSet(get).xnn_set.xnns)
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(before) < 3
    with inference_process(tmp_path) as (_, calls, jobs):
        *_, ended = states(jobs, job.job_id)
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED
        assert ended.attempts == 2
        after = calls.GetXnnSet(get).xnn_set.xnns
    assert [xnn.class_name for xnn in after] == ["circle", "cross", "square"]
    assert before[0] in after
