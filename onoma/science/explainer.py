"""A network made ready for Excitation Backprop: layers checked, rules found, and what no image changes computed."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from onoma.science.excitation_rules import HOLDS, RULES, weight_of
from onoma.science.fixed_units import fixed_units
from onoma.science.folding import constant_values
from onoma.science.gates import GATED, gated_input
from onoma.science.mass import BySign, Mode, by_sign
from onoma.science.nodes import (
    ATTENDS,
    CHOOSES,
    IMAGES_FIRST,
    MOVES,
    cells_of,
    channel_axis,
    depends_on_image,
    layout_of,
    shape_of,
)
from onoma.science.program import Program, between, cuts
from onoma.science.signs import nodes_below_zero, signed_nodes

_aten = torch.ops.aten
_WORKS_ON = {
    _aten.add.Tensor: 0,
    _aten.bmm.default: 2,
    _aten.expand.default: 0,
    _aten.gelu.default: 0,
    _aten.linear.default: 1,
    _aten.native_layer_norm.default: 1,
    _aten.relu.default: 0,
    _aten.scaled_dot_product_attention.default: 2,
    operator.getitem: 0,
}  # so many last axes; the rules hold where the images are on any other
MASS_DTYPES = (torch.float32, torch.bfloat16)


class MissingRule(ValueError):
    """An operator on the way from the attachment to the map layer has no rule."""


@dataclass(frozen=True)
class Explainer:
    """A network made ready for maps; made by `prepare`.

    Attributes:
        program: the network.
        attachment: layer whose activations the xNN reads.
        map_layer: layer the maps are drawn on.
        mode: "strict" or "local".
        path: nodes from the map layer to the attachment, both included.
        constants: values of the nodes that do not depend on the image.
        weights: max(W, 0) of the path's convolutions and fully-connected layers, and max(-W, 0) where signs matter, of
            dtype `dtype`.
        dtype: of the mass on its way down; the forward pass is float32.
        fixed: units of the path that are the same in every image, as a class token is: no evidence, so their
            activations count as 0. By node, (...) bool.
        signed: nodes whose units may be negative.
        below_zero: nodes of the path that may get mass on negative units.
    """

    program: Program
    attachment: fx.Node
    map_layer: fx.Node
    mode: Mode
    path: tuple[fx.Node, ...]
    constants: dict[fx.Node, Any]
    weights: dict[fx.Node, BySign]
    dtype: torch.dtype
    fixed: dict[fx.Node, Tensor]
    signed: frozenset[fx.Node]
    below_zero: frozenset[fx.Node]

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of a map."""
        return cells_of(self.map_layer)

    @property
    def channel_axis(self) -> int:
        """Of the map layer: 1, or 3 where channels come last."""
        axis = channel_axis(self.map_layer)
        assert axis is not None
        return axis

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(v.device for v in self.constants.values() if isinstance(v, Tensor))


def prepare(
    program: Program,
    attachment: str,
    map_layer: str,
    mode: Mode,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Explainer:
    """Checks that every operator on the way has a rule, and computes once what does not depend on the image.

    Args:
        dtype: float32, or bfloat16: positive weights, denominators and mass then have 8 significant bits. Scores,
            X-features and which of them are significant stay as they are, and maps come as float32
            (docs/decisions/maps-precision.md).
    Raises:
        MissingRule: and names the operators.
        ValueError: a layer does not exist, gives no activations, has no cells, or mass could go around it; a weight is
            not finite; or there is no such mode, or mass cannot be of that dtype.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode '{mode}'; it can be {' or '.join(get_args(Mode))}")
    if dtype not in MASS_DTYPES:
        raise ValueError(f"mass of dtype {dtype}; it can be {' or '.join(map(str, MASS_DTYPES))}")
    upper, lower = program.node(attachment), program.node(map_layer)
    path = carriers(program, attachment, map_layer)
    _check_layers(program, upper, lower)
    known = {node: _moved(value, device) for node, value in constant_values(program.graph_module).items()}
    missing = [node for node in path if node is not lower and not has_rule(node)]
    if missing:
        raise MissingRule(_without_rule(missing))
    if layout_of(upper) != IMAGES_FIRST:
        raise ValueError(
            f"attachment layer '{attachment}' has shape {shape_of(upper)} for two images: they share its first axis"
        )
    _check_finite(known)
    signed = signed_nodes(program.graph_module.graph.nodes)
    below_zero = nodes_below_zero(path, signed)
    weights = {
        node: by_sign(
            known[weight].to(dtype),
            is_signed=node in below_zero or not signed.isdisjoint({*path}.intersection(node.all_input_nodes)),
        )
        for node in path
        if node is not lower and (weight := weight_of(node)) is not None
    }
    fixed = fixed_units(program, path, device)
    return Explainer(
        program, upper, lower, mode, tuple(path), known, weights, dtype, fixed, signed, below_zero
    )


def _check_layers(program: Program, upper: fx.Node, lower: fx.Node) -> None:
    """Raises where mass on `upper`, the attachment, cannot come down to `lower`, the map layer, and be drawn there."""
    if lower not in cuts(program, upper.name):
        raise ValueError(
            f"map layer '{lower.name}' does not lie on every path to '{upper.name}': mass would go around it"
        )
    if len(shape_of(lower)) != 4:
        raise ValueError(f"map layer '{lower.name}' has shape {shape_of(lower)[1:]}: no rows and columns")
    if channel_axis(lower) is None:
        raise ValueError(
            f"map layer '{lower.name}' has shape {shape_of(lower)} for two images, and its axes are not images, "
            "channels, rows and columns"
        )
    if lower.op == "placeholder" or not shape_of(upper):
        node = lower if lower.op == "placeholder" else upper
        raise ValueError(
            f"layer '{node.name}' is no operator that gives one tensor of activations; name another"
        )


def _check_finite(values: Mapping[fx.Node, Any]) -> None:
    """Raises where a weight is not finite; masks may be infinite."""
    for node, value in values.items():
        if _is_mask(node):
            continue
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all():
            layers = ", ".join(f"'{user.name}'" for user in node.users)
            raise ValueError(
                f"weight '{node.target}' of layer {layers} is NaN or infinite; "
                "export the network from a training that did not diverge"
            )


def _without_rule(missing: Sequence[fx.Node]) -> str:
    """What is refused, a line: operators, and of each the first layer that uses it so."""
    first = {operator_name(node): node for node in reversed(missing)}
    named = [
        f"{name} as layer '{node.name}' uses it" if node.target in RULES else f"{name} of layer '{node.name}'"
        for name, node in sorted(first.items())
    ]
    return f"Excitation Backprop has no rule for {', '.join(named)} (docs/excitation-rules.md)"


def _is_mask(node: fx.Node) -> bool:
    """Whether a constant only says who may attend to what: infinite where nobody may."""
    return bool(node.users) and all(_masks(user, node) for user in node.users)


def _masks(user: fx.Node, node: fx.Node) -> bool:
    if user.target is _aten.scaled_dot_product_attention.default:
        return node not in user.args[:3]
    if user.target is _aten.add.Tensor:
        return all(after.target is _aten._softmax.default for after in user.users)
    moves = user.target in MOVES or user.target in (*CHOOSES, _aten.expand.default)
    return moves and not depends_on_image(user) and _is_mask(user)


def carriers(program: Program, attachment: str, map_layer: str) -> list[fx.Node]:
    """Nodes that mass goes through from the attachment down to the map layer, both included, in the graph's order.

    What gates, as in squeeze-excite, what an image is normalised by, and who attends to what are constants [ours]:
    their branches carry none.
    """
    path = between(program, map_layer, attachment)
    on_path, reached = set(path), {program.node(attachment)}
    for node in reversed(path):
        if node in reached and node.name != map_layer:
            below = on_path.intersection(node.all_input_nodes)
            if node.target in GATED or node.target in ATTENDS:
                gated = gated_input(node)
                below = {gated} if gated in on_path else below
            reached |= below
    return [node for node in path if node in reached]


def has_rule(node: fx.Node) -> bool:
    """Whether mass can go through the operator: it has a rule that holds for this use of it, and finds the images."""
    return node.target in RULES and _finds_images(node) and HOLDS[node.target](node)


def _finds_images(node: fx.Node) -> bool:
    """Whether a rule knows where the images are: first, or on an axis that the operator does not work on."""
    inputs = [n for n in node.all_input_nodes if depends_on_image(n)]
    first, *others = {layout_of(n) for n in (node, *inputs)}
    if first is None or None in others:
        return False
    if node.target in MOVES or node.target in (_aten.select.int, _aten.slice.Tensor):
        return True
    if first == IMAGES_FIRST and not others:
        return True
    if node.target is _aten.mul.Tensor and len(inputs) == 2:  # a gate has no axes of its own to find
        return not others
    if node.target not in _WORKS_ON or others:
        return False
    return first.axis < len(shape_of(node) or shape_of(inputs[0])) - _WORKS_ON[node.target]


def operator_name(node: fx.Node) -> str:
    """Name of a node's operator ("aten.convolution.default")."""
    return (
        str(node.target) if isinstance(node.target, OpOverload) else getattr(node.target, "__name__", node.op)
    )


def _moved(value: Any, device: torch.device | str) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
