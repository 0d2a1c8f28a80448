"""A real inference server on a free port of loopback, with its own folder."""

import json
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from onoma.v1 import inference_pb2 as pb
from onoma.v1 import jobs_pb2
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from onoma.v1.jobs_pb2_grpc import JobServiceStub
from services.inference.service import build
from services.runtime.server import start
from services.runtime.settings import RuntimeSettings
from tests import synthetic
from tests.short_fits import short_fits

DEADLINE_S = 60


@dataclass(frozen=True)
class Inference:
    """Stubs of a running server, and imports in one call."""

    calls: InferenceServiceStub
    jobs: JobServiceStub
    data_dir: Path
    address: str

    def ended(self, job):
        """The job once it has ended."""
        while job.state in (jobs_pb2.JOB_STATE_PENDING, jobs_pb2.JOB_STATE_RUNNING):
            request = jobs_pb2.WatchJobRequest(job_id=job.job_id)
            job = list(self.jobs.WatchJob(request, timeout=DEADLINE_S))[-1].job
        return job

    def start_import(self, folder, name="garments", **fields):
        request = pb.ImportDatasetRequest(name=name, path=str(folder), **fields)
        return self.calls.ImportDataset(request, timeout=DEADLINE_S).job

    def imported(self, folder, name="garments", **fields):
        """The ended job of an import, whatever came of it."""
        return self.ended(self.start_import(folder, name, **fields))

    def dataset(self, folder, name="garments", **fields):
        """The data set of an import that has to succeed."""
        job = self.imported(folder, name, **fields)
        assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
        assert json.loads(job.result_json)["dataset"] == name
        return self.calls.GetDataset(pb.GetDatasetRequest(name=name), timeout=DEADLINE_S).dataset

    def uploaded(self, data):
        """Key of uploaded bytes."""
        message = pb.UploadObjectRequest(chunk=data)
        return self.calls.UploadObject(iter([message]), timeout=DEADLINE_S).object_key

    def registered(self, data, name="tiny", **fields):
        """The ended job of a registration, whatever came of it."""
        request = pb.RegisterModelRequest(name=name, object_key=self.uploaded(data), **fields)
        return self.ended(self.calls.RegisterModel(request, timeout=DEADLINE_S).job)

    def model(self, name="tiny"):
        return self.calls.GetModel(pb.GetModelRequest(name=name), timeout=DEADLINE_S).model

    def trained(self, name="tiny", model="tiny", dataset="shapes", **fields):
        """The ended job of a training, whatever came of it."""
        fields = {"settings": pb.XnnSettings(epochs=4, batch_size=24), **fields}
        request = pb.TrainXnnRequest(name=name, model=model, dataset=dataset, **fields)
        return self.ended(self.calls.TrainXnn(request, timeout=DEADLINE_S).job)

    def xnn_set(self, name="tiny"):
        return self.calls.GetXnnSet(pb.GetXnnSetRequest(name=name), timeout=DEADLINE_S).xnn_set

    def images(self, name="garments", **fields):
        request = pb.ListImagesRequest(dataset=name, **fields)
        return list(self.calls.ListImages(request, timeout=DEADLINE_S).images)

    def issues(self, name="garments"):
        """Outcome and reason of each file that was not plain."""
        request = pb.ListImportIssuesRequest(dataset=name)
        listed = self.calls.ListImportIssues(request, timeout=DEADLINE_S).issues
        return {
            issue.path: (pb.ImportOutcome.Name(issue.outcome)[15:].lower(), issue.reason) for issue in listed
        }


@pytest.fixture(autouse=True)
def _short_fits():
    """Tiny xNNs lean on one X-feature for longer than a test has time for."""
    with short_fits():
        yield


@contextmanager
def serving(data_dir, import_root):
    """A server until the end of the block."""
    settings = RuntimeSettings(data_dir=data_dir, import_roots=[import_root] if import_root else [])
    server = start(build(settings), "127.0.0.1:0", settings)
    try:
        with grpc.insecure_channel(server.address) as channel:
            yield Inference(InferenceServiceStub(channel), JobServiceStub(channel), data_dir, server.address)
    finally:
        server.stop()


@pytest.fixture
def open_server():
    """Starts servers, and stops those still running at the end."""
    with ExitStack() as opened:
        yield lambda data_dir, import_root: opened.enter_context(serving(data_dir, import_root))


@pytest.fixture
def inference(open_server, tmp_path):
    """A server that may import from tmp_path."""
    return open_server(tmp_path / "onoma-data", tmp_path)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A folder of synthetic pictures, 24 to train and 8 to test with in each of three classes."""
    return synthetic.write_image_folder(tmp_path_factory.mktemp("shapes") / "shapes")


@pytest.fixture(scope="session")
def program(shapes):
    """A `.pt2` of a tiny network for those pictures."""
    return synthetic.tiny_program(shapes)


@pytest.fixture(scope="session")
def registered_dir(tmp_path_factory, shapes, program):
    """Data of a stopped server: data set "shapes" imported, network "tiny" registered."""
    data_dir = tmp_path_factory.mktemp("registered") / "onoma-data"
    with serving(data_dir, shapes) as inference:
        inference.dataset(shapes, "shapes")
        job = inference.registered(program)
        assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
    return data_dir


@pytest.fixture(scope="session")
def trained_dir(tmp_path_factory, registered_dir):
    """The same with a set of xNNs, "tiny", of all three classes."""
    data_dir = tmp_path_factory.mktemp("trained") / "onoma-data"
    shutil.copytree(registered_dir, data_dir)
    with short_fits(), serving(data_dir, None) as inference:
        job = inference.trained()
        assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
    return data_dir


@pytest.fixture
def registered(open_server, tmp_path, registered_dir):
    """A server of its own with the data set and the network."""
    shutil.copytree(registered_dir, tmp_path / "onoma-data")
    return open_server(tmp_path / "onoma-data", tmp_path)


@pytest.fixture
def trained(open_server, tmp_path, trained_dir):
    """A server of its own with the data set, the network and the xNNs."""
    shutil.copytree(trained_dir, tmp_path / "onoma-data")
    return open_server(tmp_path / "onoma-data", tmp_path)
