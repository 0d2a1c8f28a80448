"""The forward pass before Excitation Backprop: it keeps the activations that mass is to go down by, and no others."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from onoma.science.explainer import Explainer
from onoma.science.nodes import ATTENDS, layout_of, shape_of
from onoma.science.program import Program

_aten = torch.ops.aten
_BYTES_OF_LAYER = 2**25  # of the widest layer below the map layer, on a CPU
# What they give is no view.
_MAKES_ANEW = frozenset({_aten.convolution.default, _aten.addmm.default, _aten.add.Tensor})


@dataclass(frozen=True)
class Seen:
    """What one forward pass found in n images.

    Attributes:
        scores: (n, classes).
        features: (n, D) activations of the attachment, flat.
        values: (n, ...) activations of each node of the path, and of what attention attends by.
    """

    scores: Tensor
    features: Tensor
    values: dict[fx.Node, Any]


def look(explainer: Explainer, images: Tensor) -> Seen:
    """One forward pass.

    Args:
        images: (n, C, H, W) as the network wants them, any float dtype; computed in float32.
    Raises:
        ValueError: a pixel is not finite, or the shape is not the network's.
    """
    pixels = _checked(images, explainer.program.input_shape, "images", "the network", explainer.device)
    if not pixels.isfinite().all():
        raise ValueError("an image has a pixel that is NaN or infinite")
    image = _image_node(explainer.program)
    # Few at once: smaller activations, nearer caches.
    if explainer.device.type == "cpu" and can_look_from(explainer):
        parts = [_cells(explainer, {image: few}) for few in torch.split(pixels, _at_once(explainer))]
        return _run(explainer, _from_cells(explainer, torch.cat(parts)))
    return _run(explainer, {image: pixels})


def look_from(explainer: Explainer, cells: Tensor) -> Seen:
    """A forward pass that starts at the map layer, from activations kept of an earlier one: nothing below it is run.

    Args:
        cells: (n, C, h, w) activations of the map layer, or (n, h, w, C) where its channels come last, any float dtype;
            computed in float32.
    Raises:
        ValueError: an activation is not finite, the shape is not the map layer's, or a layer above the map layer reads
            one below it by another way.
    """
    layer = explainer.map_layer
    kept = _checked(cells, shape_of(layer)[1:], "activations", f"layer '{layer.name}'", explainer.device)
    if not kept.isfinite().all():
        raise ValueError(f"a kept activation of layer '{layer.name}' is NaN or infinite")
    return _run(explainer, _from_cells(explainer, kept))


def can_look_from(explainer: Explainer) -> bool:
    """Whether the map layer's activations alone give features and scores: no layer above it reads one below."""
    known = {*explainer.constants, *_batch_sizes(explainer), explainer.map_layer}
    return _image_node(explainer.program) not in _needed(explainer, known, _ends(explainer))


def _checked(values: Tensor, shape: tuple[int, ...], what: str, reader: str, device: torch.device) -> Tensor:
    """(n, *shape) float32 on the device."""
    if tuple(values.shape[1:]) != shape:
        raise ValueError(f"{what} of shape {tuple(values.shape[1:])}; {reader} wants {shape}")
    if not values.is_floating_point():
        raise ValueError(f"{what} of dtype {values.dtype}; {reader} wants floating-point numbers")
    return values.to(device, torch.float32).contiguous()  # a network may look at images as rows of memory


def _run(explainer: Explainer, given: dict[fx.Node, Any]) -> Seen:
    """The forward pass where the values of some nodes are given.

    Raises:
        ValueError: the image is needed, and not given.
    """
    known = explainer.constants | given
    needed = _needed(explainer, known, _ends(explainer))
    if _image_node(explainer.program) in needed:
        raise ValueError(
            f"map layer '{explainer.map_layer.name}' does not lie on every path from image to scores: "
            "its activations alone do not give them (start from the images)"
        )
    with torch.inference_mode():
        runner = _Recorder(explainer, needed)
        runner.recorded |= {node: value for node, value in given.items() if node in explainer.path}
        result = runner.run(initial_env=known)
        scores = result[0] if isinstance(result, tuple | list) else result
        return Seen(scores, runner.recorded[explainer.attachment].flatten(1), runner.recorded)


def _cells(explainer: Explainer, given: dict[fx.Node, Any]) -> Tensor:
    """Activations of the map layer (n, C, h, w), from images; nothing beside them or above is run."""
    known = explainer.constants | given
    layer = explainer.map_layer
    with torch.inference_mode():
        runner = _Recorder(explainer, _needed(explainer, known, {layer}))
        runner.run(initial_env=known)
        cells: Tensor = runner.recorded[layer]
        return cells


def _at_once(explainer: Explainer) -> int:
    """Images that go through the layers below the map layer at once, on a CPU."""
    widest = max(math.prod(shape_of(node)[1:]) for node in below_map_layer(explainer))
    return max(1, _BYTES_OF_LAYER // (widest * torch.float32.itemsize))


def below_map_layer(explainer: Explainer) -> set[fx.Node]:
    """Nodes that are run to have the map layer's activations, itself among them."""
    return _needed(explainer, {*explainer.constants, *_batch_sizes(explainer)}, {explainer.map_layer})


def _from_cells(explainer: Explainer, cells: Tensor) -> dict[fx.Node, Any]:
    """What is known to a forward pass that starts at the map layer."""
    return dict.fromkeys(_batch_sizes(explainer), len(cells)) | {explainer.map_layer: cells}


def _batch_sizes(explainer: Explainer) -> list[fx.Node]:
    """Nodes that ask the images' tensor how many there are."""
    return [
        node
        for node in _image_node(explainer.program).users
        if node.target is _aten.sym_size.int and node.args[1] == 0
    ]


def _ends(explainer: Explainer) -> set[fx.Node]:
    """What every forward pass is for: scores and features."""
    nodes: Iterable[fx.Node] = explainer.program.graph_module.graph.nodes
    return {explainer.attachment, *(node for node in nodes if node.op == "output")}


def _needed(explainer: Explainer, known: Container[fx.Node], ends: set[fx.Node]) -> set[fx.Node]:
    """Nodes to be run for these ends where the values of some are known."""
    needed: set[fx.Node] = set()
    for node in reversed(explainer.program.graph_module.graph.nodes):
        if (node in ends or needed.intersection(node.users)) and node not in known:
            needed.add(node)
    return needed


def _image_node(program: Program) -> fx.Node:
    nodes: Iterable[fx.Node] = program.graph_module.graph.nodes
    return next(node for node in nodes if node.op == "placeholder")


class _Recorder(fx.Interpreter):
    """Runs the nodes that are needed, and keeps the activations of the path and what it attends by, images first."""

    def __init__(self, explainer: Explainer, needed: Container[fx.Node]) -> None:
        super().__init__(explainer.program.graph_module)
        attending = [node for node in explainer.path if node.target in ATTENDS]
        self._path = frozenset(explainer.path).union(*(node.all_input_nodes for node in attending))
        self._needed = needed
        self.recorded: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n not in self._needed:
            return None
        value = torch.relu_(self.env[n.all_input_nodes[0]]) if self._in_place(n) else super().run_node(n)
        if n in self._path:
            layout = layout_of(n)
            self.recorded[n] = layout.by_image(value) if layout and isinstance(value, Tensor) else value
        return value

    def _in_place(self, node: fx.Node) -> bool:
        """Whether a ReLU may take the place of its input, of which nobody else knows: less memory to write."""
        if node.target is not _aten.relu.default:
            return False
        (below,) = node.all_input_nodes
        return below.target in _MAKES_ANEW and list(below.users) == [node] and below not in self._path
