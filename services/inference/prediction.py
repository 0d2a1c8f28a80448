"""Scores of a few images, or of a stream of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from queue import Full, Queue
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sqlalchemy import Engine

from onoma.science.pictures import BrokenPicture, Preprocessing, decode, model_input, normalise
from onoma.science.xnn import Xnn, score
from onoma.v1 import inference_pb2 as pb
from services.inference import datasets, registry, tables, training
from services.inference.batching import Outputs
from services.inference.sessions import Sessions
from services.runtime.errors import InvalidArgument
from services.runtime.objects import ObjectStore

MAX_IMAGES = 256
_BATCH_IMAGES = 32
_STREAM_AHEAD = 64  # images of a stream that are worked on before the first of them is answered
_LOOK_S = 0.25  # how often a stream that is ahead looks whether its caller is still there


def predict(
    engine: Engine, store: ObjectStore, sessions: Sessions, request: pb.PredictRequest, max_pixels: int
) -> pb.PredictResponse:
    """Scores of the network, and of the xNNs where a set is named, in the order of the model's classes.

    Raises:
        InvalidArgument: no image or too many, one that is broken, or a set of xNNs of another model.
        NotFound: no picture has an id.
        ResourceExhausted: too many images are waiting for the network.
    """
    count = len(request.image_ids) + len(request.contents)
    if not 1 <= count <= MAX_IMAGES:
        raise InvalidArgument(f"{count} images in one call; 1 to {MAX_IMAGES} are taken")
    network = _network(engine, store, request.model, request.xnn_set)
    inputs = _inputs(engine, store, request, network.preprocessing, max_pixels)
    waiting: deque[Future[Outputs]] = deque()
    predictions: list[pb.Prediction] = []
    while batch := list(islice(inputs, _BATCH_IMAGES)):
        waiting.append(network.submit(sessions, batch))
        if len(waiting) > 1:  # the network works on one batch while the next is decoded
            predictions += network.predictions(waiting.popleft().result())
    for last in waiting:
        predictions += network.predictions(last.result())
    return pb.PredictResponse(predictions=predictions)


def predict_stream(
    engine: Engine,
    store: ObjectStore,
    sessions: Sessions,
    requests: Iterator[pb.PredictStreamRequest],
    max_pixels: int,
) -> Iterator[pb.PredictStreamResponse]:
    """A prediction an image, in order, each as soon as it is there; a few images are worked on at once.

    Raises:
        InvalidArgument: the first message names no model, a message has no image, or a picture is broken.
        NotFound: no such model or picture.
        ResourceExhausted: too many images are waiting for the network.
    """
    first = next(requests, None)
    if first is None:
        return
    network = _network(engine, store, first.model, first.xnn_set)
    ahead: Queue[Callable[[], Outputs] | None] = Queue(_STREAM_AHEAD)
    is_over = threading.Event()

    def fill() -> None:
        """Reads, decodes and submits, until the stream ends or the first error, which is its last answer."""
        try:
            for index, message in enumerate(chain([first], requests)):
                content = _streamed(engine, store, message, index)
                picture = _pixels(f"image {index} of the stream", content, network.preprocessing, max_pixels)
                if not _put(ahead, network.submit(sessions, [picture]).result, is_over):
                    return
        except Exception as error:  # noqa: BLE001  raised where the answer is taken
            _put(ahead, partial(_raise, error), is_over)
        _put(ahead, None, is_over)

    reader = threading.Thread(target=fill, name="predict-stream", daemon=True)
    reader.start()
    try:
        while answer := ahead.get():
            (prediction,) = network.predictions(answer())
            yield pb.PredictStreamResponse(prediction=prediction)
    finally:
        is_over.set()


@dataclass(frozen=True, eq=False)
class _Network:
    """A model, and the xNNs that score beside it."""

    model: tables.Model
    preprocessing: Preprocessing
    xnns: dict[str, Xnn]

    def submit(self, sessions: Sessions, pixels: Sequence[npt.NDArray[np.uint8]]) -> Future[Outputs]:
        images = normalise(np.stack(pixels), self.preprocessing)
        return sessions.submit(self.model.name, self.model.onnx_key, images)

    def predictions(self, outputs: Outputs) -> list[pb.Prediction]:
        scores, features = outputs
        xnn_scores = (
            _xnn_scores(self.xnns, self.model, torch.from_numpy(features))
            if self.xnns
            else [()] * len(scores)
        )
        return [
            pb.Prediction(
                dnn_scores=dnn_row,
                xnn_scores=xnn_row,
                predicted_class=self.model.classes[int(dnn_row.argmax())],
            )
            for dnn_row, xnn_row in zip(scores, xnn_scores, strict=True)
        ]


def _network(engine: Engine, store: ObjectStore, model_name: str, set_name: str) -> _Network:
    model = registry.find(engine, tables.Model, model_name)
    xnns = _xnns(engine, store, model, set_name) if set_name else {}
    return _Network(model, Preprocessing(**model.preprocessing), xnns)


def _streamed(engine: Engine, store: ObjectStore, message: pb.PredictStreamRequest, index: int) -> bytes:
    if bool(message.image_id) == bool(message.content):
        raise InvalidArgument(
            f"image {index} of the stream: a message has either an image id or a file's content"
        )
    return message.content or datasets.picture_bytes(engine, store, message.image_id)


def _put(ahead: Queue[Any], item: Any, is_over: threading.Event) -> bool:  # Any: an answer or the end
    """Whether there was room before nobody took answers any more."""
    while not is_over.is_set():
        try:
            ahead.put(item, timeout=_LOOK_S)
        except Full:
            continue
        return True
    return False


def _raise(error: Exception) -> Outputs:
    raise error


def _inputs(
    engine: Engine,
    store: ObjectStore,
    request: pb.PredictRequest,
    preprocessing: Preprocessing,
    max_pixels: int,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Pixels as the network sees them: of the stored images, then of the contents."""
    stored = (
        (f"picture {image_id}", datasets.picture_bytes(engine, store, image_id))
        for image_id in request.image_ids
    )
    sent = ((f"content {index} of the call", content) for index, content in enumerate(request.contents))
    for what, content in chain(stored, sent):
        yield _pixels(what, content, preprocessing, max_pixels)


def _pixels(
    what: str, content: bytes, preprocessing: Preprocessing, max_pixels: int
) -> npt.NDArray[np.uint8]:
    try:
        return model_input(decode(content, max_pixels=max_pixels), preprocessing)
    except BrokenPicture as error:
        raise InvalidArgument(f"{what}: {error}") from error


def _xnns(engine: Engine, store: ObjectStore, model: tables.Model, set_name: str) -> dict[str, Xnn]:
    """The xNNs of a set by class."""
    row = registry.find(engine, tables.XnnSet, set_name)
    if row.model != model.name:
        raise InvalidArgument(f"set '{set_name}' explains model '{row.model}', not '{model.name}'")
    return {xnn.class_name: training.load_xnn(store, xnn) for xnn in training.xnns_of(engine, row)}


def _xnn_scores(xnns: dict[str, Xnn], model: tables.Model, features: torch.Tensor) -> npt.NDArray[np.float32]:
    """Scores (n, classes) in the order of the model's classes; NaN for a class without an xNN."""
    scores = np.full((len(features), len(model.classes)), np.nan, np.float32)
    for class_name, xnn in xnns.items():
        scores[:, model.classes.index(class_name)] = score(xnn, features).numpy()
    return scores
