"""The xNNs of a set, as they are stored: rows, weights, and what they say of the test part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from onoma.science.xnn import Xnn, from_tensors, score
from services.inference import registry, tables
from services.inference.features import kept_features
from services.runtime.errors import FailedPrecondition, NotFound
from services.runtime.objects import ObjectStore


def xnns_of(engine: Engine, row: tables.XnnSet) -> Sequence[tables.Xnn]:
    """The xNNs of a set, in the order of the model's classes."""
    with Session(engine) as opened:
        model = opened.get(tables.Model, row.model)
        rows = opened.exec(select(tables.Xnn).where(col(tables.Xnn.set_name) == row.name)).all()
    order = {name: index for index, name in enumerate(model.classes if model else [])}
    return sorted(rows, key=lambda xnn: order.get(xnn.class_name, len(order)))


def is_imported(xnns: Sequence[tables.Xnn]) -> bool:
    """Whether they came with a study: what they were trained on is not here."""
    return any(xnn.settings_hash == tables.TRAINED_ELSEWHERE for xnn in xnns)


def load_xnn(store: ObjectStore, row: tables.Xnn) -> Xnn:
    """The xNN of a row."""
    return from_tensors(load_tensors(store.get(row.weights_key)))


def scores_on_the_test_part(
    engine: Engine, store: ObjectStore, set_name: str, class_name: str
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]]:
    """Scores of a class by the network and by its xNN, and whether each image is of the class, batch by batch.

    Raises:
        NotFound: no such set, or it has no xNN of the class.
        FailedPrecondition: the features that it was measured on are no longer kept.
    """
    row = registry.find(engine, tables.XnnSet, set_name)
    model = registry.find(engine, tables.Model, row.model)
    dataset = registry.find(engine, tables.Dataset, row.dataset)
    with Session(engine) as opened:
        found = opened.get(tables.Xnn, (set_name, class_name))
    if found is None:
        known = ", ".join(f"'{xnn.class_name}'" for xnn in xnns_of(engine, row)) or "none"
        raise NotFound(f"set '{set_name}' has no xNN of class '{class_name[:80]}', it has: {known}")
    if is_imported([found]):
        raise FailedPrecondition(
            f"set '{set_name}' came with a study, without the pictures that it was measured on; its figures came "
            f"along (onoma xnn show {set_name})"
        )
    xnn, target = load_xnn(store, found), model.classes.index(class_name)
    for shard in kept_features(engine, store, model, dataset, tables.TEST):
        of_class = shard.class_indices == dataset.classes.index(class_name)
        yield shard.scores[:, target], score(xnn, torch.from_numpy(shard.features)).numpy(), of_class
