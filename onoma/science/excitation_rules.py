"""Excitation Backprop's rules: one an operator, in a table that a reader extends.

A rule takes the probability mass on an operator's output and says how much of it goes to each of its inputs
(Zhang et al. 2016; docs/excitation-rules.md). To add one:

    @rule(torch.ops.aten.negate_nothing.default)
    def _negate_nothing(step: Step) -> Masses:
        return [(step.inputs[0], step.mass)]

Where a rule does not hold for every use of its operator, `holds=` says for which (`Fit`, a function of the node).

A rule is linear in the mass, which may have both signs: a contrastive map's is the difference of two.

Mass has a row a target: (m, ...). Values have a row an image: (n, ...); `step.rows` says which image each target
belongs to, so that denominators are computed once an image.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional
from torch.nn.grad import conv2d_input

from onoma.science.gates import GATED, gated_input, is_shared
from onoma.science.mass import (
    BySign,
    Masses,
    Step,
    lost,
    magnitude,
    matrix_down,
    quotient,
    through_sum,
    to_fields,
    where_signs,
)
from onoma.science.nodes import (
    CHOOSES,
    IMAGES_FIRST,
    VIEWS,
    depends_on_image,
    is_constant,
    layout_of,
    shape_of,
)

_aten = torch.ops.aten
_WEIGHT_AT: dict[Any, int] = {
    _aten.addmm.default: -1,
    _aten.convolution.default: 1,
    _aten.linear.default: 1,
    _aten.mm.default: -1,
}  # which argument it is
Rule = Callable[[Step], Masses]
Fit = Callable[[fx.Node], bool]
RULES: dict[Any, Rule] = {}
HOLDS: dict[Any, Fit] = {}


def rule(*operators: Any, holds: Fit = lambda _: True) -> Callable[[Rule], Rule]:
    """Registers a rule for operators (torch.ops.aten overloads).

    Args:
        holds: whether it holds for this use of the operator; a network with one for which it does not is refused.
    """

    def register(function: Rule) -> Rule:
        for target in operators:
            RULES[target], HOLDS[target] = function, holds
        return function

    return register


def weight_of(node: fx.Node) -> fx.Node | None:
    """The node of a layer's weight, for convolutions and fully-connected layers."""
    place = _WEIGHT_AT.get(node.target)
    return None if place is None else node.args[place]  # type: ignore[return-value]


def _weighs_one(node: fx.Node) -> bool:
    """Whether a layer's weight is constant, and what is added to its product."""
    weight = weight_of(node)
    varying = [one for one in node.args if isinstance(one, fx.Node) and not is_constant(one)]
    return weight is not None and is_constant(weight) and len(varying) == 1 and "alpha" not in node.kwargs


def _convolves_cells(node: fx.Node) -> bool:
    """Whether it is of rows and columns, and not transposed."""
    return _weighs_one(node) and len(shape_of(node)) == 4 and not node.args[6]


@rule(_aten.convolution.default, holds=_convolves_cells)
def _convolution(step: Step) -> Masses:
    """As `through_sum`, over each unit's receptive field. In local mode a unit that nothing pushed passes its mass to
    that field: in proportion to the activations there, evenly where all are 0.
    """
    below = step.inputs[0]
    arguments: Any = step.node.args
    stride, padding, dilation, groups = (arguments[i] for i in (3, 4, 5, 8))
    parts = step.value_by_sign(below)
    shape = (len(step.rows), *parts[1].shape[1:])

    def up(values: Tensor, weight: Tensor) -> Tensor:
        return functional.conv2d(values, weight, None, stride, padding, dilation, groups)

    def down(ratio: Tensor, weight: Tensor) -> Tensor:
        return conv2d_input(shape, weight, ratio, stride, padding, dilation, groups)  # type: ignore[no-any-return, no-untyped-call]

    weights = step.weights[step.node]
    passed, pushed = through_sum(parts, weights, step.mass, step.sign(), step.rows, up, down)
    if step.mode == "local":
        stray = lost(step.mass, pushed, step.rows)
        passed += to_windows(step, stray, magnitude(parts), step.room(below), groups)
    return [(below, passed)]


def to_windows(step: Step, stray: Tensor, values: Tensor, room: Tensor, groups: int) -> Tensor | float:
    """`to_fields` of a convolution, in which channels of one group share their fields.

    Args:
        stray: (m, units, ...) mass.
        values: (n, c, ...) sizes of what is below.
        room: (1, c, ...) how much of what is spread evenly they may take.
    """
    arguments: Any = step.node.args
    stride, padding, dilation = (arguments[i] for i in (3, 4, 5))
    of_groups = stray.reshape(len(stray), groups, -1, *stray.shape[2:]).sum(2)
    ones = values.new_ones(groups, values.shape[1] // groups, *step.weights[step.node][1].shape[2:])
    shape = (len(step.rows), *values.shape[1:])

    def up(activations: Tensor) -> Tensor:
        return functional.conv2d(activations, ones, None, stride, padding, dilation, groups)

    def down(ratio: Tensor) -> Tensor:
        return conv2d_input(shape, ones, ratio, stride, padding, dilation, groups)  # type: ignore[no-any-return, no-untyped-call]

    return to_fields(of_groups, values, room, step.rows, up, down)


@rule(_aten.addmm.default, _aten.mm.default, _aten.linear.default, holds=_weighs_one)
def _fully_connected(step: Step) -> Masses:
    """On the last axis; `linear` has it at every cell, as in ConvNeXt, and its weight transposed."""
    below, weights = step.inputs[0], step.weights[step.node]
    if step.node.target is _aten.linear.default:
        weights = {sign: weight.T for sign, weight in weights.items()}
    passed = matrix_down(
        step.value_by_sign(below),
        weights,
        step.mass,
        step.rows,
        step.mode,
        sign=step.sign(),
        room=step.room(below),
    )
    return [(below, passed)]


@rule(_aten._native_batch_norm_legit_no_training.default, _aten.native_group_norm.default)
def _norm_of_channels(step: Step) -> Masses:
    """A diagonal map (`_scaled`): a batch norm that no convolution precedes, or a group norm, whose mean and spread are
    constants of the image [ours].
    """
    return [(step.inputs[0], _scaled(step, _gamma(step, 1).view(1, -1, *[1] * (step.mass.dim() - 2))))]


def _has_cells(node: fx.Node) -> bool:
    """Whether a layer norm is of the last axes, and there are others."""
    (below, *_), last = node.all_input_nodes, tuple(node.args[1])  # type: ignore[arg-type]
    shape = shape_of(below)
    return len(last) < len(shape) and last == shape[-len(last) :]


@rule(_aten.native_layer_norm.default, holds=_has_cells)
def _layer_norm(step: Step) -> Masses:
    """As `_norm_of_channels`, with a gamma a unit."""
    return [(step.inputs[0], _scaled(step, _gamma(step, 2)))]


def _gamma(step: Step, place: int) -> Tensor:
    """A norm's factors, an argument that may be left out."""
    gamma = step.argument(place, None)
    return step.mass.new_ones(1) if gamma is None else step.values[gamma]


def _scaled(step: Step, scale: Tensor) -> Tensor:
    """Mass under a diagonal map: strict mode loses what is on units that their input did not push the way they are."""
    if step.mode == "local":
        return step.mass
    pushed = step.value(step.inputs[0]) * scale
    if (sign := step.sign()) is not None:
        pushed = pushed * sign
    return step.mass - lost(step.mass, pushed, step.rows)


def _grows(node: fx.Node) -> bool:
    """Whether a power is of more than 0."""
    return isinstance(node.args[1], int | float) and node.args[1] > 0


@rule(_aten.pow.Tensor_Scalar, holds=_grows)
@rule(
    _aten.relu.default,
    _aten.hardtanh.default,
    _aten.clamp.default,
    _aten.clamp_min.default,
    _aten.clone.default,
    _aten.alias.default,
    _aten.detach.default,
    _aten.elu.default,
    _aten.gelu.default,
    _aten.leaky_relu.default,
    _aten.sigmoid.default,
    _aten.softplus.default,
    _aten.tanh.default,
    _aten.split_with_sizes.default,
)
def _identity(step: Step) -> Masses:
    """Units map one to one: mass stays. A split has the mass of all its pieces (`_take`)."""
    return [(step.inputs[0], step.mass)]


def _is_first_or_piece(node: fx.Node) -> bool:
    """Whether it is activations: of what is no split, other outputs than the first are indices and statistics."""
    index: Any = node.args[1]
    return node.all_input_nodes[0].target is _aten.split_with_sizes.default or index == 0


@rule(operator.getitem, holds=_is_first_or_piece)
def _take(step: Step) -> Masses:
    """The first output of pools and norms, or one piece of a split: its mass at the piece's place."""
    below = step.inputs[0]
    if below.target is not _aten.split_with_sizes.default:
        return [(below, step.mass)]
    index: Any = step.node.args[1]
    axis = below.args[2] if len(below.args) > 2 else 0
    pieces = [piece.shape for piece in step.values[below]]
    masses = [step.mass.new_zeros(len(step.rows), *shape[1:]) for shape in pieces]
    masses[index] = step.mass
    return [(below, torch.cat(masses, dim=axis))]  # type: ignore[arg-type]


@rule(*VIEWS, _aten.squeeze.dims, _aten.unsqueeze.default)
def _reshape(step: Step) -> Masses:
    below = step.inputs[0]
    return [(below, step.mass.reshape(len(step.rows), *step.values[below].shape[1:]))]


@rule(_aten.permute.default)
def _permute(step: Step) -> Masses:
    below = step.inputs[0]
    order: Any = step.node.args[1]
    layout = layout_of(below) or IMAGES_FIRST
    moved = [0, *(to for axis in order for to in layout.axes(axis % len(order)))]
    inverse = sorted(range(len(moved)), key=moved.__getitem__)
    return [(below, step.mass.permute(inverse))]


def _keeps_images(node: fx.Node) -> bool:
    """Whether what chooses units leaves the axis of the images alone."""
    first = 2 if node.target is _aten.slice_scatter.default else 1
    axes: Any = node.args[first] if len(node.args) > first else 0
    below = next(n for n in node.all_input_nodes if depends_on_image(n))
    layout = layout_of(below) or IMAGES_FIRST
    if node.target is _aten.index.Tensor:
        chosen = [axis for axis, index in enumerate(axes) if index is not None]
        return chosen[0] > 0 and chosen == list(range(chosen[0], chosen[-1] + 1))  # others would come first
    if node.target is not _aten.select.int and axes == layout.axis:
        return tuple(node.args[first + 1 :]) in ((), (0,), (0, sys.maxsize))  # x[:], as in x[:, 2:]
    axes = axes if isinstance(axes, list | tuple) else [axes]
    return all(axis % len(shape_of(below)) != layout.axis for axis in axes)


def _chooses_units(node: fx.Node) -> bool:
    """Whether what it is chosen by are constants, and images are not chosen."""
    return sum(not is_constant(n) for n in node.all_input_nodes) == 1 and _keeps_images(node)


@rule(*CHOOSES, holds=_chooses_units)
def _choose(step: Step) -> Masses:
    """Units are moved, left out or shown several times, as by padding with reflections: mass goes back to its unit."""
    below = step.inputs[0]
    shape = step.values[below].shape[1:]
    before, after = layout_of(below), layout_of(step.node)
    assert before is not None
    assert after is not None
    places = before.together(torch.arange(math.prod(shape), device=step.mass.device).reshape(1, *shape))
    arguments = fx.map_arg(step.node.args, lambda node: places if node is below else step.values[node])
    operator_: Any = step.node.target
    chosen = after.by_image(operator_(*arguments)).flatten().expand(len(step.rows), -1)
    flat = step.mass.new_zeros(len(step.rows), places.numel())
    return [(below, flat.scatter_add(1, chosen, step.mass.flatten(1)).reshape(len(step.rows), *shape))]


def _keeps_axes(node: fx.Node) -> bool:
    return len(shape_of(node.all_input_nodes[0])) == len(shape_of(node))


@rule(_aten.expand.default, holds=_keeps_axes)
def _repeat(step: Step) -> Masses:
    """What is shown several times gets the sum of its parts."""
    below = step.inputs[0]
    return [(below, step.mass.sum_to_size(len(step.rows), *step.values[below].shape[1:]))]


@rule(_aten.slice_scatter.default, holds=_keeps_images)
def _put_in(step: Step) -> Masses:
    """A tensor with a part of it replaced by another one."""
    whole, part, *where = step.node.args
    of_part = _aten.slice(step.mass, *where)
    of_whole = _aten.slice_scatter(step.mass, torch.zeros_like(of_part), *where)
    return [(n, mass) for n, mass in ((whole, of_whole), (part, of_part)) if n in step.path]  # type: ignore[misc]


@rule(_aten.max_pool2d_with_indices.default, _aten.adaptive_max_pool2d.default)
def _max_pool(step: Step) -> Masses:
    """All of the mass goes to the largest cell of the window."""
    below = step.inputs[0]
    indices = step.values[step.node][1].flatten(-2)[step.rows]
    shape = (len(step.rows), *step.values[below].shape[1:])
    flat = step.mass.new_zeros(shape).flatten(-2)
    return [(below, flat.scatter_add(-1, indices, step.mass.flatten(-2)).reshape(shape))]


@rule(_aten.amax.default, _aten.max.dim)
def _maximum(step: Step) -> Masses:
    """All of the mass goes to the largest cell that is not the same in every image, evenly to several that are as
    large.
    """
    below = step.inputs[0]
    axes: Any = step.node.args[1]
    values = step.values[below]
    if below in step.fixed:
        values = values.masked_fill(step.fixed[below], -math.inf)
    largest = (values == values.amax(axes, keepdim=True)).to(step.mass.dtype)
    count = largest.sum(axes, keepdim=True)
    mass = step.mass.reshape(len(step.rows), *count.shape[1:])
    return [(below, (largest / count)[step.rows] * mass)]


@rule(_aten.mean.dim, _aten.sum.dim_IntList)
def _mean(step: Step) -> Masses:
    """A pool whose window is all cells."""
    below = step.inputs[0]
    axes: Any = step.node.args[1]
    shape = step.values[below].shape
    summed = {axis % len(shape) for axis in axes}
    kept = [1 if axis in summed else length for axis, length in enumerate(shape)]

    def up(values: Tensor) -> Tensor:
        return values.sum(axes, keepdim=step.argument(2, False))

    def down(ratio: Tensor) -> Tensor:
        return ratio.reshape(-1, *kept[1:]).expand(-1, *shape[1:])

    return _weighed_down(step, below, up, down)


@rule(_aten.avg_pool2d.default)
def _average_pool(step: Step) -> Masses:
    """P'_j = z_j / sum(window) P; overlapping windows add."""
    below = step.inputs[0]
    window = (
        step.node.args[1],
        step.argument(2, []),
        step.argument(3, [0, 0]),
        step.argument(4, False),
        step.argument(5, True),
        step.argument(6, None),
    )

    def up(activations: Tensor) -> Tensor:
        return _aten.avg_pool2d(activations, *window)  # type: ignore[no-any-return]

    def down(ratio: Tensor) -> Tensor:
        return _aten.avg_pool2d_backward(ratio, step.empty(below), *window)  # type: ignore[no-any-return]

    return _weighed_down(step, below, up, down)


@rule(_aten._adaptive_avg_pool2d.default)
def _adaptive_average_pool(step: Step) -> Masses:
    below = step.inputs[0]

    def up(activations: Tensor) -> Tensor:
        return _aten._adaptive_avg_pool2d(activations, step.node.args[1])  # type: ignore[no-any-return]

    def down(ratio: Tensor) -> Tensor:
        return _aten._adaptive_avg_pool2d_backward(ratio, step.empty(below))  # type: ignore[no-any-return]

    return _weighed_down(step, below, up, down)


@rule(_aten.upsample_nearest2d.vec, _aten.upsample_bilinear2d.vec)
def _upsample(step: Step) -> Masses:
    """A pool with weights of its own: P'_j = z_j * sum(w_ij P_i / sum(w_i z))."""
    below = step.inputs[0]
    size = [int(length) for length in step.values[step.node].shape[2:]]
    corners = [step.node.args[2]] if step.node.target is _aten.upsample_bilinear2d.vec else []
    scales = step.argument(len(corners) + 2, None) or [None, None]
    up_by, down_by = {
        _aten.upsample_nearest2d.vec: (_aten.upsample_nearest2d, _aten.upsample_nearest2d_backward),
        _aten.upsample_bilinear2d.vec: (_aten.upsample_bilinear2d, _aten.upsample_bilinear2d_backward),
    }[step.node.target]  # type: ignore[index]

    def up(activations: Tensor) -> Tensor:
        return up_by(activations, size, *corners, *scales)  # type: ignore[no-any-return]

    def down(ratio: Tensor) -> Tensor:
        return down_by(ratio, size, [len(step.rows), *step.values[below].shape[1:]], *corners, *scales)  # type: ignore[no-any-return]

    return _weighed_down(step, below, up, down)


def _weighed_down(
    step: Step, below: fx.Node, up: Callable[[Tensor], Tensor], down: Callable[[Tensor], Tensor]
) -> Masses:
    """As `through_sum`, where weights are not negative: P' = z * down(P / up(z)).

    Args:
        up: the operator, of (n, ...).
        down: its transpose, of (m, ...).
    """
    parts, one = step.value_by_sign(below), {1: step.mass.new_ones(())}
    passed, pushed = through_sum(
        parts,
        one,
        step.mass,
        step.sign(),
        step.rows,
        lambda part, _: up(part),
        lambda ratio, _: down(ratio),
    )
    if step.mode == "local":
        stray = lost(step.mass, pushed, step.rows)
        passed += to_fields(stray, magnitude(parts), step.room(below), step.rows, up, down)
    return [(below, passed)]


def _attends_alike(node: fx.Node) -> bool:
    """Whether attention has as many values' heads as it gives, and shares by image: a constant with more axes than a
    cell's shares has them where the node does, images first.
    """
    attended = gated_input(node)
    if attended is None or shape_of(attended)[:-2] != shape_of(node)[:-2]:
        return False
    beside = [n for n in node.all_input_nodes if not depends_on_image(n)]
    small = all(is_constant(n) and len(shape_of(n)) <= 2 for n in beside)
    return small or layout_of(node) == IMAGES_FIRST


@rule(_aten.scaled_dot_product_attention.default, holds=_attends_alike)
def _attention(step: Step) -> Masses:
    """A cell is a mean of others, z, by how much it attends to each, A, which is a constant, as a gate is [ours; as
    Ali et al. 2022, "XAI for Transformers"]: P' = z * A^T (P / (A z)).

    In local mode a unit with A z = 0 passes its mass to the others as it attends to them.
    """
    below: Any = step.node.args[2]
    arguments: Any = (step.node.args, step.node.kwargs)
    given, named = fx.map_arg(arguments, lambda node: step.values[node])
    asking, asked, _, *rest = given
    one_hot = torch.eye(asked.shape[-2], device=asked.device).expand(*asked.shape[:-1], -1)
    shares = _aten.scaled_dot_product_attention(asking, asked, one_hot, *rest, **named)
    return _attended(step, below, shares)


@rule(_aten.bmm.default, holds=_attends_alike)
def _attention_written_out(step: Step) -> Masses:
    """As `_attention`, where A is a softmax or sigmoid; A z, or z A where that attends to channels."""
    below = gated_input(step.node)
    assert below is not None
    first, second = step.node.args
    if below is second:
        return _attended(step, below, step.values[first])  # type: ignore[index]
    return _attended(step, below, step.values[second].mT, transposed=True)  # type: ignore[index]


def _attended(step: Step, below: fx.Node, shares: Tensor, *, transposed: bool = False) -> Masses:
    """Mass through A z, A the shares (n or 1, ..., to, from); transposed: through z A^T."""
    shares = shares.to(step.mass.dtype).expand(len(step.values[below]), *shares.shape[1:])

    def up(values: Tensor) -> Tensor:
        return (shares @ values.mT).mT if transposed else shares @ values

    def down(ratio: Tensor) -> Tensor:
        back = shares.mT[step.rows]
        return (back @ ratio.mT).mT if transposed else back @ ratio

    return _weighed_down(step, below, up, down)


def _makes_no_units(node: fx.Node) -> bool:
    """Whether an addend has the sum's units, and others those or a summary's, which is added to every cell."""
    shapes = [shape_of(n) for n in node.all_input_nodes if not is_constant(n)]
    fit = all(_is_repeated_to(shape, shape_of(node)) for shape in shapes)
    return fit and shape_of(node) in shapes and "alpha" not in node.kwargs


def _is_repeated_to(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a value has the whole's axes, of which some may have length 1, but not that of the images."""
    return (
        len(shape) == len(whole)
        and shape[:1] == whole[:1]
        and all(length in (1, full) for length, full in zip(shape, whole, strict=True))
    )


@rule(_aten.add.Tensor, holds=_makes_no_units)
def _add(step: Step) -> Masses:
    """A residual: mass splits as a+ : b+, on a negative sum as a- : b-. A bias that is added takes none of it. What is
    added to many cells, as a summary of the image is, gets the sum of its parts.

    a = 3, b = -1: all to a. a = 3, b = -5: all to b.
    """
    inputs = step.inputs
    if len(inputs) == 1:
        return [(inputs[0], step.mass)]
    return _to_addends(step, [(n, step.value_by_sign(n)) for n in inputs])


def _to_addends(step: Step, addends: Sequence[tuple[fx.Node, BySign]]) -> Masses:
    """Mass on a sum of two."""
    sign, none = step.sign(), step.mass.new_zeros(())

    def pushing_alike(parts: BySign) -> Tensor:
        return where_signs(sign, lambda way: parts.get(way, none))

    values = [pushing_alike(parts) for _, parts in addends]
    total = torch.add(*values)
    share = quotient(step.mass, total, step.rows)
    given = [part[step.rows] * share for part in values]
    if step.mode == "local":
        stray = lost(step.mass, total, step.rows)
        rooms = [step.room(n) for n, _ in addends]
        both = torch.add(*rooms).clamp(min=1)
        given = [part + stray * (room / both) for part, room in zip(given, rooms, strict=True)]
    return [
        (n, part.sum_to_size(len(step.rows), *step.values[n].shape[1:]))
        for (n, _), part in zip(addends, given, strict=True)
    ]


@rule(_aten.cat.default)
def _concatenate(step: Step) -> Masses:
    """Each input gets its own piece; what is on a constant, as on CoordConv's coordinates, is lost."""
    nodes: Any = step.node.args[0]
    axis: int = step.argument(1, 0)
    pieces = torch.split(step.mass, [shape_of(n)[axis] for n in nodes], dim=axis)
    return [(n, piece) for n, piece in zip(nodes, pieces, strict=True) if n in step.path]


@rule(_aten.constant_pad_nd.default)
def _pad(step: Step) -> Masses:
    """Mass on the padding is lost in strict mode; in local mode it goes to the nearest real cell. A negative
    padding cuts cells off, which then get nothing.
    """
    below = step.inputs[0]
    pads: Any = step.node.args[1]
    mass = step.mass
    for index in range(len(pads) // 2):
        axis = mass.dim() - 1 - index
        before, after = max(pads[2 * index], 0), max(pads[2 * index + 1], 0)
        size = mass.shape[axis] - before - after
        inner = mass.narrow(axis, before, size)
        if step.mode == "local" and (before or after):
            inner = inner.clone()
            inner.narrow(axis, 0, 1).add_(mass.narrow(axis, 0, before).sum(axis, keepdim=True))
            inner.narrow(axis, size - 1, 1).add_(
                mass.narrow(axis, before + size, after).sum(axis, keepdim=True)
            )
        mass = inner
    return [(below, functional.pad(mass, [max(-pad, 0) for pad in pads]))]


def _gates_its_units(node: fx.Node) -> bool:
    """Whether what it gates has its units, and constants make no more, or it is of two branches with its units."""
    gated = gated_input(node)
    fits = is_shared(node) if gated is None else shape_of(gated) == shape_of(node)
    inputs = [n for n in node.all_input_nodes if not is_constant(n)]
    # A constant as large as the batch has no value here to scale by; what is copied over needs none.
    is_plain = all(map(depends_on_image, inputs)) or node.target is _aten.copy.default
    return fits and is_plain and "alpha" not in node.kwargs


@rule(*GATED, holds=_gates_its_units)
def _gate(step: Step) -> Masses:
    """A gate, as in squeeze-excite or x * sigmoid(x), is a constant, and so is what an image is divided by to normalise
    it: all of the mass goes through the gated branch [ours]. So is a summary that is subtracted. A factor or divisor
    that does not depend on the image is a diagonal map. What is chosen unit by unit is an activation function, as
    PReLU, written out.
    """
    below = gated_input(step.node)
    if below is None:
        return _difference(step) if step.node.target is _aten.sub.Tensor else _product(step)
    factor = _factor(step)
    if factor is None:
        return [(below, step.mass)]
    return [(below, _scaled(step, factor.reciprocal() if step.node.target is _aten.div.Tensor else factor))]


def _difference(step: Step) -> Masses:
    """As the sum of one branch and the negative of another, a - b: mass splits as a+ : b-, on a negative difference as
    a- : b+. Where it is rectified and b is never negative, b inhibits alone, and a gets all.

    a = 5, b = -2: 5 : 2. a = 1, b = 3: all to b.
    """
    first, second = step.inputs
    if second not in step.signed and step.node not in step.below_zero:
        return [(first, step.mass)]
    negative = {-sign: part for sign, part in step.value_by_sign(second).items()}
    return _to_addends(step, [(first, step.value_by_sign(first)), (second, negative)])


def _product(step: Step) -> Masses:
    """Two branches of which neither gates the other, as in StarNet and SwiGLU: half to each, for a hundredth more of
    either is a hundredth more of the product (Achtibat et al. 2024, AttnLRP: the uniform rule).
    """
    return [(below, step.mass / 2) for below in step.inputs]


def _factor(step: Step) -> Tensor | None:
    """The factor or divisor that does not depend on the image; None where there is none."""
    if step.node.target in (_aten.copy.default, _aten.sub.Tensor, _aten.where.self):
        return None
    constant = [step.values[n] for n in step.node.all_input_nodes if not depends_on_image(n)]
    scalar = [torch.tensor(float(a)) for a in step.node.args if isinstance(a, int | float)]
    found: Tensor | None = next(iter(constant + scalar), None)
    return None if found is None else found.to(step.mass)
