"""Units that come from constants alone, as a class token before it has attended to anything: no evidence."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from onoma.science.nodes import (
    CHOOSES,
    MOVES,
    POOLS,
    UNIT_BY_UNIT,
    VIEWS,
    depends_on_image,
    layout_of,
    shape_of_one,
)
from onoma.science.program import Program, between

_aten = torch.ops.aten
_JOINS = (_aten.cat.default, _aten.slice_scatter.default)
_GATHERS = frozenset(
    {*POOLS, _aten.amax.default, _aten.mean.dim, _aten.split_with_sizes.default, _aten.sum.dim_IntList}
)  # what they give of zeros and ones is 0 where they see no one
_NORMS = (
    _aten._native_batch_norm_legit_no_training.default,
    _aten.native_group_norm.default,
    _aten.native_layer_norm.default,
)  # unit by unit, as for the rules: mean and spread count as constants


def fixed_units(
    program: Program, path: Sequence[fx.Node], device: torch.device | str
) -> dict[fx.Node, Tensor]:
    """Units below the attachment that come from constants alone, where any are joined to activations."""
    below = path[:-1]
    joins = [node for node in between(program, None, path[-1].name) if node.target in _JOINS]
    if all(depends_on_image(part) for node in joins for part in node.all_input_nodes):
        return {}
    finder = FixedFinder(program.graph_module)
    with torch.inference_mode():
        finder.run(torch.empty(1, *program.input_shape))
    varying = {node: finder.varying[node] for node in below if node in finder.varying}
    return {node: ~units.to(device) for node, units in varying.items() if not units.all()}


class FixedFinder(fx.Interpreter):
    """Runs one image whose values say of each unit whether it depends on the image; others are constants, to the
    rules, that were joined to activations, as a class token. Where an operator is not known all its units depend on it.

    Attributes:
        varying: by node, (...) bool, images first and then left out.
    """

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module)
        self.varying: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        if not depends_on_image(n):
            return super().run_node(n)
        shape, layout = shape_of_one(n), layout_of(n)
        inputs = {i: self._varies(i) for i in n.all_input_nodes if isinstance(self.env[i], Tensor)}
        below = next(iter(inputs.values()), torch.ones(shape, dtype=torch.bool))
        if n.op == "placeholder" or layout is None or not (shape or n.target in _GATHERS):
            return below
        found = self._handed_on(n, inputs, shape)
        if not shape:
            return found
        if found is None:
            found = torch.ones(shape, dtype=torch.bool)
        self.varying[n] = layout.by_image(found)[0]
        return found

    def _varies(self, node: fx.Node) -> Tensor:
        value: Tensor = self.env[node]
        return value if depends_on_image(node) else torch.zeros(value.shape, dtype=torch.bool)

    def _handed_on(
        self, n: fx.Node, inputs: dict[fx.Node, Tensor], shape: tuple[int, ...]
    ) -> Any:  # Tensor, several where the operator gives several
        """What an operator makes of it; None where that is not known."""
        dependent = [i for i in n.all_input_nodes if depends_on_image(i)]
        if n.target is operator.getitem:
            return self._taken(n, dependent[0])
        below = inputs[dependent[0]]
        if n.target in VIEWS:
            return below.reshape(shape)
        if n.target is _aten.constant_pad_nd.default:
            (_, pads, *_), _ = self.fetch_args_kwargs_from_env(n)
            return functional.pad(below, pads)
        if n.target in _GATHERS:
            (_, *rest), named = self.fetch_args_kwargs_from_env(n)
            gather: Any = n.target
            gathered = gather(below.float(), *rest, **named)
            return gathered > 0 if isinstance(gathered, Tensor) else [one > 0 for one in gathered]
        if n.target is _aten.convolution.default:
            return self._convolved(n, below) if dependent == [n.args[0]] else None
        if n.target in _JOINS:
            arguments: Any = n.args
            joining: Any = n.target
            return joining(*fx.map_arg(arguments, inputs.__getitem__))
        if n.target in MOVES or n.target in CHOOSES or n.target is _aten.expand.default:
            return super().run_node(n) if len(dependent) == 1 else None
        if n.target is _aten.linear.default:
            return below.any(-1, keepdim=True).expand(shape)
        if n.target in UNIT_BY_UNIT:
            found = functools.reduce(torch.logical_or, inputs.values())
            return found if found.shape == shape else None
        return None

    def _taken(self, n: fx.Node, source: fx.Node) -> Tensor | None:
        """One output of several."""
        found, index = self.env[source], n.args[1]
        if source.target in _GATHERS:
            return found[index] if found is not None else None
        return found if source.target in _NORMS and index == 0 else None

    def _convolved(self, n: fx.Node, below: Tensor) -> Tensor | None:
        """Units of which one in the field of their group depends on the image; None of a transposed convolution."""
        (_, weight, _, *how), _ = self.fetch_args_kwargs_from_env(n)
        *_, is_transposed, _, groups = how
        if is_transposed:
            return None
        seen = below.reshape(len(below), groups, -1, *below.shape[2:]).any(2).float()
        field = torch.ones(groups, 1, *weight.shape[2:])
        count: Tensor = _aten.convolution.default(seen, field, None, *how)
        return (count > 0.5).repeat_interleave(len(weight) // groups, 1)  # a count, but for rounding
