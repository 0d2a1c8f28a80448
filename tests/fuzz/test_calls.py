"""Every RPC, sent messages that are odd, damaged or none: refused with a reason, never a fault of the server."""

from __future__ import annotations

import contextlib
import io
import logging
import uuid

import grpc
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onoma.open_inference import v2_pb2
from onoma.v1 import analytics_pb2, attribution_pb2, inference_pb2, jobs_pb2, naming_pb2
from tests.fuzz.conftest import fuzzing
from tests.fuzz.messages import requests
from tests.synthetic import draw as picture_of

Code = grpc.StatusCode

SERVED = {
    "inference": (inference_pb2, jobs_pb2, v2_pb2),
    "attribution": (attribution_pb2, jobs_pb2),
    "naming": (naming_pb2,),
    "analytics": (analytics_pb2,),
}
# What these change, the others could not be tried on any more.
LAST = ("RevokeInvitation", "CloseStudy")
METHODS = sorted(
    (
        (server, method)
        for server, modules in SERVED.items()
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ),
    key=lambda found: found[1].name in LAST,
)
FAULTS = (Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS, Code.UNIMPLEMENTED)
DEADLINE_S = 20.0
# These go on for as long as the caller listens, or as the caller asks.
LONG = ("WatchNaming", "WatchAnnotators", "AnalyseStudy", "GetAgreement", "GetConsensus")
LONG_DEADLINE_S = 0.5
STARTS_WORK = ("TrainXnn", "ComputeMaps", "RegisterModel", "ImportDataset")
ROUNDS = 6
MOST_GROWTH_BYTES = 16 << 20


@pytest.fixture(scope="module")
def known(study):
    """What the server knows, by the names of the fields that say so."""
    calls, study_id = study.client, study.study.study_id
    invited = calls.invite_annotator(study_id, "Ada")
    activations = calls.list_activations(study_id, "circle")
    file = io.BytesIO()
    picture_of("circle", np.random.default_rng(1)).save(file, "PNG")
    (xnn_set,) = calls.list_xnn_sets()
    (model,) = calls.list_models()
    keys = [model.model_hash, xnn_set.xnns[0].weights_key, activations.image_id[0]]
    return {
        "study_id": [study_id],
        "annotator_id": [invited.annotator.annotator_id],
        "annotator_ids": [invited.annotator.annotator_id],
        "token": [invited.token],
        "category": ["circle", "cross"],
        "categories": ["circle", "cross", "square"],
        "class_name": ["circle", "cross"],
        "classes": ["circle", "cross", "square"],
        "activation_ids": list(activations.activation_id[:20]),
        "image_id": list(activations.image_id[:5]),
        "image_ids": list(activations.image_id[:5]),
        "content": [file.getvalue(), file.getvalue()[:90]],
        "object_key": keys,
        "weights_key": keys,
        "model": ["tiny"],
        "model_name": ["tiny"],
        "xnn_set": ["tiny"],
        "dataset": ["shapes"],
        "name": ["tiny", "shapes", "c1", "eye"],
        "concept_id": ["c1", "c2"],
        "request_id": [str(uuid.UUID(int=number)) for number in range(20)],
        "part": [1, 2],
        "base_revision": [0, 1, 2],
        "path": [str(study.images), str(study.images / ".." / ".."), "a.png"],
        "page_size": [1, 2, 100],
    }


@pytest.fixture(scope="module")
def channels(study):
    with contextlib.ExitStack() as opened:
        yield {
            name: opened.enter_context(grpc.insecure_channel(address))
            for name, address in study.running.addresses.items()
        }


def answer(channel, method, sent):
    """Code and message of a call."""
    is_long = method.name in LONG
    kind = "_".join("stream" if s else "unary" for s in (method.client_streaming, method.server_streaming))
    path = f"/{method.containing_service.full_name}/{method.name}"
    call = getattr(channel, kind)(path)
    request = iter(sent) if method.client_streaming else sent[0]
    try:
        answers = call(request, timeout=LONG_DEADLINE_S if is_long else DEADLINE_S)
        if method.server_streaming:
            for _ in answers:
                pass
    except grpc.RpcError as error:
        if is_long and error.code() is Code.DEADLINE_EXCEEDED:
            return Code.OK, ""
        return error.code(), error.details()
    return Code.OK, ""


@pytest.mark.parametrize(("server", "method"), METHODS, ids=lambda of: getattr(of, "full_name", of))
def test_no_message_is_the_servers_fault(server, method, known, channels, caplog):
    caplog.set_level(logging.ERROR)

    @fuzzing
    @given(sent=st.lists(requests(method.input_type, known), min_size=1, max_size=3))
    def sending(sent):
        code, message = answer(channels[server], method, sent)
        assert code not in (*FAULTS, Code.DEADLINE_EXCEEDED), (code, message, caplog.text)
        assert "Traceback" not in message
        assert ".py" not in message

    sending()


def test_memory_does_not_grow_with_what_is_refused(known, channels, monkeypatch):
    """The same messages again and again, after what the first rounds fill for good."""
    sent = []

    @fuzzing
    @given(data=st.data())
    def collecting(data):
        for server, method in METHODS:
            if method.name not in (*LONG, *STARTS_WORK):
                sent.append((server, method, [data.draw(requests(method.input_type, {}))]))

    collecting()
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's keep every line
    sizes = []
    for _ in range(ROUNDS):
        for server, method, one in sent:
            answer(channels[server], method, one)
        sizes.append(psutil.Process().memory_info().rss)
    grown = sizes[-1] - sizes[ROUNDS // 2]
    assert grown < MOST_GROWTH_BYTES, [size >> 20 for size in sizes]
