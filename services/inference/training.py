"""Training of xNNs: one a class, a row and an object as each is done, measured on the test part."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from sqlalchemy import Engine
from sqlmodel import Session, col, select
from torch import Tensor

from onoma.science import xnn as science
from services.inference import datasets, registry, tables
from services.inference.features import PartFeatures, part_features
from services.inference.sessions import open_stored
from services.runtime.database import session
from services.runtime.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore

LEAST_IMAGES = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A training that can begin.

    Attributes:
        name: of the set of xNNs.
        model: the network.
        dataset: its training part trains, its test part measures.
        classes: to train, in the order of the model's classes.
        settings: how.
        seed: of everything random.
    """

    name: str
    model: tables.Model
    dataset: tables.Dataset
    classes: tuple[str, ...]
    settings: science.XnnSettings
    seed: int

    @property
    def used(self) -> dict[str, Any]:
        """The settings as the set's row and its message have them."""
        return asdict(self.settings) | {"seed": self.seed}

    def settings_hash(self, class_name: str) -> str:
        """SHA-256 of all that the training of a class depends on."""
        model, dataset = self.model, self.dataset
        layer = (model.model_hash, model.attachment_layer, model.preprocessing)
        what = [*layer, dataset.content_hash, self.used, class_name]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def plan(engine: Engine, params: Mapping[str, Any]) -> Plan:
    """What a request asks for, checked against what there is.

    Raises:
        NotFound: no such model or data set.
        InvalidArgument: an unknown class, or settings out of range.
        FailedPrecondition: model and data set share no class, or the set's name is taken.
    """
    model = registry.find(engine, tables.Model, params["model"])
    dataset = registry.find(engine, tables.Dataset, params["dataset"])
    settings, seed = _settings(params["settings"])
    classes = _classes(params["classes"], model, dataset)
    made = Plan(params["name"], model, dataset, classes, settings, seed)
    with Session(engine) as opened:
        _refuse_other(opened.get(tables.XnnSet, made.name), made)
    return made


def train(context: JobContext, engine: Engine, store: ObjectStore, max_pixels: int) -> dict[str, Any]:
    """The job: features, then one xNN a class; classes already trained with the same inputs are kept.

    Raises:
        InvalidArgument: an unknown class, or settings out of range.
        FailedPrecondition: no class can be trained, or the set's name is taken.
    """
    chosen = plan(engine, context.params)
    model, dataset = chosen.model, chosen.dataset
    onnx = open_stored(store, model.name, model.onnx_key)
    training = part_features(context, engine, store, onnx, model, dataset, tables.TRAIN, max_pixels)
    test = part_features(context, engine, store, onnx, model, dataset, tables.TEST, max_pixels)
    trainable = _trainable(context, chosen, training)
    _claim_name(engine, chosen)
    context.stage("training xNNs", len(trainable) * chosen.settings.epochs)
    for class_name in trainable:
        context.check()
        epochs = _Epochs(context, chosen.settings.epochs)
        if not _is_trained(engine, store, chosen, class_name):
            _train_class(engine, store, chosen, class_name, training, test, epochs)
        epochs.end()
    for class_name in trainable:
        if not (test.class_indices == dataset.classes.index(class_name)).any():
            context.warn(f"class '{class_name}' has no test image; its accuracy is not known")
    summary = _summary(engine, store, chosen, test)
    with session(engine) as opened:
        row = opened.get_one(tables.XnnSet, chosen.name)
        row.summary = summary
    return {"xnn_set": chosen.name, "classes": len(trainable)}


def _trainable(context: JobContext, chosen: Plan, training: PartFeatures) -> list[str]:
    """The classes with enough images; warns of the others."""
    for class_name in sorted(set(chosen.model.classes) - set(chosen.dataset.classes)):
        context.warn(f"class '{class_name}' of the model is not in the data set; it gets no xNN")
    trainable = []
    for class_name in chosen.classes:
        count = int((training.class_indices == chosen.dataset.classes.index(class_name)).sum())
        if count >= LEAST_IMAGES:
            trainable.append(class_name)
            continue
        context.warn(
            f"class '{class_name}' has {count} training image{'' if count == 1 else 's'}; at least "
            f"{LEAST_IMAGES} are needed (add images or leave it out with --classes)"
        )
    if not trainable:
        raise FailedPrecondition(
            f"no class of data set '{chosen.dataset.name}' has the {LEAST_IMAGES} training images that are needed; "
            "nothing was trained"
        )
    return trainable


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch on one core: products this small gain a fifth by a second, and lose tenfold where anything else runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train_class(
    engine: Engine,
    store: ObjectStore,
    chosen: Plan,
    class_name: str,
    training: PartFeatures,
    test: PartFeatures,
    epochs: _Epochs,
) -> None:
    """Trains, measures and stores one xNN; the figures of the set as a whole are then no longer known."""
    target = chosen.model.classes.index(class_name)
    class_index = chosen.dataset.classes.index(class_name)
    with _one_thread():
        fit = science.train(
            torch.from_numpy(training.features),
            torch.from_numpy(np.ascontiguousarray(training.scores[:, target])),
            torch.from_numpy(training.class_indices == class_index),
            chosen.settings,
            chosen.seed + target,
            epochs.one_more,
        )
    weights_key = store.put(save_tensors(science.to_tensors(fit.xnn)))
    store.flush()
    row = tables.Xnn(
        set_name=chosen.name,
        class_name=class_name,
        weights_key=weights_key,
        settings_hash=chosen.settings_hash(class_name),
        metrics=_metrics(fit, test, target, class_index, chosen.settings),
    )
    with session(engine) as opened:
        opened.merge(row)
        opened.get_one(tables.XnnSet, chosen.name).summary = {}


def xnns_of(engine: Engine, row: tables.XnnSet) -> Sequence[tables.Xnn]:
    """The xNNs of a set, in the order of the model's classes."""
    with Session(engine) as opened:
        model = opened.get(tables.Model, row.model)
        rows = opened.exec(select(tables.Xnn).where(col(tables.Xnn.set_name) == row.name)).all()
    order = {name: index for index, name in enumerate(model.classes if model else [])}
    return sorted(rows, key=lambda xnn: order.get(xnn.class_name, len(order)))


def load_xnn(store: ObjectStore, row: tables.Xnn) -> science.Xnn:
    """The xNN of a row."""
    return science.from_tensors(load_tensors(store.get(row.weights_key)))


class _Epochs:
    """Counts epochs of one class; those of further rounds are not in the bar's total."""

    def __init__(self, context: JobContext, epochs: int) -> None:
        self._context = context
        self._left = epochs

    def one_more(self) -> None:
        self._context.check()
        if self._left:
            self._left -= 1
            self._context.advance()

    def end(self) -> None:
        """Counts those that were not needed, because the class was kept."""
        self._context.advance(self._left)


def _settings(given: dict[str, Any]) -> tuple[science.XnnSettings, int]:
    names = {field.name for field in fields(science.XnnSettings)}
    settings = replace(science.XnnSettings(), **{k: v for k, v in given.items() if k in names})
    for name, low, high in (("x_feature_count", 1, 64), ("epochs", 1, 1000)):
        value = getattr(settings, name)
        if not low <= value <= high:
            raise InvalidArgument(f"{name} is {value}; it must be {low} to {high}")
    if settings.batch_size and not 2 <= settings.batch_size <= 65536:
        raise InvalidArgument(
            f"batch_size is {settings.batch_size}; it must be 2 to 65536, or 0 to choose it"
        )
    for name in ("reconstruction_weight", "pull_away_weight", "reconstruction_q", "negatives_per_positive"):
        value = getattr(settings, name)
        if not 0 <= value < float("inf"):
            raise InvalidArgument(f"{name} is {value}; it must be finite and not negative")
    if not 0 < settings.significant_share <= 1:
        raise InvalidArgument(f"significant_share is {settings.significant_share}; it must be in (0, 1]")
    return settings, given.get("seed", 0)


def _classes(wanted: Sequence[str], model: tables.Model, dataset: tables.Dataset) -> tuple[str, ...]:
    for name in wanted:
        datasets.class_index(model.classes, name, f"model '{model.name}'")
        datasets.class_index(dataset.classes, name, f"data set '{dataset.name}'")
    shared = tuple(n for n in model.classes if n in dataset.classes and (not wanted or n in wanted))
    if not shared:
        raise FailedPrecondition(
            f"model '{model.name}' ({_shown(model.classes)}) and data set '{dataset.name}' "
            f"({_shown(dataset.classes)}) have no class name in common; register the model with the data set's "
            "names, in the order of its scores (--classes)"
        )
    return shared


def _shown(classes: Sequence[str]) -> str:
    return ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")


def _claim_name(engine: Engine, chosen: Plan) -> None:
    with session(engine) as opened:
        found = opened.get(tables.XnnSet, chosen.name)
        _refuse_other(found, chosen)
        if found is None:
            opened.add(
                tables.XnnSet(
                    name=chosen.name,
                    model=chosen.model.name,
                    dataset=chosen.dataset.name,
                    settings=chosen.used,
                    summary={},
                )
            )


def _refuse_other(found: tables.XnnSet | None, chosen: Plan) -> None:
    wanted = (chosen.model.name, chosen.dataset.name, chosen.used)
    if found and (found.model, found.dataset, found.settings) != wanted:
        raise FailedPrecondition(
            f"set '{found.name}' was trained for model '{found.model}' on '{found.dataset}' with other "
            "settings; give this one another name (--name)"
        )


def _is_trained(engine: Engine, store: ObjectStore, chosen: Plan, class_name: str) -> bool:
    """Whether the class has an xNN of exactly this training, whole in the store."""
    with Session(engine) as opened:
        found = opened.get(tables.Xnn, (chosen.name, class_name))
    if found is None or found.settings_hash != chosen.settings_hash(class_name):
        return False
    try:
        store.get(found.weights_key)
    except (NotFound, DataLoss) as error:
        _log.warning("the xNN of class '%s' is trained again: %s", class_name, error)
        return False
    return True


def _metrics(
    fit: science.Fit, test: PartFeatures, target: int, class_index: int, settings: science.XnnSettings
) -> dict[str, Any]:
    """The row of Table 1, with the columns that are ours; what is 0/0 is left out."""
    features, scores = torch.from_numpy(test.features), torch.from_numpy(test.scores)
    metrics: dict[str, Any] = {
        "mean_contributions": fit.mean_contributions.tolist(),
        "mattering_count": fit.mattering_count,
        "first_mattering_count": fit.first_mattering_count,
        "restart_count": fit.restart_count,
        "accepted": fit.accepted,
        "image_count": 0,
        "significant_count": 0,
    }
    if not len(features):
        return metrics
    predicted = science.score(fit.xnn, features)
    metrics["rmse"] = float((predicted - scores[:, target]).double().square().mean().sqrt())
    metrics["score_min"], metrics["score_max"] = (
        float(scores[:, target].min()),
        float(scores[:, target].max()),
    )
    own = torch.from_numpy(test.class_indices == class_index)
    if not own.any():
        return metrics
    counts = science.significant_counts(fit.xnn, features[own], settings.significant_share)
    replaced = scores[own].clone()
    replaced[:, target] = predicted[own]
    metrics |= {
        "image_count": int(own.sum()),
        "significant_count": int(counts.sum()),
        "significant_mean": float(counts.double().mean()),
        "dnn_accuracy": float((scores[own].argmax(1) == target).double().mean()),
        "xnn_accuracy": float((replaced.argmax(1) == target).double().mean()),
    }
    correlation = _mean_abs_correlation(science.terms(fit.xnn, features[own]))
    return metrics if correlation is None else metrics | {"mean_abs_correlation": correlation}


def _mean_abs_correlation(terms: Tensor) -> float | None:
    """Mean |off-diagonal Pearson correlation| of the terms that vary; None where fewer than two do."""
    varying = terms[:, terms.std(0) > 1e-9].double() if len(terms) > 1 else terms[:, :0]
    count = varying.shape[1]
    if count < 2:
        return None
    matrix = torch.corrcoef(varying.T).abs()
    return float((matrix.sum() - matrix.diagonal().sum()) / (count * (count - 1)))


def _summary(engine: Engine, store: ObjectStore, chosen: Plan, test: PartFeatures) -> dict[str, Any]:
    """Figures over all test images whose class the model knows.

    Those of the xNNs only where every class of the model has one, trained on the data set as it is now.
    """
    model, dataset = chosen.model, chosen.dataset
    known = np.array([model.classes.index(c) if c in model.classes else -1 for c in dataset.classes])
    wanted = known[test.class_indices]
    counted = wanted >= 0
    summary: dict[str, Any] = {"test_image_count": int(counted.sum())}
    if not counted.any():
        return summary
    labels = torch.from_numpy(wanted[counted])
    dnn = torch.from_numpy(test.scores[counted])
    summary["dnn_accuracy"] = float((dnn.argmax(1) == labels).double().mean())
    with Session(engine) as opened:
        row = opened.get_one(tables.XnnSet, chosen.name)
    rows = [xnn for xnn in xnns_of(engine, row) if xnn.settings_hash == chosen.settings_hash(xnn.class_name)]
    if len(rows) < len(model.classes):
        return summary
    features = torch.from_numpy(test.features[counted])
    predicted = torch.stack([science.score(load_xnn(store, xnn), features) for xnn in rows], dim=1).argmax(1)
    summary["argmax_agreement"] = float((predicted == dnn.argmax(1)).double().mean())
    summary["xnn_accuracy"] = float((predicted == labels).double().mean())
    return summary
