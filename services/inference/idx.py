"""MNIST-style idx files, plain or gzipped (format: http://yann.lecun.com/exdb/mnist)."""

import gzip
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from onoma.science.pictures import MAX_PIXELS, Pixels
from services.inference.layout import Item, Layout, MalformedDataset
from services.inference.tables import TEST, TRAIN

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
IMAGE_FILE = re.compile(r"(train|t10k|test)-images([-.]idx3-ubyte(?:\.gz)?)")

_IMAGES_MAGIC, _LABELS_MAGIC = 0x0803, 0x0801  # unsigned bytes in 3 dimensions, in 1


@dataclass(frozen=True)
class _ImageFile:
    path: Path
    count: int
    height: int
    width: int


def read_idx(folder: Path) -> Layout:
    """train-images-idx3-ubyte and train-labels-idx1-ubyte; the same with t10k (or test) where they are there.

    Each may be gzipped (.gz); where it is there in both forms, the unpacked one is read.

    Classes are named by classes.txt (one a line), by Fashion-MNIST's ten names where the folder's name or its
    parent's holds "fashion", else by their numbers.

    Raises:
        MalformedDataset: a file is missing, truncated or of another kind, or counts differ.
        OSError: a file cannot be read.
    """
    names = {path.name for path in folder.iterdir()}
    # torchvision leaves the archive beside what it unpacked.
    names -= {f"{name}.gz" for name in names}
    matches = [match for name in sorted(names) if (match := IMAGE_FILE.fullmatch(name))]
    image_files: dict[str, _ImageFile] = {}
    labels: dict[str, npt.NDArray[np.uint8]] = {}
    for match in matches:
        part = TRAIN if match[1] == "train" else TEST
        if part in image_files:
            raise MalformedDataset(f"{folder} holds {image_files[part].path.name} and {match[0]}: keep one")
        image_files[part] = _read_image_header(folder / match[0])
        labels[part] = _read_labels(folder / _label_file(match, names), image_files[part])
    if TRAIN not in image_files:
        raise MalformedDataset(f"{folder} has no train-images-idx3-ubyte (or .gz)")
    classes = _class_names(
        folder, 1 + max((int(part.max()) for part in labels.values() if part.size), default=0)
    )
    items = tuple(
        Item(f"{part}/{number:06d}.png", classes[label], part, number)
        for part in image_files
        for number, label in enumerate(labels[part].tolist())
    )

    def contents(chosen: Iterable[Item]) -> Iterator[tuple[Item, Pixels]]:
        by_part: dict[str, list[Item]] = {TRAIN: [], TEST: []}
        for item in chosen:
            by_part[item.part].append(item)
        for part, image_file in image_files.items():
            yield from _read_images(image_file, {int(item.source): item for item in by_part[part]})

    return Layout(classes, items, contents, () if TEST in image_files else ("no t10k-images-idx3-ubyte",))


def _label_file(images: re.Match[str], names: set[str]) -> str:
    """What holds the labels of a file of pictures, gzipped or not; in the pictures' form where it is in neither."""
    in_their_form = f"{images[1]}-labels{images[2].replace('idx3', 'idx1')}"
    unpacked = in_their_form.removesuffix(".gz")
    return next((name for name in (unpacked, f"{unpacked}.gz") if name in names), in_their_form)


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _read(path: Path, file: BinaryIO, size: int) -> bytes:
    """Up to `size` bytes, fewer where the file ends."""
    try:
        return file.read(size)
    except EOFError as error:
        raise MalformedDataset(f"{path} is truncated: its gzip data end early") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise MalformedDataset(f"{path}: its gzip data are damaged: {error}") from error


def _read_header(path: Path, file: BinaryIO, magic: int, dimensions: int) -> tuple[int, ...]:
    header = _read(path, file, 4 * (1 + dimensions))
    if len(header) < 4 * (1 + dimensions):
        raise MalformedDataset(f"{path} ends within its header: truncated")
    found, *sizes = struct.unpack(f">{1 + dimensions}I", header)
    if found != magic:
        raise MalformedDataset(
            f"{path} begins with {found:#010x}; an idx file of this kind with {magic:#010x}"
        )
    return tuple(sizes)


def _read_image_header(path: Path) -> _ImageFile:
    with _open(path) as file:
        count, height, width = _read_header(path, file, _IMAGES_MAGIC, 3)
    if not 0 < height * width <= MAX_PIXELS:
        raise MalformedDataset(f"{path} declares pictures of {height} x {width} pixels")
    return _ImageFile(path, count, height, width)


def _read_labels(path: Path, images: _ImageFile) -> npt.NDArray[np.uint8]:
    if not path.exists():
        raise MalformedDataset(f"{path} is missing: it holds the classes of {images.path.name}")
    with _open(path) as file:
        (count,) = _read_header(path, file, _LABELS_MAGIC, 1)
        if count != images.count:
            raise MalformedDataset(
                f"{path} declares {count:,} labels for the {images.count:,} pictures of {images.path.name}"
            )
        labels = np.frombuffer(_read(path, file, count), np.uint8)
    if labels.size < count:
        raise MalformedDataset(f"{path} ends after {labels.size:,} of {count:,} labels: truncated")
    return labels


def _read_images(image_file: _ImageFile, wanted: dict[int, Item]) -> Iterator[tuple[Item, Pixels]]:
    path, size = image_file.path, image_file.height * image_file.width
    with _open(path) as file:
        _read_header(path, file, _IMAGES_MAGIC, 3)
        for number in range(1 + max(wanted, default=-1)):
            data = _read(path, file, size)
            if len(data) < size:
                raise MalformedDataset(
                    f"{path} ends after {number:,} of {image_file.count:,} pictures: truncated"
                )
            if number in wanted:
                yield (
                    wanted[number],
                    np.frombuffer(data, np.uint8).reshape(image_file.height, image_file.width, 1),
                )


def _class_names(folder: Path, at_least: int) -> tuple[str, ...]:
    names_file = folder / "classes.txt"
    if names_file.exists():
        names = _names_in(names_file)
        if len(set(names)) < len(names):
            raise MalformedDataset(f"{names_file} names two classes alike")
        said_by = str(names_file)
    elif "fashion" in f"{folder.parent.name}/{folder.name}".lower():
        names, said_by = FASHION_CLASSES, "Fashion-MNIST"
    else:
        return tuple(str(number) for number in range(at_least))
    if len(names) < at_least:
        raise MalformedDataset(f"{folder} has label {at_least - 1}, but {said_by} names {len(names)} classes")
    return names


def _names_in(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise MalformedDataset(f"{file} is not UTF-8 text: {error.reason} at byte {error.start:,}") from error
    return tuple(line.strip() for line in lines if line.strip())
