"""Maps as stored: float16 multiples of each map's largest value, about a thousand maps a shard.

A value's error is at most 2^-12 of its map's largest: float16 keeps 11 bits, and values are at most 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.runtime.errors import DataLoss, NotFound
from services.runtime.objects import ObjectStore


@dataclass(frozen=True)
class Packed:
    """Maps in stored form.

    Attributes:
        data: (n, h, w) float16, little-endian.
        scales: largest value of each map.
        checksums: CRC-32 of each map's bytes.
    """

    data: bytes
    scales: list[float]
    checksums: list[int]


@dataclass(frozen=True)
class Place:
    """Where a map is: the index-th of a shard, with the CRC-32 of its bytes."""

    shard_key: str
    index: int
    crc32: int


def pack(maps: npt.NDArray[np.float32]) -> Packed:
    """Maps (n, h, w), finite and not negative, in stored form."""
    scales = maps.max((1, 2), initial=0)
    values = (maps / np.where(scales > 0, scales, 1)[:, None, None]).astype("<f2")
    return Packed(values.tobytes(), scales.tolist(), [zlib.crc32(value.tobytes()) for value in values])


def read(store: ObjectStore, places: Sequence[Place], size: int) -> bytes:
    """The stored bytes of maps, in the order of the places: one ranged read a shard.

    Args:
        size: bytes of one map.
    Raises:
        DataLoss: a shard is gone, or a map's bytes are not those that were stored.
    """
    by_shard: dict[str, list[int]] = {}
    for position, place in enumerate(places):
        by_shard.setdefault(place.shard_key, []).append(position)
    found = [b""] * len(places)
    for key, positions in by_shard.items():
        first = min(places[position].index for position in positions)
        last = max(places[position].index for position in positions)
        try:
            span = store.get_range(key, first * size, (last - first + 1) * size)
        except NotFound as error:
            raise _lost(key, "is gone") from error
        for position in positions:
            start = (places[position].index - first) * size
            found[position] = span[start : start + size]
            if zlib.crc32(found[position]) != places[position].crc32:
                raise _lost(key, "is damaged")
    return b"".join(found)


def _lost(key: str, how: str) -> DataLoss:
    return DataLoss(
        f"object {key} with maps {how}; restore it from a backup, or make the study anew",
        "MAPS_LOST",
        {"object_key": key},
    )
