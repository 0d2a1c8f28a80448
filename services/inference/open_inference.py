"""The Open Inference Protocol over gRPC: registered models as KServe's and Triton's clients ask for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from importlib.metadata import version

import grpc
import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from onoma.open_inference import v2_pb2 as pb
from onoma.open_inference import v2_pb2_grpc
from services.inference import registry, tables
from services.inference.sessions import FEATURES, SCORES, Sessions
from services.runtime.errors import InvalidArgument, NotFound, ServiceError

IMAGES = "images"
VERSION = "1"  # a model that is registered under a name never changes
_DATATYPE = "FP32"
_LITTLE_ENDIAN = np.dtype("<f4")

Context = grpc.ServicerContext


class OpenInferenceServicer(v2_pb2_grpc.GRPCInferenceServiceServicer):
    """inference.GRPCInferenceService; `ready` raises while the service is not."""

    def __init__(self, engine: Engine, sessions: Sessions, ready: Callable[[], None]) -> None:
        self._engine = engine
        self._sessions = sessions
        self._ready = ready

    def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        try:
            self._ready()
        except Exception:  # noqa: BLE001  whatever it is, the server is not ready
            return pb.ServerReadyResponse(ready=False)
        return pb.ServerReadyResponse(ready=True)

    def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        try:
            self._model(request.name, request.version)
        except ServiceError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="onoma", version=version("onoma"))

    def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        model = self._model(request.name, request.version)
        tensor = pb.ModelMetadataResponse.TensorMetadata
        outputs = _outputs(model)
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[VERSION],
            platform="onnxruntime_onnx",
            inputs=[tensor(name=IMAGES, datatype=_DATATYPE, shape=[-1, *_shape(model)])],
            outputs=[tensor(name=n, datatype=_DATATYPE, shape=[-1, size]) for n, size in outputs.items()],
        )

    def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        model = self._model(request.model_name, request.model_version)
        wanted = _wanted(model, request)
        images = _images(model, request)
        answer = self._sessions.submit(model.name, model.onnx_key, images)
        if not context.add_callback(answer.cancel):
            answer.cancel()
        try:
            arrays = dict(zip((SCORES, FEATURES), answer.result(), strict=True))
        except CancelledError:
            context.abort(grpc.StatusCode.CANCELLED, "the caller is gone")
        tensor = pb.ModelInferResponse.InferOutputTensor
        return pb.ModelInferResponse(
            model_name=model.name,
            model_version=VERSION,
            id=request.id,
            outputs=[tensor(name=n, datatype=_DATATYPE, shape=arrays[n].shape) for n in wanted],
            raw_output_contents=[arrays[n].astype(_LITTLE_ENDIAN, copy=False).tobytes() for n in wanted],
        )

    def _model(self, name: str, wanted_version: str) -> tables.Model:
        """A model by its name.

        Raises:
            NotFound: there is none, or not in that version.
        """
        model = registry.find(self._engine, tables.Model, name)
        if wanted_version not in ("", VERSION):
            raise NotFound(f"model '{name}' has version '{VERSION}' only, not '{wanted_version[:80]}'")
        return model


def _shape(model: tables.Model) -> tuple[int, int, int]:
    preprocessing = model.preprocessing
    return preprocessing["channels"], preprocessing["height"], preprocessing["width"]


def _outputs(model: tables.Model) -> dict[str, int]:
    """Width of each output."""
    return {SCORES: len(model.classes), FEATURES: model.feature_count}


def _wanted(model: tables.Model, request: pb.ModelInferRequest) -> list[str]:
    """Outputs asked for, in their order; all where none is."""
    known = _outputs(model)
    wanted = [output.name for output in request.outputs] or list(known)
    for output in request.outputs:
        _refuse_parameters(f"output '{output.name[:80]}'", output.parameters)
    for name in wanted:
        if name not in known:
            raise InvalidArgument(
                f"model '{model.name}' has no output '{name[:80]}'; it has {' and '.join(known)}"
            )
    if len(set(wanted)) < len(wanted):
        raise InvalidArgument(f"an output is asked for twice, of {', '.join(wanted)}")
    return wanted


def _images(model: tables.Model, request: pb.ModelInferRequest) -> npt.NDArray[np.float32]:
    """The request's images (n, C, H, W), checked.

    Raises:
        InvalidArgument: it does not have exactly the one input, in its shape and datatype, of finite numbers.
    """
    if [tensor.name for tensor in request.inputs] != [IMAGES]:
        names = ", ".join(f"'{tensor.name[:80]}'" for tensor in request.inputs) or "none"
        raise InvalidArgument(f"model '{model.name}' takes one input, '{IMAGES}'; the request has {names}")
    (tensor,) = request.inputs
    shape = tuple(tensor.shape)
    if tensor.datatype != _DATATYPE:
        raise InvalidArgument(f"input '{IMAGES}' is {_DATATYPE}, not '{tensor.datatype[:80]}'")
    if shape[1:] != _shape(model) or shape[0] < 1:
        raise InvalidArgument(
            f"input '{IMAGES}' has shape {list(shape)}; model '{model.name}' takes {[-1, *_shape(model)]}, "
            "one image or more"
        )
    _refuse_parameters(f"input '{IMAGES}'", tensor.parameters)
    count = math.prod(shape)
    raws = list(request.raw_input_contents)  # each look at the message would copy the bytes
    if raws:
        if tensor.HasField("contents"):
            raise InvalidArgument(f"input '{IMAGES}' has typed and raw contents; send it once")
        if [len(raw) for raw in raws] != [4 * count]:
            sizes = ", ".join(str(len(raw)) for raw in raws)
            raise InvalidArgument(
                f"input '{IMAGES}' of shape {list(shape)} takes {4 * count} raw bytes, not {sizes}"
            )
        flat = np.frombuffer(raws[0], _LITTLE_ENDIAN)
    else:
        flat = np.array(tensor.contents.fp32_contents, np.float32)
        if len(flat) != count:
            raise InvalidArgument(
                f"input '{IMAGES}' of shape {list(shape)} takes {count} numbers, not {len(flat)}"
            )
    images: npt.NDArray[np.float32] = flat.astype(np.float32, copy=False).reshape(shape)
    if not np.isfinite(images).all():
        raise InvalidArgument(f"input '{IMAGES}' has a number that is NaN or infinite")
    return images


def _refuse_parameters(of: str, parameters: Mapping[str, pb.InferParameter]) -> None:
    """Refuses what would change the tensor itself, as Triton's shared memory and classification do."""
    if parameters:
        raise InvalidArgument(
            f"{of} has the parameter '{min(parameters)[:80]}', which is not served; send and take whole tensors"
        )
