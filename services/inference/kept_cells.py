"""The map layer's activations of images, kept from a feature pass so that maps need not run the network below it.

Each image's is an object of its own, a safetensors file with `cells` (C, h, w) float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save as save_tensors
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from services.inference import tables
from services.inference.sessions import CELLS
from services.runtime.objects import ObjectStore

_ASKED_AT_ONCE = 1000  # databases limit what one statement may name


def keep(
    store: ObjectStore, model: tables.Model, image_ids: Sequence[str], cells: npt.NDArray[np.float32]
) -> list[tables.KeptCells]:
    """Stores the activations (n, C, h, w) of images; the rows are to be added once the store is flushed."""
    key = cache_key(model)
    return [
        tables.KeptCells(
            seen_by=key,
            image_id=image_id,
            object_key=store.put(save_tensors({CELLS: np.ascontiguousarray(one)})),
        )
        for image_id, one in zip(image_ids, cells, strict=True)
    ]


def keys(engine: Engine, model: tables.Model, image_ids: Sequence[str]) -> dict[str, str]:
    """Object key of each image's activations, for those that are kept."""
    row, found = tables.KeptCells, {}
    with Session(engine) as opened:
        for start in range(0, len(image_ids), _ASKED_AT_ONCE):
            some = image_ids[start : start + _ASKED_AT_ONCE]
            query = select(row.image_id, row.object_key).where(
                row.seen_by == cache_key(model), col(row.image_id).in_(some)
            )
            found |= dict(opened.exec(query).all())
    return found


def cache_key(model: tables.Model) -> str:
    """SHA-256 of all that a picture's activations depend on beside the picture."""
    what = (model.model_hash, model.map_layer, model.preprocessing)
    return hashlib.sha256(repr(what).encode()).hexdigest()
