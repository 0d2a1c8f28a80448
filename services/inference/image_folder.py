"""Folders with one folder of images a class, as torchvision's ImageFolder reads them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from services.inference.layout import Item, Layout, files, readable, seeded_order
from services.inference.tables import TEST, TRAIN

TEST_SHARE = 0.2

_SYSTEM_FILES = {"Thumbs.db", "desktop.ini", "__MACOSX"}


def read_image_folder(folder: Path, seed: int) -> Layout:
    """train/CLASS/* and test/CLASS/*, or CLASS/* alone, then split 80/20 a class in a seeded order.

    Classes are in the order of their names. Files below a class's subfolders belong to it. Links to files and
    class folders are followed, links to folders below them are not.

    Raises:
        OSError: a folder cannot be listed.
    """
    train, test = folder / "train", folder / "test"
    # A class may be called "train": a folder of parts has class folders below it.
    if not (train.is_dir() and folders_in(train)):
        items = [item for path in folders_in(folder) for item in _split(_items(folder, path, TRAIN), seed)]
        names = {readable(path.name) for path in folders_in(folder)}
        warnings = ("no folders 'train' and 'test': split 80/20 in a seeded order",)
    else:
        parts = [(TRAIN, train), (TEST, test)] if test.is_dir() else [(TRAIN, train)]
        paths = [(part, path) for part, part_folder in parts for path in folders_in(part_folder)]
        items = [item for part, path in paths for item in _items(folder, path, part)]
        names = {readable(path.name) for _, path in paths}
        warnings = () if test.is_dir() else ("no folder 'test' beside 'train'",)
    return Layout(tuple(sorted(names)), tuple(items), files, warnings)


def folders_in(folder: Path) -> list[Path]:
    """Folders that could be classes, by name."""
    return sorted(path for path in folder.iterdir() if _is_listed(path) and path.is_dir())


def _split(items: Iterator[Item], seed: int) -> list[Item]:
    ordered = seeded_order(items, seed, "part")
    test_count = round(len(ordered) * TEST_SHARE)
    return [replace(item, part=TEST) for item in ordered[:test_count]] + ordered[test_count:]


def _items(folder: Path, class_folder: Path, part: str) -> Iterator[Item]:
    class_name = readable(class_folder.name)
    for path in _files_below(class_folder):
        yield Item(readable(str(path.relative_to(folder))), class_name, part, str(path))


def _files_below(folder: Path) -> Iterator[Path]:
    for path in sorted(filter(_is_listed, folder.iterdir())):
        if path.is_dir() and not path.is_symlink():
            yield from _files_below(path)
        else:
            yield path


def _is_listed(path: Path) -> bool:
    return not path.name.startswith(".") and path.name not in _SYSTEM_FILES
