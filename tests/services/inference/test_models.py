"""Registration of networks over a real server."""

import io
import zipfile

import grpc
import numpy as np
import pytest
import torch
from sqlalchemy.pool import NullPool
from sqlmodel import create_engine
from torch import nn

from onoma.science.program import load, save
from onoma.v1 import inference_pb2 as pb
from onoma.v1 import jobs_pb2, types_pb2
from services.inference import registry, sessions, tables
from services.runtime.objects import DirectoryStore
from tests.synthetic import CLASSES, SIZE

PREPROCESSING = {"channels": 3, "height": SIZE, "width": SIZE}
METADATA = {"classes": list(CLASSES), "preprocessing": PREPROCESSING}


class Softened(nn.Module):
    """A layer with an operator that Excitation Backprop has no rule for."""

    def forward(self, values):
        return torch.sinh(values)


def network(seed=0, between=None):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        between or nn.Identity(),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(4 * (SIZE // 4) ** 2, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )


def exported(module, metadata=METADATA):
    return save(module, torch.rand(2, 3, SIZE, SIZE), metadata)


def database(inference):
    return create_engine(f"sqlite:///{inference.data_dir / 'inference.db'}", poolclass=NullPool)


def without_metadata():
    return exported(network(), {})


def spoilt(module, layer, value):
    with torch.no_grad():
        module[layer].weight[0] = value
    return module


def zip_of(names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def checkpoint():
    buffer = io.BytesIO()
    torch.save(network().state_dict(), buffer)
    return buffer.getvalue()


def refusal(call):
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def assert_refused(inference, job, *parts):
    """The job failed with one line that has these parts, and nothing is registered."""
    assert job.state == jobs_pb2.JOB_STATE_FAILED
    assert all(part in job.error for part in parts), job.error
    assert not job.error.startswith("internal error")
    assert list(inference.calls.ListModels(pb.ListModelsRequest()).models) == []


# What a registration gives


def test_a_registration_finds_layers_sizes_mode_and_errors(registered, program):
    model = registered.model()
    assert (model.attachment_layer, model.feature_count) == ("relu_2", 32)
    assert (model.map_layer, model.map_height, model.map_width) == ("relu_1", 16, 16)
    assert list(model.classes) == list(CLASSES)
    assert (model.preprocessing.height, model.preprocessing.width) == (SIZE, SIZE)
    assert 0 <= model.strict_leak <= 1
    assert (model.mode == types_pb2.EXCITATION_MODE_STRICT) == (model.strict_leak < 0.05)
    assert 0 <= model.onnx_error < 1e-3
    assert DirectoryStore(registered.data_dir / "objects").get(model.model_hash) == program


def test_the_onnx_form_scores_as_torch_does_for_any_number_of_images(registered, program):
    onnx = DirectoryStore(registered.data_dir / "objects").get(registered.model().onnx_key)
    loaded = load(program)
    for count in (1, 5):
        images = torch.rand(count, 3, SIZE, SIZE)
        scores, features = sessions.run(sessions.open_session(onnx), images.numpy())
        with torch.inference_mode():
            np.testing.assert_allclose(scores, loaded.graph_module(images), atol=1e-4)
        assert features.shape == (count, 32)


def test_layers_and_mode_that_are_given_are_taken(inference):
    job = inference.registered(
        exported(network()),
        attachment_layer="relu",
        map_layer="convolution",
        mode=types_pb2.EXCITATION_MODE_LOCAL,
    )
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
    model = inference.model()
    assert (model.attachment_layer, model.map_layer) == ("relu", "convolution")
    assert model.feature_count == 4 * SIZE * SIZE
    assert model.mode == types_pb2.EXCITATION_MODE_LOCAL


def test_classes_and_preprocessing_that_are_given_count_for_a_program_without_them(inference):
    job = inference.registered(
        without_metadata(),
        classes=["a", "b", "c"],
        preprocessing=types_pb2.Preprocessing(**PREPROCESSING, mean=[0.5] * 3, std=[0.25] * 3),
    )
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
    model = inference.model()
    assert list(model.classes) == ["a", "b", "c"]
    assert list(model.preprocessing.std) == [0.25] * 3


def test_providers_are_named_and_never_tensorrt(monkeypatch):
    everything = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(sessions.onnxruntime, "get_available_providers", lambda: everything)
    assert sessions.providers() == ["CPUExecutionProvider"] or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    names = [provider if isinstance(provider, str) else provider[0] for provider in sessions.providers()]
    assert names == ["CUDAExecutionProvider", "CPUExecutionProvider"]


# The same name again


def test_the_same_registration_again_is_one_model(registered, program):
    before = registered.model()
    job = registered.registered(program)
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
    assert registered.model() == before
    assert len(registered.calls.ListModels(pb.ListModelsRequest()).models) == 1


def test_a_lost_onnx_form_is_made_again_by_the_same_registration(registered, program):
    store = DirectoryStore(registered.data_dir / "objects")
    store.delete(registered.model().onnx_key)
    registered.registered(program)
    assert store.get(registered.model().onnx_key)


def test_a_model_that_came_with_an_archive_is_registered_again_from_its_program(inference):
    """Messages carry mean and std as float32, so the row's differ from the program's, and stay as they are."""
    normalised = {**PREPROCESSING, "mean": [0.485] * 3, "std": [0.229] * 3}
    program = exported(network(), {**METADATA, "preprocessing": normalised})
    assert inference.registered(program, preprocessing=normalised).state == jobs_pb2.JOB_STATE_SUCCEEDED
    kept = registry.find(database(inference), tables.Model, "tiny").preprocessing
    assert kept["mean"] != normalised["mean"]
    job = inference.registered(program)
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
    assert registry.find(database(inference), tables.Model, "tiny").preprocessing == kept
    job = inference.registered(program, preprocessing={**normalised, "mean": [0.486] * 3})
    assert "model 'tiny' is registered, and differs in preprocessing" in job.error


def test_another_program_under_a_taken_name_is_refused_at_once(registered):
    code, details = refusal(lambda: registered.registered(exported(network())))
    assert code == grpc.StatusCode.ALREADY_EXISTS
    assert details == "another network is registered as 'tiny'; give this one another name"


def test_the_same_program_with_other_classes_is_not_the_same_model(registered, program):
    before = registered.model()
    job = registered.registered(program, classes=["x", "y", "z"])
    assert job.state == jobs_pb2.JOB_STATE_FAILED
    assert "model 'tiny' is registered, and differs in classes" in job.error
    assert job.error.endswith("give this one another name")
    assert registered.model() == before


# What cannot be taken


@pytest.mark.parametrize("key", ["", "tiny.pt2"])
def test_what_is_no_key_is_refused_at_once(inference, key):
    request = pb.RegisterModelRequest(name="tiny", object_key=key)
    code, details = refusal(lambda: inference.calls.RegisterModel(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "is not an object key" in details


def test_a_program_that_was_never_uploaded_is_refused_at_once(inference):
    request = pb.RegisterModelRequest(name="tiny", object_key="0" * 64)
    code, details = refusal(lambda: inference.calls.RegisterModel(request))
    assert code == grpc.StatusCode.NOT_FOUND
    assert details.endswith(": upload the .pt2 file first")


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        ([], "names no classes; give 3 names in the order of its scores"),
        (["a", "b"], "2 class names for 3 scores"),
        (["a", "b", "a"], "twice: a"),
        (["a", "b", " "], "a class name is empty"),
    ],
)
def test_class_names_that_do_not_fit_are_told(inference, classes, line):
    data = exported(network(), {"preprocessing": PREPROCESSING})
    assert_refused(inference, inference.registered(data, classes=classes), line)


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        ({"classes": "abc", "preprocessing": PREPROCESSING}, "the program's classes are not a list of names"),
        (
            {"classes": ["a", "b", "\ud800"], "preprocessing": PREPROCESSING},
            "a class name has the text '\\ud800'",
        ),
        ({"classes": [1, 2, 3], "preprocessing": PREPROCESSING}, "are not a list of names"),
        (
            {"classes": list(CLASSES)},
            "become its input; say it",
        ),
        ({**METADATA, "preprocessing": {"height": "32"}}, "preprocessing cannot be read"),
        ({**METADATA, "preprocessing": [1]}, "preprocessing has '[1]'"),
        ({**METADATA, "preprocessing": {**PREPROCESSING, "channels": 7}}, "channels 7: use 1"),
        (
            {**METADATA, "preprocessing": {**PREPROCESSING, "height": 64}},
            "gives images of (3, 64, 32) (channels, height, width); the network takes (3, 32, 32)",
        ),
    ],
)
def test_metadata_that_does_not_fit_is_told(inference, metadata, line):
    assert_refused(inference, inference.registered(exported(network(), metadata)), line)


@pytest.mark.parametrize("field", ["attachment_layer", "map_layer"])
def test_a_layer_that_is_not_there_is_named(inference, field):
    job = inference.registered(exported(network()), **{field: "layer9"})
    assert_refused(inference, job, "the network has no layer 'layer9'")


def test_a_map_layer_above_the_attachment_is_told(inference):
    job = inference.registered(exported(network()), attachment_layer="relu", map_layer="getitem")
    assert_refused(inference, job, "map layer 'getitem' does not lie on every path to 'relu'")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (lambda: b"\x80\x02}q\x00.", "the file is a pickle, which can run code"),
        (lambda: zip_of(["thesis.txt"]), "the file is a zip of something else"),
        (checkpoint, "a torch.save checkpoint (a pickle)"),
        (lambda: b"\x89PNG nonsense", "no .pt2 archive, or it is damaged"),
        (lambda: exported(network())[:5000], "no .pt2 archive, or it is damaged"),
    ],
)
def test_a_file_that_is_no_program_is_told_for_what_it_is(inference, data, line):
    assert_refused(inference, inference.registered(data()), line)


def test_an_operator_without_a_rule_is_named(inference):
    data = exported(network(between=Softened()))
    job = inference.registered(data, map_layer="convolution")
    assert_refused(inference, job, "no rule for aten.sinh.default")


@pytest.mark.parametrize("layer", [0, 5, 7])
def test_a_weight_that_is_nan_is_named(inference, layer):
    job = inference.registered(exported(spoilt(network(), layer, float("nan"))))
    assert_refused(inference, job, f"weight '{layer}.weight' of layer")


def test_weights_too_large_for_finite_scores_are_told(inference):
    job = inference.registered(exported(spoilt(network(), 7, float("inf"))))
    assert_refused(inference, job, "NaN or infinite")


def test_an_onnx_form_that_scores_otherwise_is_refused(inference, monkeypatch):
    run = sessions.run
    monkeypatch.setattr("services.inference.models.run", lambda *a: tuple(array + 1 for array in run(*a)))
    job = inference.registered(exported(network()))
    monkeypatch.undo()
    assert_refused(inference, job, "ONNX form differs by 1 in its scores")


def test_a_server_goes_on_after_a_refusal(inference):
    assert_refused(inference, inference.registered(checkpoint()), "torch.save checkpoint")
    job = inference.registered(exported(network()))
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
