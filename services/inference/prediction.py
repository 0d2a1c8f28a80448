"""Scores of a few images."""

from __future__ import annotations

import numpy as np
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


def predict(
    engine: Engine, store: ObjectStore, sessions: Sessions, request: pb.PredictRequest, max_pixels: int
) -> pb.PredictResponse:
    """Scores of the network, and of the xNNs where a set is named.

    Raises:
        InvalidArgument: no image or too many, one that is broken, or a set of xNNs of another model.
    """
    count = len(request.image_ids) + len(request.contents)
    if not 1 <= count <= MAX_IMAGES:
        raise InvalidArgument(f"{count} images in one call; 1 to {MAX_IMAGES} are taken")
    model = registry.find(engine, tables.Model, request.model)
    xnns = _xnns(engine, store, model, request.xnn_set) if request.xnn_set else []
    contents = [datasets.picture_bytes(engine, store, image_id) for image_id in request.image_ids]
    preprocessing = Preprocessing(**model.preprocessing)
    pixels = []
    for index, content in enumerate([*contents, *request.contents]):
        try:
            pixels.append(model_input(decode(content, max_pixels=max_pixels), preprocessing))
        except BrokenPicture as error:
            raise InvalidArgument(f"image {index} of the call: {error}") from error
    scores, features = run(sessions.get(model.onnx_key), normalise(np.stack(pixels), preprocessing))
    xnn_scores = [science.score(xnn, torch.from_numpy(features)).tolist() for xnn in xnns]
    return pb.PredictResponse(
        predictions=[
            pb.Prediction(
                dnn_scores=row,
                xnn_scores=[column[index] for column in xnn_scores],
                predicted_class=model.classes[int(row.argmax())],
            )
            for index, row in enumerate(scores)
        ]
    )


def _xnns(engine: Engine, store: ObjectStore, model: tables.Model, set_name: str) -> list[science.Xnn]:
    row = registry.find(engine, tables.XnnSet, set_name)
    if row.model != model.name:
        raise InvalidArgument(f"set '{set_name}' explains model '{row.model}', not '{model.name}'")
    return [training.load_xnn(store, xnn) for xnn in training.xnns_of(engine, row)]
