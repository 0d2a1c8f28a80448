"""One shard of a study's images explained: its maps into the object store, everything else handed back.

It is the same function on every engine. It needs the object store alone: rows are written by the job, so what is done
twice, on two machines, is the same object, and is written into the tables once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch

from onoma.science.activations import Explained
from onoma.science.batch_size import images_at_once
from onoma.science.forward_pass import can_look_from
from onoma.science.pictures import BrokenPicture, Pixels
from onoma.science.program import first_line
from onoma.v1 import attribution_pb2 as pb
from services.attribution.explainers import Cells, Explainers, cells_kept, picture_seen
from services.attribution.plans import Plan
from services.attribution.provenance import shard_metadata
from services.attribution.shards import Stored, store_shard
from services.runtime.errors import DataLoss, NotFound, Unavailable
from services.runtime.objects import ObjectStore
from services.runtime.preprocessing import preprocessing_of

_DECODERS = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Drawing:
    """What all shards of a run have in common, and goes to other machines.

    Attributes:
        made_by: what the shards say of themselves.
        batch_images: of a forward pass; 0: by the device's free memory.
        max_image_pixels: most pixels that a picture may declare.
    """

    plan: Plan
    made_by: pb.MapProvenance
    batch_images: int
    max_image_pixels: int


@dataclass(frozen=True)
class Item:
    """An image to explain for a category, under its path in the data set; `cells_key` as ListImages has it."""

    category: str
    image_id: str
    path: str
    cells_key: str


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one category, explained together; where their maps are stored, they have none here."""

    category: str
    image_ids: list[str]
    explained: Explained


@dataclass(frozen=True, eq=False)
class Drawn:
    """A shard that is done.

    Attributes:
        stored: where its maps are, in the order of the batches' activations; None where it has none.
        warnings: of images that were left out, and of empty maps.
    """

    stored: Stored | None
    batches: list[Batch]
    warnings: list[str]


def draw_shard(
    of: Drawing,
    explainers: Explainers,
    store: ObjectStore,
    items: Sequence[Item],
    advance: Callable[[int], None] = lambda _: None,
) -> Drawn:
    """Explains a shard's images and stores their maps as one object, durable when this returns.

    Args:
        items: one or more, those of a category after each other.
        advance: called before each batch and after it, with the number of images that were done; ends the work by
            raising.
    Raises:
        ResourceExhausted: the disk is full.
        Unavailable: the object store does not answer, or the device fails or has no memory for one image.
    """
    warnings: list[str] = []
    batches = [
        batch
        for category, of_category in groupby(items, lambda item: item.category)
        for batch in _batches(of, explainers, store, category, list(of_category), advance, warnings)
    ]
    x_features = [int(k) for batch in batches for k in batch.explained.x_features]
    if not x_features:
        return Drawn(None, batches, warnings)
    named = [(batch.image_ids[int(i)], batch.category) for batch in batches for i in batch.explained.images]
    stored = store_shard(
        store,
        np.concatenate([batch.explained.maps for batch in batches]),
        x_features,
        shard_metadata(of.plan.study.study_id, of.made_by, *zip(*named, strict=True)),
        np.concatenate([batch.explained.pooled for batch in batches]),
    )
    return Drawn(stored, [_without_maps(batch) for batch in batches], warnings)


def _without_maps(batch: Batch) -> Batch:
    found = batch.explained
    return replace(batch, explained=replace(found, maps=found.maps[:0], pooled=found.pooled[:0]))


def _batches(
    of: Drawing,
    explainers: Explainers,
    store: ObjectStore,
    category: str,
    items: Sequence[Item],
    advance: Callable[[int], None],
    warnings: list[str],
) -> Iterator[Batch]:
    """Images of a category, explained: from kept activations where there are."""
    plan = of.plan
    model = plan.network.model
    preprocessing = preprocessing_of(model.preprocessing)
    settings = plan.study.settings
    explain = explainers.of_class(plan.network, category, settings.significant_share, settings.contrastive)
    explainer = explainers.model(model)
    takes_cells = can_look_from(explainer)
    by_id = {item.image_id: item for item in items}

    def leave_out(image_id: str, reason: object) -> None:
        warnings.append(f"{by_id[image_id].path}: {reason}; left out")

    def seen(item: Item) -> Pixels | Cells | None:
        cells = _kept(store, item) if takes_cells else None
        if cells is not None:
            return cells
        try:
            return picture_seen(store.get(item.image_id), preprocessing, of.max_image_pixels)
        except BrokenPicture as error:
            leave_out(item.image_id, error)
        except (DataLoss, NotFound) as error:
            # Not the error's own words: to repeat the job does not help, as its shards are done.
            what = "damaged" if isinstance(error, DataLoss) else "gone"
            leave_out(
                item.image_id,
                f"its picture, object {item.image_id}, is {what}, and stays out of this study: restore it (onoma "
                "doctor says how) and make a new study",
            )
        return None

    size = of.batch_images or images_at_once(explainer)
    with ThreadPoolExecutor(_DECODERS) as pool:
        for start in range(0, len(items), size):
            advance(0)
            batch = items[start : start + size]
            pictures = [(item.image_id, one) for item, one in zip(batch, pool.map(seen, batch), strict=True)]
            for kind in (np.uint8, np.float32):
                alike = {image_id: one for image_id, one in pictures if one is not None and one.dtype == kind}
                for explained_ids, explained in _halving(explain, alike, leave_out):
                    for image in explained.images[explained.map_sums == 0]:
                        path = by_id[explained_ids[image]].path
                        warnings.append(f"{path}: a map is empty; kept with the sum 0")
                    yield Batch(category, explained_ids, explained)
            advance(len(batch))


def _kept(store: ObjectStore, item: Item) -> Cells | None:
    """The activations kept of an image; None where none are, or they are lost: the picture serves then."""
    if not item.cells_key:
        return None
    try:
        return cells_kept(store.get(item.cells_key))
    except (DataLoss, NotFound) as error:
        _log.warning("the picture is looked at anew: %s", error)
        return None


def _halving(
    explain: Callable[[list[Pixels | Cells]], Explained],
    pictures: dict[str, Pixels | Cells],
    leave_out: Callable[[str, object], None],
) -> Iterator[tuple[list[str], Explained]]:
    """Explains pictures together; where that fails, or memory ends, in halves, down to the one that fails.

    Raises:
        Unavailable: memory ends on a single one, as it would on any other, or the device has failed.
    """
    waiting = [list(pictures)] if pictures else []
    while waiting:
        image_ids = waiting.pop()
        try:
            explained = explain([pictures[image_id] for image_id in image_ids])
        except (RuntimeError, ValueError) as error:  # torch's errors of a device are RuntimeErrors
            if len(image_ids) == 1:
                if isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError):
                    raise Unavailable(f"the device cannot draw maps now: {first_line(error)}") from error
                leave_out(image_ids[0], error)
            else:
                middle = len(image_ids) // 2
                waiting += [image_ids[middle:], image_ids[:middle]]
            continue
        yield image_ids, explained
