"""Training of xNNs: one a class, a row and an object as each is done, measured on the test part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
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
from services.inference.sessions import open_session
from services.runtime.database import session
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore

LEAST_IMAGES = 2


def train(context: JobContext, engine: Engine, store: ObjectStore) -> dict[str, Any]:
    """The job: features, then one xNN a class; classes already trained with the same inputs are kept.

    Raises:
        InvalidArgument: an unknown class, or settings out of range.
        FailedPrecondition: model and data set share no class that can be trained, or the name is taken.
    """
    params = context.params
    model = registry.find(engine, tables.Model, params["model"])
    dataset = registry.find(engine, tables.Dataset, params["dataset"])
    settings, seed = _settings(params["settings"])
    classes = _classes(params["classes"], model, dataset)
    onnx = open_session(store.get(model.onnx_key))
    training = part_features(context, engine, store, onnx, model, dataset, tables.TRAIN)
    test = part_features(context, engine, store, onnx, model, dataset, tables.TEST)
    used = asdict(settings) | {"seed": seed}
    del used["auxiliary_scale"]
    row = tables.XnnSet(
        name=params["name"], model=model.name, dataset=dataset.name, settings=used, summary={}
    )
    _claim_name(engine, row)
    rounds = science.MAX_ROUNDS + 1
    context.stage("training xNNs", len(classes) * settings.epochs)
    trained: list[str] = []
    for index, class_name in enumerate(classes):
        context.check()
        positive = training.class_indices == dataset.classes.index(class_name)
        count = int(positive.sum())
        if count < LEAST_IMAGES:
            context.warn(
                f"class '{class_name}' has {count} training image{'' if count == 1 else 's'}; at least "
                f"{LEAST_IMAGES} are needed (add images or leave it out with --classes)"
            )
            continue
        target = model.classes.index(class_name)
        settings_hash = _hash(model, dataset, used, class_name)
        if not _is_trained(engine, store, row.name, class_name, settings_hash):
            epochs = _Epochs(context, settings.epochs, rounds)
            fit = science.train(
                torch.from_numpy(training.features),
                torch.from_numpy(np.ascontiguousarray(training.scores[:, target])),
                torch.from_numpy(positive),
                settings,
                seed + target,
                epochs.one_more,
            )
            metrics = _metrics(fit, test, target, dataset.classes.index(class_name), settings)
            weights_key = store.put(save_tensors(science.to_tensors(fit.xnn)))
            store.flush()
            with session(engine) as opened:
                opened.merge(
                    tables.Xnn(
                        set_name=row.name,
                        class_name=class_name,
                        weights_key=weights_key,
                        settings_hash=settings_hash,
                        metrics=metrics,
                    )
                )
        trained.append(class_name)
        context.stage("training xNNs", len(classes) * settings.epochs)
        context.advance((index + 1) * settings.epochs)
    if not trained:
        raise FailedPrecondition("no class has enough training images; nothing was trained")
    for class_name in trained:
        if not (test.class_indices == dataset.classes.index(class_name)).any():
            context.warn(f"class '{class_name}' has no test image; its accuracy is not known")
    summary = _summary(engine, store, row.name, model, dataset, test, trained)
    with session(engine) as opened:
        found = opened.get(tables.XnnSet, row.name)
        assert found is not None
        found.summary = summary
    return {"xnn_set": row.name, "classes": len(trained)}


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
    """Counts epochs of one class; rounds beyond the first are not in the bar's total."""

    def __init__(self, context: JobContext, epochs: int, rounds: int) -> None:
        self._context = context
        self._left = epochs
        self._rounds = rounds

    def one_more(self) -> None:
        self._context.check()
        if self._left:
            self._left -= 1
            self._context.advance()


def _settings(given: dict[str, Any]) -> tuple[science.XnnSettings, int]:
    names = {field.name for field in fields(science.XnnSettings)} - {"auxiliary_scale"}
    settings = replace(science.XnnSettings(), **{k: v for k, v in given.items() if k in names})
    for name, low, high in (("x_feature_count", 1, 64), ("epochs", 1, 1000), ("batch_size", 2, 65536)):
        value = getattr(settings, name)
        if not low <= value <= high:
            raise InvalidArgument(f"{name} is {value}; it must be {low} to {high}")
    for name in ("reconstruction_weight", "pull_away_weight", "reconstruction_q", "negatives_per_positive"):
        value = getattr(settings, name)
        if not 0 <= value < float("inf"):
            raise InvalidArgument(f"{name} is {value}; it must be finite and not negative")
    if not 0 < settings.significant_share <= 1:
        raise InvalidArgument(f"significant_share is {settings.significant_share}; it must be in (0, 1]")
    return settings, given.get("seed", 0)


def _classes(wanted: list[str], model: tables.Model, dataset: tables.Dataset) -> list[str]:
    for name in wanted:
        datasets.class_index(model.classes, name, f"model '{model.name}'")
        datasets.class_index(dataset.classes, name, f"data set '{dataset.name}'")
    shared = [name for name in model.classes if name in dataset.classes and (not wanted or name in wanted)]
    if not shared:
        raise FailedPrecondition(
            f"model '{model.name}' ({', '.join(model.classes[:5])}, ...) and data set '{dataset.name}' "
            f"({', '.join(dataset.classes[:5])}, ...) have no class name in common"
        )
    return shared


def _claim_name(engine: Engine, row: tables.XnnSet) -> None:
    with session(engine) as opened:
        found = opened.get(tables.XnnSet, row.name)
        if found is None:
            opened.merge(row)
        elif (found.model, found.dataset, found.settings) != (row.model, row.dataset, row.settings):
            raise FailedPrecondition(
                f"set '{row.name}' was trained for model '{found.model}' on '{found.dataset}' with other "
                "settings; give this one another name (--name)"
            )


def _is_trained(
    engine: Engine, store: ObjectStore, set_name: str, class_name: str, settings_hash: str
) -> bool:
    with Session(engine) as opened:
        found = opened.get(tables.Xnn, (set_name, class_name))
    return found is not None and found.settings_hash == settings_hash and store.exists(found.weights_key)


def _hash(model: tables.Model, dataset: tables.Dataset, used: dict[str, Any], class_name: str) -> str:
    what = [
        model.model_hash,
        model.attachment_layer,
        model.preprocessing,
        dataset.content_hash,
        used,
        class_name,
    ]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _metrics(
    fit: science.Fit, test: PartFeatures, target: int, class_index: int, settings: science.XnnSettings
) -> dict[str, Any]:
    """The row of Table 1, with the columns that are ours; what is 0/0 is left out."""
    features, scores = torch.from_numpy(test.features), torch.from_numpy(test.scores)
    metrics: dict[str, Any] = {
        "mean_contributions": fit.mean_contributions.tolist(),
        "mattering_count": fit.mattering_count,
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


def _summary(
    engine: Engine,
    store: ObjectStore,
    set_name: str,
    model: tables.Model,
    dataset: tables.Dataset,
    test: PartFeatures,
    trained: list[str],
) -> dict[str, Any]:
    """Figures over all test images whose class the model knows; empty unless every class of the model has an xNN."""
    known = np.array([model.classes.index(c) if c in model.classes else -1 for c in dataset.classes])
    wanted = known[test.class_indices] if len(test.class_indices) else np.zeros(0, np.int64)
    counted = wanted >= 0
    summary: dict[str, Any] = {"test_image_count": int(counted.sum())}
    if not counted.any():
        return summary
    labels = torch.from_numpy(wanted[counted])
    dnn = torch.from_numpy(test.scores[counted])
    summary["dnn_accuracy"] = float((dnn.argmax(1) == labels).double().mean())
    if len(trained) < len(model.classes):
        return summary
    features = torch.from_numpy(test.features[counted])
    xnns = []
    with Session(engine) as opened:
        for class_name in model.classes:
            row = opened.get(tables.Xnn, (set_name, class_name))
            if row is None:
                raise NotFound(f"the xNN of class '{class_name}' is gone; train it again")
            xnns.append(science.score(load_xnn(store, row), features))
    predicted = torch.stack(xnns, dim=1).argmax(1)
    summary["argmax_agreement"] = float((predicted == dnn.argmax(1)).double().mean())
    summary["xnn_accuracy"] = float((predicted == labels).double().mean())
    return summary
