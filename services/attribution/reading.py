"""What is stored of a study, as columns in batches; nothing of it before the study is complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import Engine
from sqlmodel import Session, col

from onoma.v1 import attribution_pb2, types_pb2
from services.attribution import runs
from services.attribution.provenance import provenance
from services.attribution.shards import Place, read
from services.attribution.tables import Activation, ExplainedImage
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from services.runtime.objects import ObjectStore

MAX_MAPS = 10_000
_ROWS_AT_ONCE = 10_000
_MAPS_AT_ONCE = 1000
_BYTES_AT_ONCE = 4 << 20
_IDS_A_QUERY = 500


def activations(engine: Engine, study_id: str, category: str) -> Iterator[types_pb2.ActivationColumns]:
    """Significant activations by category, image and X-feature; of one category, or of all when "".

    Raises:
        FailedPrecondition: the study's maps are not all there.
    """
    row = Activation
    names = ("activation_id", "image_id", "category", "x_feature", "x", "contribution", "share", "map_sum")
    order = (col(row.category), col(row.image_id), col(row.x_feature))
    query = sqlalchemy.select(*(getattr(row, name) for name in names)).where(row.study_id == study_id)
    if category:
        query = query.where(row.category == category)
    with Session(engine) as opened:
        runs.completed(opened, study_id)
        for rows in opened.execute(query.order_by(*order)).partitions(_ROWS_AT_ONCE):
            yield types_pb2.ActivationColumns(**_columns(names, rows))


def explained_images(
    engine: Engine, study_id: str, category: str
) -> Iterator[types_pb2.ExplainedImageColumns]:
    """Explained images by category and image id; of one category, or of all when "".

    Raises:
        FailedPrecondition: the study's maps are not all there.
    """
    row = ExplainedImage
    names = ("image_id", "category", "dnn_score", "xnn_score", "predicted_class", "significant_count")
    query = sqlalchemy.select(*(getattr(row, name) for name in names)).where(row.study_id == study_id)
    if category:
        query = query.where(row.category == category)
    with Session(engine) as opened:
        runs.completed(opened, study_id)
        ordered = query.order_by(col(row.category), col(row.image_id))
        for rows in opened.execute(ordered).partitions(_ROWS_AT_ONCE):
            yield types_pb2.ExplainedImageColumns(**_columns(names, rows))


def study_maps(engine: Engine, study_id: str) -> Iterator[attribution_pb2.StudyMaps]:
    """All that is stored of a study but its shards, in parts that merge to the whole.

    Raises:
        FailedPrecondition: the study's maps are not all there, or stored as versions before 0003 did.
    """
    row = Activation
    place = (col(row.shard_key), col(row.shard_index))
    order = (col(row.category), col(row.image_id), col(row.x_feature))
    of_study = sqlalchemy.select(*place).where(row.study_id == study_id)
    with Session(engine) as opened:
        run = runs.completed(opened, study_id)
        starts = sqlalchemy.select(place[0], sqlalchemy.func.min(row.shard_start))
        begins = dict(
            opened.execute(starts.where(row.study_id == study_id).group_by(place[0]).order_by(place[0])).all()
        )
        if 0 in begins.values():
            raise FailedPrecondition(
                f"the maps of study '{study_id[:80]}' were stored by a version whose objects do not say what they "
                "hold; draw them in a new study",
                "MAPS_WITHOUT_HEADER",
            )
        yield attribution_pb2.StudyMaps(provenance=provenance(run), shard_keys=list(begins))
        numbers = {key: number for number, key in enumerate(begins)}
        for places in opened.execute(of_study.order_by(*order)).partitions(_ROWS_AT_ONCE):
            yield attribution_pb2.StudyMaps(
                shard=[numbers[key] for key, _ in places], shard_index=[index for _, index in places]
            )
    for columns in activations(engine, study_id, ""):
        yield attribution_pb2.StudyMaps(activations=columns)
    for images in explained_images(engine, study_id, ""):
        yield attribution_pb2.StudyMaps(images=images)


def maps(
    engine: Engine, store: ObjectStore, study_id: str, activation_ids: Sequence[str]
) -> Iterator[types_pb2.MapColumns]:
    """Maps in the order asked for.

    Raises:
        InvalidArgument: more than 10,000 are asked for.
        FailedPrecondition: the study's maps are not all there.
        NotFound: an id is not of this study; nothing is sent then.
        DataLoss: a stored map is gone or damaged.
    """
    if len(activation_ids) > MAX_MAPS:
        raise InvalidArgument(f"{len(activation_ids)} maps in one call; at most {MAX_MAPS} are given")
    with Session(engine) as opened:
        run = runs.completed(opened, study_id)
        size = run.map_height * run.map_width * 2
        rows = _rows(opened, study_id, activation_ids)
    at_once = max(1, min(_MAPS_AT_ONCE, _BYTES_AT_ONCE // size))
    for start in range(0, len(activation_ids), at_once):
        ids = activation_ids[start : start + at_once]
        places = [
            Place(rows[i].shard_key, rows[i].shard_start, rows[i].shard_index, rows[i].crc32) for i in ids
        ]
        yield types_pb2.MapColumns(
            activation_id=ids,
            height=run.map_height,
            width=run.map_width,
            scale=[rows[i].map_scale for i in ids],
            values=read(store, places, size),
        )


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Columns by name; one that the study's archive left out is left out here, as its first row says."""
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return {name: values for name, values in columns if values[0] is not None}


def _rows(opened: Session, study_id: str, activation_ids: Sequence[str]) -> dict[str, sqlalchemy.Row[Any]]:
    """Where the maps are, by activation, as plain rows: objects take three times as long."""
    names = ("activation_id", "map_scale", "shard_key", "shard_start", "shard_index", "crc32")
    columns = sqlalchemy.select(*(getattr(Activation, name) for name in names))
    of_study = columns.where(col(Activation.study_id) == study_id)
    rows: dict[str, sqlalchemy.Row[Any]] = {}
    wanted = list(dict.fromkeys(activation_ids))
    for start in range(0, len(wanted), _IDS_A_QUERY):
        ids = wanted[start : start + _IDS_A_QUERY]
        found = opened.execute(of_study.where(col(Activation.activation_id).in_(ids)))
        rows |= {row.activation_id: row for row in found}
    for activation_id in wanted:
        if activation_id not in rows:
            raise NotFound(f"study '{study_id[:80]}' has no activation '{activation_id[:80]}'")
    return rows
