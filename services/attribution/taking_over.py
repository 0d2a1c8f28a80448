"""The job that takes over a study's maps from another installation: all is checked, then stored in one transaction."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import Parse, ParseError

from onoma.enum_names import MODES
from onoma.science.map_archive import MAX_MAPS, MAX_SIDE, MAX_UNIT
from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import naming_pb2, types_pb2
from services.attribution import runs
from services.attribution.computing import Computing
from services.attribution.importing import check_object
from services.attribution.plans import Peers, fetch_model, fetch_plan, fetch_study, listed_images
from services.attribution.provenance import provenance
from services.attribution.publishing import publish
from services.attribution.shards import Opened, open_shard
from services.attribution.tables import MapRun
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore

_MAX_ID = 64
_SHARE_ROUNDING = 1e-5
_SAME_HERE = (
    "model_hash",
    "attachment_layer",
    "map_layer",
    "map_height",
    "map_width",
    "mode",
    "xnn_hash",
    "contrastive",
    "significant_share",
)


def import_study_maps(context: JobContext, of: Computing) -> dict[str, Any]:
    """The job.

    Raises:
        InvalidArgument: the object is no StudyMaps, or something in it cannot be.
        FailedPrecondition: it does not fit the study's model, xNNs or images, or the study has other maps.
    """
    context.stage("reading the study")
    study = fetch_study(of.peers, context.params["study_id"])
    check_object(of.store, context.params["object_key"], of.settings.max_import_bytes)
    given = _parsed(of.store.get(context.params["object_key"]))
    run = runs.begun(of.engine, study, given.provenance.archive_hash)
    if run is None:
        _take(context, of, study, given)
    else:
        _check_same(of, run, study, given)
    context.stage("publishing")
    publish(context, of.engine, of.peers, study)
    return runs.counts(of.engine, study.study_id)


def _parsed(data: bytes) -> pb.StudyMaps:
    try:
        return Parse(data.decode(), pb.StudyMaps())
    except (ParseError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"the object is no StudyMaps in protobuf's JSON: {str(error)[:300]}") from error


def _check_same(of: Computing, run: MapRun, study: naming_pb2.Study, given: pb.StudyMaps) -> None:
    has = runs.stored_ids(of.engine, study.study_id)
    if provenance(run) == given.provenance and has == set(given.activations.activation_id):
        return
    raise FailedPrecondition(
        f"study '{study.name}' has other maps; a study's maps have one origin: make a new study for these",
        "MAPS_OF_OTHER_ORIGIN",
    )


def _take(context: JobContext, of: Computing, study: naming_pb2.Study, given: pb.StudyMaps) -> None:
    made_by = given.provenance
    check_made_by(of.peers, study, made_by)
    _check_images(of, study, given)
    _check_activations(given)
    context.stage("checking maps", len(given.activations.activation_id))
    rows = _activation_rows(context, of.store, study, given)
    context.stage("storing rows")
    images = given.images
    image_rows = [
        {
            "study_id": study.study_id,
            "category": images.category[i],
            "image_id": images.image_id[i],
            "dnn_score": images.dnn_score[i] if images.dnn_score else None,
            "xnn_score": images.xnn_score[i] if images.xnn_score else None,
            "predicted_class": images.predicted_class[i],
            "significant_count": images.significant_count[i],
        }
        for i in range(len(images.image_id))
    ]
    runs.add_whole(of.engine, _run(study, made_by), rows, image_rows)


def check_made_by(peers: Peers, study: naming_pb2.Study, made_by: pb.MapProvenance) -> None:
    """Returns where a study's model and xNNs are still those that made its maps, so that new pictures get like ones.

    Raises:
        InvalidArgument: a size or the threshold cannot be.
        FailedPrecondition: they are others.
    """
    if not (1 <= made_by.map_height <= MAX_SIDE and 1 <= made_by.map_width <= MAX_SIDE):
        raise InvalidArgument(
            f"maps of {made_by.map_height} x {made_by.map_width}; 1 to {MAX_SIDE} rows and columns are taken"
        )
    if not 0 < made_by.significant_share <= 1:
        raise InvalidArgument(f"significant_share {made_by.significant_share}: use a share over 0, at most 1")
    if made_by.archive_hash:
        here = pb.MapProvenance(model_hash=fetch_model(peers, study.model).model_hash)
        fields = ("model_hash",) if made_by.model_hash else ()
    else:
        here = provenance(runs.computed(fetch_plan(peers, study.study_id), precision=""))
        fields = _SAME_HERE
    for field in fields:
        was, now = getattr(made_by, field), getattr(here, field)
        if was != now:
            raise FailedPrecondition(
                f"the maps were made with {field} {was!r}, and study '{study.name}' has {now!r} now: they belong to a "
                "study of the same model, xNNs and settings",
                "MAPS_OF_OTHER_INPUTS",
            )


def _check_images(of: Computing, study: naming_pb2.Study, given: pb.StudyMaps) -> None:
    images = given.images
    _check_lengths(
        images, ("category", "predicted_class", "significant_count"), ("dnn_score", "xnn_score"), "image_id"
    )
    known = {
        category: {image.image_id for image in listed_images(of.peers, study, category)}
        for category in study.categories
    }
    pairs = list(zip(images.category, images.image_id, strict=True))
    for category, image_id in pairs:
        if image_id not in known.get(category, ()):
            raise FailedPrecondition(
                f"study '{study.name}' has no image {image_id[:80]} in category '{category[:80]}': its data set "
                f"'{study.dataset}' lacks it",
                "OTHER_IMAGES",
            )
    _check_distinct(pairs, "image")
    if not all(map(math.isfinite, (*images.dnn_score, *images.xnn_score))):
        raise InvalidArgument("a score of an image is NaN or infinite")
    activations = given.activations
    counts = Counter(zip(activations.category, activations.image_id, strict=False))
    for pair, count in zip(pairs, images.significant_count, strict=True):
        if counts.pop(pair, 0) != count:
            raise InvalidArgument(
                f"image {pair[1][:80]} says {count} significant activations; it has another number of them"
            )
    if counts:
        raise InvalidArgument(f"an activation is of image {next(iter(counts))[1][:80]}, which is not listed")


def _check_activations(given: pb.StudyMaps) -> None:
    columns = given.activations
    needed = ("image_id", "category", "x_feature", "contribution", "share", "map_sum")
    _check_lengths(columns, needed, ("x",), "activation_id")
    count = len(columns.activation_id)
    if count > MAX_MAPS:
        raise InvalidArgument(f"{count} activations; at most {MAX_MAPS} are taken")
    if not count == len(given.shard) == len(given.shard_index):
        raise InvalidArgument(
            f"{count} activations have {len(given.shard)} shards and {len(given.shard_index)} places in them"
        )
    _check_distinct(columns.activation_id, "activation id")
    _check_distinct(
        list(zip(columns.category, columns.image_id, columns.x_feature, strict=True)), "X-feature"
    )
    for i, id_ in enumerate(columns.activation_id):
        fine = (
            0 < len(id_) <= _MAX_ID
            and 0 <= columns.x_feature[i] <= MAX_UNIT
            and 0 < columns.contribution[i] < math.inf
            and 0 < columns.share[i] <= 1 + _SHARE_ROUNDING
            and 0 <= columns.map_sum[i] < math.inf
            and (not columns.x or 0 <= columns.x[i] < math.inf)
            and 0 <= given.shard[i] < len(given.shard_keys)
        )
        if not fine:
            raise InvalidArgument(
                f"activation '{id_[:80]}' (number {i + 1}) has an id, value or shard that cannot be"
            )


def _activation_rows(
    context: JobContext, store: ObjectStore, study: naming_pb2.Study, given: pb.StudyMaps
) -> list[dict[str, Any]]:
    """Rows of all activations; every shard is read, and its maps checked, once."""
    columns, made_by = given.activations, given.provenance
    by_shard: dict[int, list[int]] = {}
    for i, number in enumerate(given.shard):
        by_shard.setdefault(number, []).append(i)
    rows = []
    for number, positions in by_shard.items():
        context.check()
        key = given.shard_keys[number]
        opened = _opened(store, key, made_by)
        for i in positions:
            index = given.shard_index[i]
            if not 0 <= index < len(opened.maps) or opened.x_features[index] != columns.x_feature[i]:
                raise InvalidArgument(
                    f"activation '{columns.activation_id[i]}' is said to be map {index} of shard {key[:80]}, which "
                    "has no such map of its X-feature"
                )
            rows.append(
                {
                    "study_id": study.study_id,
                    "activation_id": columns.activation_id[i],
                    "category": columns.category[i],
                    "image_id": columns.image_id[i],
                    "x_feature": columns.x_feature[i],
                    "x": columns.x[i] if columns.x else None,
                    "contribution": columns.contribution[i],
                    "share": columns.share[i],
                    "map_sum": columns.map_sum[i],
                    "map_scale": float(opened.scales[index]),
                    "shard_key": key,
                    "shard_start": opened.start,
                    "shard_index": index,
                    "crc32": opened.checksum(index),
                }
            )
        context.advance(len(positions))
    return rows


def _opened(store: ObjectStore, key: str, made_by: pb.MapProvenance) -> Opened:
    try:
        return open_shard(store.get(key), made_by.map_height, made_by.map_width)
    except NotFound as error:
        raise FailedPrecondition(
            f"no object has the key {key[:80]}: upload the shards first", "NO_OBJECT"
        ) from error
    except ValueError as error:
        raise InvalidArgument(f"object {key[:80]} is no shard of these maps: {error}") from error


def _check_lengths(
    columns: types_pb2.ActivationColumns | types_pb2.ExplainedImageColumns,
    needed: Sequence[str],
    optional: Sequence[str],
    of: str,
) -> None:
    count = len(getattr(columns, of))
    lengths: Mapping[str, int] = {name: len(getattr(columns, name)) for name in (*needed, *optional)}
    for name, length in lengths.items():
        if length != count and not (name in optional and length == 0):
            raise InvalidArgument(f"column {name} has {length} entries, column {of} {count}")


def _check_distinct(values: Sequence[Any], what: str) -> None:  # Any: texts or tuples of columns
    if len(set(values)) < len(values):
        [(value, _)] = Counter(values).most_common(1)
        raise InvalidArgument(f"{what} {str(value)[:160]} comes twice")


def _run(study: naming_pb2.Study, made_by: pb.MapProvenance) -> MapRun:
    """The run as it was, under this study's id."""
    return MapRun(
        study_id=study.study_id,
        salt=runs.new_salt(),
        model=made_by.model,
        model_hash=made_by.model_hash,
        xnn_set=made_by.xnn_set,
        xnn_hash=made_by.xnn_hash,
        dataset=made_by.dataset,
        dataset_hash=made_by.dataset_hash,
        attachment_layer=made_by.attachment_layer,
        map_layer=made_by.map_layer,
        map_height=made_by.map_height,
        map_width=made_by.map_width,
        mode=MODES.get(made_by.mode, ""),
        contrastive=made_by.contrastive,
        significant_share=made_by.significant_share,
        version=made_by.onoma_version,
        method=made_by.method,
        archive_hash=made_by.archive_hash,
        parameters=made_by.parameters_json,
        already_significant=made_by.already_significant,
        is_complete=True,
    )
