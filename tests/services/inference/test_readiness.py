"""What the Open Inference Protocol says of a server that takes no work yet, or no more."""

import grpc
import pytest

from onoma.open_inference import v2_pb2 as pb
from onoma.open_inference.v2_pb2_grpc import GRPCInferenceServiceStub
from services.inference.service import build
from services.runtime.server import start
from services.runtime.settings import RuntimeSettings

DEADLINE_S = 30


@pytest.fixture
def server(tmp_path):
    settings = RuntimeSettings(data_dir=tmp_path / "onoma-data")
    running = start(build(settings), "127.0.0.1:0", settings)
    yield running
    running.stop(within_s=0)


@pytest.fixture
def calls(server):
    with grpc.insecure_channel(server.address) as channel:
        yield GRPCInferenceServiceStub(channel)


def is_live(calls):
    return calls.ServerLive(pb.ServerLiveRequest(), timeout=DEADLINE_S).live


def is_ready(calls):
    return calls.ServerReady(pb.ServerReadyRequest(), timeout=DEADLINE_S).ready


def test_a_server_that_is_stopping_is_live_and_not_ready(server, calls):
    assert (is_live(calls), is_ready(calls)) == (True, True)
    server.drain()
    assert (is_live(calls), is_ready(calls)) == (True, False)


def test_a_server_whose_database_does_not_answer_is_live_and_not_ready(calls, monkeypatch):
    def unreachable(_engine):
        raise OSError("connection refused")

    monkeypatch.setattr("sqlalchemy.engine.Engine.connect", unreachable)
    assert (is_live(calls), is_ready(calls)) == (True, False)
    monkeypatch.undo()
    assert is_ready(calls)


@pytest.mark.parametrize("model_version", ["", "1"])
def test_a_model_that_nobody_registered_is_not_ready(calls, model_version):
    request = pb.ModelReadyRequest(name="nobody", version=model_version)
    assert not calls.ModelReady(request, timeout=DEADLINE_S).ready
