"""Data sets as they stand in the tables, and their pictures."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import Engine, Row, tuple_
from sqlmodel import Session, col, select

from onoma.science.pictures import Preprocessing, encode_png
from services.inference import tables
from services.inference.tables import Dataset, DatasetImage, Image, ImportIssue
from services.runtime.decoding import Decoders
from services.runtime.errors import Aborted, InvalidArgument, NotFound, some_of
from services.runtime.objects import ObjectStore
from services.runtime.paging import checked_page_size, cut, read_token


def images(
    engine: Engine, dataset: Dataset, part: str, class_name: str, page_size: int, token: str
) -> tuple[Sequence[Row[Any]], str]:
    """Images by part (test first), class and path, and the token of the next page; "" on the last.

    Rows have the columns of DatasetImage, and height and width; whole objects would take three times as long.

    Args:
        part: TRAIN, TEST, or "" for both.
        class_name: "" for all.
    Raises:
        InvalidArgument: an unknown class, or a token of another list.
        Aborted: the data set was imported anew since the first page.
    """
    size = checked_page_size(page_size, default=1000, largest=10_000)
    order = (col(DatasetImage.part), col(DatasetImage.class_index), col(DatasetImage.path))
    query = (
        sqlalchemy.select(
            *order,
            col(DatasetImage.image_id),
            col(DatasetImage.bounding_box),
            col(DatasetImage.part_points),
            col(Image.height),
            col(Image.width),
        )
        .join(Image, col(Image.image_id) == DatasetImage.image_id)
        .where(col(DatasetImage.import_id) == dataset.import_id)
        .order_by(*order)
        .limit(size + 1)
    )
    if part:
        query = query.where(col(DatasetImage.part) == part)
    if class_name:
        index = class_index(dataset.classes, class_name, dataset.name)
        query = query.where(col(DatasetImage.class_index) == index)
    if token:
        position = _position(dataset, token, str, int, str)
        query = query.where(tuple_(*order) > tuple_(*position))
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    _check_unchanged(engine, dataset)
    return cut(rows, size, lambda row: (dataset.import_id, *row[:3]))


def issues(engine: Engine, dataset: Dataset, page_size: int, token: str) -> tuple[Sequence[ImportIssue], str]:
    """Import issues by path, and the token of the next page; "" on the last."""
    size = checked_page_size(page_size, default=1000, largest=10_000)
    query = (
        select(ImportIssue)
        .where(ImportIssue.import_id == dataset.import_id)
        .order_by(col(ImportIssue.path))
        .limit(size + 1)
    )
    if token:
        query = query.where(ImportIssue.path > _position(dataset, token, str)[0])
    with Session(engine) as session:
        rows = session.exec(query).all()
    _check_unchanged(engine, dataset)
    return cut(rows, size, lambda issue: (dataset.import_id, issue.path))


def class_index(classes: Sequence[str], class_name: str, where: str) -> int:
    """Index of a class.

    Raises:
        InvalidArgument: unknown; the message lists those that are known.
    """
    if class_name not in classes:
        raise InvalidArgument(
            f"class {class_name!r} is not in {where}; its {len(classes)} classes are {some_of(classes)}"
        )
    return classes.index(class_name)


def picture_bytes(engine: Engine, store: ObjectStore, image_id: str) -> bytes:
    """The stored file of a picture that some import took.

    Raises:
        NotFound: no import took it.
    """
    return next(pictures_bytes(engine, store, [image_id]))


def pictures_bytes(engine: Engine, store: ObjectStore, image_ids: Sequence[str]) -> Iterator[bytes]:
    """The stored files of pictures, in this order, as `picture_bytes`; none where one of them is unknown."""
    with Session(engine) as session:
        known = set(session.exec(select(Image.image_id).where(col(Image.image_id).in_(image_ids))))
    for image_id in image_ids:
        if image_id not in known:
            raise NotFound(f"no picture has the id {image_id[:80]!r}")
    yield from map(store.get, image_ids)


def model_input_png(model: tables.Model, data: bytes, decoders: Decoders) -> bytes:
    """PNG of what the model sees of a picture."""
    pixels = decoders.seen(data, Preprocessing(**model.preprocessing))
    # People wait for it: for a photograph of 224 px level 6 takes 12 ms, level 2 4 ms and 8 % more bytes.
    return encode_png(pixels, compress_level=2)


def _check_unchanged(engine: Engine, dataset: Dataset) -> None:
    """Whether rows just read were all there: the transaction that removes them also changes the import_id.

    Raises:
        Aborted: the data set was imported anew in the meantime.
    """
    with Session(engine) as session:
        found = session.exec(select(Dataset.import_id).where(Dataset.name == dataset.name)).first()
    if found != dataset.import_id:
        raise imported_anew(dataset, "start without page_token")


def imported_anew(dataset: Dataset, way_out: str = "start again") -> Aborted:
    """What is said of a data set of which something was read that has gone since."""
    return Aborted(f"data set {dataset.name!r} was imported anew in the meantime: {way_out}")


def _position(dataset: Dataset, token: str, *types: type) -> list[Any]:
    import_id, *position = read_token(token, str, *types)
    if import_id != dataset.import_id:
        raise imported_anew(dataset, "start without page_token")
    return position
