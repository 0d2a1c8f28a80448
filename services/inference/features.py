"""Features and scores of a data set's images: computed once by onnxruntime, kept as shards in the object store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import sqlalchemy
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from onoma.science.pictures import BrokenPicture, Preprocessing, decode, model_input, normalise
from services.inference import tables
from services.inference.sessions import FEATURES, SCORES, run
from services.runtime.database import session
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore

_SHARD_IMAGES = 1024
_BATCH_IMAGES = 32
_DECODERS = 2


@dataclass(frozen=True, eq=False)
class PartFeatures:
    """One part of a data set as the network sees it, n images.

    Attributes:
        features: (n, D) float32 activations of the attachment.
        scores: (n, classes) float32.
        class_indices: (n,) index into the data set's classes.
    """

    features: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    class_indices: npt.NDArray[np.int64]


def part_features(
    context: JobContext,
    engine: Engine,
    store: ObjectStore,
    onnx: onnxruntime.InferenceSession,
    model: tables.Model,
    dataset: tables.Dataset,
    part: str,
) -> PartFeatures:
    """Features and scores of a part, out of the cache where they are there.

    A killed job goes on at the next shard; an image that no longer decodes is warned about and left out.
    """
    images = _images(engine, dataset, part)
    key = _cache_key(model, dataset, part)
    kept = _kept(engine, key)
    context.stage(f"{part} features", len(images))
    shards: list[dict[str, npt.NDArray[Any]]] = []
    for index, start in enumerate(range(0, len(images), _SHARD_IMAGES)):
        context.check()
        chosen = images[start : start + _SHARD_IMAGES]
        if index in kept and store.exists(kept[index]):
            shards.append(load_tensors(store.get(kept[index])))
            context.advance(len(chosen))
            continue
        shards.append(_compute(context, store, onnx, model, chosen))
        object_key = store.put(save_tensors(shards[-1]))
        store.flush()
        with session(engine) as opened:
            opened.merge(tables.FeatureShard(cache_key=key, shard=index, object_key=object_key))
    indices = np.array([class_index for _, class_index, _ in images], np.int64)
    positions = [start * _SHARD_IMAGES + shard["positions"] for start, shard in enumerate(shards)]
    return PartFeatures(
        features=_joined([shard[FEATURES] for shard in shards], model.feature_count),
        scores=_joined([shard[SCORES] for shard in shards], len(model.classes)),
        class_indices=indices[np.concatenate(positions)] if positions else indices,
    )


def _compute(
    context: JobContext,
    store: ObjectStore,
    onnx: onnxruntime.InferenceSession,
    model: tables.Model,
    images: Sequence[tuple[str, int, str]],
) -> dict[str, npt.NDArray[Any]]:
    preprocessing = Preprocessing(**model.preprocessing)

    def pixels(image: tuple[str, int, str]) -> npt.NDArray[np.uint8] | str:
        try:
            return model_input(decode(store.get(image[0])), preprocessing)
        except BrokenPicture as error:
            return f"{image[2]}: {error}"

    scores, features, positions = [], [], []
    with ThreadPoolExecutor(_DECODERS) as pool:
        for start in range(0, len(images), _BATCH_IMAGES):
            context.check()
            batch = list(pool.map(pixels, images[start : start + _BATCH_IMAGES]))
            readable = [i for i, found in enumerate(batch) if not isinstance(found, str)]
            for found in batch:
                if isinstance(found, str):
                    context.warn(f"{found}; left out")
            if readable:
                found_scores, found_features = run(
                    onnx, normalise(np.stack([batch[i] for i in readable]), preprocessing)
                )
                scores.append(found_scores)
                features.append(found_features)
                positions += [start + i for i in readable]
            context.advance(len(batch))
    return {
        SCORES: _joined(scores, len(model.classes)),
        FEATURES: _joined(features, model.feature_count),
        "positions": np.array(positions, np.int64),
    }


def _joined(arrays: list[npt.NDArray[np.float32]], columns: int) -> npt.NDArray[np.float32]:
    return np.concatenate(arrays) if arrays else np.zeros((0, columns), np.float32)


def _images(engine: Engine, dataset: tables.Dataset, part: str) -> list[tuple[str, int, str]]:
    """Image id, class index and path of each image of a part, in the stable order."""
    row = tables.DatasetImage
    query = (
        sqlalchemy.select(col(row.image_id), col(row.class_index), col(row.path))
        .where(col(row.import_id) == dataset.import_id, col(row.part) == part)
        .order_by(col(row.class_index), col(row.path))
    )
    with engine.connect() as connection:
        return [tuple(found) for found in connection.execute(query)]


def _cache_key(model: tables.Model, dataset: tables.Dataset, part: str) -> str:
    what = (model.model_hash, model.attachment_layer, model.preprocessing, dataset.content_hash, part)
    return hashlib.sha256(repr(what).encode()).hexdigest()


def _kept(engine: Engine, key: str) -> dict[int, str]:
    with Session(engine) as opened:
        rows = opened.exec(select(tables.FeatureShard).where(tables.FeatureShard.cache_key == key))
        return {row.shard: row.object_key for row in rows}
