"""Whether a program can be registered, and what it is made of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch

from onoma.science.excitation import carriers, has_rule, operator_name, prepare
from onoma.science.program import (
    Program,
    constants,
    find_attachment,
    find_map_layer,
    first_line,
    load,
)
from onoma.science.program_archive import RefusedProgram

_DEPENDS_ON_OTHERS = 1e-3  # of the largest score: rounding is far less


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
class ProgramReport:
    """What a check found.

    Attributes:
        operators: by name.
        attachment_layer: that would be taken; empty where none is found.
        map_layer: likewise.
        reasons: why it cannot be registered, one line each; empty where it can.
    """

    operators: tuple[OperatorUse, ...]
    attachment_layer: str
    map_layer: str
    reasons: tuple[str, ...]


def choose_layers(program: Program, attachment: str = "", map_layer: str = "") -> tuple[str, str]:
    """Attachment and map layer: those named, and found where they are not.

    Raises:
        ValueError: none can be found.
    """
    attachment = attachment or find_attachment(program)
    return attachment, map_layer or find_map_layer(program, attachment)


def check(data: bytes) -> ProgramReport:
    """Looks into a `.pt2` archive, loads it and reads its graph; never raises for what is in it."""
    try:
        program = load(data)
    except RefusedProgram as error:
        return ProgramReport((), "", "", (str(error),))
    try:
        attachment, map_layer = choose_layers(program)
    except ValueError as error:
        return ProgramReport(operators(program, None, None), "", "", (str(error),))
    uses = operators(program, attachment, map_layer)
    try:
        require_explainable(program, attachment, map_layer)
    except ValueError as error:
        return ProgramReport(uses, attachment, map_layer, (str(error),))
    return ProgramReport(uses, attachment, map_layer, ())


def require_explainable(program: Program, attachment: str, map_layer: str) -> None:
    """Checks that maps can be drawn, and that what the network says of an image is the image's alone.

    Raises:
        MissingRule: an operator between the layers has no rule.
        ValueError: a layer or weight cannot be explained, the network does not run on any number of images, or an
            image's scores depend on the others in its batch.
    """
    prepare(program, attachment, map_layer, "strict")
    images = torch.randn(3, *program.input_shape, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            together, *alone = (program.scores(few) for few in (images, *torch.split(images, 1)))
    except Exception as error:
        raise ValueError(
            f"the network runs on two images, but not on one or three ({first_line(error)}); "
            "export it for any number of images, as onoma.science.program.save does"
        ) from error
    if (together - torch.cat(alone)).abs().max() > _DEPENDS_ON_OTHERS * together.abs().max():
        raise ValueError(
            "an image's scores depend on the others in its batch, as with batch norms that keep no running statistics; "
            "such a network has no explanation of one image"
        )


def operators(program: Program, attachment: str | None, map_layer: str | None) -> tuple[OperatorUse, ...]:
    """The program's operators by name, with which of them need an excitation rule and have one."""
    known = constants(program)
    path = set(carriers(program, attachment, map_layer)) if attachment and map_layer else set()
    nodes = [n for n in program.graph_module.graph.nodes if n.op == "call_function" and n not in known]
    counts = Counter(operator_name(node) for node in nodes)
    needed = {operator_name(n) for n in nodes if n in path and n.name != map_layer}
    lacking = {
        operator_name(n) for n in nodes if n in path and n.name != map_layer and not has_rule(n, known)
    }
    without = {operator_name(n) for n in nodes if not has_rule(n, known)}
    return tuple(
        OperatorUse(name, counts[name], name in needed, name not in (lacking if name in needed else without))
        for name in sorted(counts)
    )
