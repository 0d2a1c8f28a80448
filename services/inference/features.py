"""Features and scores of a data set's images: computed once, here or on Ray, kept as shards in the object store."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import sqlalchemy
from safetensors.numpy import load as load_tensors
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from services.inference import kept_cells, tables
from services.inference.datasets import imported_anew
from services.inference.feature_shards import Image, Seeing, Seen, see_shard, worker_elsewhere
from services.inference.sessions import FEATURES, SCORES
from services.runtime import ray_engine
from services.runtime.database import session
from services.runtime.errors import (
    DataLoss,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore, StorePlace
from services.runtime.shard_ledger import Span
from services.runtime.shard_work import EngineName

_SHARD_IMAGES = 1024
# Ends of workers over the same shard: a machine may go twice, a picture that kills does so each time.
_MOST_ENDS = 3
_Arrays = dict[str, npt.NDArray[Any]]
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


@dataclass(frozen=True, eq=False)
class Pass:
    """One part of a data set that the network is to see.

    Attributes:
        place: where workers elsewhere find the object store.
        max_pixels: most pixels that a picture may declare, as when it was imported.
        keep: keep the map layer's activations too; a shard without them is computed again.
        onnx: opens the network here.
    """

    engine: Engine
    store: ObjectStore
    place: StorePlace
    model: tables.Model
    dataset: tables.Dataset
    part: str
    max_pixels: int
    keep: bool
    onnx: Callable[[], onnxruntime.InferenceSession]

    @property
    def key(self) -> str:
        """Of its shards in the cache."""
        return _cache_key(self.model, self.dataset, self.part)

    @property
    def seeing(self) -> Seeing:
        """What is sent to other machines."""
        return Seeing(self.model, self.max_pixels, self.keep)


def part_features(context: JobContext, of: Pass, on: EngineName = "local") -> PartFeatures:
    """Features and scores of a part, out of the cache where they are there whole.

    A killed job goes on at the next shard; an image that no longer decodes is warned about and left out.

    Args:
        on: where what is missing is computed; it is the same.
    Raises:
        DataLoss: a picture is damaged or missing in the object store.
        Aborted: the data set was imported anew in the meantime.
        ValueError: the network gives NaN or infinity on a picture.
        Unavailable: Ray does not get on.
    """
    class_indices = _class_indices(of.engine, of.dataset, of.part)
    spans = _spans(len(class_indices))
    if on == "ray":
        _see_on_ray(context, of, spans)
    kept = _kept(of.engine, of.key)
    context.stage(f"{of.part} features", len(class_indices))
    # One file of all rows beside the shards, which each begin at an odd byte: a batch is drawn from all at once.
    features = _in_a_file(len(class_indices), of.model.feature_count)
    scores = _in_a_file(len(class_indices), len(of.model.classes))
    positions: list[npt.NDArray[np.int64]] = []
    count = 0

    def advance(images: int) -> None:
        context.check()
        context.advance(images)

    for span in spans:
        context.check()
        images = _images(of, span)
        shard = _whole_shard(of, kept.get(span.shard), images)
        if shard is None:
            seen = see_shard(of.seeing, of.onnx(), of.store, images, advance)
            _keep(of, span, seen)
            shard = load_tensors(of.store.get(seen.object_key))
        else:
            context.advance(span.item_count)
        _warn_of_left_out(context, images, shard["positions"])
        until = count + len(shard["positions"])
        features[count:until], scores[count:until] = shard[FEATURES], shard[SCORES]
        positions.append(span.first_item + shard["positions"])
        count = until
    return PartFeatures(
        features=features[:count],
        scores=scores[:count],
        class_indices=class_indices[np.concatenate(positions)] if positions else class_indices,
    )


def cache_keys(model: tables.Model, dataset: tables.Dataset) -> list[str]:
    """Of the shards of both parts of a data set, as the network sees them."""
    return [_cache_key(model, dataset, part) for part in (tables.TRAIN, tables.TEST)]


def kept_features(
    engine: Engine, store: ObjectStore, model: tables.Model, dataset: tables.Dataset, part: str
) -> Iterator[PartFeatures]:
    """A part out of the cache, shard by shard, in the order of `part_features`.

    Raises:
        FailedPrecondition: a shard is not there whole.
    """
    class_indices = _class_indices(engine, dataset, part)
    kept = _kept(engine, _cache_key(model, dataset, part))
    for span in _spans(len(class_indices)):
        shard = _read_shard(store, kept.get(span.shard))
        if shard is None:
            raise FailedPrecondition(
                f"the features of data set '{dataset.name}' by model '{model.name}' are not in the object store any "
                "more; train its xNNs again under the same name, which computes the features alone"
            )
        chosen = class_indices[span.first_item + shard["positions"]]
        yield PartFeatures(features=shard[FEATURES], scores=shard[SCORES], class_indices=chosen)


def _see_on_ray(context: JobContext, of: Pass, spans: Sequence[Span]) -> None:
    """Computes the shards that are not there whole on Ray.

    What is done stands in the cache, so a job that goes on has no other ledger to ask.

    Raises:
        Unavailable: Ray does not get on, or a shard ends its worker each time.
    """
    kept, waiting = _kept(of.engine, of.key), deque[Span]()
    context.stage(f"looking for {of.part} features", len(spans))
    for span in spans:
        context.check()
        if _whole_shard(of, kept.get(span.shard), _images(of, span)) is None:
            waiting.append(span)
        context.advance()
    if not waiting:
        return
    context.stage(f"{of.part} features on Ray", sum(span.item_count for span in waiting))
    ends: Counter[int] = Counter()

    def take() -> Span | None:
        return waiting.popleft() if waiting else None

    def write(span: Span, seen: Seen) -> None:
        _keep(of, span, seen)
        context.advance(span.item_count)

    def worker_ended(span: Span, error: str) -> None:
        ends[span.shard] += 1
        if ends[span.shard] == _MOST_ENDS:
            images = _images(of, span)
            raise Unavailable(
                f"the features of pictures {images[0][1]} to {images[-1][1]} ended their worker {_MOST_ENDS} times, "
                f"the last time so: {error}; resume the job to try again, or take --engine local, which does the same "
                "work",
                "RAY_WORKERS_DIE",
            )
        _log.warning("shard %d of the %s features is computed again: %s", span.shard, of.part, error)
        waiting.append(span)

    ray_engine.work_through(
        partial(worker_elsewhere, of.place, of.seeing),
        ray_engine.Shards(take, partial(_images, of), write, worker_ended, context.check),
    )


def _spans(count: int) -> list[Span]:
    starts = range(0, count, _SHARD_IMAGES)
    return [Span(i, start, min(_SHARD_IMAGES, count - start)) for i, start in enumerate(starts)]


def _keep(of: Pass, span: Span, seen: Seen) -> None:
    """The rows of a shard whose objects are durable."""
    with session(of.engine) as opened:
        opened.merge(tables.FeatureShard(cache_key=of.key, shard=span.shard, object_key=seen.object_key))
        for row in seen.cells:
            opened.merge(row)


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


def _read_shard(store: ObjectStore, object_key: str | None) -> _Arrays | None:
    """A shard of the cache; None where there is none, or one that is lost or damaged: it is computed again."""
    if object_key is None:
        return None
    try:
        return load_tensors(store.get(object_key))
    except (NotFound, DataLoss) as error:
        _log.warning("features are computed again: %s", error)
        return None


def _whole_shard(of: Pass, object_key: str | None, images: Sequence[Image]) -> _Arrays | None:
    """A shard of the cache with all that is wanted of its images; else None."""
    shard = _read_shard(of.store, object_key)
    if shard is None or not of.keep:
        return shard
    wanted = {images[int(position)][0] for position in shard["positions"]}  # those that decode
    return shard if wanted == kept_cells.keys(of.engine, of.model, sorted(wanted)).keys() else None


def _warn_of_left_out(context: JobContext, images: Sequence[Image], positions: Sequence[int]) -> None:
    taken = set(map(int, positions))
    for position, (_, path) in enumerate(images):
        if position not in taken:
            context.warn(f"{path}: no longer decodes within the server's limits; left out")


def _class_indices(engine: Engine, dataset: tables.Dataset, part: str) -> npt.NDArray[np.int64]:
    """Class index of each image of a part, in the stable order."""
    row = tables.DatasetImage
    query = _in_order(sqlalchemy.select(col(row.class_index)), dataset, part)
    with engine.connect().execution_options(yield_per=_SHARD_IMAGES) as connection:
        found = np.fromiter(connection.execute(query).scalars(), np.int64)
    if len(found) != sum(dataset.train_counts if part == tables.TRAIN else dataset.test_counts):
        raise imported_anew(dataset)
    return found


def _images(of: Pass, span: Span) -> list[Image]:
    """The images of a shard."""
    row = tables.DatasetImage
    columns = sqlalchemy.select(col(row.image_id), col(row.path))
    with of.engine.connect() as connection:
        query = _in_order(columns, of.dataset, of.part).offset(span.first_item).limit(span.item_count)
        images = [(image_id, path) for image_id, path in connection.execute(query)]
    if len(images) != span.item_count:
        raise imported_anew(of.dataset)
    return images


def _in_order(query: sqlalchemy.Select[Any], dataset: tables.Dataset, part: str) -> sqlalchemy.Select[Any]:
    row = tables.DatasetImage
    of_part = query.where(col(row.import_id) == dataset.import_id, col(row.part) == part)
    return of_part.order_by(col(row.class_index), col(row.path))


def _cache_key(model: tables.Model, dataset: tables.Dataset, part: str) -> str:
    what = (model.model_hash, model.attachment_layer, model.preprocessing, dataset.content_hash, part)
    return hashlib.sha256(repr(what).encode()).hexdigest()


def _kept(engine: Engine, key: str) -> dict[int, str]:
    with Session(engine) as opened:
        rows = opened.exec(select(tables.FeatureShard).where(tables.FeatureShard.cache_key == key))
        return {row.shard: row.object_key for row in rows}
