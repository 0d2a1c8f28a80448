"""The job that takes maps made elsewhere into a study: all is checked first, then stored shard by shard.

A bad archive changes nothing. A job that was killed goes on after its last shard.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib.metadata import version
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from onoma.science.map_archive import MapArchive, Rows, map_batches, read_archive
from onoma.v1 import inference_pb2, naming_pb2
from services.attribution import runs
from services.attribution.choosing import Chosen, choose
from services.attribution.computing import Computing
from services.attribution.plans import fetch_dataset, fetch_model, fetch_study
from services.attribution.publishing import publish
from services.attribution.tables import Activation, ExplainedImage, MapRun
from services.runtime.errors import FailedPrecondition, NotFound, ResourceExhausted
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore

_IMAGES_AT_ONCE = 5000
_SHARD_MAPS = 1000  # of an object
_SHARD_BYTES = 64 << 20  # of maps as they come; fewer a shard where they are large


def check_object(store: ObjectStore, object_key: str, max_bytes: int) -> None:
    """Returns when there is an archive under the key.

    Raises:
        InvalidArgument: it is no key.
        NotFound: nothing is there.
        ResourceExhausted: it is too large.
    """
    if not store.exists(object_key):
        raise NotFound(f"no object has the key {object_key[:80]}; upload the archive first (UploadObject)")
    size = store.size(object_key)
    if size > max_bytes:
        raise ResourceExhausted(
            f"the archive has {size:,} bytes, over the {max_bytes:,} of ONOMA_MAX_IMPORT_BYTES: raise that, or "
            "save the maps as float16"
        )


def import_maps(context: JobContext, of: Computing) -> dict[str, Any]:
    """The job.

    Raises:
        RefusedArchive: the object is no archive of maps.
        InvalidArgument: it does not fit the study.
        FailedPrecondition: the study has maps of another origin.
        ResourceExhausted: the disk is full; what was committed stays, and the job can be resumed.
    """
    context.stage("reading the study")
    study = fetch_study(of.peers, context.params["study_id"])
    key = context.params["object_key"]
    run = runs.begun(of.engine, study, key)
    if run is None or not run.is_complete:
        check_object(of.store, key, of.settings.max_import_bytes)
        _take(context, of, study, key, io.BytesIO(of.store.get(key)))
        runs.finish(of.engine, study.study_id)
    context.stage("publishing")
    publish(context, of.engine, of.peers, study)
    return runs.counts(of.engine, study.study_id)


def _take(context: JobContext, of: Computing, study: naming_pb2.Study, key: str, file: IO[bytes]) -> None:
    context.stage("checking the archive")
    archive = read_archive(file, of.settings.max_import_bytes)
    model = fetch_model(of.peers, study.model)
    _check_model(study, model, archive)
    context.stage("checking the archive", len(archive.rows.images))
    sums = _sums(context, archive, file)
    chosen = choose(context, of.peers, study, model, archive)
    for i in chosen.rows[sums[chosen.rows] == 0]:
        context.warn(f"{archive.rows.named(int(i))}: the map is empty; kept with the sum 0")
    wanted = _run(study, fetch_dataset(of.peers, study.dataset), archive, key)
    run = runs.begin(of.engine, study, wanted)
    _store_maps(context, of, run, archive, file, chosen, sums)
    _store_images(context, of, run, chosen, archive)


def _check_model(study: naming_pb2.Study, model: inference_pb2.Model, archive: MapArchive) -> None:
    said = archive.manifest.model_hash
    if said and said != model.model_hash:
        raise FailedPrecondition(
            f"the archive explains the model with hash {said}; study '{study.name}' is of '{model.name}', whose "
            f"hash is {model.model_hash}: import into a study of the same model",
            "OTHER_MODEL",
        )


def _sums(context: JobContext, archive: MapArchive, file: IO[bytes]) -> npt.NDArray[np.float64]:
    """Sum of every map; their values are checked on the way."""
    sums = []
    for maps in map_batches(file, archive):
        context.check()
        sums.append(maps.sum((1, 2), dtype=np.float64))
        context.advance(len(maps))
    return np.concatenate(sums)


def _run(
    study: naming_pb2.Study, dataset: inference_pb2.Dataset, archive: MapArchive, archive_hash: str
) -> MapRun:
    manifest = archive.manifest
    return MapRun(
        study_id=study.study_id,
        salt=runs.new_salt(),
        model=manifest.model,
        model_hash=manifest.model_hash,
        xnn_set="",
        xnn_hash="",
        dataset=dataset.name,
        dataset_hash=dataset.content_hash,
        attachment_layer="",
        map_layer=manifest.layer,
        map_height=archive.height,
        map_width=archive.width,
        mode="",
        contrastive=False,
        significant_share=study.settings.significant_share,
        version=version("onoma"),
        method=manifest.method,
        archive_hash=archive_hash,
        parameters=manifest.parameters,
        already_significant=manifest.already_significant,
    )


def _store_maps(
    context: JobContext,
    of: Computing,
    run: MapRun,
    archive: MapArchive,
    file: IO[bytes],
    chosen: Chosen,
    sums: npt.NDArray[np.float64],
) -> None:
    """Every chosen map that is not stored yet, a shard at a time."""
    context.stage("storing maps", len(chosen.rows))
    done = runs.stored_ids(of.engine, run.study_id)
    at_once = min(_SHARD_MAPS, max(1, _SHARD_BYTES // (4 * archive.height * archive.width)))
    gathered: list[Activation] = []
    arrays: list[npt.NDArray[np.float32]] = []

    def commit() -> None:
        if gathered:
            runs.add(of.engine, of.store, run, gathered, np.stack(arrays))
            gathered.clear()
            arrays.clear()

    for i, array in _wanted_maps(archive, file, chosen.rows):
        context.check()
        activation = _activation(run, archive.rows, chosen, i, float(sums[i]))
        if activation.activation_id not in done:
            gathered.append(activation)
            arrays.append(array)
        if len(gathered) >= at_once:
            commit()
        context.advance()
    commit()


def _wanted_maps(
    archive: MapArchive, file: IO[bytes], rows: npt.NDArray[np.int64]
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Row and map of each wanted row."""
    start = 0
    for maps in map_batches(file, archive):
        first, last = np.searchsorted(rows, (start, start + len(maps)))
        for i in rows[first:last].tolist():
            yield i, maps[i - start].copy()
        start += len(maps)


def _activation(run: MapRun, rows: Rows, chosen: Chosen, i: int, map_sum: float) -> Activation:
    category, image_id, unit = rows.categories[i], chosen.image_ids[i], int(rows.units[i])
    return Activation(
        study_id=run.study_id,
        activation_id=runs.activation_id(run.salt, category, image_id, unit),
        category=category,
        image_id=image_id,
        x_feature=unit,
        contribution=float(rows.weights[i]),
        share=float(chosen.shares[i]),
        map_sum=map_sum,
    )


def _store_images(
    context: JobContext, of: Computing, run: MapRun, chosen: Chosen, archive: MapArchive
) -> None:
    counts: dict[tuple[str, str], int] = {}
    for i in chosen.rows.tolist():
        pair = (archive.rows.categories[i], chosen.image_ids[i])
        counts[pair] = counts.get(pair, 0) + 1
    categories = {category for category, _ in chosen.images}
    done = {name: runs.explained_ids(of.engine, run.study_id, name) for name in categories}
    pending = [pair for pair in chosen.images if pair[1] not in done[pair[0]]]
    nothing = np.zeros((0, run.map_height, run.map_width), np.float32)
    for start in range(0, len(pending), _IMAGES_AT_ONCE):
        context.check()
        rows = [
            ExplainedImage(
                study_id=run.study_id,
                category=pair[0],
                image_id=pair[1],
                dnn_score=chosen.images[pair].dnn_score,
                xnn_score=chosen.images[pair].xnn_score,
                predicted_class=chosen.images[pair].predicted_class,
                significant_count=counts.get(pair, 0),
            )
            for pair in pending[start : start + _IMAGES_AT_ONCE]
        ]
        runs.add(of.engine, of.store, run, [], nothing, rows)
