"""Whether a program can be registered, and what it is made of."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from onoma.science.explainer import carriers, has_rule, operator_name, prepare
from onoma.science.nodes import BLANK_IMAGES, MOVES, channel_axis, depends_on_image, shape_of
from onoma.science.pictures import Preprocessing
from onoma.science.program import (
    Program,
    cuts,
    find_attachment,
    find_map_layer,
    first_line,
    load,
    scores_node,
)
from onoma.science.program_archive import RefusedProgram
from onoma.science.study_file import check_text

_PROBABILITIES = (torch.ops.aten._softmax.default, torch.ops.aten.sigmoid.default)
_KEEPS_PROBABILITIES = frozenset({*MOVES, torch.ops.aten._to_copy.default, torch.ops.aten.clamp.default})
_WITHOUT = "export it without: an xNN learns the sum of evidence that comes before (docs/howto/own-model.md)"
_DEPENDS_ON_OTHERS = 1e-3  # of the largest score: rounding is far less
_ROUNDED = 1e-5  # of a sum of shares


@dataclass(frozen=True)
class OperatorUse:
    """One operator of a program.

    Attributes:
        name: "aten.convolution.default".
        count: nodes that use it.
        needs_rule: some of them lie between the map layer and the attachment.
        has_rule: Excitation Backprop can go through all of those.
    """

    name: str
    count: int
    needs_rule: bool
    has_rule: bool


@dataclass(frozen=True)
class Layer:
    """One layer that every path from image to scores crosses.

    Attributes:
        name: as `attachment_layer` and `map_layer` name it.
        operator: "aten.relu.default".
        shape: of its activations for one image.
        has_cells: maps can be drawn on it.
    """

    name: str
    operator: str
    shape: tuple[int, ...]
    has_cells: bool


@dataclass(frozen=True)
class ProgramReport:
    """What a check found.

    Attributes:
        operators: of what depends on the image, by name.
        layers: that can be named for attachment and map layer, in the network's order.
        attachment_layer: that would be taken; empty where none is found.
        map_layer: likewise.
        reasons: why it cannot be registered, one line each; empty where it can.
        unsaid: what the file does not say and is to be said when it is registered, of "classes" and "preprocessing".
    """

    operators: tuple[OperatorUse, ...] = ()
    layers: tuple[Layer, ...] = ()
    attachment_layer: str = ""
    map_layer: str = ""
    reasons: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()


def choose_layers(program: Program, attachment: str = "", map_layer: str = "") -> tuple[str, str]:
    """Attachment and map layer: those named, and found where they are not.

    Raises:
        ValueError: none can be found.
    """
    attachment = attachment or find_attachment(program)
    return attachment, map_layer or find_map_layer(program, attachment)


def check(data: bytes, attachment: str = "", map_layer: str = "") -> ProgramReport:
    """Looks into a `.pt2` archive, loads it and reads its graph; never raises for what is in it.

    Args:
        attachment: layer to take; found where none is named.
        map_layer: likewise.
    """
    try:
        program = load(data)
    except RefusedProgram as error:
        return ProgramReport(reasons=(str(error),))
    reasons, unsaid = [], []
    for key, checked in (
        ("classes", lambda given: checked_classes(given, program.class_count)),
        ("preprocessing", lambda given: checked_preprocessing(given, program)),
    ):
        if key not in program.metadata:
            unsaid.append(key)
            continue
        try:
            checked(program.metadata[key])
        except ValueError as error:
            reasons.append(str(error))
    uses = operators(program, None, None)
    try:
        attachment, map_layer = choose_layers(program, attachment, map_layer)
        uses = operators(program, attachment, map_layer)
        require_explainable(program, attachment, map_layer)
    except ValueError as error:
        reasons.append(str(error))
    return ProgramReport(uses, layers(program), attachment, map_layer, tuple(reasons), tuple(unsaid))


def layers(program: Program) -> tuple[Layer, ...]:
    """The layers that every path from image to scores crosses, but for the image."""
    return tuple(
        Layer(
            node.name,
            operator_name(node),
            shape_of(node)[1:],
            channel_axis(node) is not None,
        )
        for node in cuts(program, scores_node(program).name)
        if node.op == "call_function" and shape_of(node)[:1] == BLANK_IMAGES
    )


def checked_classes(classes: Any, class_count: int) -> list[str]:  # Any: the program's own metadata
    """The names of the classes in the order of the scores.

    Raises:
        ValueError: they are not as many distinct names of whole characters as there are scores.
    """
    if not classes:
        raise ValueError(
            f"the program names no classes; give {class_count} names in the order of its scores (--classes)"
        )
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("the program's classes are not a list of names; give them (--classes)")
    if len(classes) != class_count:
        raise ValueError(f"{len(classes)} class names for {class_count} scores; give one name a score")
    if not all(name.strip() for name in classes):
        raise ValueError("a class name is empty; give every score a name (--classes)")
    for name in classes:
        check_text(name, "a class name")
    doubled = sorted({name for name in classes if classes.count(name) > 1})
    if doubled:
        raise ValueError(f"class names must be distinct; twice: {', '.join(doubled)}")
    return classes


def checked_preprocessing(given: Any, program: Program) -> Preprocessing:  # Any: the program's own metadata
    """How pictures become the program's input.

    Raises:
        ValueError: it is not said, cannot be read, gives images of another shape than the network takes, or has a mean
            that no pixels have.
    """
    if not given:
        raise ValueError(
            "the program does not say how pictures become its input; say it (--preprocessing), or write the program "
            "with onoma.science.program.save, which keeps it in the file (docs/howto/own-model.md)"
        )
    known = [field.name for field in fields(Preprocessing)]
    odd = sorted(set(given) - set(known)) if isinstance(given, dict) else [str(given)[:80]]
    if odd:
        raise ValueError(f"the program's preprocessing has '{odd[0]}'; it is an object of {', '.join(known)}")
    try:
        found = Preprocessing(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the program's preprocessing cannot be read: {error}") from error
    wanted = (found.channels, found.height, found.width)
    if wanted != program.input_shape:
        raise ValueError(
            f"the preprocessing gives images of {wanted} (channels, height, width); "
            f"the network takes {program.input_shape}"
        )
    if not all(0 <= mean <= 1 for mean in found.mean):
        raise ValueError(
            f"the preprocessing's mean {found.mean} is not within [0, 1], where pixels lie; "
            "divide mean and std by 255 if they are of pixels from 0 to 255"
        )
    return found


def require_explainable(program: Program, attachment: str, map_layer: str) -> None:
    """Checks that maps can be drawn, and that what the network says of an image is the image's alone.

    Raises:
        MissingRule: an operator between the layers has no rule.
        ValueError: a layer or weight cannot be explained, the scores are probabilities, the network does not run on any
            number of images, its scores are not finite or come out otherwise the next time, or an image's scores depend
            on the others in its batch.
    """
    prepare(program, attachment, map_layer, "strict")
    last = scores_node(program)
    while last.target in _KEEPS_PROBABILITIES:
        last = last.all_input_nodes[0]
    if last.target in _PROBABILITIES:
        raise ValueError(
            f"the network ends in {operator_name(last)}, so its scores are probabilities; {_WITHOUT}"
        )
    images = torch.randn(3, *program.input_shape, generator=torch.Generator().manual_seed(0))
    try:
        together, alone = _scores(program, images)
    except Exception as error:
        raise ValueError(
            f"the network runs on two images, but not on one or three ({first_line(error)}); "
            "export it for any number of images, as onoma.science.program.save does"
        ) from error
    if not (together.isfinite().all() and alone.isfinite().all()):
        raise ValueError(
            "the network's scores of images of noise are NaN or infinite; "
            "export one whose scores are finite numbers whatever the image, as logits are"
        )
    if _are_shares(together):
        raise ValueError(
            f"every image's scores are shares of {together[0].sum():.4g}, as of a softmax; {_WITHOUT}"
        )
    if not _differ(together, alone):
        return
    if _differ(together, _scores(program, images)[0]):
        raise ValueError(
            "the network's scores of the same images differ from one time to the next, as with dropout left on; "
            "export it in evaluation mode, with nothing drawn at random"
        )
    # Rounding grows from layer to layer, in some networks with random weights to a thousandth: in float64 it is gone.
    if _differ_in_float64(program, images):
        raise ValueError(
            "an image's scores depend on the others in its batch, as with batch norms that keep no running statistics; "
            "such a network has no explanation of one image"
        )


def _scores(program: Program, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, classes) of images together, and of each alone."""
    with torch.inference_mode():
        together, *alone = (program.scores(few) for few in (images, *torch.split(images, 1)))
    return together, torch.cat(alone)


def _are_shares(scores: torch.Tensor) -> bool:
    """Whether (n, classes) scores are never negative and every image's sum to the same while they differ."""
    sums = scores.sum(1)
    difference = (sums - sums[0]).abs().max()
    moved = (scores - scores[0]).abs().sum(1).max()
    return bool((scores >= 0).all() and difference <= _ROUNDED * sums[0] and 100 * difference < moved)


def _differ(together: torch.Tensor, alone: torch.Tensor) -> bool:
    """Whether scores of images together are others than those of each alone."""
    return bool((together - alone).abs().max() > _DEPENDS_ON_OTHERS * together.abs().max())


def _differ_in_float64(program: Program, images: torch.Tensor) -> bool:
    """As `_differ`; so it is where the network cannot be computed in float64."""
    precise = replace(program, graph_module=deepcopy(program.graph_module).double())
    try:
        return _differ(*_scores(precise, images.double()))
    except RuntimeError:  # it says itself what dtype something has
        return True


def operators(program: Program, attachment: str | None, map_layer: str | None) -> tuple[OperatorUse, ...]:
    """The operators of what depends on the image, by name, with which of them need an excitation rule and have one."""
    path = set(carriers(program, attachment, map_layer)) if attachment and map_layer else set()
    nodes = [n for n in program.graph_module.graph.nodes if n.op == "call_function" and depends_on_image(n)]
    counts = Counter(operator_name(node) for node in nodes)
    crossed = {n for n in path if n.name != map_layer}
    needed = {operator_name(n) for n in nodes if n in crossed}
    asked = [n for n in nodes if n in crossed or operator_name(n) not in needed]
    lacking = {operator_name(n) for n in asked if not has_rule(n)}
    return tuple(
        OperatorUse(name, counts[name], name in needed, name not in lacking) for name in sorted(counts)
    )
