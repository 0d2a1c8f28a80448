"""Data sets that come over the wire, picture by picture, and are seen when the last one is there."""

import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from math import isfinite

from sqlalchemy import Engine

from services.inference import import_rows
from services.inference.datasets import class_index
from services.inference.importing import BATCH_SIZE
from services.inference.intake import Intake, Refused, Taken
from services.inference.layout import Item
from services.inference.settings import InferenceSettings
from services.inference.tables import Dataset
from services.runtime.decoding import Decoders
from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.objects import ObjectStore

_MAX_PATH = 1024
_MAX_CLASSES = 100_000
_BYTES_AT_ONCE = 64 << 20  # of pictures that are held until their batch is written


def check_classes(classes: Sequence[str]) -> None:
    """Returns where a data set can have these classes.

    Raises:
        InvalidArgument: fewer than two, one that is empty, or one twice.
    """
    if not 2 <= len(classes) <= _MAX_CLASSES:
        raise InvalidArgument(
            f"the first message names {len(classes)} classes; a classifier needs at least 2, and at most "
            f"{_MAX_CLASSES} are taken"
        )
    if not all(name.strip() and "\0" not in name for name in classes):
        raise InvalidArgument("a class name is empty, or has a NUL; give every class a name")
    if len(set(classes)) < len(classes):
        twice = sorted(name for name in set(classes) if classes.count(name) > 1)
        raise InvalidArgument(f"class {twice[0]!r} is named twice; name it once")


def receive(
    name: str,
    classes: Sequence[str],
    items: Iterator[tuple[Item, bytes]],
    engine: Engine,
    store: ObjectStore,
    limits: InferenceSettings,
    decoders: Decoders,
    *,
    all_or_nothing: bool,
) -> Dataset:
    """The data set, in place of what had its name; pictures that cannot be taken are listed and left out.

    Args:
        all_or_nothing: such a picture ends the upload instead.
    Raises:
        InvalidArgument: an item cannot be, or two have one path.
        FailedPrecondition: not one picture can be taken, or one cannot that may not be left out.
    """
    import_id = uuid.uuid4().hex

    def look(result: Taken | Refused) -> None:
        if all_or_nothing and isinstance(result, Refused):
            raise FailedPrecondition(
                f"nothing of the upload of {name!r} was stored, as {result.item.path} cannot be taken: {result.reason}"
            )

    try:
        taken, why_none = Intake(engine, store, (), limits, decoders).take_all(
            _batches(items, classes), look, partial(import_rows.write, engine, name, import_id, classes)
        )
        if not taken:
            raise FailedPrecondition(f"the upload of {name!r} held no picture that can be taken{why_none}")
        return import_rows.publish(engine, name, import_id, classes, taken)
    except BaseException:  # a caller that hangs up as well: what came is seen by nobody, and goes
        import_rows.forget(engine, import_id)
        raise


def _batches(
    items: Iterator[tuple[Item, bytes]], classes: Sequence[str]
) -> Iterator[Sequence[tuple[Item, bytes]]]:
    """The items, each of them checked."""
    paths = set[str]()
    while batch := list(_batch(items)):
        for item, _ in batch:
            _check(item, classes, paths)
        yield batch


def _batch(items: Iterator[tuple[Item, bytes]]) -> Iterator[tuple[Item, bytes]]:
    """The next items: as many as a transaction takes, or fewer where they are large."""
    size = 0
    for item, data in islice(items, BATCH_SIZE):
        yield item, data
        size += len(data)
        if size >= _BYTES_AT_ONCE:
            return


def _check(item: Item, classes: Sequence[str], paths: set[str]) -> None:
    if not item.path or len(item.path) > _MAX_PATH or not item.path.isprintable():
        raise InvalidArgument(
            f"path {item.path[:80]!a}: give 1 to {_MAX_PATH} characters that can be printed, as people will see it"
        )
    if item.path in paths:
        raise InvalidArgument(f"path {item.path[:80]!r} came twice; every image has a path of its own")
    paths.add(item.path)
    class_index(classes, item.class_name, "the classes of the first message")
    if not item.part:
        raise InvalidArgument(f"{item.path[:80]!r} has no part; say train or test")
    if item.bounding_box is not None and len(item.bounding_box) != 4:
        raise InvalidArgument(
            f"{item.path[:80]!r} has a bounding box of {len(item.bounding_box)} numbers; give x, y, width, height"
        )
    if not all(map(isfinite, item.bounding_box or ())):
        raise InvalidArgument(
            f"{item.path[:80]!r} has the bounding box {item.bounding_box}; its numbers must be finite"
        )
    for name, x, y in item.part_points or ():
        if not (isfinite(x) and isfinite(y)):
            raise InvalidArgument(
                f"{item.path[:80]!r} has part {name[:80]!r} at ({x}, {y}); give finite numbers, or leave it out"
            )
