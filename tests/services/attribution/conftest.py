"""A real attribution server on a free port of loopback, over stand-ins for inference and naming."""

import json
import uuid
from dataclasses import dataclass

import grpc
import pytest
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from onoma.client.columns import map_arrays
from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import jobs_pb2, types_pb2
from onoma.v1.attribution_pb2_grpc import AttributionServiceStub
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from onoma.v1.jobs_pb2_grpc import JobServiceStub
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.attribution.computing import Computing
from services.attribution.explainers import Explainers
from services.attribution.plans import Peers
from services.attribution.service import build
from services.attribution.settings import AttributionSettings
from services.attribution.tables import Activation
from services.runtime.database import open_database
from services.runtime.directory_store import DirectoryStore
from services.runtime.objects import store_place
from services.runtime.server import start
from services.runtime.settings import RuntimeSettings
from tests.services.attribution.stand_ins import STUDY_ID, World, make_world, serve

DEADLINE_S = 60


@dataclass(frozen=True)
class Attribution:
    """Stubs of a running server, and what tests ask of it in one call."""

    calls: AttributionServiceStub
    jobs: JobServiceStub
    engine: Engine
    store: DirectoryStore

    def start_computing(self, request_id=""):
        request = pb.ComputeMapsRequest(study_id=STUDY_ID, request_id=request_id or uuid.uuid4().hex)
        return self.calls.ComputeMaps(request, timeout=DEADLINE_S).job

    def ended(self, job):
        """The job once it has ended."""
        while job.state in (jobs_pb2.JOB_STATE_PENDING, jobs_pb2.JOB_STATE_RUNNING):
            request = jobs_pb2.WatchJobRequest(job_id=job.job_id)
            job = list(self.jobs.WatchJob(request, timeout=DEADLINE_S))[-1].job
        return job

    def computed(self):
        """The ended job of a computation, whatever came of it."""
        return self.ended(self.start_computing())

    def start_importing(self, archive, request_id=""):
        """Starts importing bytes as UploadObject would have stored them."""
        request = pb.ImportMapsRequest(
            study_id=STUDY_ID, object_key=self.store.put(archive), request_id=request_id or uuid.uuid4().hex
        )
        return self.calls.ImportMaps(request, timeout=DEADLINE_S).job

    def imported(self, archive):
        """The ended job of an import, whatever came of it."""
        return self.ended(self.start_importing(archive))

    def resumed(self, job):
        request = jobs_pb2.ResumeJobRequest(job_id=job.job_id)
        return self.ended(self.jobs.ResumeJob(request, timeout=DEADLINE_S).job)

    def result(self):
        """The result of a computation that has to succeed."""
        job = self.computed()
        assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
        return json.loads(job.result_json)

    def activations(self, category=""):
        request = pb.ListActivationsRequest(study_id=STUDY_ID, category=category)
        columns = types_pb2.ActivationColumns()
        for response in self.calls.ListActivations(request, timeout=DEADLINE_S):
            columns.MergeFrom(response.activations)
        return columns

    def images(self, category=""):
        request = pb.ListExplainedImagesRequest(study_id=STUDY_ID, category=category)
        columns = types_pb2.ExplainedImageColumns()
        for response in self.calls.ListExplainedImages(request, timeout=DEADLINE_S):
            columns.MergeFrom(response.images)
        return columns

    def map_columns(self, activation_ids):
        request = pb.GetMapsRequest(study_id=STUDY_ID, activation_ids=activation_ids)
        return [response.maps for response in self.calls.GetMaps(request, timeout=DEADLINE_S)]

    def maps(self, activation_ids):
        """Arrays by id."""
        return {
            activation_id: array
            for columns in self.map_columns(activation_ids)
            for activation_id, array in zip(columns.activation_id, map_arrays(columns), strict=True)
        }

    def provenance(self):
        request = pb.GetMapProvenanceRequest(study_id=STUDY_ID)
        return self.calls.GetMapProvenance(request, timeout=DEADLINE_S).provenance

    def rows(self):
        """Rows of activations as they stand, complete or not."""
        with Session(self.engine) as opened:
            return list(opened.exec(select(Activation).order_by(col(Activation.activation_id))))


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "objects")


@pytest.fixture
def world(store) -> World:
    return make_world(store)


@pytest.fixture
def stand_ins_address(world):
    """Where inference and naming answer."""
    server, address = serve(world)
    yield address
    server.stop(None).wait()


@pytest.fixture
def peers(stand_ins_address):
    with grpc.insecure_channel(stand_ins_address) as channel:
        yield Peers(InferenceServiceStub(channel), NamingServiceStub(channel))


@pytest.fixture
def make_computing(tmp_path, store, peers):
    """What the job works with, without a server; each name has a database of its own."""
    engines = []

    def making(name="alone", database_url="", **settings):
        database = RuntimeSettings(data_dir=tmp_path / name, database_url=database_url)
        engines.append(open_database(database, "attribution"))
        place = store_place(RuntimeSettings(data_dir=tmp_path))
        return Computing(engines[-1], store, Explainers(store), peers, AttributionSettings(**settings), place)

    yield making
    for engine in engines:
        engine.dispose()


@pytest.fixture
def small_shards(monkeypatch):
    """Servers opened from here on explain two images at once, and commit after each two."""
    monkeypatch.setenv("ONOMA_MAP_BATCH_IMAGES", "2")
    monkeypatch.setenv("ONOMA_MAP_SHARD_IMAGES", "2")


@pytest.fixture
def open_server(tmp_path, store, stand_ins_address):
    """Starts servers over one folder, and stops them at the end."""
    address = stand_ins_address
    opened = []

    def opening():
        settings = RuntimeSettings(
            data_dir=tmp_path, inference_address=address, naming_address=address, drain_s=1.0
        )
        server = start(build(settings), "127.0.0.1:0", settings)
        channel = grpc.insecure_channel(server.address)
        engine = open_database(settings, "attribution")
        opened.append((channel, server, engine))
        return Attribution(AttributionServiceStub(channel), JobServiceStub(channel), engine, store)

    yield opening
    for channel, server, engine in opened:
        channel.close()
        server.stop()
        engine.dispose()


@pytest.fixture
def attribution(open_server):
    return open_server()


def refusal(call):
    """Status and message of a call that is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()
