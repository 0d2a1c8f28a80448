"""What is deleted for good, because its owner says so: a data set, a model, a set of xNNs that nothing needs."""

from __future__ import annotations

from itertools import product
from typing import Any

from sqlalchemy import ColumnElement, Engine, delete
from sqlmodel import Session, col, exists, select

from services.inference import features, kept_cells, registry, tables
from services.inference.tables import (
    Dataset,
    DatasetImage,
    FeatureShard,
    Image,
    ImportIssue,
    KeptCells,
    Model,
)
from services.runtime.database import keep_additions_out, session
from services.runtime.errors import FailedPrecondition
from services.runtime.jobs import ended_jobs

# Which parameter of a job names one, by kind of job.
_IN_JOBS: dict[type[registry.Named], dict[str, str]] = {
    Dataset: {"import_dataset": "name", "train_xnn": "dataset"},
    Model: {"register_model": "name", "train_xnn": "model"},
    tables.XnnSet: {"train_xnn": "name"},
}
_AT_ONCE = 1000  # databases limit what one statement may name


def delete_named(engine: Engine, table: type[registry.Named], name: str) -> None:
    """Deletes a row that people know by name, with what belongs to it alone and the jobs that were about it.

    Of a data set also what imports of it have left that never ended. The objects stay until `onoma doctor
    --remove-orphans` finds that no row names them.

    Raises:
        NotFound: there is none.
        FailedPrecondition: xNNs or a job at work need it.
    """
    registry.check_name(name, registry.WHAT[table])
    what = f"{registry.WHAT[table]} '{name}'"
    with session(engine) as opened:
        keep_additions_out(opened)
        if opened.get(table, name) is None and not (table is Dataset and _has_files(opened, name)):
            raise registry.not_found(table, name)
        for job in ended_jobs(opened, what, name, _IN_JOBS[table]):
            opened.delete(job)
        if table is tables.XnnSet:
            for of_set in (tables.Xnn, tables.XnnRound):
                opened.exec(delete(of_set).where(col(of_set.set_name) == name))
        if table is Model:
            _check_no_xnns(opened, what, col(tables.XnnSet.model) == name)
        if table is Dataset:
            _check_no_xnns(opened, what, col(tables.XnnSet.dataset) == name)
            _delete_pictures(opened, name)
        opened.exec(delete(table).where(col(table.name) == name))
        _delete_what_nobody_asks_for(opened)


def _has_files(opened: Session, dataset: str) -> bool:
    of_it = select(DatasetImage.import_id).where(DatasetImage.dataset == dataset)
    return opened.exec(of_it.limit(1)).first() is not None


def _check_no_xnns(opened: Session, what: str, is_needed: ColumnElement[bool]) -> None:
    sets = opened.exec(select(tables.XnnSet.name).where(is_needed).order_by(tables.XnnSet.name)).all()
    if sets:
        raise FailedPrecondition(
            f"{what} is needed by the xNNs of {', '.join(sets)}: delete those first (onoma xnn delete NAME)",
            "IN_USE",
        )


def _delete_pictures(opened: Session, dataset: str) -> None:
    """Deletes a data set's files, those of imports that never ended among them, and the pictures only it holds."""
    of_it = DatasetImage.dataset == dataset
    image_ids = opened.exec(select(DatasetImage.image_id).where(of_it).distinct()).all()
    for table in (DatasetImage, ImportIssue):
        opened.exec(delete(table).where(col(table.dataset) == dataset))
    is_held = exists().where(col(DatasetImage.image_id) == Image.image_id)
    for start in range(0, len(image_ids), _AT_ONCE):
        some = col(Image.image_id).in_(image_ids[start : start + _AT_ONCE])
        opened.exec(delete(Image).where(some, ~is_held))


def _delete_what_nobody_asks_for(opened: Session) -> None:
    """Deletes from the caches what no model and data set that there are would look up."""
    models, datasets = opened.exec(select(Model)).all(), opened.exec(select(Dataset)).all()
    wanted = {key for pair in product(models, datasets) for key in features.cache_keys(*pair)}
    _delete_others(opened, FeatureShard, "cache_key", wanted)
    _delete_others(opened, KeptCells, "seen_by", {kept_cells.cache_key(model) for model in models})
    is_there = exists().where(col(Image.image_id) == KeptCells.image_id)
    opened.exec(delete(KeptCells).where(~is_there))


def _delete_others(opened: Session, table: Any, column: str, wanted: set[str]) -> None:
    present = opened.exec(select(getattr(table, column)).distinct()).all()
    for key in set(present) - wanted:
        opened.exec(delete(table).where(getattr(table, column) == key))
