"""Rewrites of an exported graph: batch norms folded, layers at every cell one operator again, empty steps dropped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

_aten = torch.ops.aten


def fold_batch_norms(graph_module: fx.GraphModule) -> None:
    """Folds inference batch norms into the convolutions before them, where those feed nothing else.

    Excitation Backprop needs it: with gamma < 0 the sign of a weight changes (science.md, section 3).
    """
    graph = graph_module.graph
    values = constant_values(graph_module)
    for node in list(graph.nodes):
        if node.target is not _aten._native_batch_norm_legit_no_training.default:
            continue
        convolution = node.args[0]
        outputs = [user for user in node.users if user.args[1] == 0]
        if convolution.target is not _aten.convolution.default or len(convolution.users) != 1:
            continue
        is_transposed, weight_varies = convolution.args[6], convolution.args[1] not in values
        if is_transposed or weight_varies:
            continue
        gamma, beta, mean, variance = (values[a] if a is not None else None for a in node.args[1:5])
        assert mean is not None
        assert variance is not None
        scale = torch.rsqrt(variance + node.args[6]) * (1 if gamma is None else gamma)
        weight, bias = values[convolution.args[1]], convolution.args[2]
        shift = (0 if beta is None else beta) + ((0 if bias is None else values[bias]) - mean) * scale
        folded = f"folded_{convolution.name}"
        graph_module.register_buffer(f"{folded}_weight", weight * scale.view(-1, *[1] * (weight.dim() - 1)))
        graph_module.register_buffer(f"{folded}_bias", shift)
        with graph.inserting_before(convolution):
            new_weight = graph.get_attr(f"{folded}_weight")
            new_bias = graph.get_attr(f"{folded}_bias")
        new_weight.meta["shape"], new_bias.meta["shape"] = tuple(weight.shape), tuple(shift.shape)
        convolution.args = (convolution.args[0], new_weight, new_bias, *convolution.args[3:])
        for output in outputs:
            output.replace_all_uses_with(convolution)
        values |= {new_weight: weight, new_bias: shift}
    graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()


def join_layers_at_every_cell(graph_module: fx.GraphModule) -> None:
    """Makes view, addmm, view one `linear` where a layer works on the last axis of (n, ..., d), as in ConvNeXt.

    Decomposed, images and cells share the first axis between the views, and mass would lose its image there.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.target not in (_aten.addmm.default, _aten.mm.default) or len(node.users) != 1:
            continue
        *bias, flat, turned = node.args
        (after,) = node.users
        views = (flat.target, after.target) == (_aten.view.default,) * 2
        if not views or turned.target is not _aten.permute.default or list(turned.args[1]) != [1, 0]:
            continue
        above, below = after.meta["shape"], flat.args[0].meta["shape"]
        if len(below) < 3 or above[:-1] != below[:-1]:
            continue
        with graph.inserting_before(after):
            joined = graph.call_function(_aten.linear.default, (flat.args[0], turned.args[0], *bias))
        joined.meta["shape"] = above
        after.replace_all_uses_with(joined)
    graph.eliminate_dead_code()
    graph_module.recompile()


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
