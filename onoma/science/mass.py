"""Mass at one operator on its way down, and how a weighted sum shares it out by what pushed its units.

Mass has a row a target: (m, ...). Values have a row an image: (n, ...); `rows` says which image each target belongs to,
so that denominators are computed once an image.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal

import torch
from torch import Tensor, fx

Mode = Literal["strict", "local"]
Masses = list[tuple[fx.Node, Tensor]]
BySign = Mapping[int, Tensor]
"""1: the positive part of something, -1: the size of its negative part, where there may be one."""


@dataclass(frozen=True)
class Step:
    """One operator on the way down.

    Attributes:
        node: the operator.
        mass: (m, ...) mass on its output.
        rows: (m,) the image each row of mass belongs to.
        values: value of each node of the path and of what it attends by, (n, ...), and of every constant.
        path: the nodes that carry activations.
        weights: of convolutions and fully-connected layers, by node: max(W, 0), and max(-W, 0) where signs matter.
        mode: what becomes of the mass of a unit that nothing excites.
        fixed: (...) bool, by node: units that are the same in every image.
        signed: nodes whose units may be negative; others' count as 0 where they are.
        below_zero: nodes that may have mass on negative units.
    """

    node: fx.Node
    mass: Tensor
    rows: Tensor
    values: Mapping[fx.Node, Any]
    path: frozenset[fx.Node]
    weights: Mapping[fx.Node, BySign]
    mode: Mode
    fixed: Mapping[fx.Node, Tensor] = field(default_factory=dict)
    signed: frozenset[fx.Node] = frozenset()
    below_zero: frozenset[fx.Node] = frozenset()

    @property
    def inputs(self) -> list[fx.Node]:
        """Input nodes that carry activations, in order."""
        return [n for n in self.node.all_input_nodes if n in self.path]

    def value(self, node: fx.Node) -> Tensor:
        """Activations of a node, (n, ...), of the mass's dtype: 0 where they are the same in every image [ours]."""
        found: Tensor = self.values[node].to(self.mass.dtype)
        return found.masked_fill(self.fixed[node], 0) if node in self.fixed else found

    def value_by_sign(self, node: fx.Node) -> BySign:
        """Its value, positive and negative."""
        return by_sign(self.value(node), is_signed=node in self.signed)

    def sign(self) -> Tensor | None:
        """(n, ...) of the operator's units, 1 or -1, 0 counting as positive; None where no negative one has mass."""
        if self.node not in self.below_zero:
            return None
        return 1 - 2 * (self.above() < 0).to(self.mass.dtype)

    def above(self) -> Tensor:
        """The operator's value, (n, ...), of several the first."""
        taken = [self.node] if isinstance(self.values[self.node], Tensor) else self.node.users
        value: Tensor = self.values[next(n for n in taken if n in self.path)]
        return value

    def room(self, node: fx.Node) -> Tensor:
        """(1, ...): 1 for units that can take mass in local mode, 0 for those that are the same in every image."""
        if node in self.fixed:
            return (~self.fixed[node])[None].to(self.mass.dtype)
        shape = self.values[node].shape[1:]
        return self.mass.new_ones(()).expand(1, *shape)

    def empty(self, node: fx.Node) -> Tensor:
        """What mass on a node will be like: (m, ...), of no value."""
        return self.mass.new_empty(len(self.rows), *self.values[node].shape[1:])

    def argument(self, index: int, default: Any) -> Any:
        """Argument of the operator, or its default where it is left out."""
        return self.node.args[index] if len(self.node.args) > index else default


def quotient(mass: Tensor, denominator: Tensor, rows: Tensor) -> Tensor:
    """mass / denominator, and 0 where the denominator is not positive: nothing there excited the unit.

    Args:
        mass: (m, ...).
        denominator: (n, ...); divided by once an image, not once a target.
        rows: (m,) the image of each row of mass.
    """
    positive = denominator > _least(denominator)
    return mass * torch.where(positive, torch.where(positive, denominator, 1).reciprocal(), 0)[rows]


def lost(mass: Tensor, denominator: Tensor, rows: Tensor) -> Tensor:
    """The mass (m, ...) on units whose denominator (n, ...) is not positive."""
    return mass * (denominator <= _least(denominator)).to(mass.dtype)[rows]


def by_sign(values: Tensor, *, is_signed: bool) -> BySign:
    """max(values, 0) and, if it is signed, max(-values, 0)."""
    positive = {1: values.clamp(min=0)}
    return {**positive, -1: (-values).clamp(min=0)} if is_signed else positive


def magnitude(parts: BySign) -> Tensor:
    """|values|."""
    return parts[1] + parts[-1] if -1 in parts else parts[1]


def through_sum(
    parts: BySign,
    weights: BySign,
    mass: Tensor,
    sign: Tensor | None,
    rows: Tensor,
    up: Callable[[Tensor, Tensor], Tensor],
    down: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Mass through a weighted sum, to the inputs that pushed a unit the way it is: P'_j = sum_i c_ij P_i / sum_k c_ik,
    where c_ij = max(w_ij z_j, 0) for a unit that is not negative (Zhang et al. 2016, whose z is never negative) and
    max(-w_ij z_j, 0) for one that is [ours].

    Two inputs z = (2, -1) and two units with weights (1, -3) and (-4, 2), which are 5 and -10: mass 0.5 on the first
    goes as 2 : 3, on the second as 8 : 2, so (0.2 + 0.4, 0.3 + 0.1).

    Args:
        parts: (n, ...) of z.
        weights: of W.
        mass: (m, ...).
        sign: (n, ...) of the units, as `Step.sign` has it.
        rows: (m,) the image of each row of mass.
        up: activations (n, ...) and weights to the sum.
        down: mass (m, ...) and weights to its transpose.
    Returns:
        Mass below, (m, ...), and by how much each unit was pushed the way it is, (n, ...).
    """

    def pushed_up_or_down(way: int) -> Tensor:
        found = [up(part, weight) for part, weight in pushing(parts, weights, way)]
        return reduce(operator.add, found) if found else mass.new_zeros(())  # neither is ever negative

    pushed = where_signs(sign, pushed_up_or_down)
    ratio = quotient(mass, pushed, rows)
    # Pair by pair of signs, so that only what is not negative is added: 2 c_ij = |w_ij z_j| + s_i w_ij z_j would take
    # half of the products, but loses the digits of a unit that was hardly pushed the way it is.
    ratios = {1: ratio} if sign is None else {way: ratio * (sign == way)[rows] for way in (1, -1)}
    given = [
        part[rows] * down(of_way, weight)
        for way, of_way in ratios.items()
        for part, weight in pushing(parts, weights, way)
    ]
    return reduce(operator.add, given), pushed


def where_signs(sign: Tensor | None, of: Callable[[int], Tensor]) -> Tensor:
    """of(1), and of(-1) where a unit is negative."""
    return of(1) if sign is None else torch.where(sign < 0, of(-1), of(1))


def pushing(parts: BySign, weights: BySign, way: int) -> list[tuple[Tensor, Tensor]]:
    """What of inputs and weights pushes units up, or down (`way` -1): those with products of that sign."""
    return [(part, weights[sign * way]) for sign, part in parts.items() if sign * way in weights]


def to_fields(
    stray: Tensor,
    sizes: Tensor,
    room: Tensor,
    rows: Tensor,
    up: Callable[[Tensor], Tensor],
    down: Callable[[Tensor], Tensor],
) -> Tensor | float:
    """What local mode does with mass that nothing pushed: it goes to its unit's field, by the size of activations,
    evenly where all are 0 [ours]. Of a field of padding alone it is lost.

    Args:
        stray: (m, ...) mass.
        sizes: (n, ...) |z| below.
        room: (1, ...) how much of what is spread evenly each may take: 0 for what is the same in every image.
        rows: (m,) the image of each row of mass.
        up: sums over the fields, of (n, ...).
        down: its transpose, of (m, ...).
    Returns:
        (m, ...) mass below, or 0 where none is stray.
    """
    given: Tensor | float = 0.0
    for values in (sizes, room.expand_as(sizes)):
        if not stray.any():
            break
        reached = up(values)
        given = given + values[rows] * down(quotient(stray, reached, rows))
        stray = lost(stray, reached, rows)
    return given


def matrix_down(
    parts: BySign,
    weights: BySign,
    mass: Tensor,
    rows: Tensor,
    mode: Mode,
    *,
    sign: Tensor | None = None,
    room: Tensor | None = None,
) -> Tensor:
    """Mass through a fully-connected layer on the last axis, as `through_sum`, without the bias.

    Two inputs z = (2, 1), one output with weights (1, -3): W+ = (1, 0), W+ z = 2, so mass 1 goes as (1, 0).

    Args:
        parts: (n, ..., d) activations below.
        weights: (d, f).
        mass: (m, ..., f).
        rows: (m,) the image of each row of mass.
        sign: (n, ..., f), as `Step.sign` has it.
        room: (1, ..., d), as `to_fields` has it; 1 where it is not given.
    Returns:
        (m, ..., d).
    """
    passed, pushed = through_sum(
        parts, weights, mass, sign, rows, torch.matmul, lambda ratio, weight: ratio @ weight.T
    )
    if mode == "local":
        stray, sizes = lost(mass, pushed, rows).sum(-1, keepdim=True), magnitude(parts)
        room = torch.ones_like(sizes[:1]) if room is None else room
        passed += to_fields(
            stray, sizes, room, rows, lambda values: values.sum(-1, keepdim=True), lambda ratio: ratio
        )
    return passed


def _least(denominator: Tensor) -> float:
    """Below this a denominator counts as 0: dividing by it would overflow."""
    return torch.finfo(denominator.dtype).tiny * 2.0**20
