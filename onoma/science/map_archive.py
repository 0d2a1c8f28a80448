"""Maps made elsewhere, as they come: a zip of a manifest, a table and an array (docs/importing-maps.md).

Nothing is unpacked to a disk and nothing is unpickled. Sizes are looked at before bytes; maps are read in batches.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from onoma.zip_checks import directory_of, fault_of, shown

FORMAT, VERSION = "onoma-maps", 1
MAX_MAPS = 200_000
MAX_SIDE = 512
MAX_UNIT = 65_535
MAX_BYTES = 2 << 30  # of maps.npy, unpacked

_MANIFEST, _ROWS, _IMAGES, _MAPS = "manifest.json", "activations.csv", "images.csv", "maps.npy"
_MOST_BYTES = {_MANIFEST: 64 << 10, _ROWS: 64 << 20, _IMAGES: 64 << 20}
_MAX_DIRECTORY_BYTES = 64 << 10  # of the zip; four entries take a few hundred
_MAX_TEXT = 200
_LARGEST_VALUE = 1e30  # so that the sum of a map, too, is a float32
_BYTES_AT_ONCE = 16 << 20
_KEYS = {"format": str, "version": int, "method": str, "model": str, "layer": str}
_OPTIONAL_KEYS = {"model_hash": str, "parameters": dict, "already_significant": bool}
_IMAGE_COLUMNS, _OPTIONAL_IMAGE_COLUMNS = ("image", "category"), ("dnn_score", "xnn_score", "predicted_class")

Floats = npt.NDArray[np.float32]


class RefusedArchive(ValueError):
    """These bytes are no archive of maps that can be taken; the message says what is wrong, and where."""


@dataclass(frozen=True)
class Manifest:
    """What made the maps, in the words of who made them.

    Attributes:
        method: its name.
        model: the network whose decisions the maps explain.
        layer: where the maps were drawn.
        model_hash: SHA-256 of the network's .pt2 file; empty where it is not said.
        parameters: of the method, as a JSON object.
        already_significant: the rows are the significant activations alone.
    """

    method: str
    model: str
    layer: str
    model_hash: str
    parameters: str
    already_significant: bool


@dataclass(frozen=True, eq=False)
class Rows:
    """n activations, one for each map.

    Attributes:
        images: (n) path within the data set, or id (SHA-256 of the file).
        categories: (n) class whose score the weights explain.
        units: (n,) int32 index of the unit within its class, from 0.
        weights: (n,) contribution to the class's score; finite.
    """

    images: Sequence[str]
    categories: Sequence[str]
    units: npt.NDArray[np.int32]
    weights: Floats

    def named(self, i: int) -> str:
        """A row as messages show it; the first is row 0, as it is maps[0]."""
        image, category = shown(self.images[i]), shown(self.categories[i])
        return f"row {i} of {_ROWS} (image {image}, category {category}, unit {self.units[i]})"


@dataclass(frozen=True)
class ImageRow:
    """What the archive says of one image and category; None and "" where it does not."""

    image: str
    category: str
    dnn_score: float | None
    xnn_score: float | None
    predicted_class: str

    @property
    def named(self) -> str:
        """The row as messages show it."""
        return f"the row of {_IMAGES} with image {shown(self.image)}, category {shown(self.category)}"


@dataclass(frozen=True, eq=False)
class MapArchive:
    """An archive whose values are still to be read.

    Attributes:
        images: None where the archive has no images.csv.
        height: rows of a map.
        width: columns of a map.
    """

    manifest: Manifest
    rows: Rows
    images: tuple[ImageRow, ...] | None
    height: int
    width: int
    dtype: np.dtype[np.floating[Any]]
    maps_start: int


def read_archive(file: IO[bytes], max_bytes: int = MAX_BYTES) -> MapArchive:
    """Everything but the maps' values, checked.

    Args:
        file: the zip, seekable.
        max_bytes: of all maps, unpacked.
    Raises:
        RefusedArchive: and says which entry, key or row is wrong.
    """
    with _opened(file) as archive:
        present = _check_entries(archive.infolist(), max_bytes)
        manifest = _manifest(archive.read(_MANIFEST))
        rows = _rows(archive, manifest)
        images = _images(archive) if _IMAGES in present else None
        with archive.open(_MAPS) as maps:
            count, height, width, dtype = _header(maps)
            start = maps.tell()
        if count != len(rows.images):
            raise RefusedArchive(
                f"{_MAPS} holds {count} maps and {_ROWS} {len(rows.images)} rows; each map needs its row"
            )
        declared, needed = present[_MAPS], start + count * height * width * dtype.itemsize
        if declared != needed:
            raise RefusedArchive(
                f"{_MAPS} has {declared} bytes where its header asks for {needed}; write it with numpy.save"
            )
    return MapArchive(manifest, rows, images, height, width, dtype, start)


def map_batches(file: IO[bytes], archive: MapArchive) -> Iterator[Floats]:
    """The maps in order, (m, h, w) at a time, m as memory allows.

    Raises:
        RefusedArchive: a value is not finite, negative, or over 1e30; the message names the row.
    """
    size = archive.height * archive.width
    at_once = max(1, _BYTES_AT_ONCE // (4 * size))
    with _opened(file) as opened, opened.open(_MAPS) as maps:
        maps.read(archive.maps_start)
        for start in range(0, len(archive.rows.images), at_once):
            count = min(at_once, len(archive.rows.images) - start)
            wanted = count * size * archive.dtype.itemsize
            data = maps.read(wanted)
            if len(data) < wanted:
                raise RefusedArchive(f"{_MAPS} ends within map {start + len(data) * count // wanted}")
            values = np.frombuffer(data, archive.dtype).reshape(count, archive.height, archive.width)
            _check_values(values, archive.rows, start)
            yield values.astype(np.float32)
        maps.read(1)  # to the end, where the zip's checksum is compared


def _check_values(values: npt.NDArray[np.floating[Any]], rows: Rows, start: int) -> None:
    lows, highs = values.min((1, 2)), values.max((1, 2))
    is_fine = np.isfinite(lows) & (lows >= 0) & (highs.astype(np.float64) <= _LARGEST_VALUE)  # NaN is neither
    if is_fine.all():
        return
    i = int(np.argmin(is_fine))
    where = f"the map of {rows.named(start + i)}"
    if not np.isfinite(values[i]).all():
        raise RefusedArchive(
            f"{where} has a value that is NaN or infinite; leave the row out, or mend the map"
        )
    if lows[i] < 0:
        raise RefusedArchive(
            f"{where} has the negative value {lows[i]:g}; a map is mass: take the positive part "
            "(numpy.maximum(maps, 0)) or the absolute value, as the method means it"
        )
    raise RefusedArchive(
        f"{where} has the value {highs[i]:g}; at most {_LARGEST_VALUE:g} is taken: scale it down"
    )


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """The zip; what Python's libraries say of a damaged one is said once, here."""
    _check_directory(file)
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError) as error:
        raise RefusedArchive(f"the file is no zip archive, or it is damaged ({error})") from error


def _check_directory(file: IO[bytes]) -> None:
    """Refuses a zip whose list of entries alone would fill the memory, before it is read."""
    directory = directory_of(file)
    if directory is None:
        raise RefusedArchive("the file is no zip archive; docs/importing-maps.md says how one is written")
    if directory.is_zip64 or directory.size_bytes > _MAX_DIRECTORY_BYTES:
        raise RefusedArchive(
            f"the zip lists far more than {_MANIFEST}, {_ROWS}, {_MAPS} and {_IMAGES}, or is over 4 GiB; "
            "pack these alone"
        )


def _check_entries(infos: Sequence[zipfile.ZipInfo], max_bytes: int) -> dict[str, int]:
    """Bytes of each entry, unpacked."""
    most = {**_MOST_BYTES, _MAPS: max_bytes}
    if fault := fault_of(infos):
        raise RefusedArchive(fault)
    for info in infos:
        name = shown(info.filename)
        if info.filename not in most:
            raise RefusedArchive(
                f"entry {name} does not belong there; an archive holds {_MANIFEST}, {_ROWS}, {_MAPS} and, if "
                f"wanted, {_IMAGES}, in no folder"
            )
        if info.file_size > most[info.filename]:
            raise RefusedArchive(
                f"entry {name} has {info.file_size} bytes unpacked; at most {most[info.filename]} are taken"
            )
    sizes = {info.filename: info.file_size for info in infos}
    for wanted in (_MANIFEST, _ROWS, _MAPS):
        if wanted not in sizes:
            raise RefusedArchive(f"the archive has no {wanted}; docs/importing-maps.md shows what it takes")
    return sizes


def _manifest(data: bytes) -> Manifest:
    try:
        found = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedArchive(f"{_MANIFEST} is no JSON: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise RefusedArchive(f'{_MANIFEST} does not say "format": "{FORMAT}"')
    if type(found.get("version")) is not int or found["version"] != VERSION:
        raise RefusedArchive(
            f"{_MANIFEST} is of version {shown(found.get('version'))}; this Onoma reads version {VERSION}"
        )
    kinds = _KEYS | _OPTIONAL_KEYS
    for key, value in found.items():
        if key not in kinds:
            raise RefusedArchive(f"{_MANIFEST} has the key {shown(key)}; the keys are {', '.join(kinds)}")
        if type(value) is not kinds[key]:
            raise RefusedArchive(f"{_MANIFEST}: {key} is {shown(value)}, not of type {kinds[key].__name__}")
        if isinstance(value, str) and (len(value) > _MAX_TEXT or not value.isprintable()):
            raise RefusedArchive(
                f"{_MANIFEST}: {key} is over {_MAX_TEXT} characters, or has one that cannot be printed"
            )
    for key in _KEYS:
        if not found.get(key):
            raise RefusedArchive(f"{_MANIFEST} does not say {key}; it is recorded with every map")
    model_hash = found.get("model_hash", "")
    if model_hash and not re.fullmatch("[0-9a-f]{64}", model_hash):
        raise RefusedArchive(f"{_MANIFEST}: model_hash is not 64 hexadecimal digits; leave it out if unknown")
    return Manifest(
        method=found["method"],
        model=found["model"],
        layer=found["layer"],
        model_hash=model_hash,
        parameters=json.dumps(found.get("parameters", {}), sort_keys=True),
        already_significant=found.get("already_significant", False),
    )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number that JSON has")


def _rows(archive: zipfile.ZipFile, manifest: Manifest) -> Rows:
    images: list[str] = []
    categories: list[str] = []
    units: list[int] = []
    weights: list[float] = []
    for i, cells in enumerate(_table(archive, _ROWS, ("image", "category", "unit", "weight"), ())):
        where = f"row {i} of {_ROWS} (image {shown(cells['image'])}, category {shown(cells['category'])})"
        unit = cells["unit"]
        if not re.fullmatch("[0-9]{1,5}", unit) or int(unit) > MAX_UNIT:
            raise RefusedArchive(f"{where}: unit {shown(unit)} is no whole number from 0 to {MAX_UNIT}")
        weight = _number(cells["weight"], f"{where}: weight")
        if manifest.already_significant and weight <= 0:
            raise RefusedArchive(
                f"{where}: weight {weight:g} is not positive, so that the row is no significant activation; leave "
                f'it out, or take "already_significant" out of {_MANIFEST}'
            )
        images.append(cells["image"])
        categories.append(cells["category"])
        units.append(int(unit))
        weights.append(weight)
    if not images:
        raise RefusedArchive(f"{_ROWS} has no rows: there is nothing to import")
    return Rows(images, categories, np.array(units, np.int32), np.array(weights, np.float32))


def _images(archive: zipfile.ZipFile) -> tuple[ImageRow, ...]:
    def score(cells: Mapping[str, str], name: str, where: str) -> float | None:
        return _number(cells[name], f"{where}: {name}") if name in cells else None

    rows = []
    for i, cells in enumerate(_table(archive, _IMAGES, _IMAGE_COLUMNS, _OPTIONAL_IMAGE_COLUMNS)):
        where = f"row {i} of {_IMAGES} (image {shown(cells['image'])})"
        rows.append(
            ImageRow(
                image=cells["image"],
                category=cells["category"],
                dnn_score=score(cells, "dnn_score", where),
                xnn_score=score(cells, "xnn_score", where),
                predicted_class=cells.get("predicted_class", ""),
            )
        )
    return tuple(rows)


def _table(
    archive: zipfile.ZipFile, name: str, columns: Sequence[str], optional: Sequence[str]
) -> Iterator[dict[str, str]]:
    """Rows of a CSV file by column name; every cell is filled in."""
    with archive.open(name) as data, io.TextIOWrapper(data, "utf-8-sig", newline="") as text:
        lines = csv.reader(text, strict=True)
        try:
            header = next(lines, [])
            missing = [column for column in columns if column not in header]
            strange = [column for column in header if column not in (*columns, *optional)]
            if missing or strange or len(set(header)) < len(header):
                may = f" and, if wanted, {','.join(optional)}" if optional else ""
                raise RefusedArchive(
                    f"{name} begins with {shown(','.join(header))}; its columns are {','.join(columns)}{may}"
                )
            for i, cells in enumerate(lines):
                if i == MAX_MAPS:
                    raise RefusedArchive(f"{name} has over {MAX_MAPS} rows, the most a study takes")
                if len(cells) != len(header) or not all(cells):
                    raise RefusedArchive(
                        f"row {i} of {name} ({shown(','.join(cells))}) does not fill the {len(header)} columns"
                    )
                yield dict(zip(header, cells, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise RefusedArchive(f"{name} is no CSV file in UTF-8: {error}") from error


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > float(np.finfo(np.float32).max):
        raise RefusedArchive(f"{what} {shown(text)} is no finite number")
    return float(np.float32(value))


def _header(file: IO[bytes]) -> tuple[int, int, int, np.dtype[np.floating[Any]]]:
    """Count, height, width and type of the maps."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise ValueError(f"version {version}")
        shape, is_fortran, dtype = readers[version](file)
    except ValueError as error:
        raise RefusedArchive(f"{_MAPS} is no file that numpy.save wrote: {error}") from error
    if dtype.hasobject:
        raise RefusedArchive(f"{_MAPS} is pickled, which can run code; save an array of float32")
    if dtype not in (np.dtype("<f4"), np.dtype("<f2")):
        raise RefusedArchive(f"{_MAPS} is of type {dtype}; save maps.astype('float32'), or float16")
    if len(shape) != 3 or is_fortran or not all(1 <= side <= MAX_SIDE for side in shape[1:]):
        raise RefusedArchive(
            f"{_MAPS} has shape {shape}{' in Fortran order' if is_fortran else ''}; save (maps, rows, columns) in C "
            f"order with 1 to {MAX_SIDE} rows and columns"
        )
    return (*shape, dtype)
