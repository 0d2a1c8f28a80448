"""What is looked at of a zip that somebody sends before anything in it is read or unpacked."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

_END, _LOCATOR, _END64 = b"PK\5\6", b"PK\6\7", b"PK\6\6"
_END_BYTES, _LOCATOR_BYTES, _END64_BYTES = 22, 20, 56
_MOST_COMMENT_BYTES = 65_535
_OUTSIDE = re.compile(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:")


@dataclass(frozen=True)
class Directory:
    """The list of entries at the end of a zip.

    Attributes:
        size_bytes: what `zipfile` will read into memory.
        is_zip64: whether it is written in the form for more than 4 GiB or 65,535 entries.
    """

    size_bytes: int
    is_zip64: bool


def directory_of(file: IO[bytes]) -> Directory | None:
    """What a zip says of its list of entries, looked for where `zipfile` does; None where the file is no whole zip.

    Args:
        file: seekable.
    """
    size = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, size - _END_BYTES - _MOST_COMMENT_BYTES))
    tail = file.read()
    end = len(tail) - _END_BYTES
    if end < 0 or tail[end : end + 4] != _END or tail[-2:] != b"\0\0":  # a comment follows it, then
        end = tail.rfind(_END)
    # A program in the archive is a zip itself: an end that is not the file's own is one of theirs.
    if end < 0 or end + _END_BYTES + _number(tail[end + 20 : end + 22]) != len(tail):
        return None
    place = start + end - _LOCATOR_BYTES
    if place < 0 or _read(file, place, 4) != _LOCATOR:
        return Directory(_number(tail[end + 12 : end + 16]), is_zip64=False)
    # Some read it directly before the locator, others where that points: nothing may differ between them.
    end64 = place - _END64_BYTES
    if end64 < 0 or _number(_read(file, place + 8, 8)) != end64 or _read(file, end64, 4) != _END64:
        return None
    return Directory(_number(_read(file, end64 + 40, 8)), is_zip64=True)


def fault_of(infos: Sequence[zipfile.ZipInfo]) -> str:
    """What no archive of ours has among its entries, as messages say it; empty where there is nothing of it."""
    for info in infos:
        if _OUTSIDE.search(info.filename):
            return f"entry {shown(info.filename)} points out of the archive"
    if len({info.filename for info in infos}) < len(infos):
        return "the archive holds two entries of one name"
    for info in infos:
        if info.flag_bits & 1:
            return f"entry {shown(info.filename)} is encrypted; pack it without a password"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"entry {shown(info.filename)} is compressed in an unusual way; use deflate, or none"
    return ""


def shown(value: object) -> str:
    """A value as messages show it: quoted, and short."""
    text = repr(value)
    return text if len(text) <= 2 * 80 else text[:80] + "..."


def _read(file: IO[bytes], place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
