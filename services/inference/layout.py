"""What a data set's folder holds, before any picture is read."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onoma.science.pictures import Pixels

_LIKE_A_BYTE = re.compile(r"\\(x[0-9a-f]{2})")


class MalformedDataset(ValueError):
    """The folder does not hold what its format promises; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a data set, not yet read.

    Attributes:
        path: below the data set's folder, for people and as key.
        class_name: class.
        part: tables.TRAIN or tables.TEST.
        source: the file to open, or the number of the picture in its idx file.
        bounding_box: x, y, width, height in pixels.
        part_points: name, x, y in pixels of each visible part.
    """

    path: str
    class_name: str
    part: str
    source: str | int
    bounding_box: tuple[float, ...] | None = None
    part_points: tuple[tuple[str, float, float], ...] | None = None


@dataclass(frozen=True)
class Layout:
    """A listing of a data set.

    Attributes:
        classes: names, in the order of their indices.
        items: all pictures.
        contents: yields each of the items it is given with its file, or with its uint8 (height, width, 1)
            pixels, in an order that reads fast.
        warnings: things worth knowing, one line each.
    """

    classes: tuple[str, ...]
    items: tuple[Item, ...]
    contents: Callable[[Iterable[Item]], Iterator[tuple[Item, Path | Pixels]]]
    warnings: tuple[str, ...] = ()


def files(items: Iterable[Item]) -> Iterator[tuple[Item, Path]]:
    """`contents` of the layouts whose pictures are files."""
    for item in items:
        yield item, Path(str(item.source))


def readable(name: str) -> str:
    """A file's name as text, another for each name: bytes that are not UTF-8 become \\xNN, and so does a backslash
    that would look like the first of one."""
    return os.fsencode(_LIKE_A_BYTE.sub(r"\\x5c\1", name)).decode("utf-8", "backslashreplace")


def seeded_order(items: Iterable[Item], seed: int, purpose: str) -> list[Item]:
    """The items in an order that hangs on seed, purpose and each one's own path, not on the other items."""

    def rank(item: Item) -> bytes:
        return hashlib.blake2b(f"{seed}/{purpose}/{item.path}".encode(), digest_size=8).digest()

    return sorted(items, key=rank)
