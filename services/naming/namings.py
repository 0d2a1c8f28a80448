"""Reads one naming as it stands."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from onoma.v1 import naming_pb2 as pb
from services.naming import acts, studies
from services.naming.acts import Place, State
from services.naming.names import shown
from services.naming.tables import VIEWER, Annotator, Concept, Naming, Placement, Study, StudyActivation
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound

# Orders of pools, kept because each act's response needs one. Their keys name all that they depend on.
_orders: dict[tuple["NamingKey", int, int], tuple[str, ...]] = {}
_MAX_ORDERS = 256


@dataclass(frozen=True)
class NamingKey:
    """Which naming: one annotator's of one category."""

    study_id: str
    annotator_id: str
    category: str

    def columns(self) -> dict[str, str]:
        """The key as columns."""
        return {"study_id": self.study_id, "annotator_id": self.annotator_id, "category": self.category}

    def row(self) -> tuple[str, str, str]:
        """The key as a primary key."""
        return (self.study_id, self.annotator_id, self.category)


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that sees one moment of the database."""
    if engine.dialect.name == "postgresql":  # SQLite's transactions always do
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with Session(engine) as opened:
        yield opened


def check_key(opened: Session, key: NamingKey) -> Study:
    """The study of a naming that may be.

    Raises:
        NotFound: no such study, or annotator of it.
        InvalidArgument: the category is not one of the study's.
        FailedPrecondition: it would be a viewer's.
    """
    study = studies.get(opened, key.study_id)
    annotator = check_annotator(opened, study, key.annotator_id)
    if annotator.role == VIEWER:
        raise FailedPrecondition(
            f"{shown(annotator.display_name)} is a viewer of study {shown(study.name)} and names nothing; "
            "invite an annotator",
            "IS_VIEWER",
        )
    if key.category not in study.categories:
        known = ", ".join(map(shown, study.categories))
        raise InvalidArgument(
            f"study {shown(study.name)} has no category {shown(key.category)}; it has {known}"
        )
    return study


def check_annotator(opened: Session, study: Study, annotator_id: str) -> Annotator:
    """The annotator of that id.

    Raises:
        NotFound: the study has none.
    """
    row = None if "\0" in annotator_id else opened.get(Annotator, (study.study_id, annotator_id))
    if row is None:
        raise NotFound(
            f"study {shown(study.name)} has no annotator {shown(annotator_id)}; "
            "onoma study annotators STUDY lists them"
        )
    return row


def revision(opened: Session, key: NamingKey) -> int:
    """Number of acts so far."""
    query = select(Naming.revision).where(
        Naming.study_id == key.study_id,
        Naming.annotator_id == key.annotator_id,
        Naming.category == key.category,
    )
    return opened.exec(query).first() or 0


@dataclass(frozen=True)
class Held:
    """A naming as it stands.

    Attributes:
        state: its revision, standing concepts and placements; the acts that undo and redo reach stay in the log.
        undo_count: acts that undo can take back.
        redo_count: acts that redo can bring back.
    """

    state: State
    undo_count: int = 0
    redo_count: int = 0


UNTOUCHED = Held(State())


def load(opened: Session, key: NamingKey) -> Held:
    """The naming out of the tables; `UNTOUCHED` where nothing was done yet."""
    row = opened.get(Naming, key.row())
    if row is None:
        return UNTOUCHED
    concepts = select(Concept.concept_id, Concept.name, Concept.place).where(
        Concept.study_id == key.study_id,
        Concept.annotator_id == key.annotator_id,
        Concept.category == key.category,
        col(Concept.standing),
    )
    placements = select(
        Placement.activation_id, Placement.concept_id, Placement.reason, Placement.position
    ).where(
        Placement.study_id == key.study_id,
        Placement.annotator_id == key.annotator_id,
        Placement.category == key.category,
    )
    state = State(
        row.revision,
        {concept_id: acts.Concept(name, place) for concept_id, name, place in opened.exec(concepts)},
        {sys.intern(activation_id): Place(*place) for activation_id, *place in opened.exec(placements)},
    )
    return Held(state, row.undo_count, row.redo_count)


def read(opened: Session, study: Study, key: NamingKey) -> pb.Naming:
    """The naming as it stands; revision 0 and all in the pool where nothing was done yet."""
    return message(key, load(opened, key), order(opened, study, key))


def message(key: NamingKey, held: Held, shown_in: Sequence[str]) -> pb.Naming:
    """A naming as a message.

    Args:
        shown_in: the category's activations in the order that this annotator sees them.
    """
    state = held.state
    naming = pb.Naming(
        **key.columns(),
        revision=state.revision,
        undo_count=held.undo_count,
        redo_count=held.redo_count,
        pool=[id_ for id_ in shown_in if id_ not in state.placements],
    )
    members: dict[str, list[str]] = {}
    discards: dict[int, list[str]] = {}
    for id_, place in sorted(state.placements.items(), key=lambda item: item[1].position):
        pile = discards.setdefault(place.reason, []) if place.concept_id is None else None
        (members.setdefault(place.concept_id or "", []) if pile is None else pile).append(id_)
    standing = [(concept.place, id_) for id_, concept in state.concepts.items() if concept.standing]
    for _, concept_id in sorted(standing):
        naming.concepts.add(
            concept_id=concept_id,
            name=state.concepts[concept_id].name,
            activation_ids=members.get(concept_id, ()),
        )
    for reason in sorted(discards):
        naming.discards.add(reason=reason, activation_ids=discards[reason])
    return naming


def order(opened: Session, study: Study, key: NamingKey) -> tuple[str, ...]:
    """The category's activations in the order this annotator sees them: random, image by image where the study says so,
    and always the same (docs/namings-format.md says how it is made)."""
    ordering = (key, study.settings["seed"], study.activation_revision)
    found = _orders.get(ordering)
    if found is None:
        query = select(StudyActivation.activation_id, StudyActivation.image_id).where(
            StudyActivation.study_id == key.study_id, StudyActivation.category == key.category
        )
        salt = hashlib.blake2b(order_seed(study, key.annotator_id).encode()).digest()

        def random_place(id_: str) -> bytes:
            return hashlib.blake2b(id_.encode(), digest_size=16, key=salt).digest()

        by_image = is_by_image(study)
        places = {
            sys.intern(activation_id): (
                random_place(image_id) if by_image else b"",
                random_place(activation_id),
            )
            for activation_id, image_id in opened.exec(query)
        }
        if len(_orders) >= _MAX_ORDERS:
            _orders.clear()
        found = _orders[ordering] = tuple(sorted(places, key=places.__getitem__))
    return found


def order_seed(study: Study, annotator_id: str) -> str:
    """What an annotator's orders are made of."""
    return f"{study.settings['seed']}/{annotator_id}"


def is_by_image(study: Study) -> bool:
    """Whether activations of one image are shown beside each other."""
    return bool(study.settings.get("pool_order") == pb.POOL_ORDER_IMAGE)
