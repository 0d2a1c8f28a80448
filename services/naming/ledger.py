"""The log of acts and the state it folds into: one transaction an act."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, delete, insert
from sqlmodel import Session, col, select

from onoma.v1 import naming_pb2 as pb
from services.naming import acts, namings, studies
from services.naming.acts import Edits, Place, State
from services.naming.names import checked_id, shown
from services.naming.namings import NamingKey
from services.naming.tables import Act, Concept, Naming, Placement, StudyActivation
from services.naming.transactions import transact
from services.runtime import paging
from services.runtime.errors import Aborted, InvalidArgument, NotFound

_IDS_A_QUERY = 10_000  # SQLite takes 32,766 values in a statement


def act(engine: Engine, key: NamingKey, request_id: str, base_revision: int, command: pb.Command) -> None:
    """Takes an act into the log and the state; one whose request id is there already changes nothing.

    The request id stands for the category and the command: a client that had no answer may send them again,
    against whatever revision it sees by then, also when the study has been closed since.

    Raises:
        Aborted: the naming has gone on since `base_revision`; carries the naming as it stands.
        FailedPrecondition: the study takes no acts, or there is nothing to undo or redo.
        InvalidArgument, NotFound, AlreadyExists, ResourceExhausted: the command cannot be; see `acts.apply`.
    """
    checked_id(request_id, "request id")

    def work(opened: Session) -> None:
        study = namings.check_key(opened, key, lock_study=True)
        naming = locked(opened, key)  # before the look into the log: the same request may be under way
        if _is_known(opened, key, request_id, command):
            return
        studies.check_open(study)
        if base_revision > naming.revision or base_revision < 0:
            raise InvalidArgument(
                f"base_revision {base_revision} does not exist: the naming is at revision {naming.revision}; "
                "read it anew (GetNaming)",
                "UNKNOWN_REVISION",
            )
        if base_revision < naming.revision:
            raise Aborted(
                f"the naming is at revision {naming.revision}, the act was made against {base_revision}; "
                "look at the present naming and act again",
                present=namings.read(opened, study, key),
                reason="STALE_REVISION",
            )
        record(opened, naming, request_id, command)

    transact(engine, work)


def locked(opened: Session, key: NamingKey) -> Naming:
    """The naming's row, made where it is missing, and kept from other acts until the transaction ends."""
    naming = opened.get(Naming, key.row(), with_for_update=True)
    if naming is None:
        naming = Naming(**key.columns())
        opened.add(naming)
        opened.flush()
    return naming


def record(opened: Session, naming: Naming, request_id: str, command: pb.Command) -> None:
    """Applies a command to a locked naming: its log row, and its edits of the tables.

    Costs time by the edits and the naming's concepts, not by its activations.
    """
    key = NamingKey(naming.study_id, naming.annotator_id, naming.category)
    state = _concerned(opened, key, naming, command)
    _, inverse = acts.apply(state, command)
    edits = inverse.inverse()
    naming.revision += 1
    depth = 0
    match acts.kind_of(command):
        case "undo":
            naming.undo_count, naming.redo_count = naming.undo_count - 1, naming.redo_count + 1
        case "redo":
            naming.undo_count, naming.redo_count = naming.undo_count + 1, naming.redo_count - 1
        case _:
            naming.undo_count, naming.redo_count = naming.undo_count + 1, 0
            depth = naming.undo_count
    opened.add(
        Act(
            **key.columns(),
            revision=naming.revision,
            request_id=request_id,
            command=_serialised(command),
            edits=_as_json(edits) if depth else {},
            depth=depth,
            time=time.time(),
        )
    )
    opened.flush()
    _fold(opened, key, edits)


def page(opened: Session, key: NamingKey, page_size: int, page_token: str) -> tuple[list[pb.LoggedAct], str]:
    """Acts of the log, oldest first, and the token of the next page; empty on the last."""
    size = paging.checked_page_size(page_size, default=1_000, largest=10_000)
    after = paging.read_token(page_token, int)[0] if page_token else 0
    query = select(Act.revision, Act.request_id, Act.command, Act.time).where(
        *_of_naming(Act, key), Act.revision > after
    )
    logged = []
    for revision, request_id, command, seconds in opened.exec(
        query.order_by(col(Act.revision)).limit(size + 1)
    ):
        entry = pb.LoggedAct(revision=revision, request_id=request_id, command=pb.Command.FromString(command))
        entry.time.FromDatetime(datetime.fromtimestamp(seconds, UTC))
        logged.append(entry)
    return logged[:size], paging.make_token(logged[size - 1].revision) if len(logged) > size else ""


def _is_known(opened: Session, key: NamingKey, request_id: str, command: pb.Command) -> bool:
    query = select(Act.category, Act.revision, Act.command).where(
        Act.study_id == key.study_id, Act.annotator_id == key.annotator_id, Act.request_id == request_id
    )
    row = opened.exec(query).first()
    if row is None:
        return False
    category, revision, earlier = row
    if category != key.category or earlier != _serialised(command):
        raise InvalidArgument(
            f"request id {shown(request_id)} was used for the act that made revision {revision} of category "
            f"{shown(category)}, with other content; send a new request id",
            "REQUEST_ID_REUSED",
        )
    return True


def _concerned(opened: Session, key: NamingKey, naming: Naming, command: pb.Command) -> State:
    """As much of the naming as the command needs."""
    kind = acts.kind_of(command)
    if kind in ("undo", "redo"):
        depth = naming.undo_count + (kind == "redo")
        reachable = naming.undo_count if kind == "undo" else naming.redo_count
        stack = (_edits_at(opened, key, depth),) if reachable else ()
        done, undone = (stack, ()) if kind == "undo" else ((), stack)
        return State(naming.revision, done=done, undone=undone)
    activation_ids = acts.named_activations(command)
    _check_activations(opened, key, activation_ids)
    query = select(Concept.concept_id, Concept.name, Concept.place).where(*_of_naming(Concept, key))
    standing = opened.exec(query.where(col(Concept.standing)))
    concepts = {concept_id: acts.Concept(name, place) for concept_id, name, place in standing}
    chosen = acts.new_concept(command)
    if (
        chosen
        and chosen not in concepts
        and opened.get(Concept, (key.study_id, key.annotator_id, checked_id(chosen, "concept id")))
    ):
        raise acts.already_used(chosen)
    places = {}
    for ids in _batches(activation_ids):
        places |= _places(opened, key, col(Placement.activation_id).in_(ids))
    if emptied := acts.emptied_concept(command):
        places |= _places(opened, key, Placement.concept_id == emptied)
    return State(naming.revision, concepts, places)


def _check_activations(opened: Session, key: NamingKey, activation_ids: Sequence[str]) -> None:
    known: set[str] = set()
    for ids in _batches(activation_ids):
        query = select(StudyActivation.activation_id).where(
            StudyActivation.study_id == key.study_id,
            StudyActivation.category == key.category,
            col(StudyActivation.activation_id).in_([id_ for id_ in ids if "\0" not in id_]),
        )
        known.update(opened.exec(query))
    unknown = [id_ for id_ in activation_ids if id_ not in known]
    if unknown:
        more = f" (nor {len(unknown) - 1} others that the act names)" if len(unknown) > 1 else ""
        raise NotFound(f"category {shown(key.category)} has no activation {shown(unknown[0])}{more}")


def _edits_at(opened: Session, key: NamingKey, depth: int) -> Edits:
    query = select(Act.edits).where(*_of_naming(Act, key), Act.depth == depth)
    written = opened.exec(query.order_by(col(Act.revision).desc()).limit(1)).one()
    return Edits(
        {
            id_: (acts.Concept(*before), acts.Concept(*after))
            for id_, (before, after) in written["concepts"].items()
        },
        {
            id_: (before and Place(*before), after and Place(*after))
            for id_, (before, after) in written["placements"].items()
        },
    )


def _as_json(edits: Edits) -> dict[str, Any]:
    return {
        "concepts": {id_: [astuple(side) for side in sides] for id_, sides in edits.concepts.items()},
        "placements": {
            id_: [side and (side.concept_id, side.reason, side.position) for side in sides]
            for id_, sides in edits.placements.items()
        },
    }


def _fold(opened: Session, key: NamingKey, edits: Edits) -> None:
    """Writes what edits leave behind."""
    for concept_id, (_, concept) in edits.concepts.items():
        row = Concept(
            **key.columns(),
            concept_id=concept_id,
            name=concept.name,
            place=concept.place,
            standing=concept.standing,
        )
        opened.merge(row)
    opened.flush()
    left = [id_ for id_, (before, _) in edits.placements.items() if before is not None]
    for ids in _batches(left):
        opened.execute(
            delete(Placement).where(
                col(Placement.study_id) == key.study_id,
                col(Placement.annotator_id) == key.annotator_id,
                col(Placement.activation_id).in_(ids),
            ),
            execution_options={"synchronize_session": False},
        )
    placed = [
        {
            **key.columns(),
            "activation_id": id_,
            "concept_id": place.concept_id,
            "reason": place.reason,
            "position": place.position,
        }
        for id_, (_, place) in edits.placements.items()
        if place is not None
    ]
    if placed:
        opened.connection().execute(insert(Placement.__table__), placed)


def _places(opened: Session, key: NamingKey, which: Any) -> dict[str, Place]:
    query = select(Placement.activation_id, Placement.concept_id, Placement.reason, Placement.position)
    rows = opened.exec(query.where(*_of_naming(Placement, key), which))
    return {activation_id: Place(*place) for activation_id, *place in rows}


def _of_naming(table: Any, key: NamingKey) -> tuple[Any, ...]:
    return (
        table.study_id == key.study_id,
        table.annotator_id == key.annotator_id,
        table.category == key.category,
    )


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _IDS_A_QUERY):
        yield ids[start : start + _IDS_A_QUERY]


def _serialised(command: pb.Command) -> bytes:
    return bytes(command.SerializeToString(deterministic=True))
