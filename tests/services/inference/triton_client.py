"""The Open Inference Protocol, spoken by Triton's public client to a real server; pictures are synthetic.

Run by test_open_inference.py in a process of its own: the client brings stubs of the same proto names as the service's,
and one process cannot hold both.
"""

import os
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from tritonclient.grpc import (
    InferenceServerClient,
    InferenceServerException,
    InferInput,
    InferRequestedOutput,
)
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from onoma.science.program import find_attachment, load, with_features
from tests.synthetic import CLASSES

DEADLINE_S = 60
SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def address():
    return os.environ["ONOMA_TEST_ADDRESS"]


@pytest.fixture(scope="module")
def program():
    return Path(os.environ["ONOMA_TEST_PROGRAM"]).read_bytes()


@pytest.fixture(scope="module")
def client(address):
    with InferenceServerClient(address) as client:
        yield client


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).random((3, *SHAPE), np.float32)


def infer(client, pictures, *, name="images", model="tiny", outputs=None, version="", class_count=0):
    tensor = InferInput(name, pictures.shape, "FP32")
    tensor.set_data_from_numpy(pictures)
    wanted = outputs and [InferRequestedOutput(output, class_count) for output in outputs]
    return client.infer(model, [tensor], model_version=version, outputs=wanted, client_timeout=DEADLINE_S)


@contextmanager
def refused(code, line):
    with pytest.raises(InferenceServerException) as error:
        yield
    assert error.value.status() == f"StatusCode.{code}"
    assert line in error.value.message()


def test_the_server_says_who_and_how_it_is(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata().name == "onoma"
    assert client.is_model_ready("tiny")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("tiny", "2")


def test_metadata_has_the_tensors(client, program):
    found = client.get_model_metadata("tiny")
    assert list(found.versions) == ["1"]
    assert [(t.name, t.datatype, list(t.shape)) for t in found.inputs] == [("images", "FP32", [-1, *SHAPE])]
    feature_count = with_features_of(program, np.zeros((1, *SHAPE), np.float32))[1].shape[1]
    wanted = [("scores", "FP32", [-1, len(CLASSES)]), ("features", "FP32", [-1, feature_count])]
    assert [(t.name, t.datatype, list(t.shape)) for t in found.outputs] == wanted


def with_features_of(program, pictures):
    """Scores and features by torch itself."""
    loaded = load(program)
    with torch.inference_mode():
        return [a.numpy() for a in with_features(loaded, find_attachment(loaded))(torch.from_numpy(pictures))]


def test_a_batch_of_32_photographs_of_224_pixels_gets_through(client):
    """19 MB: refused for their shape, which the server has read, and not for the message's size."""
    with refused("INVALID_ARGUMENT", "has shape [32, 3, 224, 224]"):
        infer(client, np.zeros((32, 3, 224, 224), np.float32))


def test_scores_and_features_are_torchs_own(client, program, pictures):
    scores, features = with_features_of(program, np.concatenate([pictures, pictures]))
    found = infer(client, pictures)
    np.testing.assert_allclose(found.as_numpy("scores"), scores[:3], atol=1e-4)
    np.testing.assert_allclose(found.as_numpy("features"), features[:3], atol=1e-4)


def test_only_the_outputs_asked_for_come_in_their_order(client, pictures):
    assert [o.name for o in infer(client, pictures, outputs=["features"]).get_response().outputs] == [
        "features"
    ]
    both = infer(client, pictures, outputs=["features", "scores"]).get_response()
    assert [output.name for output in both.outputs] == ["features", "scores"]


def test_numbers_may_come_as_typed_contents(client, address, pictures):
    """As clients without raw bytes send them."""
    request = ModelInferRequest(model_name="tiny", id="7")
    tensor = request.inputs.add(name="images", datatype="FP32", shape=pictures.shape)
    tensor.contents.fp32_contents.extend(pictures.ravel().tolist())
    with grpc.insecure_channel(address) as channel:
        found = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=DEADLINE_S)
    assert found.id == "7"
    scores = np.frombuffer(found.raw_output_contents[0], np.float32).reshape(found.outputs[0].shape)
    np.testing.assert_array_equal(scores, infer(client, pictures).as_numpy("scores"))


def test_an_input_in_shared_memory_is_refused_by_name(client):
    tensor = InferInput("images", (1, *SHAPE), "FP32")
    tensor.set_shared_memory("region", 4 * int(np.prod(SHAPE)))
    with refused("INVALID_ARGUMENT", "input 'images' has the parameter 'shared_memory_byte_size'"):
        client.infer("tiny", [tensor], client_timeout=DEADLINE_S)


def test_typed_and_raw_contents_at_once_are_refused(address, pictures):
    request = ModelInferRequest(model_name="tiny", raw_input_contents=[pictures.tobytes()])
    tensor = request.inputs.add(name="images", datatype="FP32", shape=pictures.shape)
    tensor.contents.fp32_contents.extend(pictures.ravel().tolist())
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as error:
        GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=DEADLINE_S)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "typed and raw contents" in error.value.details()


def test_what_does_not_fit_is_refused_with_what_would(client, pictures):
    with refused("NOT_FOUND", "no model is named 'nobody'"):
        infer(client, pictures, model="nobody")
    with refused("NOT_FOUND", "has version '1' only, not '2'"):
        infer(client, pictures, version="2")
    with refused("INVALID_ARGUMENT", "takes one input, 'images'; the request has 'pixels'"):
        infer(client, pictures, name="pixels")
    with refused("INVALID_ARGUMENT", "has shape [3, 3, 32, 31]; model 'tiny' takes [-1, 3, 32, 32]"):
        infer(client, np.ascontiguousarray(pictures[..., 1:]))
    with refused("INVALID_ARGUMENT", "has shape [0, 3, 32, 32]"):
        infer(client, pictures[:0])
    with refused("INVALID_ARGUMENT", "has no output 'heat'; it has scores and features"):
        infer(client, pictures, outputs=["heat"])
    with refused("INVALID_ARGUMENT", "an output is asked for twice"):
        infer(client, pictures, outputs=["scores", "scores"])
    with refused("INVALID_ARGUMENT", "output 'scores' has the parameter 'classification'"):
        infer(client, pictures, outputs=["scores"], class_count=3)
    with refused("INVALID_ARGUMENT", "NaN or infinite"):
        infer(client, np.where(pictures > 0.5, np.float32("nan"), pictures))


@pytest.mark.parametrize(
    ("datatype", "raw", "line"),
    [
        ("FP64", b"", "is FP32, not 'FP64'"),
        ("FP32", b"12", "takes 12288 raw bytes, not 2"),
        ("FP32", b"", "takes 3072 numbers, not 0"),
    ],
)
def test_a_request_whose_bytes_are_not_its_shapes_is_refused(address, datatype, raw, line):
    request = ModelInferRequest(model_name="tiny", raw_input_contents=[raw] if raw else [])
    request.inputs.add(name="images", datatype=datatype, shape=[1, *SHAPE])
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as error:
        GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=DEADLINE_S)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert line in error.value.details()
