"""Rewrites of an exported graph: norms and biases folded, layers at every cell made one, empty steps dropped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from onoma.science.nodes import IMAGES_FIRST, depends_on_image

_aten = torch.ops.aten


def fold_norms_and_biases(graph_module: fx.GraphModule) -> None:
    """Folds inference batch norms, and constants added to each unit, into the convolutions and fully-connected layers
    before them that feed nothing else.

    Excitation Backprop needs it: with gamma < 0 the sign of a weight changes, and with a bias that of a unit.
    """
    graph = graph_module.graph
    values = constant_values(graph_module)
    for node in list(graph.nodes):
        layer = next(iter(n for n in node.all_input_nodes if n not in values), None)
        found = _weight_and_bias(layer, values) if layer is not None and len(layer.users) == 1 else None
        if layer is None or found is None:
            continue
        weight, bias = found
        is_convolution = layer.target is _aten.convolution.default
        if node.target is _aten._native_batch_norm_legit_no_training.default:
            scale, bias = _normed(node, bias, values)
            weight = weight * (scale.view(-1, *[1] * (weight.dim() - 1)) if is_convolution else scale)
        elif (added := _added_to_each_unit(node, layer, 1 if is_convolution else -1, values)) is not None:
            if torch.result_type(weight, added) != weight.dtype:  # the sum is of another dtype than the layer
                continue
            bias = bias + added
        else:
            continue
        folded = f"folded_{node.name}"
        graph_module.register_buffer(f"{folded}_weight", weight)
        graph_module.register_buffer(f"{folded}_bias", bias)
        with graph.inserting_before(layer):
            new_weight = graph.get_attr(f"{folded}_weight")
            new_bias = graph.get_attr(f"{folded}_bias")
        new_weight.meta["shape"], new_bias.meta["shape"] = tuple(weight.shape), tuple(bias.shape)
        if is_convolution:
            layer.args = (layer.args[0], new_weight, new_bias, *layer.args[3:])
        else:
            layer.target, layer.args = _aten.addmm.default, (new_bias, layer.args[-2], new_weight)
        outputs = [node] if node.target is _aten.add.Tensor else [n for n in node.users if n.args[1] == 0]
        for output in outputs:
            output.replace_all_uses_with(layer)
            graph.erase_node(output)
        if node not in outputs and not node.users:  # now the layer may feed one more norm alone
            graph.erase_node(node)
        values |= {new_weight: weight, new_bias: bias}
    graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()


def _normed(norm: fx.Node, bias: Tensor, values: dict[fx.Node, Any]) -> tuple[Tensor, Tensor]:
    """What a batch norm multiplies each unit by, and the bias of the layer with it: (units,) both."""
    gamma, beta, mean, variance = (values[a] if a is not None else None for a in norm.args[1:5])  # type: ignore[index]
    assert mean is not None
    assert variance is not None
    scale = torch.rsqrt(variance + norm.args[6]) * (1 if gamma is None else gamma)
    return scale, (0 if beta is None else beta) + (bias - mean) * scale


def _added_to_each_unit(
    node: fx.Node, layer: fx.Node, axis: int, values: dict[fx.Node, Any]
) -> Tensor | None:
    """(units,): the constant with one number a unit, or one for all, that a node adds to what a layer gives; None where
    it adds none.
    """
    weights = [n for n in node.all_input_nodes if n in values]
    if node.target is not _aten.add.Tensor or node.kwargs or not weights:
        return None
    shape, added = layer.meta["shape"], values[weights[0]]
    wanted = [1] * len(shape)
    wanted[axis] = shape[axis]
    if not isinstance(added, Tensor) or added.dim() > len(shape):
        return None
    if added.numel() > 1 and list(added.shape) != wanted[len(shape) - added.dim() :]:
        return None
    return added.flatten().expand(shape[axis])


def _weight_and_bias(layer: fx.Node, values: dict[fx.Node, Any]) -> tuple[Tensor, Tensor] | None:
    """Of a convolution or fully-connected layer: (out, ...) or (in, out), and (out,) or (); None where they vary."""
    arguments: Any = layer.args
    if layer.target is _aten.convolution.default and not arguments[6]:
        weight, bias = arguments[1:3]
    elif layer.target is _aten.addmm.default and not layer.kwargs:
        bias, _, weight = arguments
    elif layer.target is _aten.mm.default:
        weight, bias = arguments[1], None
    else:
        return None
    if weight not in values or (bias is not None and bias not in values):
        return None
    return values[weight], torch.zeros(()) if bias is None else values[bias]


def join_layers_at_every_cell(graph_module: fx.GraphModule) -> None:
    """Makes what works on the last axis of (n, ..., d) one `linear`, as in ConvNeXt and in attention.

    Decomposed it is view, addmm, view, where images and cells share the first axis between the views; or, of what is
    not contiguous, a product of matrices of which the second are all the same, and its bias is added behind a view.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.target is _aten.bmm.default:
            matrix = node.args[1]
            while matrix.target in (_aten.view.default, _aten.expand.default) and matrix.meta["shape"][2:]:
                matrix = matrix.args[0]
            same = matrix.meta["shape"] == node.args[1].meta["shape"][1:]
            if same and _is_transposed(matrix) and not depends_on_image(matrix):
                _join(node, node.args[0], matrix.args[0], *_bias_taken_from_above(node))
        elif node.target in (_aten.addmm.default, _aten.mm.default) and len(node.users) == 1:
            *bias, flat, matrix = node.args
            (after,) = node.users
            views = (flat.target, after.target) == (_aten.view.default,) * 2
            plain = not node.kwargs and all(_is_of_units(one, node) for one in bias)  # no alpha, no beta
            if views and plain and _is_transposed(matrix) and _is_at_every_cell(flat, after, node):
                _join(after, flat.args[0], matrix.args[0], *bias)
    graph.eliminate_dead_code()
    graph_module.recompile()


def _is_transposed(node: fx.Node) -> bool:
    """Whether it is a matrix, transposed."""
    order: Any = node.args[1] if node.target is _aten.permute.default else ()
    return list(order) == [1, 0]


def _bias_taken_from_above(layer: fx.Node) -> list[fx.Node]:
    """The constant of one number a unit that is added to what a layer gives, behind views of it; the sum is taken out.

    Its sign would else be another than that of the layer's unit, and a view that leaves the last axis leaves the units.
    """
    above = layer
    while len(above.users) == 1:
        (user,) = above.users
        if user.target is _aten.view.default and user.meta["shape"][-1] == layer.meta["shape"][-1]:
            above = user
            continue
        weights = [
            n for n in user.all_input_nodes if n.op == "get_attr"
        ]  # which are above all else in the graph
        if user.target is not _aten.add.Tensor or user.kwargs or user.args[0] is not above or not weights:
            break
        if weights[0].meta["shape"] != layer.meta["shape"][-1:]:
            break
        user.replace_all_uses_with(above)
        return weights
    return []


def _is_of_units(bias: fx.Node, layer: fx.Node) -> bool:
    """Whether a bias is a constant with one number a unit."""
    return not depends_on_image(bias) and bias.meta["shape"] == layer.meta["shape"][1:]


def _is_at_every_cell(flat: fx.Node, after: fx.Node, layer: fx.Node) -> bool:
    """Whether a fully-connected layer between two views has many rows an image, and its units stay the last axis."""
    above, below = after.meta["shape"], flat.all_input_nodes[0].meta["shape"]
    has_cells = len(below) > 2 and above[:-1] == below[:-1] and flat.meta["shape"][-1] == below[-1]
    shared = len(above) > 2 and flat.meta["layout"] not in (IMAGES_FIRST, None)
    return has_cells or (shared and above[-1] == layer.meta["shape"][-1])


def _join(whole: fx.Node, below: fx.Node, weight: fx.Node, *bias: fx.Node) -> None:
    """Puts a `linear` in the place of a node that gives (..., f)."""
    graph = whole.graph
    *cells, units = whole.meta["shape"]
    with graph.inserting_before(whole):
        if list(below.meta["shape"][:-1]) != cells:
            sizes: Any = whole.args[1]
            inputs = weight.meta["shape"][1]
            viewed = graph.call_function(_aten.reshape.default, (below, [*sizes[:-1], inputs]))
            viewed.meta |= {"shape": (*cells, inputs), "layout": whole.meta["layout"]}
            below = viewed
        joined = graph.call_function(_aten.linear.default, (below, weight, *bias))
    joined.meta |= {"shape": (*cells, units), "layout": whole.meta["layout"]}
    whole.replace_all_uses_with(joined)


def drop_restrides(graph_module: fx.GraphModule) -> None:
    """Takes out `as_strided` that gives back what it was given, as after a pool to one cell.

    Only where images and one more axis are longer than 1: then the order in memory is not in doubt.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.target is not _aten.as_strided.default or len(node.args) > 3:
            continue
        below, shape, strides = node.args[0], node.meta["shape"], node.args[2]
        long = [axis for axis, size in enumerate(shape) if size > 1 and axis]
        if (
            below.meta["shape"] == shape
            and len(long) == 1
            and strides[long[0]] == 1
            and strides[0] == shape[long[0]]
        ):
            node.replace_all_uses_with(below)
    graph.eliminate_dead_code()
    graph_module.recompile()


def constant_values(graph_module: fx.GraphModule) -> dict[fx.Node, Any]:
    """Values of the nodes that do not depend on the input: weights, and what is made of them."""
    values: dict[fx.Node, Any] = {}
    for node in graph_module.graph.nodes:
        if node.op == "get_attr":
            values[node] = _attribute(graph_module, node.target)
        elif node.op == "call_function" and all(n in values for n in node.all_input_nodes):
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: values[n])
            with torch.inference_mode():
                values[node] = node.target(*args, **kwargs)
    return values


def _attribute(module: nn.Module, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module.detach() if isinstance(module, Tensor) else module
