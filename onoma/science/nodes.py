"""What is known of the nodes of an exported graph: shapes, where the images lie, and where rows and columns do."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.symbolic_shapes import free_symbols
from torch.nn import functional

BLANK_IMAGES = (2,)  # first axis of what the shapes in the graph are learnt from
_aten = torch.ops.aten

# Operators that only hand values on, or give shapes; mass needs no rule for what is not a tensor of activations.
SHAPE_OPERATORS = frozenset({_aten.sym_size.int, _aten.sym_numel.default})
VIEWS = (_aten.view.default, _aten._unsafe_view.default, _aten.reshape.default, _aten.flatten.using_ints)
MOVES = frozenset(
    {*VIEWS, _aten.clone.default, _aten.permute.default, _aten.squeeze.dims, _aten.unsqueeze.default}
)  # units have another place, and no other value
CHOOSES = (
    _aten.flip.default,
    _aten.index.Tensor,
    _aten.index_select.default,
    _aten.select.int,
    _aten.slice.Tensor,
)
UNIT_BY_UNIT = frozenset(
    {
        _aten.abs.default,
        _aten.add.Tensor,
        _aten.clamp.default,
        _aten.clamp_min.default,
        _aten.div.Tensor,
        _aten.elu.default,
        _aten.exp.default,
        _aten.expm1.default,
        _aten.gelu.default,
        _aten.ge.Scalar,
        _aten.gt.Scalar,
        _aten.hardtanh.default,
        _aten.le.Scalar,
        _aten.leaky_relu.default,
        _aten.log1p.default,
        _aten.lt.Scalar,
        _aten.mul.Tensor,
        _aten.pow.Tensor_Scalar,
        _aten.relu.default,
        _aten.sigmoid.default,
        _aten.sign.default,
        _aten.softplus.default,
        _aten.sub.Tensor,
        _aten.tanh.default,
        _aten.where.self,
    }
)  # what activation functions are made of
ATTENDS = (_aten.bmm.default, _aten.scaled_dot_product_attention.default)
POOLS = (
    _aten._adaptive_avg_pool2d.default,
    _aten.adaptive_max_pool2d.default,
    _aten.avg_pool2d.default,
    _aten.max_pool2d_with_indices.default,
    _aten.upsample_bilinear2d.vec,
    _aten.upsample_nearest2d.vec,
)
_HAS_CELLS_LAST = frozenset({_aten.convolution.default, *POOLS})
_ROW = 2**16  # of a place's number; the rest is its column


@dataclass(frozen=True)
class Layout:
    """One axis of a tensor runs over the images, alone or together with units of each.

    (24, 197, 64) for 2 images of 12 heads each is Layout(axis=0, before=1, after=12).

    Attributes:
        axis: that has the images.
        before: units that this axis runs over outside the images: its index is (before, image, after), row by row.
        after: units that it runs over within each image.
    """

    axis: int = 0
    before: int = 1
    after: int = 1

    def by_image(self, value: Tensor) -> Tensor:
        """Images first: (n, ...), where what shared their axis has axes of its own."""
        if self == IMAGES_FIRST:
            return value
        lengths = (*value.shape[: self.axis], self.before, -1, self.after, *value.shape[self.axis + 1 :])
        apart = value.reshape(lengths).movedim(self.axis + 1, 0)
        return apart.squeeze([axis for axis, length in self._shared() if length == 1])

    def together(self, by_image: Tensor) -> Tensor:
        """The inverse of `by_image`."""
        if self == IMAGES_FIRST:
            return by_image
        for axis, length in self._shared():
            by_image = by_image.unsqueeze(axis) if length == 1 else by_image
        return by_image.movedim(0, self.axis + 1).flatten(self.axis, self.axis + 2)

    def axes(self, axis: int) -> list[int]:
        """Which axes of `by_image`'s value an axis became; those of the images are what shared theirs."""
        shared = [length for _, length in self._shared() if length > 1]
        if axis == self.axis:
            return [axis + 1 + index for index in range(len(shared))]
        return [axis + 1 if axis < self.axis else axis + len(shared)]

    def _shared(self) -> list[tuple[int, int]]:
        """Axis, once the images are first, and length of what shares theirs."""
        return [(self.axis + 1, self.before), (self.axis + 2, self.after)]


IMAGES_FIRST = Layout()


def depends_on_image(node: fx.Node) -> bool:
    """Whether a node's values depend on what is seen in the image, not on how many images there are alone."""
    if "depends_on_image" not in node.meta:
        for one in node.graph.nodes:
            one.meta["depends_on_image"] = one.op == "placeholder" or (
                one.target not in SHAPE_OPERATORS
                and any(n.meta["depends_on_image"] for n in one.all_input_nodes)
            )
    return bool(node.meta["depends_on_image"])


def is_constant(node: fx.Node) -> bool:
    """Whether a node's value is made of constants alone, and not of the number of images either."""
    if "is_constant" not in node.meta:
        for one in node.graph.nodes:
            one.meta["is_constant"] = one.op == "get_attr" or (
                one.op == "call_function" and all(n.meta["is_constant"] for n in one.all_input_nodes)
            )
    return bool(node.meta["is_constant"])


def layout_of(node: fx.Node) -> Layout | None:
    """Where a node's value has the images; None where nothing can be said."""
    found: Layout | None = node.meta.get("layout", IMAGES_FIRST)
    return found


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Shape of a node's value for two images; () where it is no tensor."""
    value = node.meta.get("shape")
    return value if isinstance(value, tuple) else ()


def channel_axis(node: fx.Node) -> int | None:
    """The axis of the channels of a layer that has rows and columns: 1, or 3 where they come last, as in Swin.

    None where a layer's axes are others, as tokens and windows are.
    """
    found: int | None = node.meta.get("channel_axis")
    return found


def cells_of(node: fx.Node) -> tuple[int, int]:
    """Rows and columns of a layer that has them."""
    rows, columns = (size for axis, size in enumerate(shape_of(node)) if axis not in (0, channel_axis(node)))
    return rows, columns


class ShapeRecorder(fx.Interpreter):
    """Runs blank images and notes in the nodes' meta what shape each value has, and where the images lie in it."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module)
        image = next(node for node in graph_module.graph.nodes if node.op == "placeholder")
        self._images = next(iter(_free_symbols(image)), frozenset())

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        n.meta["shape"] = tuple(value.shape) if isinstance(value, Tensor) else ()
        n.meta["layout"] = _layout(n, self._images)
        return value


def _layout(node: fx.Node, images: Set[Any]) -> Layout | None:
    """Where a node's value has the images, from where its first input has them.

    Args:
        images: the symbol of their number; empty where the program takes a fixed number.
    """
    made_of = next((n for n in node.all_input_nodes if depends_on_image(n)), None)
    if made_of is None:
        return IMAGES_FIRST
    below, shape = layout_of(made_of), shape_of(node)
    if below is None or not shape:
        return below  # several tensors
    if not images:
        return IMAGES_FIRST if shape[:1] == BLANK_IMAGES else None
    axes = [axis for axis, symbols in enumerate(_free_symbols(node)) if images & symbols]
    if len(axes) != 1:
        return None
    (axis,), before, rest = axes, below.before, 0
    if node.target in VIEWS:  # what lay outside the images still does
        outside = math.prod(shape_of(made_of)[: below.axis]) * below.before
        before, rest = divmod(outside, math.prod(shape[:axis]))
    after, more = divmod(shape[axis], max(before, 1) * BLANK_IMAGES[0])
    return None if rest or more else Layout(axis, before, after)


def _free_symbols(node: fx.Node) -> list[Set[Any]]:
    """What each size of a node's value depends on, as it was exported; [] where that is unknown."""
    value = node.meta.get("val")
    return [free_symbols(size) for size in value.shape] if isinstance(value, Tensor) else []


class CellFinder(fx.Interpreter):
    """Runs one image whose values are the number of the cell that each unit lies in, and notes in the nodes' meta which
    axis is the channels' where the others are rows and columns.

    Convolutions and pools give cells new numbers where those of their input lie in order; moving operators move them,
    and others leave them where they are.
    """

    def run_node(self, n: fx.Node) -> Any:
        if not depends_on_image(n):
            return super().run_node(n)
        shape = shape_of_one(n)
        source = n.all_input_nodes[0] if n.target is operator.getitem else n
        if n.op == "placeholder":
            return self._numbered(n, shape, 1)
        if source.target in _HAS_CELLS_LAST and len(shape) == 4:
            return self._pooled(n, shape)
        inputs = [i for i in n.all_input_nodes if depends_on_image(i) and self.env[i] is not None]
        if not inputs or layout_of(n) is None or n.target in ATTENDS:
            return None
        try:
            moves = n.target not in VIEWS and (n.target in MOVES or n.target in CHOOSES)
            found = super().run_node(n) if moves else self._left(n, inputs, shape)
        except (IndexError, RuntimeError):  # what it is chosen by may be no such thing for numbers of cells
            return None
        if found is not None and len(shape) == 4 and channel_axis(n) is None and layout_of(n) == IMAGES_FIRST:
            n.meta["channel_axis"] = next((axis for axis in (1, 3) if _are_cells(found, axis)), None)
        return found

    def _pooled(self, n: fx.Node, shape: tuple[int, ...]) -> Tensor:
        """The numbers of what a convolution or pool gives: those of its input, thinned out, where they are known and
        not in order, as of an image that was turned, or of patches.
        """
        below = n.args[0]  # of a pool's first output the pool, which has its input's numbers
        assert isinstance(below, fx.Node)
        numbers = self.env[below] if depends_on_image(below) else None
        if numbers is None:
            return self._numbered(n, shape, 1)
        if layout_of(n) == IMAGES_FIRST and any(_lie_in_order(one) for one in numbers.flatten(0, 1)):
            return self._numbered(n, shape, 1)
        thinned = functional.interpolate(numbers[:, :1].double(), shape[2:])  # float has too few digits
        return thinned.to(numbers.dtype).expand(shape)

    def _left(self, n: fx.Node, inputs: list[fx.Node], shape: tuple[int, ...]) -> Tensor | None:
        """The numbers of what an operator gives that moves no units."""
        below = next((i for i in inputs if self.env[i].shape == shape), inputs[0])
        numbers: Tensor = self.env[below]
        if n.target in VIEWS:
            return numbers.reshape(shape)
        if not shape or numbers.shape == shape:
            n.meta["channel_axis"] = channel_axis(below) if len(shape) == 4 else None
            return numbers
        if numbers.dim() == len(shape) + 1:  # a sum over one axis
            left = (numbers.select(axis, 0) for axis in range(1, numbers.dim()))
            return next((one for one in left if one.shape == shape), None)
        axes = [axis for i in inputs if (axis := channel_axis(i)) is not None]
        if not axes and n.target is _aten.constant_pad_nd.default:
            (_, pads, *_), _ = self.fetch_args_kwargs_from_env(n)
            return functional.pad(numbers, pads)
        if len(shape) != 4 or not axes:
            return _stretched(numbers, shape)
        for node in inputs:
            axis = channel_axis(node)
            if axis and self.env[node].select(axis, 0).shape == torch.Size(shape[:axis] + shape[axis + 1 :]):
                return _stretched(self.env[node], shape)
        return self._numbered(n, shape, axes[0])  # padded or made larger

    def _numbered(self, n: fx.Node, shape: tuple[int, ...], axis: int) -> Tensor:
        """New numbers, the channels on this axis."""
        n.meta["channel_axis"] = axis if layout_of(n) == IMAGES_FIRST else None
        rows, columns = (size for index, size in enumerate(shape) if index not in (0, axis))
        numbers = torch.arange(rows, dtype=torch.int32)[:, None] * _ROW + torch.arange(
            columns, dtype=torch.int32
        )
        return numbers.unsqueeze(axis - 1).expand(shape)


def shape_of_one(node: fx.Node) -> tuple[int, ...]:
    """Shape of a node's value for one image; () where it is no tensor."""
    layout, shape = layout_of(node), shape_of(node)
    if layout is None or not shape:
        return ()
    return tuple(size // BLANK_IMAGES[0] if axis == layout.axis else size for axis, size in enumerate(shape))


def _stretched(cells: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """The cells' numbers where axes have another length: those of its first unit."""
    if cells.dim() != len(shape):
        return None
    for axis, size in enumerate(shape):
        if cells.shape[axis] != size:
            cells = cells.narrow(axis, 0, 1)
    return cells.expand(shape)


def _are_cells(numbers: Tensor, axis: int) -> bool:
    """Whether all channels, on this axis, have the same rows of cells, in order."""
    first = numbers.select(axis, 0)
    if not (numbers == first.unsqueeze(axis)).all():
        return False
    rows, columns = first[0] // _ROW, first[0] % _ROW
    return _are_straight(rows, columns) and all(
        bool((line.diff() > 0).all()) for line in (rows[:, 0], columns[0])
    )


def _lie_in_order(numbers: Tensor) -> bool:
    """Whether cells (h, w) have straight rows and columns, and each once in order; beside that some may be shown again,
    as paddings with reflections do.
    """
    rows, columns = numbers // _ROW, numbers % _ROW
    return _are_straight(rows, columns) and all(
        max(map(len, _ascending(line.tolist()))) == len(set(line.tolist()))
        for line in (rows[:, 0], columns[0])
    )


def _are_straight(rows: Tensor, columns: Tensor) -> bool:
    """Whether all cells in a line have the number of its first."""
    return bool((rows == rows[:, :1]).all()) and bool((columns == columns[:1]).all())


def _ascending(line: list[int]) -> list[set[int]]:
    """The numbers in each part of a line that does not descend."""
    parts = [{line[0]}]
    for before, after in itertools.pairwise(line):
        if after < before:
            parts.append(set())
        parts[-1].add(after)
    return parts
