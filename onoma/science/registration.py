"""Whether a program can be registered, and what it is made of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from onoma.science.excitation import MissingRule, carriers, has_rule, operator_name, prepare
from onoma.science.program import (
    Program,
    constants,
    find_attachment,
    find_map_layer,
    load,
)
from onoma.science.program_archive import RefusedProgram


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
        prepare(program, attachment, map_layer, "strict")
    except (MissingRule, ValueError) as error:
        return ProgramReport(uses, attachment, map_layer, (str(error),))
    return ProgramReport(uses, attachment, map_layer, ())


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
