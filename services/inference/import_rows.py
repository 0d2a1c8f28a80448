"""Rows of imports: written in batches, seen by readers once published."""

import hashlib
import json
from collections.abc import Iterator, Sequence

from sqlalchemy import Engine, delete, func, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from services.inference.intake import Refused, Taken
from services.inference.tables import (
    CONVERTED,
    SKIPPED,
    TEST,
    TRAIN,
    Dataset,
    DatasetImage,
    Image,
    ImportIssue,
)
from services.runtime.errors import Aborted


def forget(engine: Engine, import_id: str) -> None:
    """Removes what an import wrote before it was cut off."""
    with engine.begin() as connection:
        for table in (DatasetImage, ImportIssue):
            connection.execute(delete(table).where(col(table.import_id) == import_id))


def write(
    engine: Engine, name: str, import_id: str, classes: Sequence[str], results: Sequence[Taken | Refused]
) -> None:
    """Rows of some results, in one transaction; their objects have to be durable already."""
    indices = {name: index for index, name in enumerate(classes)}
    pictures, images, issues = {}, [], []
    for result in results:
        item = result.item
        row = {"import_id": import_id, "path": item.path, "dataset": name}
        if isinstance(result, Refused):
            issues.append({**row, "outcome": SKIPPED, "reason": result.reason})
            continue
        pictures[result.image_id] = {
            "image_id": result.image_id,
            "height": result.height,
            "width": result.width,
            "notes": list(result.notes),
        }
        images.append(
            {
                **row,
                "part": item.part,
                "class_index": indices[item.class_name],
                "image_id": result.image_id,
                "bounding_box": item.bounding_box,
                "part_points": item.part_points,
            }
        )
        if notes := result.notes + result.name_notes:
            issues.append({**row, "outcome": CONVERTED, "reason": "; ".join(notes)})
    insert_new = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[engine.dialect.name]
    with engine.begin() as connection:
        if pictures:
            connection.execute(insert_new(Image).on_conflict_do_nothing(), list(pictures.values()))
            connection.execute(insert(DatasetImage), images)
        if issues:
            connection.execute(insert(ImportIssue), issues)


def publish(
    engine: Engine, name: str, import_id: str, classes: Sequence[str], taken: int
) -> tuple[Dataset, list[str]]:
    """Makes a whole import the data set's content, in one transaction; the import before is forgotten.

    Args:
        taken: images that were written; the tables have to hold as many.
    Returns:
        The data set, and lines about pictures that occur more than once.
    Raises:
        Aborted: another import of the same data set removed this one's rows.
    """
    with Session(engine) as session:
        counts = _counts(session, import_id)
        if sum(counts.values()) != taken:
            raise Aborted(f"another import of data set {name!r} ended in the meantime: import it again")
        outcomes = _outcomes(session, import_id)
        dataset = session.merge(
            Dataset(
                name=name,
                import_id=import_id,
                classes=list(classes),
                train_counts=[counts.get((TRAIN, index), 0) for index in range(len(classes))],
                test_counts=[counts.get((TEST, index), 0) for index in range(len(classes))],
                skipped_count=outcomes.get(SKIPPED, 0),
                converted_count=outcomes.get(CONVERTED, 0),
                content_hash=_content_hash(session, import_id, classes),
            )
        )
        repetitions = list(_repetitions(session, import_id))
        for table in (DatasetImage, ImportIssue):
            old = (col(table.dataset) == name) & (col(table.import_id) != import_id)
            session.exec(delete(table).where(old))
        session.commit()
        session.refresh(dataset)
        return dataset, repetitions


def _counts(session: Session, import_id: str) -> dict[tuple[str, int], int]:
    """Images by part and class index."""
    group = (DatasetImage.part, DatasetImage.class_index)
    query = select(*group, func.count()).where(DatasetImage.import_id == import_id).group_by(*group)
    return {(part, index): count for part, index, count in session.exec(query)}


def _outcomes(session: Session, import_id: str) -> dict[str, int]:
    query = select(ImportIssue.outcome, func.count()).where(ImportIssue.import_id == import_id)
    return dict(session.exec(query.group_by(ImportIssue.outcome)).all())


def _content_hash(session: Session, import_id: str, classes: Sequence[str]) -> str:
    """SHA-256 over the class names and, by part, class and path, all that is known of each image."""
    digest = hashlib.sha256(json.dumps(list(classes)).encode())
    columns = (
        DatasetImage.part,
        DatasetImage.class_index,
        DatasetImage.path,
        DatasetImage.image_id,
        DatasetImage.bounding_box,
        DatasetImage.part_points,
    )
    query = select(*columns).where(DatasetImage.import_id == import_id).order_by(*columns[:3])
    for row in session.exec(query.execution_options(yield_per=1000)):
        digest.update(json.dumps(list(row)).encode())
    return digest.hexdigest()


def _repetitions(session: Session, import_id: str) -> Iterator[str]:
    """Lines about pictures that occur under several paths; all of them are kept."""
    query = (
        select(
            func.count(func.distinct(DatasetImage.class_index)),
            func.count(func.distinct(DatasetImage.part)),
            func.min(DatasetImage.path),
            func.max(DatasetImage.path),
        )
        .where(DatasetImage.import_id == import_id)
        .group_by(DatasetImage.image_id)
        .having(func.count() > 1)
    )
    repeated = session.exec(query).all()
    for what, rows in (
        ("in more than one class", [row for row in repeated if row[0] > 1]),
        ("in both the training and the test part", [row for row in repeated if row[1] > 1]),
        ("more than once in one class and part", [row for row in repeated if row[0] == row[1] == 1]),
    ):
        if rows:
            first, last = rows[0][2:]
            yield f"{len(rows):,} pictures are there {what} (say {first} and {last}); all are kept"
