"""CUB-200-2011 (Wah et al. 2011) in the form in which its archive unpacks."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

from services.inference.layout import Item, Layout, MalformedDataset, files
from services.inference.tables import TEST, TRAIN

Number = TypeVar("Number", int, float)


def read_cub(folder: Path) -> Layout:
    """Reads images.txt, image_class_labels.txt, train_test_split.txt and classes.txt; bounding_boxes.txt,
    parts/parts.txt and parts/part_locs.txt where they are there.

    Class names stay as they are written, numbers included ("001.Black_footed_Albatross"): so the folders
    are named, and the numbers keep the order.

    Raises:
        MalformedDataset: a file is missing, or a line of one is wrong.
        OSError: a file cannot be read.
    """
    class_names = {key: name for _, key, (name,) in _by_id(folder / "classes.txt", 2)}
    paths = {key: path for _, key, (path,) in _by_id(folder / "images.txt", 2)}
    _check_paths(folder / "images.txt", paths)
    labels = _about_images(folder / "image_class_labels.txt", paths, int, 1)
    parts = _about_images(folder / "train_test_split.txt", paths, int, 1)
    boxes = {}
    if (folder / "bounding_boxes.txt").exists():
        boxes = _about_images(folder / "bounding_boxes.txt", paths, float, 4)
    points = _read_part_points(folder / "parts", paths)
    items = []
    for key, path in paths.items():
        (label,), (is_training,) = labels[key], parts[key]
        if label not in class_names:
            raise MalformedDataset(
                f"{folder / 'image_class_labels.txt'}: image {key} has class {label}, not in classes.txt"
            )
        if is_training not in (0, 1):
            raise MalformedDataset(
                f"{folder / 'train_test_split.txt'}: image {key} has {is_training}; 1 is training, 0 is test"
            )
        items.append(
            Item(
                path=f"images/{path}",
                class_name=class_names[label],
                part=TRAIN if is_training else TEST,
                source=str(folder / "images" / path),
                bounding_box=boxes.get(key),
                part_points=points.get(key),
            )
        )
    classes = tuple(class_names[key] for key in sorted(class_names))
    if len(set(classes)) < len(classes):
        raise MalformedDataset(f"{folder / 'classes.txt'} names two classes alike")
    return Layout(classes, tuple(items), files)


def _read_part_points(folder: Path, paths: dict[int, str]) -> dict[int, tuple[tuple[str, float, float], ...]]:
    """Where the visible parts of each image are; nothing where the folder 'parts' was left out."""
    if not (folder / "part_locs.txt").exists():
        return {}
    names = {key: name for _, key, (name,) in _by_id(folder / "parts.txt", 2)}
    points: dict[int, list[tuple[str, float, float]]] = {}
    file = folder / "part_locs.txt"
    for line, fields in _lines(file, 5):
        image, part = _number(file, line, fields[0], int), _number(file, line, fields[1], int)
        x, y, visible = (_number(file, line, field, float) for field in fields[2:])
        _check_known(file, line, image, paths)
        if part not in names:
            raise MalformedDataset(f"{file} line {line}: part {part} is not in parts.txt")
        if visible:
            points.setdefault(image, []).append((names[part], x, y))
    return {image: tuple(listed) for image, listed in points.items()}


def _about_images(
    file: Path, paths: dict[int, str], kind: Callable[[str], Number], count: int
) -> dict[int, tuple[Number, ...]]:
    """`count` numbers for each image.

    Raises:
        MalformedDataset: an image is unknown to images.txt or lacks its line.
    """
    numbers = {}
    for line, key, fields in _by_id(file, count + 1):
        _check_known(file, line, key, paths)
        numbers[key] = tuple(_number(file, line, field, kind) for field in fields)
    if missing := paths.keys() - numbers.keys():
        raise MalformedDataset(f"{file} has no line for image {min(missing)} ({paths[min(missing)]})")
    return numbers


def _check_paths(file: Path, paths: dict[int, str]) -> None:
    seen: dict[str, int] = {}
    for key, path in paths.items():
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise MalformedDataset(f"{file}: the path of image {key}, {path}, leaves the folder 'images'")
        if path in seen:
            raise MalformedDataset(f"{file}: images {seen[path]} and {key} are both {path}")
        seen[path] = key


def _check_known(file: Path, line: int, key: int, paths: dict[int, str]) -> None:
    if key not in paths:
        raise MalformedDataset(f"{file} line {line}: image {key} is not in images.txt")


def _by_id(file: Path, columns: int) -> Iterator[tuple[int, int, list[str]]]:
    """Line number, id and other fields of each line; the id is the first field and occurs once."""
    seen = set()
    for line, fields in _lines(file, columns):
        key = _number(file, line, fields[0], int)
        if key in seen:
            raise MalformedDataset(f"{file} line {line}: id {key} occurs a second time")
        seen.add(key)
        yield line, key, fields[1:]


def _lines(file: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not empty; the last field may hold blanks."""
    try:
        with file.open(encoding="utf-8-sig") as text:
            for number, line in enumerate(text, 1):
                fields = line.split(maxsplit=columns - 1)
                if fields and len(fields) < columns:
                    raise MalformedDataset(
                        f"{file} line {number}: {columns} fields expected, found {line.strip()[:80]!r}"
                    )
                if fields:
                    yield number, [field.strip() for field in fields]
    except FileNotFoundError:
        raise MalformedDataset(f"{file} is missing; CUB-200-2011 comes with it") from None
    except UnicodeDecodeError as error:
        raise MalformedDataset(f"{file} is not UTF-8 text: {error.reason} at byte {error.start:,}") from error


def _number(file: Path, line: int, field: str, kind: Callable[[str], Number]) -> Number:
    try:
        number = kind(field)
        if math.isfinite(number):
            return number
    except ValueError:
        pass
    raise MalformedDataset(f"{file} line {line}: {field[:80]!r} is not a number")
