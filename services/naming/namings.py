"""Reads one naming as it stands."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from onoma.v1 import naming_pb2 as pb
from services.naming import studies
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


def check_key(opened: Session, key: NamingKey, *, lock_study: bool = False) -> Study:
    """The study of a naming that may be.

    Args:
        lock_study: keeps the study in its state until the transaction ends.
    Raises:
        NotFound: no such study, or annotator of it.
        InvalidArgument: the category is not one of the study's.
        FailedPrecondition: it would be a viewer's.
    """
    study = studies.get(opened, key.study_id, lock="read" if lock_study else "")
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
        raise NotFound(f"study {shown(study.name)} has no annotator {shown(annotator_id)}")
    return row


def revision(opened: Session, key: NamingKey) -> int:
    """Number of acts so far."""
    query = select(Naming.revision).where(
        Naming.study_id == key.study_id,
        Naming.annotator_id == key.annotator_id,
        Naming.category == key.category,
    )
    return opened.exec(query).first() or 0


def read(opened: Session, study: Study, key: NamingKey) -> pb.Naming:
    """The naming as it stands; revision 0 and all in the pool where nothing was done yet."""
    message = pb.Naming(**key.columns())
    row = opened.get(Naming, key.row())
    placed: set[str] = set()
    if row is not None:
        message.revision, message.undo_count, message.redo_count = (
            row.revision,
            row.undo_count,
            row.redo_count,
        )
        placed = _add_placed(opened, key, message)
    message.pool.extend(id_ for id_ in _order(opened, study, key) if id_ not in placed)
    return message


def _add_placed(opened: Session, key: NamingKey, message: pb.Naming) -> set[str]:
    """Adds concepts and discards; returns the activations in them."""
    concepts = select(Concept.concept_id, Concept.name).where(
        Concept.study_id == key.study_id,
        Concept.annotator_id == key.annotator_id,
        Concept.category == key.category,
        col(Concept.standing),
    )
    members: dict[str, list[str]] = {}
    for concept_id, name in opened.exec(concepts.order_by(col(Concept.place))):
        message.concepts.add(concept_id=concept_id, name=name)
        members[concept_id] = []
    placements = select(Placement.activation_id, Placement.concept_id, Placement.reason).where(
        Placement.study_id == key.study_id,
        Placement.annotator_id == key.annotator_id,
        Placement.category == key.category,
    )
    placed: set[str] = set()
    discards: dict[int, list[str]] = {}
    for activation_id, concept_id, reason in opened.exec(placements.order_by(col(Placement.position))):
        placed.add(activation_id)
        (discards.setdefault(reason, []) if concept_id is None else members[concept_id]).append(activation_id)
    for concept in message.concepts:
        concept.activation_ids.extend(members[concept.concept_id])
    for reason in sorted(discards):
        message.discards.add(reason=reason, activation_ids=discards[reason])
    return placed


def _order(opened: Session, study: Study, key: NamingKey) -> tuple[str, ...]:
    """The category's activations in the order this annotator sees them: random, image by image where the study says so,
    and always the same."""
    seed = study.settings["seed"]
    ordering = (key, seed, study.activation_revision)
    order = _orders.get(ordering)
    if order is None:
        query = select(StudyActivation.activation_id, StudyActivation.image_id).where(
            StudyActivation.study_id == key.study_id, StudyActivation.category == key.category
        )
        salt = hashlib.blake2b(f"{seed}/{key.annotator_id}".encode()).digest()

        def random_place(id_: str) -> bytes:
            return hashlib.blake2b(id_.encode(), digest_size=16, key=salt).digest()

        by_image = study.settings.get("pool_order") == pb.POOL_ORDER_IMAGE
        places = {
            sys.intern(activation_id): (
                random_place(image_id) if by_image else b"",
                random_place(activation_id),
            )
            for activation_id, image_id in opened.exec(query)
        }
        if len(_orders) >= _MAX_ORDERS:
            _orders.clear()
        order = _orders[ordering] = tuple(sorted(places, key=places.__getitem__))
    return order
