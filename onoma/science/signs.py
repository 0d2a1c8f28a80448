"""Which activations may be negative, and where mass may lie on such: told from the graph, before anything is drawn.

What can do without the negative part needs half the products, and networks of ReLU can everywhere.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import fx

from onoma.science.nodes import ATTENDS, CHOOSES, MOVES, POOLS, depends_on_image

_aten = torch.ops.aten
_BOUNDS_BELOW = {
    _aten.clamp.default: None,
    _aten.clamp_min.default: None,
    _aten.hardtanh.default: -1.0,
}  # with the bound that is taken where none is given
_RECTIFIES = (
    _aten._softmax.default,
    _aten.relu.default,
    _aten.sigmoid.default,
    _aten.softplus.default,
)
_LEAVES_SIGNS = frozenset(
    {
        *CHOOSES,
        *MOVES,
        *POOLS,
        _aten.add.Tensor,
        _aten.alias.default,
        _aten.amax.default,
        _aten.cat.default,
        _aten.detach.default,
        _aten.expand.default,
        _aten.max.dim,
        _aten.mean.dim,
        _aten.mul.Tensor,
        _aten.split_with_sizes.default,
        _aten.sum.dim_IntList,
        operator.getitem,
    }
)
"""Sums, products, choices and moves: of what is not negative they make nothing that is; and, but for products, only the
mass of negative units goes to negative units."""


def signed_nodes(nodes: Iterable[fx.Node]) -> frozenset[fx.Node]:
    """Nodes with units that may be negative.

    Args:
        nodes: of the graph, in its order.
    """
    signed = set[fx.Node]()
    for node in nodes:
        parts = [n for n in node.all_input_nodes if depends_on_image(n)]
        if not (_rectifies(node) or (parts and _leaves_signs(node) and signed.isdisjoint(parts))):
            signed.add(node)
    return frozenset(signed)


def _leaves_signs(node: fx.Node) -> bool:
    """Whether of what is not negative it makes nothing that is."""
    if node.target is _aten.constant_pad_nd.default:
        padding: Any = node.args[2] if len(node.args) > 2 else 0
        return bool(padding >= 0)
    return node.target in _LEAVES_SIGNS and not _joins_constants(node)


def _joins_constants(node: fx.Node) -> bool:
    """Whether numbers or constants, which may be negative, are among what it adds, multiplies or joins."""
    if node.target not in (_aten.add.Tensor, _aten.cat.default, _aten.mul.Tensor):
        return False
    joined: Any = node.args[0] if node.target is _aten.cat.default else node.args
    return bool(node.kwargs) or not all(isinstance(n, fx.Node) and depends_on_image(n) for n in joined)


def nodes_below_zero(path: Sequence[fx.Node], signed: frozenset[fx.Node]) -> frozenset[fx.Node]:
    """Nodes that may get mass on negative units. Under a ReLU there is none, whatever is below it.

    Args:
        path: nodes that carry activations, from the map layer to the attachment, in the graph's order.
    """
    below_zero = set[fx.Node]()
    on_path = set(path)
    for node in reversed(path):
        users = on_path.intersection(node.users)
        if node in signed and (
            node is path[-1] or any(_hands_below_zero(user, node, signed, below_zero) for user in users)
        ):
            below_zero.add(node)
    return frozenset(below_zero)


def _hands_below_zero(
    user: fx.Node, node: fx.Node, signed: frozenset[fx.Node], below_zero: set[fx.Node]
) -> bool:
    """Whether an operator may hand mass to negative units of a node."""
    if user.target is _aten.mul.Tensor:  # by a gate that is not negative the sign stays
        gates = [n for n in user.all_input_nodes if n is not node and depends_on_image(n)]
        return user in below_zero or not gates or not signed.isdisjoint(gates)
    if user.target in _LEAVES_SIGNS or user.target in ATTENDS:
        return user in below_zero
    return not _rectifies(user)


def _rectifies(node: fx.Node) -> bool:
    """Whether it gives nothing negative, and more for more."""
    if node.target not in _BOUNDS_BELOW:
        return node.target in _RECTIFIES
    least = node.args[1] if len(node.args) > 1 else _BOUNDS_BELOW[node.target]
    return isinstance(least, int | float) and least >= 0
