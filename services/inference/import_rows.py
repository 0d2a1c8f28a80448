"""Rows of imports: written in batches, seen by readers once published."""

import hashlib
import json
from collections.abc import Iterator, Sequence

from sqlalchemy import Engine, delete, func, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, exists, select

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
    XnnSet,
)
from services.runtime.database import keep_additions_out, keep_deletions_out, session
from services.runtime.errors import Aborted, AlreadyExists


def forget(engine: Engine, import_id: str) -> None:
    """Removes what an import wrote before it was cut off; nothing of one that is a data set's content by now."""
    is_content = exists().where(col(Dataset.import_id) == import_id)
    with session(engine) as opened:
        # A publication whose answer was lost may still be at its end.
        keep_additions_out(opened)
        for table in (DatasetImage, ImportIssue):
            opened.exec(delete(table).where(col(table.import_id) == import_id, ~is_content))


def write(
    engine: Engine, name: str, import_id: str, classes: Sequence[str], results: Sequence[Taken | Refused]
) -> None:
    """Rows of some results, in one transaction, in place of what the import has of their paths.

    Their objects have to be durable already. There is something where a worker that lost the job's lease wrote last.
    """
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
    with session(engine) as opened:
        keep_deletions_out(opened)
        paths = [result.item.path for result in results]
        for table in (DatasetImage, ImportIssue):
            opened.exec(delete(table).where(col(table.import_id) == import_id, col(table.path).in_(paths)))
        connection = opened.connection()
        if pictures:
            # In one order, so that two imports of the same pictures cannot wait for each other.
            new = [pictures[image_id] for image_id in sorted(pictures)]
            connection.execute(insert_new(Image).on_conflict_do_nothing(), new)
            connection.execute(insert(DatasetImage), images)
        if issues:
            connection.execute(insert(ImportIssue), issues)


def published(engine: Engine, name: str, import_id: str) -> Dataset | None:
    """The data set, where this import is its content already."""
    with Session(engine) as opened:
        return opened.exec(
            select(Dataset).where(Dataset.name == name, Dataset.import_id == import_id)
        ).first()


def publish(engine: Engine, name: str, import_id: str, classes: Sequence[str], taken: int) -> Dataset:
    """Makes a whole import the data set's content, in one transaction; the import before is forgotten.

    Args:
        taken: images that were written; the tables have to hold as many.
    Raises:
        Aborted: another import of the same data set, or its deletion, removed this one's rows.
        AlreadyExists: the data set has other content, and xNNs were trained on it: they, and the maps made with them,
            would be measured on pictures that they are not of.
    """
    with Session(engine) as opened:
        counts = _counts(opened, import_id)
        outcomes = _outcomes(opened, import_id)
        dataset = Dataset(
            name=name,
            import_id=import_id,
            classes=list(classes),
            train_counts=[counts.get((TRAIN, index), 0) for index in range(len(classes))],
            test_counts=[counts.get((TEST, index), 0) for index in range(len(classes))],
            skipped_count=outcomes.get(SKIPPED, 0),
            converted_count=outcomes.get(CONVERTED, 0),
            content_hash=_content_hash(opened, import_id, classes),
        )
    with session(engine) as opened:
        keep_deletions_out(opened)
        if sum(_counts(opened, import_id).values()) != taken:
            raise Aborted(
                f"another import of data set {name!r} ended in the meantime, or it was deleted: import it again"
            )
        before = opened.get(Dataset, name, with_for_update=True)  # no set is claimed meanwhile (check_there)
        trained = opened.exec(select(XnnSet.name).where(XnnSet.dataset == name).order_by(XnnSet.name)).all()
        if before and trained and before.content_hash != dataset.content_hash:
            raise AlreadyExists(
                f"data set {name!r} is there with other content, and the xNNs of {', '.join(trained)} were trained on "
                "it; give this one another name",
                "NAME_TAKEN",
            )
        opened.merge(dataset)
        for table in (DatasetImage, ImportIssue):
            old = (col(table.dataset) == name) & (col(table.import_id) != import_id)
            opened.exec(delete(table).where(old))
    return dataset


def repetitions(engine: Engine, import_id: str) -> Iterator[str]:
    """Lines about pictures that occur under several paths; all of them are kept."""
    query = (
        select(
            func.count(func.distinct(DatasetImage.class_index)),
            func.count(func.distinct(DatasetImage.part)),
            func.min(DatasetImage.path),
        )
        .where(DatasetImage.import_id == import_id)
        .group_by(DatasetImage.image_id)
        .having(func.count() > 1)
    )
    with Session(engine) as opened:
        repeated = opened.exec(query).all()
    for where, paths in (
        ("in more than one class", [path for classes, _, path in repeated if classes > 1]),
        ("in the training and in the test part", [path for _, parts, path in repeated if parts > 1]),
        ("twice or more in one class and part", [path for c, p, path in repeated if c == p == 1]),
    ):
        if paths:
            what = "picture is" if len(paths) == 1 else "pictures are"
            yield f"{len(paths):,} {what} {where} ({min(paths)} for one); all are kept"


def _counts(opened: Session, import_id: str) -> dict[tuple[str, int], int]:
    """Images by part and class index."""
    group = (DatasetImage.part, DatasetImage.class_index)
    query = select(*group, func.count()).where(DatasetImage.import_id == import_id).group_by(*group)
    return {(part, index): count for part, index, count in opened.exec(query)}


def _outcomes(opened: Session, import_id: str) -> dict[str, int]:
    query = select(ImportIssue.outcome, func.count()).where(ImportIssue.import_id == import_id)
    return dict(opened.exec(query.group_by(ImportIssue.outcome)).all())


def _content_hash(opened: Session, import_id: str, classes: Sequence[str]) -> str:
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
    for row in opened.exec(query.execution_options(yield_per=1000)):
        digest.update(json.dumps(list(row)).encode())
    return digest.hexdigest()
