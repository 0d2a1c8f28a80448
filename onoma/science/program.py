"""Networks as `torch.export` programs (.pt2): looked into before they are loaded, and read as a graph.

A program is bytes here: reading and writing files is the caller's. Layers are named by the nodes of the graph after
decomposition to core ATen operators, with batch norms and biases folded into the convolutions before them.
"""

from __future__ import annotations

import io
import json
import operator
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from onoma.science.folding import (
    drop_restrides,
    fold_norms_and_biases,
    join_layers_at_every_cell,
)
from onoma.science.nodes import (
    BLANK_IMAGES,
    CellFinder,
    ShapeRecorder,
    cells_of,
    channel_axis,
    depends_on_image,
    shape_of,
)
from onoma.science.program_archive import (
    METADATA_ENTRY,
    METADATA_KEYS,
    RefusedProgram,
    checked,
    without_pickles,
)

MIN_CELLS = 14
_aten = torch.ops.aten

_LINEAR = frozenset({_aten.addmm.default, _aten.mm.default})
_MAP_LAYERS = frozenset(
    {
        _aten.add.Tensor,
        _aten.avg_pool2d.default,
        _aten.cat.default,
        _aten.clamp.default,
        _aten.clamp_min.default,
        _aten.convolution.default,
        _aten.elu.default,
        _aten.gelu.default,
        _aten.hardtanh.default,
        _aten.leaky_relu.default,
        _aten.mul.Tensor,
        _aten.relu.default,
        _aten.softplus.default,
        _aten.where.self,
        operator.getitem,
    }
)


@dataclass(frozen=True)
class Program:
    """A network that classifies images.

    Attributes:
        graph_module: core ATen operators in inference form; input (n, C, H, W), output (n, class_count).
        input_shape: C, H, W.
        class_count: number of scores.
        metadata: what `onoma.json` in the archive says: "name", "classes", "preprocessing"; {} without one.
    """

    graph_module: fx.GraphModule
    input_shape: tuple[int, int, int]
    class_count: int
    metadata: dict[str, Any]

    def node(self, name: str) -> fx.Node:
        """The layer of that name.

        Raises:
            ValueError: there is none.
        """
        for node in self.graph_module.graph.nodes:
            if node.name == name:
                return node  # type: ignore[no-any-return]
        raise ValueError(f"the network has no layer '{name}' (onoma model check --layers lists them)")

    def scores(self, images: Tensor) -> Tensor:
        """(n, class_count) of images (n, C, H, W) as the network wants them."""
        result = self.graph_module(images)
        scores: Tensor = result[0] if isinstance(result, tuple | list) else result
        return scores


def save(module: nn.Module, example_input: Tensor, metadata: Mapping[str, Any]) -> bytes:
    """Exports a network in evaluation mode as a `.pt2` archive without anything pickled.

    Args:
        module: takes (n, C, H, W), gives (n, classes); traced for any n.
        example_input: (n, C, H, W) with n >= 2.
        metadata: "name", "classes", "preprocessing" (fields of Preprocessing); kept as JSON in the archive.
    Raises:
        ValueError: the example is not two images or more, the metadata say something else, or torch cannot export the
            network on it.
    """
    if odd := sorted(set(metadata) - set(METADATA_KEYS)):
        raise ValueError(f"metadata has '{odd[0]}'; it is an object of {', '.join(METADATA_KEYS)}")
    if len(example_input) < 2:
        raise ValueError(
            f"example input of shape {tuple(example_input.shape)}; two images or more are wanted"
        )
    try:
        exported = torch.export.export(
            module.eval(), (example_input,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
        )
    except Exception as error:
        raise ValueError(
            f"the network cannot be exported on images of {tuple(example_input.shape[1:])}: {first_line(error)}"
        ) from error
    buffer = io.BytesIO()
    torch.export.save(exported, buffer, extra_files={METADATA_ENTRY: json.dumps(dict(metadata))})
    return without_pickles(buffer.getvalue())


def load(data: bytes) -> Program:
    """A program out of an archive; nothing in it is unpickled or run as code.

    Raises:
        RefusedProgram: unsafe, damaged, or not a classifier of images.
    """
    archive = checked(data)
    extra = {METADATA_ENTRY: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.export.load(io.BytesIO(archive), extra_files=extra)
            graph_module = exported.run_decompositions(_decompositions()).module(check_guards=False)
    except Exception as error:
        raise RefusedProgram(f"the program cannot be read: {first_line(error)}") from error
    _tidy(graph_module)
    shape, class_count = _shapes(graph_module)
    fold_norms_and_biases(graph_module)
    join_layers_at_every_cell(graph_module)
    drop_restrides(graph_module)
    with torch.inference_mode():
        CellFinder(graph_module).run(torch.empty(1, *shape))
    return Program(graph_module, shape, class_count, _metadata(extra[METADATA_ENTRY]))


def find_attachment(program: Program) -> str:
    """The layer whose activations the xNN reads [P 3.2].

    The first fully-connected layer, after its ReLU or what it has instead; on networks with only one, the features that
    feed it [ours]; on networks with none, as SqueezeNet, what feeds the last convolution [ours].
    Those beside the way from image to scores, as in squeeze-excite gates, do not count.

    Raises:
        ValueError: no fully-connected layer lies on every path from image to scores, and at most one convolution does.
    """
    way = cuts(program, scores_node(program).name)
    linear = [node for node in way if node.target in _LINEAR]
    if not linear:
        convolutions = [node for node in way if node.target is _aten.convolution.default]
        if len(convolutions) < 2:
            raise ValueError(
                "no fully-connected layer lies on every path from image to scores; name the attachment layer yourself"
            )
        return _data_input(convolutions[-1]).name
    return _data_input(linear[1 if len(linear) > 1 else 0]).name


def scores_node(program: Program) -> fx.Node:
    """The node whose value the network gives."""
    output = next(n for n in program.graph_module.graph.nodes if n.op == "output")
    return _only(output.args[0])


def find_map_layer(program: Program, attachment: str, min_cells: int = MIN_CELLS) -> str:
    """The deepest layer with at least `min_cells` x `min_cells` cells that all paths to the attachment cross.

    Where no layer has so many cells, the one with most.

    Raises:
        ValueError: no layer below the attachment has rows and columns.
    """
    candidates = [node for node in cuts(program, attachment) if _is_map_layer(node)]
    if not candidates:
        raise ValueError(
            f"no layer between the image and '{attachment}' has rows and columns to draw maps on"
        )
    sizes = {node: min(cells_of(node)) for node in candidates}
    enough = [node for node in candidates if sizes[node] >= min_cells]
    if enough:
        return enough[-1].name
    most = max(sizes.values())
    return [node for node in candidates if sizes[node] == most][-1].name


def _is_map_layer(node: fx.Node) -> bool:
    """A norm with channels last is none: what it is of, or what follows, is nearer to what a reader calls a layer."""
    channels_last = channel_axis(node) == 3 and node.target is not operator.getitem
    return node.target in _MAP_LAYERS and (channels_last or channel_axis(node) == 1)


def cuts(program: Program, attachment: str) -> list[fx.Node]:
    """Nodes that every path from the image to the attachment goes through, in order; mass is whole there."""
    path = between(program, None, attachment)
    position = {node: index for index, node in enumerate(path)}
    last_use = {node: max((position[u] for u in node.users if u in position), default=-1) for node in path}
    found: list[fx.Node] = []
    needed_until = -1
    for node in path:
        if needed_until <= position[node]:  # nothing from before is used after this node
            found.append(node)
        needed_until = max(needed_until, last_use[node])
    return found


def between(program: Program, lower: str | None, upper: str) -> list[fx.Node]:
    """Nodes on paths from `lower` (None: the image) to `upper`, both included, in the graph's order."""
    nodes = list(program.graph_module.graph.nodes)
    start = program.node(lower) if lower else next(n for n in nodes if n.op == "placeholder")
    above: set[fx.Node] = {start}
    for node in nodes:
        if depends_on_image(node) and not above.isdisjoint(node.all_input_nodes):
            above.add(node)
    needed = {program.node(upper)}
    for node in reversed(nodes):
        if node in needed:
            needed |= {n for n in node.all_input_nodes if n in above}
    path = above & needed
    return [node for node in nodes if node in path]


def with_features(program: Program, attachment: str, map_layer: str = "") -> fx.GraphModule:
    """The network with more outputs: scores (n, classes), the attachment's activations (n, D), the map layer's.

    The last, (n, C, h, w), only where it is named.
    """
    copied = fx.GraphModule(program.graph_module, _copied_graph(program.graph_module))
    graph = copied.graph
    node = next(n for n in graph.nodes if n.name == attachment)
    output = next(n for n in graph.nodes if n.op == "output")
    scores = _only(output.args[0])
    with graph.inserting_before(output):
        features = (
            graph.call_function(_aten.flatten.using_ints, (node, 1)) if len(shape_of(node)) > 2 else node
        )
    cells = [n for n in graph.nodes if n.name == map_layer]
    output.args = ((scores, features, *cells),)
    copied.recompile()
    return copied


def _only(value: Any) -> fx.Node:
    node = value[0] if isinstance(value, tuple | list) else value
    assert isinstance(node, fx.Node)
    return node


def _data_input(node: fx.Node) -> fx.Node:
    return _only(node.args[1] if node.target is _aten.addmm.default else node.args[0])


def _copied_graph(graph_module: fx.GraphModule) -> fx.Graph:
    copied = fx.Graph()
    copied.output(copied.graph_copy(graph_module.graph, {}))
    return copied


def _tidy(graph_module: fx.GraphModule) -> None:
    """Takes out the guards on input shapes that export adds, and nodes that nothing uses."""
    for node in list(graph_module.graph.nodes):
        if node.op == "call_module" and not node.users:
            graph_module.graph.erase_node(node)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


def _shapes(graph_module: fx.GraphModule) -> tuple[tuple[int, int, int], int]:
    """Runs two blank images to learn every shape, and checks input and output."""
    inputs = [n for n in graph_module.graph.nodes if n.op == "placeholder"]
    if len(inputs) != 1:
        raise RefusedProgram(f"the network takes {len(inputs)} inputs; one batch of images is wanted")
    value = inputs[0].meta.get("val")
    if not isinstance(value, Tensor) or value.dim() != 4 or value.dtype != torch.float32:
        raise RefusedProgram(
            "the network's input is not a float32 batch of images (n, channels, height, width)"
        )
    if isinstance(value.shape[0], int):
        raise RefusedProgram(
            f"the network takes batches of {value.shape[0]} alone; export it for any number of images, as "
            "onoma.science.program.save does (dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))"
        )
    channels, height, width = (int(size) for size in value.shape[1:])
    try:
        recorder = ShapeRecorder(graph_module)
        with torch.inference_mode():
            result = recorder.run(torch.zeros(*BLANK_IMAGES, channels, height, width))
    except Exception as error:
        raise RefusedProgram(f"the network does not run on two blank images: {first_line(error)}") from error
    scores = result[0] if isinstance(result, tuple | list) else result
    if isinstance(result, tuple | list) and len(result) != 1:
        raise RefusedProgram(f"the network gives {len(result)} outputs; one of scores is wanted")
    if not isinstance(scores, Tensor) or scores.dim() != 2 or scores.shape[1] < 2:
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise RefusedProgram(
            f"the network gives {shape} for two images; (2, classes) with 2 or more is wanted"
        )
    if channels not in (1, 3):
        raise RefusedProgram(f"the network's images have {channels} channels; 1 (grey) or 3 (RGB) is wanted")
    return (channels, height, width), scores.shape[1]


def _decompositions() -> Any:
    """To core ATen, but for attention and softplus: what they are made of hides what attends to what, and that nothing
    comes out negative.
    """
    table: Any = torch.export.default_decompositions()
    table.pop(_aten.scaled_dot_product_attention.default)
    table.pop(_aten.softplus.default)
    return table


def _metadata(text: str | bytes) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RefusedProgram(f"{METADATA_ENTRY} in the archive is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise RefusedProgram(f"{METADATA_ENTRY} in the archive is no JSON object")
    return found


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
