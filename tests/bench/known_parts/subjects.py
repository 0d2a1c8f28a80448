"""A network with all that explains it: trained on synthetic pictures, exported, read back, an xNN a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onoma.science.excitation import Explainer, look, prepare, strict_leak
from onoma.science.mass import Mode
from onoma.science.program import find_attachment, find_map_layer, load, save
from onoma.science.xnn import Xnn, score
from onoma.science.xnn_fitting import XnnSettings
from onoma.science.xnn_training import train

MODES: tuple[Mode, ...] = ("strict", "local")
_BLOCK = 256  # images of one forward pass


@dataclass(frozen=True, eq=False)
class Subject:
    """One network of the benchmark.

    Attributes:
        network: in evaluation mode.
        explainers: of its exported program, by mode, on the attachment and map layer that are taken by default.
        classifier: W and b of the layer above the attachment.
        xnns: a class each.
    """

    network: nn.Module
    explainers: dict[Mode, Explainer]
    classifier: tuple[tuple[Tensor, Tensor], ...]
    xnns: tuple[Xnn, ...]


@dataclass(frozen=True)
class Quality:
    """How good network and xNNs are on test images.

    Attributes:
        accuracy: of the network.
        xnn_accuracy: of the xNNs, the highest score being the class.
        rmse_over_range: the xNNs' error over the range of the score, mean over classes.
        strict_leak: mean share of mass that strict mode loses between attachment and map layer.
    """

    accuracy: float
    xnn_accuracy: float
    rmse_over_range: float
    strict_leak: float


def explained_by_xnns(
    network: nn.Module,
    images: Tensor,
    classes: Tensor,
    class_count: int,
    seeds: Sequence[int],
    progress: Callable[[], None],
) -> list[Subject]:
    """Exports a trained network, and trains its xNNs on the attachment's features, once for each seed.

    Args:
        images: (n, 3, H, W) to train on.
        classes: (n,) int64.
        progress: called after each xNN.
    """
    program = load(save(network, images[:2], {}))
    attachment = find_attachment(program)
    map_layer = find_map_layer(program, attachment)
    explainers = {mode: prepare(program, attachment, map_layer, mode) for mode in MODES}
    features, scores = features_and_scores(explainers["strict"], images)
    top = last_layer(network)
    classifier = ((top.weight.detach(), top.bias.detach()),)

    def xnn(index: int, seed: int) -> Xnn:
        fit = train(features, scores[:, index], classes == index, XnnSettings(), seed * class_count + index)
        progress()
        return fit.xnn

    return [
        Subject(network, explainers, classifier, tuple(xnn(index, seed) for index in range(class_count)))
        for seed in seeds
    ]


def last_layer(network: nn.Module) -> nn.Linear:
    """The fully-connected layer that gives the scores."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def features_and_scores(explainer: Explainer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Attachment's activations (n, D) and scores (n, classes), block by block."""
    found = []
    for block in images.split(_BLOCK):  # of a block's activations nothing else is kept
        seen = look(explainer, block)
        found.append((seen.features, seen.scores))
    features, scores = zip(*found, strict=True)
    return torch.cat(features), torch.cat(scores)


def quality(subjects: Sequence[Subject], images: Tensor, classes: Tensor) -> Quality:
    """Measured on test images (n, 3, H, W) of classes (n,); of xNNs the mean over their trainings."""
    explainer = subjects[0].explainers["strict"]
    features, scores = features_and_scores(explainer, images)
    of_xnns = [torch.stack([score(xnn, features) for xnn in subject.xnns], 1) for subject in subjects]
    accuracies = [_accuracy(one, classes) for one in of_xnns]
    span = scores.amax(0) - scores.amin(0)
    rmse = torch.stack([((one - scores).square().mean(0).sqrt() / span).mean() for one in of_xnns])
    leak = strict_leak(
        explainer.program, explainer.attachment.name, explainer.map_layer.name, images[:_BLOCK]
    )
    return Quality(_accuracy(scores, classes), sum(accuracies) / len(accuracies), float(rmse.mean()), leak)


def _accuracy(scores: Tensor, classes: Tensor) -> float:
    return float((scores.argmax(1) == classes).float().mean())
