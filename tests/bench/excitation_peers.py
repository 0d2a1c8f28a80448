"""The same maps of VGG16 by other libraries, stopped at pool4: each is given the part of the network above it."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from tests.bench.subjects import Subject

POOL4 = 24  # of VGG16's feature modules, counting it
ZENNIT = "zennit, stopped at the layer, a pass up and down a target"

Way = Callable[[Tensor], Tensor]


def ways(subject: Subject) -> dict[str, Way]:
    """Pixels to all five maps of each image, by library; those that are not installed are left out."""
    found: dict[str, Way] = {}
    if importlib.util.find_spec("zennit"):
        found[ZENNIT] = lambda pixels: _target_by_target(_zennit, subject, pixels)
        found["zennit, stopped at the layer, one pass up for all targets"] = lambda pixels: _zennit(
            subject, pixels, range(subject.x_feature_count)
        )
    if importlib.util.find_spec("captum"):
        upper = copy.deepcopy(_upper(subject))
        found["captum, LRP with Alpha1_Beta0_Rule, likewise"] = lambda pixels: _target_by_target(
            partial(_captum, upper), subject, pixels
        )
    return found


def _target_by_target(
    draw: Callable[[Subject, Tensor, Sequence[int]], Tensor], subject: Subject, pixels: Tensor
) -> Tensor:
    """As the libraries are called: forward and backward for each target."""
    maps = [draw(subject, pixels, [k]) for k in range(subject.x_feature_count)]
    return torch.stack(maps, 1).flatten(0, 1)


def _zennit(subject: Subject, pixels: Tensor, targets: Sequence[int]) -> Tensor:
    """One forward pass, then one backward pass a target: more than zennit's attributors share."""
    from zennit.composites import ExcitationBackprop

    cells, upper = _cells(subject, pixels), _upper(subject)
    cells.requires_grad_()
    with ExcitationBackprop(zero_params=["bias"]).context(upper) as hooked:
        x = hooked(cells)
        maps = []
        for k in targets:
            wanted = torch.zeros_like(x)
            wanted[:, k] = 1
            (relevance,) = torch.autograd.grad(x, cells, wanted, retain_graph=True)
            maps.append(relevance.sum(1))
    return torch.stack(maps, 1).flatten(0, 1)


def _captum(upper: nn.Sequential, subject: Subject, pixels: Tensor, targets: Sequence[int]) -> Tensor:
    """Excitation Backprop by captum's own rules: positive weights without bias. It starts from the X-feature's value,
    which is divided out, and cannot stop at a layer: its LayerLRP goes on to the pixels. It takes its rules off the
    layers at the end, so they are put on each time.
    """
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule

    for module in upper.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.rule = Alpha1_Beta0_Rule(set_bias_to_zero=True)
        elif isinstance(module, nn.Flatten):
            module.rule = EpsilonRule()
        elif isinstance(module, nn.ReLU):
            module.inplace = False
    (target,) = targets
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maps = LRP(upper).attribute(_cells(subject, pixels), target=target).detach().sum(1)
    return maps / maps.sum((1, 2), keepdim=True)


def _cells(subject: Subject, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return subject.network.features[:POOL4](pixels.to(subject.explainer.device))


def _upper(subject: Subject) -> nn.Sequential:
    network = subject.network
    return nn.Sequential(
        network.features[POOL4:], network.avgpool, nn.Flatten(), network.classifier[:2], subject.encoder
    )
