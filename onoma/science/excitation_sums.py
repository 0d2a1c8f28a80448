"""Rules for the last step down, on to the map layer, where only the sum over channels is wanted.

A map has no channels. So the last convolution need not bring mass to each of them: which share of a unit's mass goes
to each place of its window does not depend on the target, and is computed once an image
(docs/decisions/last-step-in-sum.md).
"""

from __future__ import annotations

import itertools
import math
import operator
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from onoma.science.excitation_rules import RULES, Rule, to_windows
from onoma.science.mass import Masses, Step, lost, magnitude, pushing, quotient, where_signs

LEAST_CHANNELS = 64  # of fewer, the way through each channel is as fast
_aten = torch.ops.aten


def _convolution(step: Step) -> Masses:
    """Of a unit's mass, place d of its window gets a share by T_d = W+_d z_d, a sum over input channels, where z is not
    negative; in general by what pushed the unit the way it is. The sum of T over the window is the unit's excitation.

    Two channels, z = (2, 1) at one place and (1, 0) at the next; a unit with weights (1, 1) and (3, 5) there:
    T = (3, 3), so mass 1 goes as (1/2, 1/2).
    """
    below = step.inputs[0]
    arguments: Any = step.node.args
    stride, padding, dilation, groups = (arguments[i] for i in (3, 4, 5, 8))
    parts, weights = step.value_by_sign(below), step.weights[step.node]
    shape, kernel = parts[1].shape, weights[1].shape[2:]
    if groups != 1 or shape[1] < LEAST_CHANNELS:
        return RULES[step.node.target](step)
    counts = step.rows.bincount(minlength=len(parts[1])).tolist()
    by_image = list(enumerate(torch.split(step.rows.argsort(stable=True), counts)))
    outputs = step.mass.shape[2:]
    mass = step.mass.flatten(2).transpose(1, 2)
    sign = step.sign()

    def terms_of(way: int) -> Tensor:
        pairs = pushing(parts, weights, way)
        return reduce(operator.add, [_terms(*pair, outputs, stride, padding, dilation) for pair in pairs])

    terms = where_signs(None if sign is None else sign.flatten(2).transpose(1, 2), terms_of)
    excitation = terms.sum(0)
    given = step.mass.new_zeros(len(mass), len(terms), mass.shape[1], dtype=torch.float32)
    for image, targets in by_image:
        if len(targets):
            ratio = quotient(mass[targets], excitation[image : image + 1], torch.zeros_like(targets))
            shares = torch.bmm(terms[:, image].transpose(0, 1), ratio.permute(1, 2, 0))
            given[targets] = shares.permute(2, 1, 0).float()
    passed = functional.fold(given, shape[2:], kernel, dilation, padding, stride)
    if step.mode == "local":
        room, values = (of.sum(1, keepdim=True) for of in (step.room(below), magnitude(parts)))
        stray = lost(mass, excitation, step.rows).sum(2)
        passed += to_windows(step, stray.reshape(len(stray), 1, *outputs), values, room, groups=1)
    return [(below, passed)]


def _terms(
    values: Tensor, weight: Tensor, size: tuple[int, ...], stride: Any, padding: Any, dilation: Any
) -> Tensor:
    """W z by place of the window: (places, n, outputs h * w, units).

    Args:
        values: (n, c, ...), not negative.
        weight: (units, c, kernel h, kernel w), not negative.
        size: rows and columns of the output.
    """
    cells = functional.pad(values.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    places = list(itertools.product(range(weight.shape[2]), range(weight.shape[3])))
    terms = values.new_empty(len(places), len(values) * math.prod(size), weight.shape[0])
    for term, place in zip(terms, places, strict=True):
        rows, columns = (
            slice(index * apart, index * apart + (count - 1) * step + 1, step)
            for index, count, step, apart in zip(place, size, stride, dilation, strict=True)
        )
        torch.mm(cells[:, rows, columns].reshape(-1, cells.shape[3]), weight[:, :, *place].T, out=term)
    return terms.view(len(places), len(values), -1, weight.shape[0])


SUMMED_RULES: dict[Any, Rule] = {
    _aten.convolution.default: _convolution
}  # mass (m, 1, ...), or as RULES gives it
