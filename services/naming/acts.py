"""Acts on one naming, as plain functions: a state and a command in, the next state and the edits out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from onoma.v1 import naming_pb2 as pb
from services.naming.names import checked_id, checked_name, shown
from services.runtime.enums import name_of
from services.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)

MAX_CONCEPTS = 1_000
MAX_ACTIVATIONS = 10_000  # named in one act
_POSITIONS = 1 << 20  # of one act: more than a study has activations


@dataclass(frozen=True)
class Concept:
    """A visual concept.

    Attributes:
        place: the revision that made it; concepts are listed by it.
        standing: False once it was merged away, deleted or its making undone.
    """

    name: str
    place: int
    standing: bool = True


@dataclass(frozen=True)
class Place:
    """Where an activation lies that is not in the pool.

    Attributes:
        concept_id: its concept; None when it is discarded.
        reason: DiscardReason when it is discarded, else 0.
        position: members are listed by it.
    """

    concept_id: str | None
    reason: int
    position: int


@dataclass(frozen=True)
class Edits:
    """What an act changes: (before, after) of each concept and of each activation's place; None is the pool."""

    concepts: Mapping[str, tuple[Concept, Concept]] = field(default_factory=dict)
    placements: Mapping[str, tuple[Place | None, Place | None]] = field(default_factory=dict)

    def inverse(self) -> Edits:
        """What takes these edits back."""
        return Edits(
            {id_: (after, before) for id_, (before, after) in self.concepts.items()},
            {id_: (after, before) for id_, (before, after) in self.placements.items()},
        )


@dataclass(frozen=True)
class State:
    """One naming; or as much of it as an act concerns.

    Attributes:
        revision: number of acts so far.
        concepts: by id, those that ended included.
        placements: by activation id, those in the pool left out.
        done: edits that undo can take back, the latest last.
        undone: edits that redo can bring back, the next last.
    """

    revision: int = 0
    concepts: Mapping[str, Concept] = field(default_factory=dict)
    placements: Mapping[str, Place] = field(default_factory=dict)
    done: tuple[Edits, ...] = ()
    undone: tuple[Edits, ...] = ()


def apply(state: State, command: pb.Command) -> tuple[State, Edits]:
    """The state after one more act, and the edits that led there.

    That the activations exist is for the caller to check.

    Raises:
        InvalidArgument: the command is wrong in itself.
        NotFound: no such concept stands in this naming.
        AlreadyExists: the id for a new concept is taken.
        FailedPrecondition: there is nothing to undo or redo.
        ResourceExhausted: the naming would have over 1,000 concepts.
    """
    kind = kind_of(command)
    if kind == "undo":
        if not state.done:
            raise FailedPrecondition("there is nothing to undo in this naming", "NOTHING_TO_UNDO")
        edits = state.done[-1].inverse()
        done, undone = state.done[:-1], (*state.undone, state.done[-1])
    elif kind == "redo":
        if not state.undone:
            raise FailedPrecondition(
                "there is nothing to redo in this naming: redo brings back what undo took, until the next act",
                "NOTHING_TO_REDO",
            )
        edits = state.undone[-1]
        done, undone = (*state.done, edits), state.undone[:-1]
    else:
        edits = _EDITS[kind](state, getattr(command, kind))
        done, undone = (*state.done, edits), ()
    next_state = replace(_edited(state, edits), revision=state.revision + 1, done=done, undone=undone)
    return next_state, edits


def kind_of(command: pb.Command) -> str:
    """Which change a command is: the name of its field.

    Raises:
        InvalidArgument: none is set.
    """
    kind = command.WhichOneof("command")
    if kind is None:
        known = ", ".join(name.name for name in pb.Command.DESCRIPTOR.fields)
        raise InvalidArgument(f"the act has no command; set one of {known}")
    return str(kind)


def named_activations(command: pb.Command) -> list[str]:
    """The activations that a command names.

    Raises:
        InvalidArgument: over 10,000, one twice, or none where the command needs some.
    """
    kind = kind_of(command)
    if kind not in _NAMING_ACTIVATIONS:
        return []
    ids = list(getattr(command, kind).activation_ids)
    if len(ids) > MAX_ACTIVATIONS:
        raise InvalidArgument(
            f"the act names {len(ids)} activations; at most {MAX_ACTIVATIONS} are allowed: send several acts"
        )
    if not ids and kind != "create":
        raise InvalidArgument(f"the act ({kind}) names no activations; name at least one")
    seen: set[str] = set()
    for id_ in ids:
        if id_ in seen:
            raise InvalidArgument(f"the act names activation {shown(id_)} twice; name it once")
        seen.add(id_)
    return ids


def new_concept(command: pb.Command) -> str:
    """Id that a command chooses for a new concept; "" where it makes none."""
    match kind_of(command):
        case "create":
            return command.create.concept_id
        case "split":
            return command.split.new_concept_id
    return ""


def members(state: State, concept_id: str) -> list[str]:
    """A concept's activations in the order they came in."""
    inside = [
        (place.position, id_) for id_, place in state.placements.items() if place.concept_id == concept_id
    ]
    return [id_ for _, id_ in sorted(inside)]


def _create(state: State, command: pb.CreateConcept) -> Edits:
    return Edits(
        _made(state, command.concept_id, command.name),
        _moved(state, command.activation_ids, command.concept_id),
    )


def _rename(state: State, command: pb.RenameConcept) -> Edits:
    concept = _standing(state, command.concept_id)
    renamed = replace(concept, name=checked_name(command.name, "concept name", may_be_empty=True))
    return Edits({command.concept_id: (concept, renamed)} if renamed != concept else {})


def _assign(state: State, command: pb.AssignActivations) -> Edits:
    _standing(state, command.concept_id)
    return Edits(placements=_moved(state, command.activation_ids, command.concept_id))


def _unassign(state: State, command: pb.UnassignActivations) -> Edits:
    return Edits(placements=_pooled(state, command.activation_ids))


def _discard(state: State, command: pb.DiscardActivations) -> Edits:
    name_of(pb.DiscardReason, command.reason, "discard reason")
    return Edits(placements=_moved(state, command.activation_ids, None, command.reason))


def _merge(state: State, command: pb.MergeConcepts) -> Edits:
    source_id, target_id = command.source_concept_id, command.target_concept_id
    source = _standing(state, source_id)
    _standing(state, target_id)
    if source_id == target_id:
        raise InvalidArgument(f"concept {shown(source_id)} cannot be merged with itself; name two concepts")
    return Edits(
        {source_id: (source, replace(source, standing=False))},
        _moved(state, members(state, source_id), target_id),
    )


def _split(state: State, command: pb.SplitConcept) -> Edits:
    _standing(state, command.concept_id)
    for id_ in command.activation_ids:
        place = state.placements.get(id_)
        if place is None or place.concept_id != command.concept_id:
            raise InvalidArgument(
                f"activation {shown(id_)} is not in concept {shown(command.concept_id)}, so it cannot be "
                "split from it; assign it instead"
            )
    return Edits(
        _made(state, command.new_concept_id, command.name),
        _moved(state, command.activation_ids, command.new_concept_id),
    )


def _delete(state: State, command: pb.DeleteConcept) -> Edits:
    concept = _standing(state, command.concept_id)
    return Edits(
        {command.concept_id: (concept, replace(concept, standing=False))},
        _pooled(state, members(state, command.concept_id)),
    )


_EDITS: dict[str, Callable[[State, pb.Command], Edits]] = {
    "create": _create,
    "rename": _rename,
    "assign": _assign,
    "unassign": _unassign,
    "discard": _discard,
    "merge": _merge,
    "split": _split,
    "delete": _delete,
}
_NAMING_ACTIVATIONS = {"create", "assign", "unassign", "discard", "split"}


def _standing(state: State, concept_id: str) -> Concept:
    concept = state.concepts.get(concept_id)
    if concept is None or not concept.standing:
        raise NotFound(
            f"no concept {shown(concept_id)} stands in this naming; it may have been merged or deleted: read it anew"
        )
    return concept


def _made(state: State, concept_id: str, name: str) -> dict[str, tuple[Concept, Concept]]:
    checked_id(concept_id, "concept id")
    if concept_id in state.concepts:
        raise already_used(concept_id)
    if sum(concept.standing for concept in state.concepts.values()) >= MAX_CONCEPTS:
        raise ResourceExhausted(
            f"this naming has {MAX_CONCEPTS} concepts, the most there may be; merge or delete some first",
            "TOO_MANY_CONCEPTS",
        )
    concept = Concept(checked_name(name, "concept name", may_be_empty=True), place=state.revision + 1)
    return {concept_id: (replace(concept, standing=False), concept)}


def already_used(concept_id: str) -> AlreadyExists:
    """The error for a new concept's id that is taken, by one that ended too."""
    return AlreadyExists(f"concept id {shown(concept_id)} is already used in your namings; choose a new UUID")


def _moved(
    state: State, activation_ids: Iterable[str], concept_id: str | None, reason: int = 0
) -> dict[str, tuple[Place | None, Place | None]]:
    """Moves to the end of a concept, or of the discarded; what lies there already stays where it is."""
    first = (state.revision + 1) * _POSITIONS
    moves: dict[str, tuple[Place | None, Place | None]] = {}
    for index, id_ in enumerate(activation_ids):
        before = state.placements.get(id_)
        if before is None or (before.concept_id, before.reason) != (concept_id, reason):
            moves[id_] = (before, Place(concept_id, reason, first + index))
    return moves


def _pooled(state: State, activation_ids: Iterable[str]) -> dict[str, tuple[Place | None, Place | None]]:
    return {id_: (state.placements[id_], None) for id_ in activation_ids if id_ in state.placements}


def _edited(state: State, edits: Edits) -> State:
    concepts = {**state.concepts, **{id_: after for id_, (_, after) in edits.concepts.items()}}
    placements = dict(state.placements)
    for id_, (_, after) in edits.placements.items():
        if after is None:
            placements.pop(id_, None)
        else:
            placements[id_] = after
    return replace(state, concepts=concepts, placements=placements)
