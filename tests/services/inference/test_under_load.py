"""Calls over a real server whose network takes as long as the test says; pictures are synthetic."""

import shutil
import threading
from functools import partial

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from onoma.open_inference import v2_pb2 as pb
from onoma.open_inference.v2_pb2_grpc import GRPCInferenceServiceStub
from onoma.science.pictures import encode_png
from onoma.v1 import inference_pb2
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from services.inference import sessions
from services.inference.batching import RETRY_AFTER_S
from services.inference.service import build
from services.runtime.server import start
from services.runtime.settings import RuntimeSettings
from tests.services.inference.conftest import DEADLINE_S

SHAPE = (1, 3, 32, 32)


class Held:
    """The network once it may run."""

    def __init__(self):
        self.is_running, self.may_run = threading.Event(), threading.Event()
        self.batches = []
        self._run = sessions.run

    def __call__(self, session, images):
        self.is_running.set()
        assert self.may_run.wait(DEADLINE_S)
        self.batches.append(len(images))
        return self._run(session, images)


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setenv("ONOMA_BATCH_IMAGES", "1")
    monkeypatch.setenv("ONOMA_QUEUE_IMAGES", "2")
    held = Held()
    monkeypatch.setattr(sessions, "run", held)
    return held


@pytest.fixture
def server(network, registered_dir, tmp_path):
    shutil.copytree(registered_dir, tmp_path / "onoma-data")
    settings = RuntimeSettings(data_dir=tmp_path / "onoma-data")
    running = start(build(settings), "127.0.0.1:0", settings)
    yield running
    network.may_run.set()
    running.stop()


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.address) as opened:
        yield opened


@pytest.fixture
def stub(channel):
    return GRPCInferenceServiceStub(channel)


def calling(stub):
    """A call that is under way."""
    request = pb.ModelInferRequest(
        model_name="tiny", raw_input_contents=[np.zeros(SHAPE, np.float32).tobytes()]
    )
    request.inputs.add(name="images", datatype="FP32", shape=SHAPE)
    return stub.ModelInfer.future(request, timeout=DEADLINE_S)


def in_the_network(stub, network):
    call = calling(stub)
    assert network.is_running.wait(DEADLINE_S)
    return call


def test_calls_over_the_queue_are_refused_by_its_setting_and_those_within_answered(stub, network):
    first = in_the_network(stub, network)
    others, one_ended = [calling(stub) for _ in range(3)], threading.Event()
    for other in others:
        other.add_done_callback(lambda _: one_ended.set())
    assert one_ended.wait(DEADLINE_S)
    network.may_run.set()
    (refused,) = (other for other in others if other.code() != grpc.StatusCode.OK)
    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "over the 2 of ONOMA_QUEUE_IMAGES" in refused.details()
    again, packed = RetryInfo(), rpc_status.from_call(refused).details[1]
    assert packed.Unpack(again)
    assert again.retry_delay.ToTimedelta().total_seconds() == RETRY_AFTER_S
    assert first.code() == grpc.StatusCode.OK


def test_a_caller_that_leaves_spoils_nothing_for_the_others(stub, network):
    first = in_the_network(stub, network)
    leaves, stays = calling(stub), calling(stub)
    leaves.cancel()
    network.may_run.set()
    assert first.code() == stays.code() == grpc.StatusCode.OK


def test_images_of_a_caller_that_has_left_are_not_scored(channel, stub, network):
    pictures = [encode_png(np.full((8, 8, 3), shade, np.uint8)) for shade in range(16)]
    request = inference_pb2.PredictRequest(model="tiny", contents=pictures)
    call = InferenceServiceStub(channel).Predict.future(request, timeout=DEADLINE_S)
    assert network.is_running.wait(DEADLINE_S)
    call.cancel()
    stub.ServerLive(
        pb.ServerLiveRequest(), timeout=DEADLINE_S
    )  # on the same connection, after the cancellation
    network.may_run.set()
    assert calling(stub).result(DEADLINE_S).outputs
    assert sum(network.batches) < len(pictures)


def test_a_call_in_flight_is_answered_when_the_server_stops(server, stub, network):
    call = in_the_network(stub, network)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    with pytest.raises(grpc.RpcError):  # new calls are refused once it stops
        list(iter(partial(stub.ServerLive, pb.ServerLiveRequest(), timeout=DEADLINE_S), None))
    network.may_run.set()
    assert call.result(DEADLINE_S).outputs[0].shape[0] == 1
    stopping.join(DEADLINE_S)
