"""Features and scores of a data set's images: computed once by onnxruntime, kept as shards in the object store."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
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
from services.inference import kept_cells, tables
from services.inference.sessions import FEATURES, SCORES, run, run_to_cells
from services.runtime.database import session
from services.runtime.errors import Aborted, DataLoss, FailedPrecondition, NotFound, ResourceExhausted
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore

_SHARD_IMAGES = 1024
_BATCH_IMAGES = 32
_DECODERS = 2
_Image = tuple[str, str]  # image id, path
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PartFeatures:
    """One part of a data set as the network sees it, n images.

    Attributes:
        features: (n, D) float32 activations of the attachment, mapped from a file.
        scores: (n, classes) float32, likewise.
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
    max_pixels: int,
    *,
    keep: bool = False,
) -> PartFeatures:
    """Features and scores of a part, out of the cache where they are there whole.

    A killed job goes on at the next shard; an image that no longer decodes is warned about and left out.

    Args:
        max_pixels: most pixels that a picture may declare, as when it was imported.
        keep: keep the map layer's activations too; a shard without them is computed again.
    Raises:
        DataLoss: a picture is damaged or missing in the object store.
        Aborted: the data set was imported anew in the meantime.
        ValueError: the network gives NaN or infinity on a picture.
    """
    class_indices = _class_indices(engine, dataset, part)
    key = _cache_key(model, dataset, part)
    kept = _kept(engine, key)
    context.stage(f"{part} features", len(class_indices))
    # One file of all rows beside the shards, which each begin at an odd byte: a batch is drawn from all at once.
    features = _in_a_file(len(class_indices), model.feature_count)
    scores = _in_a_file(len(class_indices), len(model.classes))
    positions: list[npt.NDArray[np.int64]] = []
    count = 0
    for index, start in enumerate(range(0, len(class_indices), _SHARD_IMAGES)):
        context.check()
        chosen = _images(engine, dataset, part, start, len(class_indices[start : start + _SHARD_IMAGES]))
        shard = _read_shard(store, kept.get(index))
        if shard and keep and not _has_cells(engine, model, chosen, shard["positions"]):
            shard = None
        if shard is None:
            shard, cells = _compute(context, store, onnx, model, chosen, max_pixels, keep)
            object_key = store.put(save_tensors(shard))
            store.flush()
            with session(engine) as opened:
                opened.merge(tables.FeatureShard(cache_key=key, shard=index, object_key=object_key))
                for row in cells:
                    opened.merge(row)
        else:
            _warn_of_left_out(context, chosen, shard["positions"])
            context.advance(len(chosen))
        until = count + len(shard["positions"])
        features[count:until], scores[count:until] = shard[FEATURES], shard[SCORES]
        positions.append(start + shard["positions"])
        count = until
    return PartFeatures(
        features=features[:count],
        scores=scores[:count],
        class_indices=class_indices[np.concatenate(positions)] if positions else class_indices,
    )


def kept_features(
    engine: Engine, store: ObjectStore, model: tables.Model, dataset: tables.Dataset, part: str
) -> Iterator[PartFeatures]:
    """A part out of the cache, shard by shard, in the order of `part_features`.

    Raises:
        FailedPrecondition: a shard is not there whole.
    """
    class_indices = _class_indices(engine, dataset, part)
    kept = _kept(engine, _cache_key(model, dataset, part))
    for index, start in enumerate(range(0, len(class_indices), _SHARD_IMAGES)):
        shard = _read_shard(store, kept.get(index))
        if shard is None:
            raise FailedPrecondition(
                f"the features of data set '{dataset.name}' by model '{model.name}' are not in the object store any "
                "more; train its xNNs again under the same name, which computes the features alone"
            )
        chosen = class_indices[start + shard["positions"]]
        yield PartFeatures(features=shard[FEATURES], scores=shard[SCORES], class_indices=chosen)


def _in_a_file(rows: int, columns: int) -> npt.NDArray[np.float32]:
    """An array (rows, columns) in a temporary file without a name, so that memory holds what is being read of it.

    Raises:
        ResourceExhausted: the disk is full.
    """
    if not rows:
        return np.zeros((0, columns), np.float32)
    with tempfile.TemporaryFile(prefix="onoma-features-") as file:
        size = rows * columns * np.dtype(np.float32).itemsize
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise ResourceExhausted(
                f"{size} bytes of features do not fit into {tempfile.gettempdir()} ({error.strerror}); free space "
                "there, or set TMPDIR to another folder, and resume the job"
            ) from error
        return np.memmap(file, np.float32, "r+", shape=(rows, columns))


def _read_shard(store: ObjectStore, object_key: str | None) -> dict[str, npt.NDArray[Any]] | None:
    """A shard of the cache; None where there is none, or one that is lost or damaged: it is computed again."""
    if object_key is None:
        return None
    try:
        return load_tensors(store.get(object_key))
    except (NotFound, DataLoss) as error:
        _log.warning("features are computed again: %s", error)
        return None


def _compute(
    context: JobContext,
    store: ObjectStore,
    onnx: onnxruntime.InferenceSession,
    model: tables.Model,
    images: Sequence[_Image],
    max_pixels: int,
    keep: bool,
) -> tuple[dict[str, npt.NDArray[Any]], list[tables.KeptCells]]:
    """Features and scores of the images that decode, and their positions among the images; rows of cells to keep."""
    preprocessing = Preprocessing(**model.preprocessing)

    def pixels(image: _Image) -> npt.NDArray[np.uint8] | None:
        image_id, path = image
        try:
            return model_input(decode(store.get(image_id), max_pixels=max_pixels), preprocessing)
        except BrokenPicture as error:
            _log.warning("%s (%s) no longer decodes: %s", path, image_id, error)
            return None
        except (NotFound, DataLoss) as error:
            raise DataLoss(
                f"picture {path} is lost: {error}; import its data set again", error.reason, error.details
            ) from error

    scores, features, positions = [], [], []
    kept: dict[str, tables.KeptCells] = {}  # the same picture may be there twice
    with ThreadPoolExecutor(_DECODERS) as pool:
        for start in range(0, len(images), _BATCH_IMAGES):
            context.check()
            batch = list(pool.map(pixels, images[start : start + _BATCH_IMAGES]))
            readable = [index for index, found in enumerate(batch) if found is not None]
            if readable:
                stacked = np.stack([found for found in batch if found is not None])
                inputs = normalise(stacked, preprocessing)
                found_scores, found_features, *cells = (run_to_cells if keep else run)(onnx, inputs)
                finite = np.isfinite(found_scores).all(1) & np.isfinite(found_features).all(1)
                if not finite.all():
                    path = images[start + readable[int(finite.argmin())]][1]
                    raise ValueError(f"the network gives NaN or infinity on {path}: its weights are damaged")
                for of_batch in cells:
                    image_ids = [images[start + index][0] for index in readable]
                    kept |= {row.image_id: row for row in kept_cells.keep(store, model, image_ids, of_batch)}
                scores.append(found_scores)
                features.append(found_features)
                positions += [start + index for index in readable]
            context.advance(len(batch))
    _warn_of_left_out(context, images, positions)
    shard = {
        SCORES: _joined(scores, len(model.classes)),
        FEATURES: _joined(features, model.feature_count),
        "positions": np.array(positions, np.int64),
    }
    return shard, list(kept.values())


def _has_cells(
    engine: Engine, model: tables.Model, images: Sequence[_Image], positions: npt.NDArray[np.int64]
) -> bool:
    """Whether the activations of all images that decode are kept."""
    wanted = {images[int(position)][0] for position in positions}
    return wanted == kept_cells.keys(engine, model, sorted(wanted)).keys()


def _warn_of_left_out(context: JobContext, images: Sequence[_Image], positions: Sequence[int]) -> None:
    taken = set(map(int, positions))
    for position, (_, path) in enumerate(images):
        if position not in taken:
            context.warn(f"{path}: no longer decodes within the server's limits; left out")


def _joined(arrays: list[npt.NDArray[np.float32]], columns: int) -> npt.NDArray[np.float32]:
    return np.concatenate(arrays) if arrays else np.zeros((0, columns), np.float32)


def _class_indices(engine: Engine, dataset: tables.Dataset, part: str) -> npt.NDArray[np.int64]:
    """Class index of each image of a part, in the stable order."""
    row = tables.DatasetImage
    query = _in_order(sqlalchemy.select(col(row.class_index)), dataset, part)
    with engine.connect().execution_options(yield_per=_SHARD_IMAGES) as connection:
        found = np.fromiter(connection.execute(query).scalars(), np.int64)
    if len(found) != sum(dataset.train_counts if part == tables.TRAIN else dataset.test_counts):
        raise _imported_anew(dataset)
    return found


def _images(engine: Engine, dataset: tables.Dataset, part: str, start: int, count: int) -> list[_Image]:
    """So many images of a part, from one on in the stable order."""
    row = tables.DatasetImage
    columns = sqlalchemy.select(col(row.image_id), col(row.path))
    with engine.connect() as connection:
        query = _in_order(columns, dataset, part).offset(start).limit(count)
        images = [(image_id, path) for image_id, path in connection.execute(query)]
    if len(images) != count:
        raise _imported_anew(dataset)
    return images


def _in_order(query: sqlalchemy.Select[Any], dataset: tables.Dataset, part: str) -> sqlalchemy.Select[Any]:
    row = tables.DatasetImage
    of_part = query.where(col(row.import_id) == dataset.import_id, col(row.part) == part)
    return of_part.order_by(col(row.class_index), col(row.path))


def _imported_anew(dataset: tables.Dataset) -> Aborted:
    return Aborted(f"data set '{dataset.name}' was imported anew in the meantime; start again")


def _cache_key(model: tables.Model, dataset: tables.Dataset, part: str) -> str:
    what = (model.model_hash, model.attachment_layer, model.preprocessing, dataset.content_hash, part)
    return hashlib.sha256(repr(what).encode()).hexdigest()


def _kept(engine: Engine, key: str) -> dict[int, str]:
    with Session(engine) as opened:
        rows = opened.exec(select(tables.FeatureShard).where(tables.FeatureShard.cache_key == key))
        return {row.shard: row.object_key for row in rows}
