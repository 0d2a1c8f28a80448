"""Scores of a few images, or of a stream of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
import torch
from sqlalchemy import Engine

from onoma.science.pictures import BrokenPicture, Preprocessing, normalise
from onoma.science.xnn import Xnn, score
from onoma.v1 import inference_pb2 as pb
from services.inference import datasets, registry, stored_xnns, tables
from services.inference.batching import RETRY_AFTER_S, Outputs
from services.inference.reading_ahead import in_order
from services.inference.sessions import Sessions
from services.inference.settings import InferenceSettings
from services.runtime.decoding import Decoders
from services.runtime.errors import InvalidArgument, ResourceExhausted, Unavailable
from services.runtime.objects import ObjectStore

MAX_IMAGES = 256


class Predictor:
    """Has pictures decoded, a few at once for all calls, and scores them together with those of other callers."""

    def __init__(
        self,
        engine: Engine,
        store: ObjectStore,
        sessions: Sessions,
        limits: InferenceSettings,
        decoders: Decoders,
    ) -> None:
        self._engine = engine
        self._store = store
        self._sessions = sessions
        self._limits = limits
        self._decoders = decoders
        self._ahead = 2 * limits.batch_images  # images of one call: a batch in the network, and the next one
        self._threads = ThreadPoolExecutor(limits.decode_workers, thread_name_prefix="decode")
        self._streams = threading.Semaphore(limits.streams)

    def predict(self, request: pb.PredictRequest, is_wanted: Callable[[], bool]) -> pb.PredictResponse:
        """Scores of the network, and of the xNNs where a set is named, in the order of the model's classes.

        Args:
            is_wanted: whether somebody still waits for the answer; asked before each batch.
        Raises:
            InvalidArgument: no image or too many, one that is broken, or a set of xNNs of another model.
            NotFound: no picture has an id.
            ResourceExhausted: too many images are waiting for the network.
            Unavailable: nobody waits for the answer.
        """
        count = len(request.image_ids) + len(request.contents)
        if not 1 <= count <= MAX_IMAGES:
            raise InvalidArgument(f"{count} images in one call; 1 to {MAX_IMAGES} are taken")
        network = self._network(request.model, request.xnn_set)
        sources = chain(map(self._stored, request.image_ids), _sent(request.contents))
        pictures = in_order(self._threads, partial(self._picture, network), sources, self._ahead)
        waiting: deque[Future[Outputs]] = deque()
        predictions: list[pb.Prediction] = []
        while batch := list(islice(pictures, self._limits.batch_images)):
            if not is_wanted():
                for answer in waiting:
                    answer.cancel()
                raise Unavailable("the caller has left before all images were scored")
            waiting.append(self._submit(network, batch))
            if len(waiting) > 1:  # the network works on one batch while the next is decoded
                predictions += network.predictions(waiting.popleft().result())
        for last in waiting:
            predictions += network.predictions(last.result())
        return pb.PredictResponse(predictions=predictions)

    def predict_stream(
        self, requests: Iterator[pb.PredictStreamRequest]
    ) -> Iterator[pb.PredictStreamResponse]:
        """A prediction an image, in order, each as soon as it is there; a few images are worked on at once.

        Raises:
            InvalidArgument: the first message names no model, a message has no image, or a picture is broken.
            NotFound: no such model or picture.
            ResourceExhausted: too many streams, or too many images are waiting for the network.
        """
        if not self._streams.acquire(blocking=False):
            raise ResourceExhausted(
                f"{self._limits.streams} streams are being answered, as many as ONOMA_STREAMS allows; "
                "send again later, or call Predict",
                "TOO_MANY_STREAMS",
                retry_after_s=RETRY_AFTER_S,
            )
        try:
            first = next(requests, None)
            if first is None:
                return
            network = self._network(first.model, first.xnn_set)
            sources = map(self._streamed, enumerate(chain([first], requests)))
            scored = in_order(self._threads, partial(self._scored, network), sources, self._ahead)
            for outputs in scored:
                (prediction,) = network.predictions(outputs.result())
                yield pb.PredictStreamResponse(prediction=prediction)
        finally:
            self._streams.release()

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown()

    def _network(self, model_name: str, set_name: str) -> _Network:
        model = registry.find(self._engine, tables.Model, model_name)
        xnns = _xnns(self._engine, self._store, model, set_name) if set_name else {}
        return _Network(model, Preprocessing(**model.preprocessing), xnns)

    def _stored(self, image_id: str) -> _Source:
        return _Source(
            f"picture {image_id}", partial(datasets.picture_bytes, self._engine, self._store, image_id)
        )

    def _streamed(self, numbered: tuple[int, pb.PredictStreamRequest]) -> _Source:
        index, message = numbered
        name = f"image {index} of the stream"
        if bool(message.image_id) == bool(message.content):
            raise InvalidArgument(f"{name}: a message has either an image id or a file's content")
        if message.image_id:
            return _Source(name, self._stored(message.image_id).read)
        return _Source(name, lambda: message.content)

    def _picture(self, network: _Network, source: _Source) -> npt.NDArray[np.uint8]:
        try:
            return self._decoders.seen(source.read(), network.preprocessing)
        except BrokenPicture as error:
            raise InvalidArgument(f"{source.name}: {error}") from error

    def _scored(self, network: _Network, source: _Source) -> Future[Outputs]:
        return self._submit(network, [self._picture(network, source)])

    def _submit(self, network: _Network, pictures: Sequence[npt.NDArray[np.uint8]]) -> Future[Outputs]:
        images = normalise(np.stack(pictures), network.preprocessing)
        return self._sessions.submit(network.model.name, network.model.onnx_key, images)


@dataclass(frozen=True)
class _Source:
    """A picture's name in errors, and how its bytes are had."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True, eq=False)
class _Network:
    """A model, and the xNNs that score beside it."""

    model: tables.Model
    preprocessing: Preprocessing
    xnns: dict[str, Xnn]

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


def _sent(contents: Sequence[bytes]) -> Iterator[_Source]:
    for index, content in enumerate(contents):
        yield _Source(f"content {index} of the call", partial(bytes, content))


def _xnns(engine: Engine, store: ObjectStore, model: tables.Model, set_name: str) -> dict[str, Xnn]:
    """The xNNs of a set by class."""
    row = registry.find(engine, tables.XnnSet, set_name)
    if row.model != model.name:
        raise InvalidArgument(f"set '{set_name}' explains model '{row.model}', not '{model.name}'")
    return {xnn.class_name: stored_xnns.load_xnn(store, xnn) for xnn in stored_xnns.xnns_of(engine, row)}


def _xnn_scores(xnns: dict[str, Xnn], model: tables.Model, features: torch.Tensor) -> npt.NDArray[np.float32]:
    """Scores (n, classes) in the order of the model's classes; NaN for a class without an xNN."""
    scores = np.full((len(features), len(model.classes)), np.nan, np.float32)
    for class_name, xnn in xnns.items():
        scores[:, model.classes.index(class_name)] = score(xnn, features).numpy()
    return scores
