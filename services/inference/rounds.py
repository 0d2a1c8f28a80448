"""Rounds of a class's training, kept until the class has its xNN: a training that is killed loses one at most."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from onoma.science.xnn import from_tensors, to_tensors
from onoma.science.xnn_training import Round
from services.inference import tables
from services.runtime.database import session
from services.runtime.errors import DataLoss, NotFound
from services.runtime.objects import ObjectStore

_log = logging.getLogger(__name__)


def keep(
    engine: Engine,
    store: ObjectStore,
    set_name: str,
    number: int,
    found: Mapping[str, Round],
    settings_hashes: Mapping[str, str],
) -> None:
    """Keeps a round of the classes of a group: of all of them or, cut off, of none.

    Args:
        found: by class.
        settings_hashes: of all that the training of a class depends on, by class.
    """
    rows = []
    for class_name, of_class in found.items():
        figures = asdict(of_class) | {"mean_contributions": of_class.mean_contributions.tolist()}
        del figures["xnn"]
        rows.append(
            tables.XnnRound(
                set_name=set_name,
                class_name=class_name,
                number=number,
                settings_hash=settings_hashes[class_name],
                object_key=store.put(save_tensors(to_tensors(of_class.xnn))),
                figures=figures,
            )
        )
    store.flush()
    with session(engine) as opened:
        for row in rows:
            opened.merge(row)


def kept(
    engine: Engine, store: ObjectStore, set_name: str, class_name: str, settings_hash: str
) -> list[Round]:
    """The rounds of a class that were kept of exactly this training, up to one that is lost."""
    row = tables.XnnRound
    query = (
        select(row)
        .where(row.set_name == set_name, row.class_name == class_name, row.settings_hash == settings_hash)
        .order_by(col(row.number))
    )
    with Session(engine) as opened:
        rows = opened.exec(query).all()
    found: list[Round] = []
    for number, of_class in enumerate(rows):
        if of_class.number != number:
            break
        try:
            xnn = from_tensors(load_tensors(store.get(of_class.object_key)))
        except (NotFound, DataLoss) as error:
            _log.warning("round %d of class '%s' is trained again: %s", number, class_name, error)
            break
        figures = of_class.figures | {
            "mean_contributions": torch.tensor(of_class.figures["mean_contributions"])
        }
        found.append(Round(xnn, **figures))
    return found


def forget(opened: Session, set_name: str, class_names: Sequence[str]) -> set[str]:
    """Removes the rounds of classes that are done; returns the keys of their objects, for `delete_unnamed`."""
    row = tables.XnnRound
    query = select(row).where(row.set_name == set_name, col(row.class_name).in_(class_names))
    keys = set()
    for of_class in opened.exec(query).all():
        keys.add(of_class.object_key)
        opened.delete(of_class)
    return keys


def delete_unnamed(engine: Engine, store: ObjectStore, keys: set[str]) -> None:
    """Deletes those of the objects that no xNN and no round names: weights that were not chosen."""
    named: set[str] = set()
    with Session(engine) as opened:
        for column in (col(tables.Xnn.weights_key), col(tables.XnnRound.object_key)):
            named |= set(opened.exec(select(column).where(column.in_(keys))))
    for key in keys - named:
        store.delete(key)
