"""What only gates: of a product, a quotient, a difference or a choice, the branch that mass does not go to [ours].

Told from the graph alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import fx

from onoma.science.nodes import MOVES, UNIT_BY_UNIT, depends_on_image, shape_of

_aten = torch.ops.aten
GATED = (
    _aten.copy.default,
    _aten.div.Tensor,
    _aten.mul.Tensor,
    _aten.sub.Tensor,
    _aten.where.self,
)
_REPEATS = frozenset({_aten.expand.default, _aten.upsample_nearest2d.vec})
_SHARES = frozenset({_aten.sigmoid.default, _aten._softmax.default})


def gated_input(node: fx.Node) -> fx.Node | None:
    """The node that the mass on a product, a quotient or a choice goes to, past what only gates it [ours].

    Of attention what is attended to, of a quotient the dividend, of a difference with a constant or a summary what it
    is subtracted from, of a copy what is copied. Of two factors the one that is no sigmoid or softmax; or that which
    the other is made of, unit by unit, as in x * hardsigmoid(x); or the one with more units, as in squeeze-excite,
    where what is repeated counts once. An activation function that is written out (CELU, PReLU) goes to what it is of.
    None where nothing of it holds: two branches then share (`is_shared`).
    """
    inputs = [n for n in node.all_input_nodes if depends_on_image(n)]
    if node.target is _aten.scaled_dot_product_attention.default:
        return next((n for n in inputs if n is node.args[2]), None)
    if node.target is _aten.bmm.default:
        others = [n for n in inputs if not _is_share(n)]
        return others[0] if len(others) == 1 and len(inputs) == 2 else None
    if node.target is _aten.sub.Tensor and _has_two_branches(node):
        return None
    if node.target in (_aten.copy.default, _aten.div.Tensor, _aten.sub.Tensor):
        passing = node.args[1 if node.target is _aten.copy.default else 0]
        return next((n for n in inputs if n is passing), None)
    if node.target is not _aten.mul.Tensor:
        return _origin(node)
    if len(inputs) == 1:
        return inputs[0]
    first, second = inputs
    if _is_share(first) != _is_share(second):
        return second if _is_share(first) else first
    if origin := _origin(node):
        return origin
    if _unit_count(first) != _unit_count(second):
        return max(first, second, key=_unit_count)
    return None


def is_shared(node: fx.Node) -> bool:
    """Whether it multiplies two branches with its own units, of which neither gates the other, or subtracts one from
    the other.
    """
    if node.target not in (_aten.mul.Tensor, _aten.sub.Tensor):
        return False
    return gated_input(node) is None and len(_same_units(node)) == 2


def _has_two_branches(node: fx.Node) -> bool:
    """Whether it is of two branches with its own units, and what is subtracted is not expanded, as a summary is."""
    branches = _same_units(node)
    return len(branches) == 2 and branches[1].target is not _aten.expand.default


def _origin(node: fx.Node) -> fx.Node | None:
    """The nearest node that each unit of `node` is a function of alone."""
    asked, below = [node], dict[fx.Node, None]()
    while asked:
        for n in _same_units(asked.pop()):
            if n not in below:
                below[n] = None
                if n.target in UNIT_BY_UNIT:
                    asked.append(n)
    in_order = sorted(below)  # by their place in the graph
    return next((one for one in reversed(in_order) if _is_made_of([*in_order, node], one)), None)


def _is_made_of(nodes: Sequence[fx.Node], origin: fx.Node) -> bool:
    """Whether each unit of the last node depends on the same unit of `origin`, beside constants and what scales it.

    Args:
        nodes: those between them, in the graph's order.
    """
    made = {origin}
    for node in nodes:
        inputs = _same_units(node)
        others = [n for n in node.all_input_nodes if depends_on_image(n) and n not in inputs]
        is_of_made = bool(inputs) and made.issuperset(inputs)
        if node.target in UNIT_BY_UNIT and is_of_made and (not others or _only_scaled_by(node, others)):
            made.add(node)
    return nodes[-1] in made


def _same_units(node: fx.Node) -> list[fx.Node]:
    """Inputs that depend on the image and have the node's units."""
    return [n for n in node.all_input_nodes if depends_on_image(n) and shape_of(n) == shape_of(node)]


def _only_scaled_by(node: fx.Node, others: Sequence[fx.Node]) -> bool:
    """Whether inputs with fewer units are factors, divisors or conditions: what they add would be evidence."""
    if node.target is _aten.mul.Tensor:
        return True
    place = {_aten.div.Tensor: 1, _aten.where.self: 0}.get(node.target)  # type: ignore[call-overload]
    return place is not None and all(n is node.args[place] for n in others)


def _is_share(node: fx.Node) -> bool:
    """Whether it is between 0 and 1 by a sigmoid or softmax, in whatever shape."""
    while node.target in _REPEATS or node.target in MOVES:
        node = node.all_input_nodes[0]
    return node.target in _SHARES


def _unit_count(node: fx.Node) -> int:
    """Units; of what is repeated those that are."""
    count = math.prod(shape_of(node))
    return min(count, _unit_count(node.all_input_nodes[0])) if node.target in _REPEATS else count
