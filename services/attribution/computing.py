"""The job that explains a study's images: activations and maps, shard by shard.

A job that was killed goes on after its last shard. An image that cannot be explained is a warning; the rest goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Engine

from onoma.science.activations import Explained
from onoma.science.batch_size import images_at_once
from onoma.science.excitation import can_look_from
from onoma.science.pictures import BrokenPicture
from onoma.v1 import inference_pb2
from services.attribution import runs
from services.attribution.explainers import (
    Cells,
    Explainers,
    Pixels,
    cells_kept,
    picture_seen,
)
from services.attribution.plans import Peers, Plan, chosen_images, fetch_plan
from services.attribution.publishing import publish
from services.attribution.runs import Batch
from services.attribution.settings import AttributionSettings
from services.attribution.tables import MapRun
from services.runtime.errors import DataLoss, NotFound
from services.runtime.job_context import Cancelled, Released
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore
from services.runtime.preprocessing import preprocessing_of

_DECODERS = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Computing:
    """What the jobs work with."""

    engine: Engine
    store: ObjectStore
    explainers: Explainers
    peers: Peers
    settings: AttributionSettings


def compute_maps(context: JobContext, of: Computing) -> dict[str, Any]:
    """The job.

    Raises:
        FailedPrecondition: model, xNNs or data set are not those that the study's first maps were made of, or its
            maps were imported.
        ResourceExhausted: the disk is full; what was committed stays, and the job can be resumed.
    """
    context.stage("reading the study")
    plan = fetch_plan(of.peers, context.params["study_id"])
    run = runs.begin(of.engine, plan.study, runs.computed(plan, of.settings.maps_precision))
    if not run.is_complete:
        _draw(context, of, plan, run)
        runs.finish(of.engine, run.study_id)
    context.stage("publishing")
    publish(context, of.engine, of.peers, plan.study)
    return runs.counts(of.engine, run.study_id)


def _draw(context: JobContext, of: Computing, plan: Plan, run: MapRun) -> None:
    images = {category: chosen_images(of.peers, plan.study, category) for category in plan.study.categories}
    context.stage("drawing maps", sum(map(len, images.values())))
    gathered: list[Batch] = []

    def commit() -> None:
        if gathered:
            runs.commit(of.engine, of.store, run, plan.network.model.classes, gathered)
            gathered.clear()

    try:
        for category, of_category in images.items():
            if not of_category:
                context.warn(
                    f"category '{category}' has no image in this part of data set '{plan.study.dataset}'"
                )
            for batch in _batches(context, of, plan, category, of_category):
                gathered.append(batch)
                if sum(len(one.explained.images) for one in gathered) >= of.settings.map_shard_maps:
                    commit()
    except (Cancelled, Released):
        commit()
        raise
    commit()


def _batches(
    context: JobContext, of: Computing, plan: Plan, category: str, images: dict[str, inference_pb2.Image]
) -> Iterator[Batch]:
    """The images of a category that are not done yet, explained: from kept activations where there are."""
    model = plan.network.model
    preprocessing = preprocessing_of(model.preprocessing)
    explain = of.explainers.of_class(plan.network, category, plan.significant_share, plan.contrastive)
    explainer = of.explainers.model(model)
    takes_cells = can_look_from(explainer)

    def leave_out(image_id: str, error: Exception) -> None:
        context.warn(f"{images[image_id].path}: {error}; left out")

    def seen(image_id: str) -> Pixels | Cells | None:
        cells = _kept(of.store, images[image_id]) if takes_cells else None
        if cells is not None:
            return cells
        try:
            return picture_seen(of.store.get(image_id), preprocessing, of.settings.max_image_pixels)
        except (BrokenPicture, DataLoss, NotFound) as error:
            leave_out(image_id, error)
            return None

    done = runs.explained_ids(of.engine, plan.study.study_id, category)
    pending = [image_id for image_id in images if image_id not in done]
    context.advance(len(images) - len(pending))
    size = of.settings.map_batch_images or images_at_once(explainer)
    with ThreadPoolExecutor(_DECODERS) as pool:
        for start in range(0, len(pending), size):
            context.check()
            image_ids = pending[start : start + size]
            pictures = list(zip(image_ids, pool.map(seen, image_ids), strict=True))
            for kind in (np.uint8, np.float32):
                alike = {image_id: one for image_id, one in pictures if one is not None and one.dtype == kind}
                for explained_ids, explained in _halving(explain, alike, leave_out):
                    for image in explained.images[explained.map_sums == 0]:
                        path = images[explained_ids[image]].path
                        context.warn(f"{path}: a map is empty; kept with the sum 0")
                    yield Batch(category, explained_ids, explained)
            context.advance(len(image_ids))


def _kept(store: ObjectStore, image: inference_pb2.Image) -> Cells | None:
    """The activations kept of an image; None where none are, or they are lost: the picture serves then."""
    if not image.cells_key:
        return None
    try:
        return cells_kept(store.get(image.cells_key))
    except (DataLoss, NotFound) as error:
        _log.warning("the picture is looked at anew: %s", error)
        return None


def _halving(
    explain: Callable[[list[Pixels | Cells]], Explained],
    pictures: dict[str, Pixels | Cells],
    leave_out: Callable[[str, Exception], None],
) -> Iterator[tuple[list[str], Explained]]:
    """Explains pictures together; where that fails, or memory ends, in halves, down to the one that fails."""
    waiting = [list(pictures)] if pictures else []
    while waiting:
        image_ids = waiting.pop()
        try:
            explained = explain([pictures[image_id] for image_id in image_ids])
        except (RuntimeError, ValueError) as error:  # torch's OutOfMemoryError is a RuntimeError
            if len(image_ids) == 1:
                leave_out(image_ids[0], error)
            else:
                middle = len(image_ids) // 2
                waiting += [image_ids[middle:], image_ids[:middle]]
            continue
        yield image_ids, explained
