"""Excitation Backprop over an exported graph (Zhang et al. 2016).

One forward pass an image keeps the activations between the map layer and the attachment; the mass of all its targets
then goes down together, and nothing below the map layer is computed for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from onoma.science.excitation_rules import RULES
from onoma.science.excitation_sums import SUMMED_RULES
from onoma.science.explainer import (
    MASS_DTYPES,
    Explainer,
    MissingRule,
    carriers,
    has_rule,
    operator_name,
    prepare,
)
from onoma.science.forward_pass import Seen, below_map_layer, can_look_from, look, look_from
from onoma.science.mass import Masses, Mode, Step, by_sign, matrix_down
from onoma.science.nodes import BLANK_IMAGES, shape_of
from onoma.science.program import Program

__all__ = [
    "LEAK_LIMIT",
    "MASS_DTYPES",
    "RULES_REVISION",
    "Explainer",
    "MissingRule",
    "Mode",
    "Seen",
    "below_map_layer",
    "can_look_from",
    "carriers",
    "draw",
    "encoder_mass",
    "has_rule",
    "look",
    "look_from",
    "operator_name",
    "prepare",
    "strict_leak",
]

# Raised with each change after which a network's maps come out otherwise, and recorded with them.
# 2: negative activations carry evidence, constants none.
# 3: constants stay such behind a norm, and get nothing of what layers at every cell spread in local mode; what is
# subtracted may have evidence; under a softplus units count as pushed up.
# 4: so may cells that were made larger, in a difference; a bias after a layer at every cell is the layer's.
# 5: so is one that is added to a convolution or fully-connected layer.
RULES_REVISION = 5
_BYTES_OF_MASS = 2**27  # on a CPU
_SHARE_OF_GPU = 24  # of the free memory
LEAK_LIMIT = 0.05  # strict mode is the default where it loses less


def draw(
    explainer: Explainer, seen: Seen, mass: Tensor, rows: Tensor, *, most_bytes: int | None = None
) -> Tensor:
    """Maps: mass on the attachment brought down to the map layer and summed over channels.

    Args:
        seen: the images' forward pass.
        mass: (m, D) probability mass, or the difference of two, a row a target.
        rows: (m,) index of the image that each target belongs to; may be empty.
        most_bytes: of mass on the widest layer; more targets go down in several passes, image by image. By default what
            suits the device.
    Returns:
        (m, h, w) float32; each sums to its row's mass, less what strict mode loses.
    Raises:
        ValueError: the mass is not of so many targets and features.
    """
    wanted = len(rows), seen.features.shape[1]
    if tuple(mass.shape) != wanted:
        raise ValueError(f"mass of shape {tuple(mass.shape)}; {wanted}, targets and features, is wanted")
    widest = max(math.prod(shape_of(node)) for node in explainer.path) // BLANK_IMAGES[0]
    limit = _most_bytes(explainer.device) if most_bytes is None else most_bytes
    at_once = max(1, limit // (widest * explainer.dtype.itemsize))
    with torch.inference_mode():
        if len(rows) <= at_once:
            return _draw_at_once(explainer, seen.values, mass, rows)
        maps = mass.new_empty(len(rows), *explainer.cells, dtype=torch.float32)
        for targets in torch.split(rows.argsort(stable=True), at_once):
            theirs = rows[targets]
            first, last = int(theirs[0]), int(theirs[-1]) + 1
            values = {node: _of_images(value, first, last) for node, value in seen.values.items()}
            maps[targets] = _draw_at_once(explainer, values, mass[targets], theirs - first)
        return maps


def _draw_at_once(explainer: Explainer, values: Mapping[fx.Node, Any], mass: Tensor, rows: Tensor) -> Tensor:
    """As `draw`, in one pass down."""
    if not len(rows):
        return mass.new_zeros(0, *explainer.cells, dtype=torch.float32)
    shape = shape_of(explainer.attachment)[1:]
    waiting = {explainer.attachment: mass.to(explainer.dtype).reshape(len(rows), *shape)}
    known = {**explainer.constants, **values}
    path = frozenset(explainer.path)
    for node in reversed(explainer.path[1:]):
        step = Step(
            node=node,
            mass=waiting.pop(node),
            rows=rows,
            values=known,
            path=path,
            weights=explainer.weights,
            mode=explainer.mode,
            fixed=explainer.fixed,
            signed=explainer.signed,
            below_zero=explainer.below_zero,
        )
        for below, passed in _handed_down(step, explainer):
            waiting[below] = waiting[below] + passed if below in waiting else passed
    return waiting[explainer.map_layer].sum(explainer.channel_axis, dtype=torch.float32)


def _handed_down(step: Step, explainer: Explainer) -> Masses:
    """What a step gives each of its inputs, and to the map layer the sum over channels alone, of length 1, float32."""
    map_layer, channels = explainer.map_layer, explainer.channel_axis
    table = SUMMED_RULES if step.inputs == [map_layer] else RULES
    given = table.get(step.node.target, RULES[step.node.target])(step)
    return [
        (below, passed.sum(channels, keepdim=True, dtype=torch.float32) if below is map_layer else passed)
        for below, passed in given
    ]


def _of_images(value: Any, first: int, last: int) -> Any:
    """A node's value for some of the images."""
    if isinstance(value, tuple | list):
        return [_of_images(one, first, last) for one in value]
    return value[first:last]


def _most_bytes(device: torch.device) -> int:
    """Mass on one layer that a pass down may take; beside it lie a dozen tensors of that size at worst."""
    if device.type != "cuda":
        return _BYTES_OF_MASS
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (free + cached) // _SHARE_OF_GPU


def encoder_mass(
    weights: Sequence[tuple[Tensor, Tensor]],
    features: Tensor,
    rows: Tensor,
    x_features: Tensor,
    mode: Mode,
    *,
    inhibiting: bool = False,
) -> Tensor:
    """One-hot mass on X-features brought down an xNN's encoder to the features it reads.

    Args:
        weights: (W (out, in), b (out,)) of each layer; ReLU after every one.
        features: (n, D) activations of the attachment; computed in the weights' dtype.
        rows: (m,) image of each target.
        x_features: (m,) X-feature of each target.
        inhibiting: negate the top layer's weights: the mass then goes down from what speaks against the X-feature
            (Zhang et al. 2016, section 3.3, contrastive Excitation Backprop).
    Returns:
        (m, D); all 0 for a target whose X-feature is 0 on its image, or which nothing inhibits.
    """
    with torch.inference_mode():
        below = [features.to(weights[0][0].dtype)]
        for weight, bias in weights:
            below.append(torch.relu(below[-1] @ weight.T + bias))
        mass = below[-1].new_zeros(len(rows), below[-1].shape[1])
        active = below[-1][rows, x_features] > 0
        mass[torch.arange(len(rows), device=features.device), x_features] = active.to(mass.dtype)
        layers: list[tuple[Tensor, Mode]] = [(weight, mode) for weight, _ in weights]
        if inhibiting:
            layers[-1] = (-weights[-1][0], "strict")
        for (weight, how), values in zip(reversed(layers), reversed(below[:-1]), strict=True):
            parts = by_sign(values, is_signed=bool((values < 0).any()))
            mass = matrix_down(parts, by_sign(weight.T, is_signed=-1 in parts), mass, rows, how)
        return mass


def strict_leak(program: Program, attachment: str, map_layer: str, images: Tensor) -> float:
    """Mean share of mass that strict mode loses between attachment and map layer.

    Args:
        images: (n, C, H, W); mass starts in proportion to the size of each image's features.
    Returns:
        In [0, 1]; 0 where no image has a feature that is not 0.
    """
    explainer = prepare(program, attachment, map_layer, "strict")
    seen = look(explainer, images)
    sizes = seen.features.abs()
    total = sizes.sum(1, keepdim=True)
    active = (total[:, 0] > 0).nonzero()[:, 0]
    if not len(active):
        return 0.0
    maps = draw(explainer, seen, (sizes / total)[active], active)
    return float((1 - maps.sum((1, 2))).clamp(0, 1).mean())
