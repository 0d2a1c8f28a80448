"""A caller of ModelInfer in a process of its own, which brings neither torch nor onnxruntime."""

from __future__ import annotations

import os

import grpc
import numpy as np

from onoma.client.transport import MAX_MESSAGE_BYTES
from onoma.open_inference import v2_pb2 as pb
from onoma.open_inference.v2_pb2_grpc import GRPCInferenceServiceStub
from services.runtime.memory import keep_freed_memory

DEADLINE_S = 300

_connected: dict[str, object] = {}


def connect(address: str, model: str, shape: tuple[int, ...], cores: set[int]) -> None:
    """Keeps this process to those cores, opens its channel and makes its images."""
    os.sched_setaffinity(0, cores)
    keep_freed_memory()
    limits = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("send", "receive")]
    channel = grpc.insecure_channel(address, options=limits)
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    _connected.update(stub=GRPCInferenceServiceStub(channel), model=model, images=images)


def infer(_: int) -> int:
    """One batch, the request made anew; gives the number of answers."""
    images = _connected["images"]
    tensor = pb.ModelInferRequest.InferInputTensor(name="images", datatype="FP32", shape=images.shape)
    request = pb.ModelInferRequest(
        model_name=_connected["model"], inputs=[tensor], raw_input_contents=[images.tobytes()]
    )
    request.outputs.add(name="scores")
    return _connected["stub"].ModelInfer(request, timeout=DEADLINE_S).outputs[0].shape[0]
