"""The activations that a study shows, as attribution publishes them."""

from collections.abc import Iterable

from sqlalchemy import Engine, delete, insert
from sqlmodel import Session, col, select

from onoma.v1 import naming_pb2 as pb
from services.naming import studies
from services.naming.names import checked_id, shown
from services.naming.tables import Naming, StudyActivation
from services.runtime.database import session
from services.runtime.errors import FailedPrecondition, InvalidArgument, ResourceExhausted

MAX_ACTIVATIONS = 200_000  # of a study

Published = dict[str, tuple[str, str]]  # activation id: category, image id


def publish(engine: Engine, messages: Iterable[pb.PublishActivationsRequest]) -> int:
    """Takes the activations of the categories that the stream names, in place of what those had.

    Returns:
        Activations of the study now.
    Raises:
        InvalidArgument: the columns do not fit each other, or the study.
        FailedPrecondition: the set would change, and someone has acted on it.
        ResourceExhausted: over 200,000 activations.
    """
    study_id, published = _read(messages)
    with session(engine) as opened:
        study = studies.get(opened, study_id, lock="write")
        categories = {category for category, _ in published.values()}
        for category in sorted(categories - set(study.categories)):
            known = ", ".join(map(shown, study.categories))
            raise InvalidArgument(
                f"study {shown(study.name)} has no category {shown(category)}; it has {known}"
            )
        others = _shown_now(opened, study_id)
        present = {
            id_: others.pop(id_) for id_, (category, _) in list(others.items()) if category in categories
        }
        if published == present:
            return study.activation_count
        acted = select(Naming.study_id).where(Naming.study_id == study_id, Naming.revision > 0)
        if opened.exec(acted.limit(1)).first():
            raise FailedPrecondition(
                f"study {shown(study.name)} has acts on its activations, so they can no longer change; "
                "make a new study for other maps",
                "ACTIVATIONS_IN_USE",
            )
        for activation_id in published.keys() & others.keys():
            raise InvalidArgument(
                f"activation {shown(activation_id)} is in category {shown(others[activation_id][0])} already; "
                "an activation has one category"
            )
        _check_count(len(others) + len(published))
        _replace(opened, study_id, present, published)
        study.activation_revision += 1
        study.activation_count = len(others) + len(published)
        return study.activation_count


def _read(messages: Iterable[pb.PublishActivationsRequest]) -> tuple[str, Published]:
    study_id, published = "", Published()
    for message in messages:
        study_id = study_id or message.study_id
        if message.study_id not in ("", study_id):
            raise InvalidArgument(
                f"one stream is one study's: {shown(message.study_id)} came after {shown(study_id)}"
            )
        columns = message.activations
        lengths = (len(columns.activation_id), len(columns.category), len(columns.image_id))
        if len(set(lengths)) > 1:
            raise InvalidArgument(
                "the columns activation_id, category and image_id have {}, {} and {} entries; "
                "each needs one an activation".format(*lengths)
            )
        for activation_id, *row in zip(
            columns.activation_id, columns.category, columns.image_id, strict=True
        ):
            checked_id(activation_id, "activation id")
            checked_id(row[1], "image id")
            category, image_id = row
            if published.setdefault(activation_id, (category, image_id)) != (category, image_id):
                raise InvalidArgument(f"activation {shown(activation_id)} came twice with different content")
        _check_count(len(published))
    if not published:
        raise InvalidArgument("the stream held no activations")
    return study_id, published


def _shown_now(opened: Session, study_id: str) -> Published:
    query = select(StudyActivation.activation_id, StudyActivation.category, StudyActivation.image_id)
    rows = opened.exec(query.where(StudyActivation.study_id == study_id))
    return {activation_id: (category, image_id) for activation_id, category, image_id in rows}


def _replace(opened: Session, study_id: str, present: Published, published: Published) -> None:
    for category in {category for category, _ in present.values()}:
        opened.execute(
            delete(StudyActivation).where(
                col(StudyActivation.study_id) == study_id, col(StudyActivation.category) == category
            )
        )
    rows = [
        {"study_id": study_id, "activation_id": id_, "category": category, "image_id": image_id}
        for id_, (category, image_id) in published.items()
    ]
    opened.connection().execute(insert(StudyActivation.__table__), rows)


def _check_count(count: int) -> None:
    if count > MAX_ACTIVATIONS:
        raise ResourceExhausted(
            f"over {MAX_ACTIVATIONS} activations, the most a study takes: make the study with fewer "
            "categories or images (max_images_per_category)",
            "TOO_MANY_ACTIVATIONS",
        )
