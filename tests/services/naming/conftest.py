"""A real naming server on a free port of loopback, beside a stand-in for inference."""

# ruff: noqa: N802  a servicer has the names of gRPC

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from onoma.client import namings
from onoma.v1 import inference_pb2, inference_pb2_grpc, types_pb2
from onoma.v1 import naming_pb2 as pb
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.naming.service import build
from services.runtime.server import start
from services.runtime.settings import RuntimeSettings

CATEGORIES = ["boat", "shoe"]
ACTIVATIONS = {category: [f"{category}{i:03}" for i in range(12)] for category in CATEGORIES}


class StandInInference(inference_pb2_grpc.InferenceServiceServicer):
    """Holds one model, one data set and two sets of xNNs, and nothing behind them."""

    def GetModel(self, request, context):
        self._check(request.name, "net", context)
        return inference_pb2.GetModelResponse(
            model=inference_pb2.Model(name="net", classes=[*CATEGORIES, "hat", "cap"])
        )

    def GetDataset(self, request, context):
        self._check(request.name, "photos", context)
        return inference_pb2.GetDatasetResponse(
            dataset=inference_pb2.Dataset(name="photos", classes=[*CATEGORIES, "hat"])
        )

    def GetXnnSet(self, request, context):
        model = {"xnns": "net", "strangers": "other"}.get(request.name)
        if model is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no set of xNNs is named {request.name!r}")
        xnns = [inference_pb2.Xnn(class_name=name) for name in CATEGORIES]
        return inference_pb2.GetXnnSetResponse(
            xnn_set=inference_pb2.XnnSet(name=request.name, model=model, xnns=xnns)
        )

    def _check(self, name, known, context):
        if name != known:
            context.abort(grpc.StatusCode.NOT_FOUND, f"nothing is named {name!r}")


@dataclass(frozen=True)
class Server:
    """Stub of a running server, with the usual requests in one call."""

    calls: NamingServiceStub
    address: str
    data_dir: Path

    def create_study(self, **fields):
        columns = {
            "name": "sizes",
            "model": "net",
            "dataset": "photos",
            "xnn_set": "xnns",
            "categories": CATEGORIES,
        } | fields
        return self.calls.CreateStudy(pb.CreateStudyRequest(**columns), timeout=30).study

    def publish(self, study_id, activations=ACTIVATIONS):
        messages = [
            pb.PublishActivationsRequest(
                study_id=study_id,
                activations=types_pb2.ActivationColumns(
                    activation_id=ids, category=[category] * len(ids), image_id=["image" + id_ for id_ in ids]
                ),
            )
            for category, ids in activations.items()
        ]
        return self.calls.PublishActivations(iter(messages), timeout=30).activation_count

    def open_study(self, **fields):
        study = self.create_study(**fields)
        self.publish(study.study_id)
        return self.calls.OpenStudy(pb.OpenStudyRequest(study_id=study.study_id), timeout=30).study

    def invite(self, study_id, name="Ada", request_id=""):
        request = pb.InviteAnnotatorRequest(study_id=study_id, display_name=name, request_id=request_id)
        return self.calls.InviteAnnotator(request, timeout=30)

    def desk(self, study_id, name="Ada", category="boat"):
        """A new annotator's naming."""
        return Desk(self, study_id, self.invite(study_id, name).annotator.annotator_id, category)


@dataclass(frozen=True)
class Desk:
    """One naming, and the one who names."""

    server: Server
    study_id: str
    annotator_id: str
    category: str = "boat"

    def at(self, category):
        return Desk(self.server, self.study_id, self.annotator_id, category)

    def naming(self):
        request = pb.GetNamingRequest(**self.key())
        return self.server.calls.GetNaming(request, timeout=30).naming

    def acts(self, **fields):
        request = pb.ListActsRequest(**self.key(), **fields)
        return self.server.calls.ListActs(request, timeout=30)

    def act(self, request_id="", base_revision=None, **command):
        """The naming after an act, as the answer has it."""
        seen = self.naming()
        request = pb.ActRequest(
            **self.key(),
            request_id=request_id or str(uuid.uuid4()),
            base_revision=seen.revision if base_revision is None else base_revision,
            command=pb.Command(**command),
        )
        return taken(seen, self.server.calls.Act(request, timeout=30))

    def key(self):
        return {"study_id": self.study_id, "annotator_id": self.annotator_id, "category": self.category}


def taken(seen, answer):
    """The naming that an answer of Act or WatchNaming leads to, from the one that was seen before."""
    return answer.naming if answer.HasField("naming") else namings.after(seen, answer.change)


def create(concept_id, ids=(), name=""):
    return {"create": pb.CreateConcept(concept_id=concept_id, name=name, activation_ids=ids)}


@pytest.fixture(scope="session")
def inference_address():
    server = grpc.server(ThreadPoolExecutor(4))
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(StandInInference(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(params=["sqlite", "postgresql"])
def clean_database(request, tmp_path):
    """The settings of a database without a table: each test runs on both kinds."""
    url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else ""
    return RuntimeSettings(data_dir=tmp_path, database_url=url)


@pytest.fixture
def open_server(inference_address, clean_database):
    """Starts servers over a folder, and stops them at the end."""
    opened = []

    def opening(data_dir, **fields):
        fields = {"inference_address": inference_address, "drain_s": 1.0} | fields
        settings = clean_database.model_copy(update={"data_dir": data_dir, **fields})
        running = start(build(settings), "127.0.0.1:0", settings)
        channel = grpc.insecure_channel(running.address)
        opened.append((channel, running))
        return Server(NamingServiceStub(channel), running.address, data_dir)

    yield opening
    for channel, running in opened:
        channel.close()
        running.stop()


@pytest.fixture
def server(open_server, tmp_path):
    return open_server(tmp_path)


@pytest.fixture
def study(server):
    """An open study."""
    return server.open_study()


@pytest.fixture
def desk(server, study):
    """An empty naming of an open study."""
    return server.desk(study.study_id)
