"""Sets of xNNs that were trained elsewhere: uploaded weights with their figures as measured there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from safetensors import SafetensorError
from sqlalchemy import Engine
from sqlmodel import Session

from onoma.science.xnn_fitting import XnnSettings
from services.inference import datasets, registry, tables
from services.inference.stored_xnns import load_xnn, xnns_of
from services.inference.training import checked_settings
from services.runtime.database import keep_deletions_out, session
from services.runtime.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from services.runtime.objects import ObjectStore


def take(
    engine: Engine,
    store: ObjectStore,
    names: Mapping[str, str],
    settings: dict[str, Any],
    xnns: Mapping[str, tuple[str, dict[str, Any]]],
    summary: dict[str, Any],
) -> tables.XnnSet:
    """The set's row, stored with its xNNs in one transaction; the one there is where it is the same.

    Args:
        names: "name" of the set, and of its "model" and "dataset" here.
        settings: those that were said.
        xnns: by class, key of the weights and figures.
        summary: figures of the set as a whole.
    Raises:
        NotFound: no such model or data set.
        InvalidArgument: a class, a setting, a figure or weights that cannot be.
        FailedPrecondition: weights are not uploaded.
        AlreadyExists: another set has the name.
    """
    model = registry.find(engine, tables.Model, names["model"])
    dataset = registry.find(engine, tables.Dataset, names["dataset"])
    checked, seed = checked_settings(settings)
    if not xnns:
        raise InvalidArgument(f"set '{names['name']}' has no xNNs; send one a class")
    rows = []
    for class_name, (weights_key, metrics) in xnns.items():
        datasets.class_index(model.classes, class_name, f"model '{model.name}'")
        _check_finite(class_name, metrics)
        row = tables.Xnn(
            set_name=names["name"],
            class_name=class_name,
            weights_key=weights_key,
            settings_hash=tables.TRAINED_ELSEWHERE,
            metrics=metrics,
        )
        _check_weights(store, model, row)
        rows.append(row)
    _check_finite("all", summary)
    wanted = tables.XnnSet(**names, settings=asdict(checked) | {"seed": seed}, summary=summary)
    with Session(engine) as opened:
        found = opened.get(tables.XnnSet, wanted.name)
    if found is not None:
        _refuse_other(found, list(xnns_of(engine, found)), wanted, rows)
        return found
    with session(engine) as opened:
        keep_deletions_out(opened)
        registry.check_there(opened, model, dataset)
        opened.add(wanted)
        opened.flush()
        opened.add_all(rows)
        opened.flush()
        opened.expunge(wanted)
    return wanted


def _check_finite(class_name: str, figures: Mapping[str, Any]) -> None:
    for name, value in figures.items():
        values = value if isinstance(value, list) else [value]
        if not all(map(math.isfinite, values)):
            raise InvalidArgument(f"figure {name} of class '{class_name}' is NaN or infinite; leave it unset")


def _check_weights(store: ObjectStore, model: tables.Model, row: tables.Xnn) -> None:
    try:
        xnn = load_xnn(store, row)
    except NotFound as error:
        raise FailedPrecondition(
            f"no object has the key {row.weights_key[:80]}: upload the xNN of class '{row.class_name}' first",
            "NO_OBJECT",
        ) from error
    except (ValueError, SafetensorError) as error:
        raise InvalidArgument(f"the weights of class '{row.class_name}' are no xNN: {error}") from error
    inputs = xnn.encoder[0][0].shape[1]
    if inputs != model.feature_count:
        raise InvalidArgument(
            f"the xNN of class '{row.class_name}' reads {inputs} units; layer {model.attachment_layer} of model "
            f"'{model.name}' has {model.feature_count}"
        )


def _refuse_other(
    found: tables.XnnSet, has: list[tables.Xnn], wanted: tables.XnnSet, rows: list[tables.Xnn]
) -> None:
    def content(one: tables.XnnSet, xnns: list[tables.Xnn]) -> tuple[object, ...]:
        weights = {xnn.class_name: (xnn.weights_key, xnn.metrics) for xnn in xnns}
        settings = asdict(XnnSettings()) | one.settings  # it may be of before a setting was there
        return one.model, one.dataset, settings, one.summary, weights

    if content(found, has) != content(wanted, rows):
        raise AlreadyExists(
            f"another set of xNNs is named '{found.name}'; give this one another name", "NAME_TAKEN"
        )
