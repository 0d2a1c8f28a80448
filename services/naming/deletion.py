"""What is deleted for good, because its owner says so: a study, or one annotator of it, with all that was named."""

from sqlalchemy import ColumnElement, Engine, delete
from sqlmodel import Session, SQLModel, col

from services.naming import namings, studies
from services.naming.names import shown
from services.naming.tables import (
    OPEN,
    Act,
    Annotator,
    Concept,
    Naming,
    NamingImport,
    Placement,
    Study,
    StudyActivation,
    VocabularyChange,
)
from services.runtime.database import session
from services.runtime.errors import FailedPrecondition

# Rows before those that they name.
_OF_ANNOTATORS: tuple[type[SQLModel], ...] = (Placement, Concept, Act, Naming, Annotator)
_OF_STUDIES: tuple[type[SQLModel], ...] = (
    *_OF_ANNOTATORS,
    StudyActivation,
    VocabularyChange,
    NamingImport,
    Study,
)


def forget_study(engine: Engine, study_id: str) -> None:
    """Deletes a study with its annotators and all that they named.

    Raises:
        NotFound: no such study.
        FailedPrecondition: it is open.
    """
    with session(engine) as opened:
        study = studies.get(opened, study_id, lock="write")
        if study.state == OPEN:
            raise FailedPrecondition(
                f"study {shown(study.name)} is open to its annotators: close it first (onoma study close STUDY)",
                "STUDY_OPEN",
            )
        _delete(opened, _OF_STUDIES, study_id=study_id)


def delete_annotator(engine: Engine, study_id: str, annotator_id: str) -> None:
    """Deletes an annotator, or a viewer, with all that they named and its log; others' work stays as it is.

    Raises:
        NotFound: no such study, or annotator of it.
    """
    with session(engine) as opened:
        study = studies.get(opened, study_id, lock="write")
        namings.check_annotator(opened, study, annotator_id)
        _delete(opened, _OF_ANNOTATORS, study_id=study_id, annotator_id=annotator_id)


def _delete(opened: Session, tables: tuple[type[SQLModel], ...], **key: str) -> None:
    for table in tables:
        is_of: list[ColumnElement[bool]] = [col(getattr(table, name)) == value for name, value in key.items()]
        opened.exec(delete(table).where(*is_of))
