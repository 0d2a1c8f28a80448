"""Maps as stored: float16 multiples of each map's largest value, about a thousand maps a shard.

The error of a value is at most 2^-11 of the map's largest.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.runtime.errors import DataLoss
from services.runtime.objects import ObjectStore

_WHOLE_FROM = 16  # maps wanted of one shard from which on it is read whole


@dataclass(frozen=True)
class Place:
    """Where a map is: the index-th of a shard, with the CRC-32 of its bytes."""

    shard_key: str
    index: int
    crc32: int


def pack(maps: npt.NDArray[np.float32]) -> tuple[bytes, npt.NDArray[np.float32], list[int]]:
    """The bytes of a shard, and the scale and CRC-32 of each map.

    Args:
        maps: (n, h, w) finite and not negative.
    """
    scales = maps.max((1, 2))
    values = (maps / np.where(scales > 0, scales, 1)[:, None, None]).astype("<f2")
    return values.tobytes(), scales.astype(np.float32), [zlib.crc32(value.tobytes()) for value in values]


def read(store: ObjectStore, places: Sequence[Place], height: int, width: int) -> bytes:
    """The stored float16 values of maps, n x height x width, in the order of the places.

    Raises:
        DataLoss: a map's bytes are not those that were stored.
        NotFound: a shard is gone.
    """
    size = height * width * 2
    by_shard: dict[str, list[int]] = {}
    for position, place in enumerate(places):
        by_shard.setdefault(place.shard_key, []).append(position)
    found: dict[int, bytes] = {}
    for key, positions in by_shard.items():
        whole = store.get(key) if len(positions) >= _WHOLE_FROM else None
        for position in positions:
            offset = places[position].index * size
            piece = whole[offset : offset + size] if whole else store.get_range(key, offset, size)
            if zlib.crc32(piece) != places[position].crc32:
                raise DataLoss(
                    f"a map in object {key} is damaged; restore the object from a backup, "
                    "or delete it and compute the study's maps again",
                    "MAP_DAMAGED",
                )
            found[position] = piece
    return b"".join(found[position] for position in range(len(places)))
