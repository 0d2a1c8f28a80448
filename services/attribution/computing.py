"""The job that explains a study's images: activations and maps, shard by shard, here or on Ray.

A job that was killed goes on after the shards that are done. An image that cannot be explained is a warning; the
rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Engine

from services.attribution import runs
from services.attribution.drawing import Drawing, Drawn, Item, draw_shard
from services.attribution.explainers import Explainers
from services.attribution.plans import Peers, Plan, chosen_images, fetch_plan
from services.attribution.provenance import provenance
from services.attribution.publishing import publish
from services.attribution.settings import AttributionSettings
from services.attribution.tables import MapRun
from services.runtime import shard_ledger
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore, StorePlace, open_place
from services.runtime.shard_ledger import Span
from services.runtime.shard_work import ShardWork, work_through


@dataclass(frozen=True, eq=False)
class Computing:
    """What the jobs work with; `place` is where workers elsewhere find the object store."""

    engine: Engine
    store: ObjectStore
    explainers: Explainers
    peers: Peers
    settings: AttributionSettings
    place: StorePlace


def compute_maps(context: JobContext, of: Computing) -> dict[str, Any]:
    """The job.

    Raises:
        FailedPrecondition: model, xNNs or data set are not those that the study's first maps were made of, its maps
            were imported, or Ray is asked for and not installed.
        ResourceExhausted: the disk is full; what was committed stays, and the job can be resumed.
        Unavailable: Ray or the device does not get on; likewise.
    """
    context.stage("reading the study")
    plan = fetch_plan(of.peers, context.params["study_id"])
    run = runs.begin(of.engine, plan.study, runs.computed(plan, of.settings.maps_precision))
    items = _items(context, of.peers, plan)
    if not run.is_complete:
        _draw(context, of, plan, run, items)
        runs.finish(of.engine, run.study_id)
    context.stage("publishing")
    publish(context, of.engine, of.peers, plan.study)
    set_aside = len(shard_ledger.set_aside(of.engine, run.study_id))
    counts = runs.counts(of.engine, run.study_id)
    left_out = len(items) - counts["images"] - set_aside
    return counts | {"images_left_out": left_out, "images_set_aside": set_aside}


def _draw(context: JobContext, of: Computing, plan: Plan, run: MapRun, items: Sequence[Item]) -> None:
    limits = of.settings
    drawing = Drawing(plan, provenance(run), limits.map_batch_images, limits.max_image_pixels)
    classes = plan.network.model.classes

    def draw_here(some: Sequence[Item], advance: Callable[[int], None]) -> Drawn:
        return draw_shard(drawing, of.explainers, of.store, some, advance)

    def write(span: Span, drawn: Drawn, owner: str) -> bool:
        for line in drawn.warnings:
            context.warn(line)
        return runs.commit(of.engine, run, classes, drawn, span.shard, owner)

    context.stage("drawing maps", len(items))
    work = ShardWork(
        engine=of.engine,
        run=run.study_id,
        items=items,
        shard_items=limits.map_shard_images,
        here=draw_here,
        make_worker=partial(worker_elsewhere, of.place, drawing, of.explainers.precision),
        write=write,
    )
    work_through(context, work, context.params.get("engine", "local"))
    for item, error in shard_ledger.set_aside(of.engine, run.study_id):
        context.warn(f"{items[item].path}: set aside: {error}")


def worker_elsewhere(
    place: StorePlace, drawing: Drawing, precision: str
) -> Callable[[Sequence[Item]], Drawn]:
    """What draws shards in another process, on another machine; the store's secrets are of its own environment.

    Raises:
        ValueError: the environment lacks ONOMA_S3_ACCESS_KEY or ONOMA_S3_SECRET_KEY.
        FailedPrecondition: the object store is not the service's.
    """
    model = drawing.plan.network.model
    store = open_place(place, model.model_hash)
    explainers = Explainers(store, precision)
    explainers.model(model)  # loaded once, before the first shard
    return partial(draw_shard, drawing, explainers, store)


def _items(context: JobContext, peers: Peers, plan: Plan) -> list[Item]:
    """Every image to explain, in an order that is the same whenever it is asked for."""
    items = []
    for category in plan.study.categories:
        images = chosen_images(peers, plan.study, category)
        if not images:
            context.warn(
                f"category '{category}' has no image in this part of data set '{plan.study.dataset}'"
            )
        items += [Item(category, id_, image.path, image.cells_key) for id_, image in images.items()]
    return items
