"""A study's maps as rows, computed or imported: begun once, committed shard by shard, given out when complete."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, delete, insert
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select

from onoma.enum_names import MODES
from onoma.science.excitation import RULES_REVISION
from onoma.v1 import naming_pb2
from services.attribution.drawing import Batch, Drawn
from services.attribution.plans import Network, Plan
from services.attribution.provenance import provenance, shard_metadata
from services.attribution.shards import Stored, store_shard
from services.attribution.tables import EXCITATION_BACKPROP, Activation, ExplainedImage, MapRun
from services.runtime import shard_ledger
from services.runtime.database import session
from services.runtime.errors import Aborted, FailedPrecondition, NotFound
from services.runtime.job_table import Job
from services.runtime.jobs import ended_jobs
from services.runtime.objects import ObjectStore

# Which parameter of a job says what study it is about, by kind of job.
_IN_JOBS = dict.fromkeys(("compute_maps", "import_maps", "import_study_maps"), "study_id")
_FIXED = {
    "model_hash": "model",
    "attachment_layer": "model",
    "map_layer": "model",
    "mode": "model",
    "xnn_hash": "set of xNNs",
    "dataset_hash": "data set",
    # Two archives differ in their hash before it comes to parameters.
    "parameters": "precision or revision of the rules",
}


def begin(engine: Engine, study: naming_pb2.Study, wanted: MapRun) -> MapRun:
    """The study's run: made at its first computation or import, and the same ever after.

    Raises:
        FailedPrecondition: its maps are of another origin, or of another model, set of xNNs or data set.
        Aborted: it is being made elsewhere at this moment.
    """
    with _alone(wanted.study_id), session(engine) as opened:
        found = opened.get(MapRun, wanted.study_id)
        if found is None:
            opened.add(wanted)
            opened.flush()
            found = wanted
        check_origin(found, study, wanted.archive_hash)
        for field, what in _FIXED.items():
            if getattr(found, field) != getattr(wanted, field):
                raise FailedPrecondition(
                    f"study '{study.name}' has maps of another {what} than there is now ({field} was "
                    f"'{getattr(found, field)}', is '{getattr(wanted, field)}'); make a new study",
                    "MAPS_OF_OTHER_INPUTS",
                )
        opened.expunge(found)
    return found


def begun(engine: Engine, study: naming_pb2.Study, archive_hash: str) -> MapRun | None:
    """The study's run if it has one; `archive_hash` is that of the maps to come, empty for computed ones.

    Raises:
        FailedPrecondition: it has maps of another origin.
    """
    with Session(engine) as opened:
        run = opened.get(MapRun, study.study_id)
    if run is not None:
        check_origin(run, study, archive_hash)
    return run


def check_origin(run: MapRun, study: naming_pb2.Study, archive_hash: str) -> None:
    """Raises FailedPrecondition unless a run's maps are from this archive, or computed where there is none."""
    if run.archive_hash == archive_hash:
        return
    has = f"imported from archive {run.archive_hash}" if run.archive_hash else "computed by Onoma"
    to_come = f"those of archive {archive_hash}" if archive_hash else "computed ones"
    raise FailedPrecondition(
        f"study '{study.name}' has maps {has}; a study's maps have one origin: make a new study for {to_come}",
        "MAPS_OF_OTHER_ORIGIN",
    )


def explained_ids(engine: Engine, study_id: str, category: str) -> set[str]:
    """Images of a category that are done."""
    row = ExplainedImage
    with Session(engine) as opened:
        return set(
            opened.exec(select(row.image_id).where(row.study_id == study_id, row.category == category))
        )


def stored_ids(engine: Engine, study_id: str) -> set[str]:
    """Activations whose maps are stored."""
    with Session(engine) as opened:
        return set(opened.exec(select(Activation.activation_id).where(Activation.study_id == study_id)))


def commit(engine: Engine, run: MapRun, classes: Sequence[str], drawn: Drawn, shard: int, owner: str) -> bool:
    """The rows of a shard whose object is durable, with the shard's end in the ledger, in one transaction.

    Returns:
        False where the shard is no longer this job's; then nothing is written.
    """
    activations = [row for batch in drawn.batches for row in _activations(run, batch)]
    if drawn.stored:
        _place(activations, drawn.stored)
    with session(engine) as opened:
        if not shard_ledger.end(opened, run.study_id, shard, owner):
            return False
        opened.add_all([*_images(run, classes, drawn.batches), *activations])
    return True


def add(
    engine: Engine,
    store: ObjectStore,
    run: MapRun,
    activations: Sequence[Activation],
    maps: npt.NDArray[np.float32],
    images: Collection[ExplainedImage] = (),
) -> None:
    """One shard of imported maps and its rows, in that order; rows alone where there are no activations.

    Args:
        activations: rows that do not say yet where their map is.
        maps: (n, h, w) of each activation, finite and not negative.
    Raises:
        ResourceExhausted: the disk is full; nothing names the object then.
        Aborted: another process has committed some of these.
    """
    if activations:
        image_ids, categories = zip(*((row.image_id, row.category) for row in activations), strict=True)
        about = shard_metadata(run.study_id, provenance(run), image_ids, categories)
        _place(activations, store_shard(store, maps, [row.x_feature for row in activations], about))
    with _alone(run.study_id), session(engine) as opened:
        opened.add_all([*images, *activations])


def add_whole(
    engine: Engine, run: MapRun, activations: Sequence[dict[str, Any]], images: Sequence[dict[str, Any]]
) -> None:
    """A run that is complete, with all its rows, in one transaction; its objects are durable already.

    Raises:
        Aborted: the study got maps in the meantime.
    """
    with _alone(run.study_id), session(engine) as opened:
        opened.add(run)
        opened.flush()
        for table, rows in ((ExplainedImage, images), (Activation, activations)):
            if rows:
                opened.connection().execute(insert(table), rows)


def finish(engine: Engine, study_id: str) -> None:
    """All images are done: from now on the run is given out."""
    with session(engine) as opened:
        run = opened.get(MapRun, study_id)
        if run is None:
            raise NotFound(f"study '{study_id}' was deleted while its maps were drawn")
        run.is_complete = True


def delete_run(engine: Engine, study_id: str) -> bool:
    """Deletes a study's maps, whether they were complete or not, and the jobs that were about them.

    Returns:
        Whether there were any.
    Raises:
        FailedPrecondition: a job is at work on them.
    """
    with session(engine) as opened:
        for job in _ended_jobs(opened, study_id):
            opened.delete(job)
        for table in (Activation, ExplainedImage):
            opened.exec(delete(table).where(col(table.study_id) == study_id))
        shard_ledger.forget(opened, study_id)
        return opened.exec(delete(MapRun).where(col(MapRun.study_id) == study_id)).rowcount > 0


def check_idle(engine: Engine, study_id: str) -> None:
    """Raises FailedPrecondition where a job is at work on a study's maps."""
    with Session(engine) as opened:
        _ended_jobs(opened, study_id)


def _ended_jobs(opened: Session, study_id: str) -> list[Job]:
    return ended_jobs(opened, f"study '{study_id[:80]}'", study_id, _IN_JOBS)


def completed(opened: Session, study_id: str) -> MapRun:
    """The run of a study whose maps are all there.

    Raises:
        FailedPrecondition: they are not.
    """
    run = opened.get(MapRun, study_id)
    if run is None:
        raise FailedPrecondition(
            f"study '{study_id[:80]}' has no maps yet (onoma maps compute STUDY, or onoma maps import)",
            "NO_MAPS",
        )
    if not run.is_complete:
        raise FailedPrecondition(
            f"the maps of study '{study_id[:80]}' are still being {'imported' if run.archive_hash else 'drawn'}, "
            "or their job has stopped (the same command again goes on with it)",
            "MAPS_INCOMPLETE",
        )
    return run


def counts(engine: Engine, study_id: str) -> dict[str, Any]:
    """The job's result."""
    images = select(func.count()).where(ExplainedImage.study_id == study_id)
    of_study = Activation.study_id == study_id
    sums = select(func.count(), func.min(Activation.map_sum), func.avg(Activation.map_sum)).where(of_study)
    with Session(engine) as opened:
        count, least, mean = opened.exec(sums).one()
        return {
            "images": opened.exec(images).one(),
            "images_without_significant": opened.exec(
                images.where(ExplainedImage.significant_count == 0)
            ).one(),
            "activations": count,
            "empty_maps": opened.exec(
                select(func.count()).where(of_study, col(Activation.map_sum) == 0)
            ).one(),
            "least_map_sum": least,
            "mean_map_sum": mean,
        }


def computed(plan: Plan, precision: str) -> MapRun:
    """The run of maps that are computed here."""
    study, settings = plan.study, plan.study.settings
    # Studies from before there was a choice do not have `contrastive`, and have plain maps.
    run = drawn_by(
        plan.network, study.categories, settings.significant_share, settings.contrastive, precision
    )
    run.study_id, run.salt = study.study_id, new_salt()
    run.dataset, run.dataset_hash = plan.dataset.name, plan.dataset.content_hash
    return run


def drawn_by(
    network: Network, categories: Sequence[str], share: float, contrastive: bool, precision: str
) -> MapRun:
    """What makes maps of these categories here, for no study and of no data set yet."""
    model, xnn_set = network.model, network.xnn_set
    keys = [f"{category}\0{network.weights_key(category)}" for category in categories]
    return MapRun(
        study_id="",
        salt="",
        model=model.name,
        model_hash=model.model_hash,
        xnn_set=xnn_set.name,
        xnn_hash=hashlib.sha256("\0".join(keys).encode()).hexdigest(),
        dataset="",
        dataset_hash="",
        attachment_layer=model.attachment_layer,
        map_layer=model.map_layer,
        map_height=model.map_height,
        map_width=model.map_width,
        mode=MODES[model.mode],
        contrastive=contrastive,
        significant_share=share,
        version=version("onoma"),
        method=EXCITATION_BACKPROP,
        parameters=json.dumps({"precision": precision, "rules": RULES_REVISION}),
    )


def new_salt() -> str:
    """Of the activation ids of a run."""
    return secrets.token_hex(16)


def activation_id(salt: str, category: str, image_id: str, x_feature: int) -> str:
    """Opaque: without the salt nothing in it tells the X-feature."""
    content = f"{category}\0{image_id}\0{x_feature}".encode()
    return hashlib.blake2b(content, key=bytes.fromhex(salt), digest_size=8).hexdigest()


def _images(run: MapRun, classes: Sequence[str], batches: Sequence[Batch]) -> Iterator[ExplainedImage]:
    for batch in batches:
        found = batch.explained
        significant_counts = np.bincount(found.images, minlength=len(batch.image_ids))
        for i, image_id in enumerate(batch.image_ids):
            yield ExplainedImage(
                study_id=run.study_id,
                category=batch.category,
                image_id=image_id,
                dnn_score=float(found.dnn_scores[i]),
                xnn_score=float(found.xnn_scores[i]),
                predicted_class=classes[int(found.predicted[i])],
                significant_count=int(significant_counts[i]),
            )


def _activations(run: MapRun, batch: Batch) -> Iterator[Activation]:
    found = batch.explained
    for i, image in enumerate(found.images):
        image_id, x_feature = batch.image_ids[int(image)], int(found.x_features[i])
        yield Activation(
            study_id=run.study_id,
            activation_id=activation_id(run.salt, batch.category, image_id, x_feature),
            category=batch.category,
            image_id=image_id,
            x_feature=x_feature,
            x=float(found.values[i]),
            contribution=float(found.contributions[i]),
            share=float(found.shares[i]),
            map_sum=float(found.map_sums[i]),
        )


def _place(activations: Sequence[Activation], stored: Stored) -> None:
    """Says in each row where its map is: they are in the order of the shard."""
    for index, (row, scale, crc32) in enumerate(
        zip(activations, stored.scales, stored.checksums, strict=True)
    ):
        row.shard_key, row.shard_start, row.shard_index = stored.key, stored.start, index
        row.map_scale, row.crc32 = scale, crc32


@contextmanager
def _alone(study_id: str) -> Iterator[None]:
    """Says what it means when rows are there already: two processes draw the same study's maps."""
    try:
        yield
    except IntegrityError as error:
        raise Aborted(
            f"the maps of study '{study_id}' are being drawn by another job; resume this one when that has ended"
        ) from error
