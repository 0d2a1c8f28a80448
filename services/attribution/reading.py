"""What is stored of a study, as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from onoma.v1 import types_pb2
from services.attribution.shards import Place, read
from services.attribution.tables import Activation, ExplainedImage, MapRun
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from services.runtime.objects import ObjectStore

_ROWS_AT_ONCE = 10_000
_MAPS_AT_ONCE = 1000
_IDS_A_QUERY = 500
MAX_MAPS = 10_000


def activations(engine: Engine, study_id: str, category: str) -> Iterator[types_pb2.ActivationColumns]:
    """Significant activations by category, image and X-feature, in batches."""
    query = select(Activation).where(Activation.study_id == study_id)
    if category:
        query = query.where(Activation.category == category)
    order = (col(Activation.category), col(Activation.image_id), col(Activation.x_feature))
    with Session(engine) as opened:
        for rows in opened.exec(query.order_by(*order)).partitions(_ROWS_AT_ONCE):
            yield types_pb2.ActivationColumns(
                activation_id=[row.activation_id for row in rows],
                image_id=[row.image_id for row in rows],
                category=[row.category for row in rows],
                x_feature=[row.x_feature for row in rows],
                x=[row.x for row in rows],
                contribution=[row.contribution for row in rows],
                share=[row.share for row in rows],
                map_sum=[row.map_sum for row in rows],
            )


def explained_images(
    engine: Engine, study_id: str, category: str
) -> Iterator[types_pb2.ExplainedImageColumns]:
    """Explained images by category and image id, in batches."""
    query = select(ExplainedImage).where(ExplainedImage.study_id == study_id)
    if category:
        query = query.where(ExplainedImage.category == category)
    order = (col(ExplainedImage.category), col(ExplainedImage.image_id))
    with Session(engine) as opened:
        for rows in opened.exec(query.order_by(*order)).partitions(_ROWS_AT_ONCE):
            yield types_pb2.ExplainedImageColumns(
                image_id=[row.image_id for row in rows],
                category=[row.category for row in rows],
                dnn_score=[row.dnn_score for row in rows],
                xnn_score=[row.xnn_score for row in rows],
                predicted_class=[row.predicted_class for row in rows],
                significant_count=[row.significant_count for row in rows],
            )


def maps(
    engine: Engine, store: ObjectStore, study_id: str, activation_ids: Sequence[str]
) -> Iterator[types_pb2.MapColumns]:
    """Maps in the order asked for, in batches.

    Raises:
        InvalidArgument: more than 10,000 are asked for.
        FailedPrecondition: the study has no maps yet.
        NotFound: an id is not of this study; nothing is sent then.
        DataLoss: a stored map is damaged.
    """
    if len(activation_ids) > MAX_MAPS:
        raise InvalidArgument(f"{len(activation_ids)} maps in one call; at most {MAX_MAPS} are given")
    with Session(engine) as opened:
        run = opened.get(MapRun, study_id)
        if run is None:
            raise FailedPrecondition(f"study '{study_id[:80]}' has no maps yet (onoma maps compute STUDY)")
        rows = _rows(opened, study_id, activation_ids)
    for start in range(0, len(activation_ids), _MAPS_AT_ONCE):
        ids = activation_ids[start : start + _MAPS_AT_ONCE]
        places = [Place(rows[i].shard_key, rows[i].shard_index, rows[i].crc32) for i in ids]
        yield types_pb2.MapColumns(
            activation_id=ids,
            height=run.map_height,
            width=run.map_width,
            scale=[rows[i].map_scale for i in ids],
            values=read(store, places, run.map_height, run.map_width),
        )


def _rows(opened: Session, study_id: str, activation_ids: Sequence[str]) -> dict[str, Activation]:
    rows: dict[str, Activation] = {}
    wanted = list(dict.fromkeys(activation_ids))
    for start in range(0, len(wanted), _IDS_A_QUERY):
        ids = wanted[start : start + _IDS_A_QUERY]
        query = select(Activation).where(
            Activation.study_id == study_id, col(Activation.activation_id).in_(ids)
        )
        rows |= {row.activation_id: row for row in opened.exec(query)}
    for activation_id in wanted:
        if activation_id not in rows:
            raise NotFound(f"study '{study_id[:80]}' has no activation '{activation_id[:80]}'")
    return rows
