"""One shard of a part's images through the network: features and scores into the object store, their place handed back.

It is the same function on every engine. It needs the object store alone: rows are written by the job, so what is done
twice, on two machines, is the same object, and is written into the tables once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from safetensors.numpy import save as save_tensors

from onoma.science.pictures import BrokenPicture, Preprocessing, decode, model_input, normalise
from services.inference import kept_cells, tables
from services.inference.sessions import FEATURES, SCORES, open_stored, run, run_to_cells
from services.runtime.errors import DataLoss, NotFound
from services.runtime.objects import ObjectStore, StorePlace, open_place

_BATCH_IMAGES = 32
_DECODERS = 2
Image = tuple[str, str]  # image id, path
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seeing:
    """What all shards of a pass have in common, and goes to other machines.

    Attributes:
        model: the network.
        max_pixels: most pixels that a picture may declare, as when it was imported.
        keep: keep the map layer's activations too.
    """

    model: tables.Model
    max_pixels: int
    keep: bool


@dataclass(frozen=True)
class Seen:
    """A shard that is done.

    Attributes:
        object_key: of a safetensors file with the features (m, D) and scores (m, classes) of the m images that decode,
            and their `positions` (m,) in the shard.
        cells: rows for the activations that were kept.
    """

    object_key: str
    cells: list[tables.KeptCells]


def see_shard(
    of: Seeing,
    onnx: onnxruntime.InferenceSession,
    store: ObjectStore,
    images: Sequence[Image],
    advance: Callable[[int], None] = lambda _: None,
) -> Seen:
    """Runs the network on a shard's images; what it gave is durable when this returns.

    Args:
        advance: called before each batch and after it, with the number of images that were done; ends the work by
            raising.
    Raises:
        DataLoss: a picture is damaged or missing in the object store.
        FailedPrecondition: activations are to be kept, which the model's ONNX form does not give.
        ResourceExhausted: the disk is full.
        ValueError: the network gives NaN or infinity on a picture.
    """
    preprocessing = Preprocessing(**of.model.preprocessing)
    scores, features, positions = [], [], []
    kept: dict[str, tables.KeptCells] = {}  # the same picture may be there twice
    with ThreadPoolExecutor(_DECODERS) as pool:
        for start in range(0, len(images), _BATCH_IMAGES):
            advance(0)
            some = images[start : start + _BATCH_IMAGES]
            batch = list(pool.map(partial(_pixels, of, store, preprocessing), some))
            readable = [index for index, found in enumerate(batch) if found is not None]
            if readable:
                stacked = np.stack([found for found in batch if found is not None])
                inputs = normalise(stacked, preprocessing)
                found_scores, found_features, *cells = (run_to_cells if of.keep else run)(onnx, inputs)
                finite = np.isfinite(found_scores).all(1) & np.isfinite(found_features).all(1)
                if not finite.all():
                    path = some[readable[int(finite.argmin())]][1]
                    raise ValueError(f"the network gives NaN or infinity on {path}: its weights are damaged")
                for of_batch in cells:
                    image_ids = [some[index][0] for index in readable]
                    kept |= {
                        row.image_id: row for row in kept_cells.keep(store, of.model, image_ids, of_batch)
                    }
                scores.append(found_scores)
                features.append(found_features)
                positions += [start + index for index in readable]
            advance(len(batch))
    shard = {
        SCORES: _joined(scores, len(of.model.classes)),
        FEATURES: _joined(features, of.model.feature_count),
        "positions": np.array(positions, np.int64),
    }
    seen = Seen(store.put(save_tensors(shard)), list(kept.values()))
    store.flush()
    return seen


def worker_elsewhere(place: StorePlace, of: Seeing) -> Callable[[Sequence[Image]], Seen]:
    """What sees shards in another process, on another machine; the store's secrets are of its own environment.

    Raises:
        ValueError: the environment lacks ONOMA_S3_ACCESS_KEY or ONOMA_S3_SECRET_KEY.
        FailedPrecondition: the object store is not the service's.
        DataLoss: the model's ONNX form is damaged.
    """
    store = open_place(place, of.model.onnx_key)
    # Ray tells torch of as many threads as the worker has CPUs; onnxruntime would take those of the whole machine.
    onnx = open_stored(store, of.model.name, of.model.onnx_key, threads=torch.get_num_threads())
    return partial(see_shard, of, onnx, store)


def _pixels(
    of: Seeing, store: ObjectStore, preprocessing: Preprocessing, image: Image
) -> npt.NDArray[np.uint8] | None:
    image_id, path = image
    try:
        return model_input(decode(store.get(image_id), max_pixels=of.max_pixels), preprocessing)
    except BrokenPicture as error:
        _log.warning("%s (%s) no longer decodes: %s", path, image_id, error)
        return None
    except (NotFound, DataLoss) as error:
        raise DataLoss(
            f"picture {path} is lost: {error}; import its data set again", error.reason, error.details
        ) from error


def _joined(arrays: list[npt.NDArray[np.float32]], columns: int) -> npt.NDArray[np.float32]:
    return np.concatenate(arrays) if arrays else np.zeros((0, columns), np.float32)
