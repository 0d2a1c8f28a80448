"""Figures of xNNs on the test part: a row of Table 1 a class, and those of a set as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onoma.science.xnn import Xnn, score, significant_counts, terms
from onoma.science.xnn_fitting import XnnSettings
from onoma.science.xnn_training import Fit
from services.inference import tables
from services.inference.features import PartFeatures

_BLOCK = 4096


def table_1_row(
    fit: Fit,
    model: tables.Model,
    dataset: tables.Dataset,
    test: PartFeatures,
    name: str,
    settings: XnnSettings,
) -> dict[str, Any]:
    """The row of Table 1 of a class, with the columns that are ours; what is 0/0 is left out."""
    target, class_index = model.classes.index(name), dataset.classes.index(name)
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
    counted = _labels(model, dataset, test) >= 0
    if not counted.any():
        return metrics
    predicted = _scores(fit.xnn, test)
    wanted, found = scores[counted, target], predicted[counted]
    metrics["rmse"] = float((found - wanted).double().square().mean().sqrt())
    metrics["score_min"], metrics["score_max"] = float(wanted.min()), float(wanted.max())
    own = torch.from_numpy(test.class_indices == class_index)
    if not own.any():
        return metrics
    counts = significant_counts(fit.xnn, features[own], settings.significant_share)
    replaced = scores[own].clone()
    replaced[:, target] = predicted[own]
    metrics |= {
        "image_count": int(own.sum()),
        "significant_count": int(counts.sum()),
        "significant_mean": float(counts.double().mean()),
        "dnn_accuracy": float((scores[own].argmax(1) == target).double().mean()),
        "xnn_accuracy": float((replaced.argmax(1) == target).double().mean()),
    }
    correlation = _mean_abs_correlation(terms(fit.xnn, features[own]))
    return metrics if correlation is None else metrics | {"mean_abs_correlation": correlation}


def _mean_abs_correlation(terms: Tensor) -> float | None:
    """Mean |off-diagonal Pearson correlation| of the terms that vary; None where fewer than two do."""
    varying = terms[:, terms.std(0) > 1e-9].double() if len(terms) > 1 else terms[:, :0]
    count = varying.shape[1]
    if count < 2:
        return None
    matrix = torch.corrcoef(varying.T).abs()
    return float((matrix.sum() - matrix.diagonal().sum()) / (count * (count - 1)))


def of_the_set(
    model: tables.Model, dataset: tables.Dataset, test: PartFeatures, xnns: Iterable[Xnn]
) -> dict[str, Any]:
    """Figures over all test images whose class the model knows.

    Args:
        xnns: one a class of the model, in its order; none where a class has no xNN of this training.
    """
    wanted = _labels(model, dataset, test)
    counted = wanted >= 0
    summary: dict[str, Any] = {"test_image_count": int(counted.sum())}
    if not counted.any():
        return summary
    labels = wanted[counted]
    dnn = torch.from_numpy(test.scores)[counted].argmax(1)
    summary["dnn_accuracy"] = float((dnn == labels).double().mean())
    scores = [_scores(xnn, test)[counted] for xnn in xnns]
    if scores:
        predicted = torch.stack(scores, dim=1).argmax(1)
        summary["argmax_agreement"] = float((predicted == dnn).double().mean())
        summary["xnn_accuracy"] = float((predicted == labels).double().mean())
    return summary


def _labels(model: tables.Model, dataset: tables.Dataset, test: PartFeatures) -> Tensor:
    """The model's class (n,) of each test image; -1 where the model does not know it."""
    known = np.array([model.classes.index(c) if c in model.classes else -1 for c in dataset.classes])
    return torch.from_numpy(known[test.class_indices])


def _scores(xnn: Xnn, test: PartFeatures) -> Tensor:
    """Scores (n,) of all test images, a block of features at a time."""
    blocks = np.array_split(test.features, -(-len(test.features) // _BLOCK))
    return torch.cat([score(xnn, torch.from_numpy(block)) for block in blocks])
