"""A real inference server on a free port of loopback, with its own folder."""

import json
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

DEADLINE_S = 60


@dataclass(frozen=True)
class Inference:
    """Stubs of a running server, and imports in one call."""

    calls: InferenceServiceStub
    jobs: JobServiceStub
    data_dir: Path

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


@pytest.fixture
def open_server():
    """Starts servers, and stops those still running at the end."""
    opened = []

    def opening(data_dir, import_root):
        settings = RuntimeSettings(data_dir=data_dir, import_roots=[import_root] if import_root else [])
        service = build(settings)
        server = start(service, "127.0.0.1:0", settings)
        channel = grpc.insecure_channel(server.address)
        opened.append((channel, server))
        return Inference(InferenceServiceStub(channel), JobServiceStub(channel), data_dir)

    yield opening
    for channel, server in opened:
        channel.close()
        server.stop()


@pytest.fixture
def inference(open_server, tmp_path):
    """A server that may import from tmp_path."""
    return open_server(tmp_path / "onoma-data", tmp_path)
