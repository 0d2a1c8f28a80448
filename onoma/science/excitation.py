"""Excitation Backprop over an exported graph (Zhang et al. 2016).

One forward pass an image keeps the activations between the map layer and the attachment; the mass of all its targets
then goes down together, and nothing below the map layer is computed for it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from onoma.science.excitation_rules import HOLDS, RULES, weight_of
from onoma.science.excitation_sums import SUMMED_RULES
from onoma.science.fixed_units import fixed_units
from onoma.science.gates import GATED, gated_input
from onoma.science.mass import BySign, Masses, Mode, Step, by_sign, matrix_down
from onoma.science.nodes import (
    ATTENDS,
    BLANK_IMAGES,
    CHOOSES,
    IMAGES_FIRST,
    MOVES,
    cells_of,
    channel_axis,
    depends_on_image,
    layout_of,
    shape_of,
)
from onoma.science.program import (
    Program,
    between,
    constants,
    cuts,
)
from onoma.science.signs import nodes_below_zero, signed_nodes

# Raised with each change after which a network's maps come out otherwise, and recorded with them.
# 2: negative activations carry evidence, constants none.
# 3: constants stay such behind a norm, and get nothing of what layers at every cell spread in local mode; what is
# subtracted may have evidence; under a softplus units count as pushed up.
# 4: so may cells that were made larger, in a difference; a bias after a layer at every cell is the layer's.
# 5: so is one that is added to a convolution or fully-connected layer.
RULES_REVISION = 5
_aten = torch.ops.aten
_MAKES_ANEW = frozenset(
    {_aten.convolution.default, _aten.addmm.default, _aten.add.Tensor}
)  # what they give is no view
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
_BYTES_OF_MASS = 2**27  # on a CPU
_BYTES_OF_LAYER = 2**25  # of the widest layer below the map layer, on a CPU
_SHARE_OF_GPU = 24  # of the free memory
LEAK_LIMIT = 0.05  # strict mode is the default where it loses less


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
    known = {node: _moved(value, device) for node, value in constants(program).items()}
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
    if explainer.device.type == "cpu" and can_look_from(
        explainer
    ):  # few at once: smaller activations, nearer caches
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


def draw(
    explainer: Explainer, seen: Seen, mass: Tensor, rows: Tensor, *, most_bytes: int | None = None
) -> Tensor:
    """Maps: mass on the attachment brought down to the map layer and summed over channels.

    Args:
        seen: the images' forward pass.
        mass: (m, D) probability mass, or the difference of two, a row a target.
        rows: (m,) index of the image that each target belongs to; may be empty.
        most_bytes: of mass on the widest layer; more targets go down in several passes, image by image. By default what
            suits the device.
    Returns:
        (m, h, w) float32; each sums to its row's mass, less what strict mode loses.
    Raises:
        ValueError: the mass is not of so many targets and features.
    """
    wanted = len(rows), seen.features.shape[1]
    if tuple(mass.shape) != wanted:
        raise ValueError(f"mass of shape {tuple(mass.shape)}; {wanted}, targets and features, is wanted")
    widest = max(math.prod(shape_of(node)) for node in explainer.path) // BLANK_IMAGES[0]
    limit = _most_bytes(explainer.device) if most_bytes is None else most_bytes
    at_once = max(1, limit // (widest * explainer.dtype.itemsize))
    with torch.inference_mode():
        if len(rows) <= at_once:
            return _draw_at_once(explainer, seen.values, mass, rows)
        maps = mass.new_empty(len(rows), *explainer.cells, dtype=torch.float32)
        for targets in torch.split(rows.argsort(stable=True), at_once):
            theirs = rows[targets]
            first, last = int(theirs[0]), int(theirs[-1]) + 1
            values = {node: _of_images(value, first, last) for node, value in seen.values.items()}
            maps[targets] = _draw_at_once(explainer, values, mass[targets], theirs - first)
        return maps


def _draw_at_once(explainer: Explainer, values: Mapping[fx.Node, Any], mass: Tensor, rows: Tensor) -> Tensor:
    """As `draw`, in one pass down."""
    if not len(rows):
        return mass.new_zeros(0, *explainer.cells, dtype=torch.float32)
    shape = shape_of(explainer.attachment)[1:]
    waiting = {explainer.attachment: mass.to(explainer.dtype).reshape(len(rows), *shape)}
    known = {**explainer.constants, **values}
    path = frozenset(explainer.path)
    for node in reversed(explainer.path[1:]):
        step = Step(
            node=node,
            mass=waiting.pop(node),
            rows=rows,
            values=known,
            path=path,
            weights=explainer.weights,
            mode=explainer.mode,
            fixed=explainer.fixed,
            signed=explainer.signed,
            below_zero=explainer.below_zero,
        )
        for below, passed in _handed_down(step, explainer):
            waiting[below] = waiting[below] + passed if below in waiting else passed
    return waiting[explainer.map_layer].sum(explainer.channel_axis, dtype=torch.float32)


def _handed_down(step: Step, explainer: Explainer) -> Masses:
    """What a step gives each of its inputs, and to the map layer the sum over channels alone, of length 1, float32."""
    map_layer, channels = explainer.map_layer, explainer.channel_axis
    table = SUMMED_RULES if step.inputs == [map_layer] else RULES
    given = table.get(step.node.target, RULES[step.node.target])(step)
    return [
        (below, passed.sum(channels, keepdim=True, dtype=torch.float32) if below is map_layer else passed)
        for below, passed in given
    ]


def _of_images(value: Any, first: int, last: int) -> Any:
    """A node's value for some of the images."""
    if isinstance(value, tuple | list):
        return [_of_images(one, first, last) for one in value]
    return value[first:last]


def _most_bytes(device: torch.device) -> int:
    """Mass on one layer that a pass down may take; beside it lie a dozen tensors of that size at worst."""
    if device.type != "cuda":
        return _BYTES_OF_MASS
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (free + cached) // _SHARE_OF_GPU


def encoder_mass(
    weights: Sequence[tuple[Tensor, Tensor]],
    features: Tensor,
    rows: Tensor,
    x_features: Tensor,
    mode: Mode,
    *,
    inhibiting: bool = False,
) -> Tensor:
    """One-hot mass on X-features brought down an xNN's encoder to the features it reads.

    Args:
        weights: (W (out, in), b (out,)) of each layer; ReLU after every one.
        features: (n, D) activations of the attachment; computed in the weights' dtype.
        rows: (m,) image of each target.
        x_features: (m,) X-feature of each target.
        inhibiting: negate the top layer's weights: the mass then goes down from what speaks against the X-feature
            (Zhang et al. 2016, section 3.3, contrastive Excitation Backprop).
    Returns:
        (m, D); all 0 for a target whose X-feature is 0 on its image, or which nothing inhibits.
    """
    with torch.inference_mode():
        below = [features.to(weights[0][0].dtype)]
        for weight, bias in weights:
            below.append(torch.relu(below[-1] @ weight.T + bias))
        mass = below[-1].new_zeros(len(rows), below[-1].shape[1])
        active = below[-1][rows, x_features] > 0
        mass[torch.arange(len(rows), device=features.device), x_features] = active.to(mass.dtype)
        layers: list[tuple[Tensor, Mode]] = [(weight, mode) for weight, _ in weights]
        if inhibiting:
            layers[-1] = (-weights[-1][0], "strict")
        for (weight, how), values in zip(reversed(layers), reversed(below[:-1]), strict=True):
            parts = by_sign(values, is_signed=bool((values < 0).any()))
            mass = matrix_down(parts, by_sign(weight.T, is_signed=-1 in parts), mass, rows, how)
        return mass


def strict_leak(program: Program, attachment: str, map_layer: str, images: Tensor) -> float:
    """Mean share of mass that strict mode loses between attachment and map layer.

    Args:
        images: (n, C, H, W); mass starts in proportion to the size of each image's features.
    Returns:
        In [0, 1]; 0 where no image has a feature that is not 0.
    """
    explainer = prepare(program, attachment, map_layer, "strict")
    seen = look(explainer, images)
    sizes = seen.features.abs()
    total = sizes.sum(1, keepdim=True)
    active = (total[:, 0] > 0).nonzero()[:, 0]
    if not len(active):
        return 0.0
    maps = draw(explainer, seen, (sizes / total)[active], active)
    return float((1 - maps.sum((1, 2))).clamp(0, 1).mean())


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


def _moved(value: Any, device: torch.device | str) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
