"""Scores of a few images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
import torch
from sqlalchemy import Engine

from onoma.science import xnn as science
from onoma.science.pictures import BrokenPicture, Preprocessing, decode, model_input, normalise
from onoma.v1 import inference_pb2 as pb
from services.inference import datasets, registry, tables, training
from services.inference.sessions import Sessions, run
from services.runtime.errors import InvalidArgument
from services.runtime.objects import ObjectStore

MAX_IMAGES = 256
_BATCH_IMAGES = 32


def predict(
    engine: Engine, store: ObjectStore, sessions: Sessions, request: pb.PredictRequest, max_pixels: int
) -> pb.PredictResponse:
    """Scores of the network, and of the xNNs where a set is named, in the order of the model's classes.

    Raises:
        InvalidArgument: no image or too many, one that is broken, or a set of xNNs of another model.
        NotFound: no picture has an id.
    """
    count = len(request.image_ids) + len(request.contents)
    if not 1 <= count <= MAX_IMAGES:
        raise InvalidArgument(f"{count} images in one call; 1 to {MAX_IMAGES} are taken")
    model = registry.find(engine, tables.Model, request.model)
    xnns = _xnns(engine, store, model, request.xnn_set) if request.xnn_set else {}
    preprocessing = Preprocessing(**model.preprocessing)
    onnx = sessions.get(model.name, model.onnx_key)
    inputs = _inputs(engine, store, request, preprocessing, max_pixels)
    predictions = []
    while batch := list(islice(inputs, _BATCH_IMAGES)):
        scores, features = run(onnx, normalise(np.stack(batch), preprocessing))
        xnn_scores = _xnn_scores(xnns, model, torch.from_numpy(features)) if xnns else [()] * len(batch)
        predictions += [
            pb.Prediction(
                dnn_scores=dnn_row,
                xnn_scores=xnn_row,
                predicted_class=model.classes[int(dnn_row.argmax())],
            )
            for dnn_row, xnn_row in zip(scores, xnn_scores, strict=True)
        ]
    return pb.PredictResponse(predictions=predictions)


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
        try:
            yield model_input(decode(content, max_pixels=max_pixels), preprocessing)
        except BrokenPicture as error:
            raise InvalidArgument(f"{what}: {error}") from error


def _xnns(engine: Engine, store: ObjectStore, model: tables.Model, set_name: str) -> dict[str, science.Xnn]:
    """The xNNs of a set by class."""
    row = registry.find(engine, tables.XnnSet, set_name)
    if row.model != model.name:
        raise InvalidArgument(f"set '{set_name}' explains model '{row.model}', not '{model.name}'")
    return {xnn.class_name: training.load_xnn(store, xnn) for xnn in training.xnns_of(engine, row)}


def _xnn_scores(
    xnns: dict[str, science.Xnn], model: tables.Model, features: torch.Tensor
) -> npt.NDArray[np.float32]:
    """Scores (n, classes) in the order of the model's classes; NaN for a class without an xNN."""
    scores = np.full((len(features), len(model.classes)), np.nan, np.float32)
    for class_name, xnn in xnns.items():
        scores[:, model.classes.index(class_name)] = science.score(xnn, features).numpy()
    return scores
