"""Maps as stored: float16 multiples of each map's largest value, about a thousand maps a shard.

A value's error is at most 2^-12 of its map's largest: float16 keeps 11 bits, and values are at most 1. A shard is a
safetensors file whose header says what made its maps and what they are of; shards of before 0003 are bare values.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

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
class Stored:
    """A shard that is in the object store.

    Attributes:
        start: byte at which its first map begins.
        scales: largest value of each map.
        checksums: CRC-32 of each map's bytes.
    """

    key: str
    start: int
    scales: list[float]
    checksums: list[int]


@dataclass(frozen=True)
class Place:
    """Where a map is: the index-th of a shard whose first begins at byte `start`, with the CRC-32 of its bytes."""

    shard_key: str
    start: int
    index: int
    crc32: int


def pack(maps: npt.NDArray[np.float32]) -> Packed:
    """Maps (n, h, w), finite and not negative, in stored form."""
    scales = maps.max((1, 2), initial=0)
    values = (maps / np.where(scales > 0, scales, 1)[:, None, None]).astype("<f2")
    return Packed(values.tobytes(), scales.tolist(), [zlib.crc32(value.tobytes()) for value in values])


def shard(
    packed: Packed,
    height: int,
    width: int,
    x_features: Sequence[int],
    about: Mapping[str, str],
    pooled: npt.NDArray[np.float32] | None = None,
) -> tuple[bytes, int]:
    """Maps as one safetensors file that says what it holds.

    Args:
        x_features: of each map.
        about: its metadata.
        pooled: (n, C) pooled features of each, where they are known.
    Returns:
        The file, with the tensors "maps" (n, height, width) float16, "scales" (n,) float32, "x_features" (n,) int32
        and perhaps "pooled" (n, C) float16: a map is its scale times its values; and the byte at which "maps" begins.
    """
    tensors = {
        "maps": np.frombuffer(packed.data, "<f2").reshape(-1, height, width),
        "scales": np.array(packed.scales, np.float32),
        "x_features": np.array(x_features, np.int32),
    }
    if pooled is not None:
        tensors["pooled"] = pooled.astype("<f2")
    data = _in_one_order(save(tensors, dict(about)))
    return data, _start_of_maps(data)


def store_shard(
    store: ObjectStore,
    maps: npt.NDArray[np.float32],
    x_features: Sequence[int],
    about: Mapping[str, str],
    pooled: npt.NDArray[np.float32] | None = None,
) -> Stored:
    """Puts maps (n, h, w) into the object store as one shard, durable when this returns; the rest as for `shard`.

    Raises:
        ResourceExhausted: the disk is full.
    """
    packed = pack(maps)
    data, start = shard(packed, maps.shape[1], maps.shape[2], x_features, about, pooled)
    key = store.put(data)
    store.flush()
    return Stored(key, start, packed.scales, packed.checksums)


@dataclass(frozen=True, eq=False)
class Opened:
    """A shard that was read whole.

    Attributes:
        start: byte at which its first map begins.
        maps: (n, h, w) float16 in [0, 1].
        scales: (n,) float32, finite and not negative.
        x_features: (n,) int32.
    """

    start: int
    maps: npt.NDArray[np.float16]
    scales: npt.NDArray[np.float32]
    x_features: npt.NDArray[np.int32]

    def checksum(self, index: int) -> int:
        """CRC-32 of a map's bytes."""
        return zlib.crc32(self.maps[index].tobytes())


def open_shard(data: bytes, height: int, width: int) -> Opened:
    """A shard that came from elsewhere, checked.

    Raises:
        ValueError: it is no shard of maps of that height and width, or a value cannot be.
    """
    try:
        tensors = load(data)
        maps, scales, x_features = (tensors[name] for name in ("maps", "scales", "x_features"))
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"it is no safetensors file with maps, scales and x_features ({error})") from error
    wanted = {"maps": (len(maps), height, width), "scales": (len(maps),), "x_features": (len(maps),)}
    types = {"maps": "<f2", "scales": "<f4", "x_features": "<i4"}
    for name, shape in wanted.items():
        if tensors[name].shape != shape or tensors[name].dtype != np.dtype(types[name]):
            raise ValueError(f"its {name} are {tensors[name].dtype} {tensors[name].shape}, not {shape}")
    pooled = tensors.get("pooled")
    if pooled is not None and (pooled.ndim != 2 or len(pooled) != len(maps) or not np.isfinite(pooled).all()):
        raise ValueError("its pooled features are not one finite row a map")
    if not (np.isfinite(maps).all() and (maps >= 0).all() and (maps <= 1).all()):
        raise ValueError("a map has a value outside [0, 1]")
    if not (np.isfinite(scales).all() and (scales >= 0).all()):
        raise ValueError("the scale of a map is negative, NaN or infinite")
    return Opened(_start_of_maps(data), maps, scales, x_features)


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
            begin = places[positions[0]].start + first * size
            span = store.get_range(key, begin, (last - first + 1) * size)
        except NotFound as error:
            raise _lost(key, "is gone") from error
        for position in positions:
            start = (places[position].index - first) * size
            found[position] = span[start : start + size]
            if zlib.crc32(found[position]) != places[position].crc32:
                raise _lost(key, "is damaged")
    return b"".join(found)


def read_pooled(store: ObjectStore, key: str) -> npt.NDArray[np.float32] | None:
    """The pooled features of a shard's maps, (n, C); None where it has none.

    Raises:
        DataLoss: the shard is gone.
    """
    try:
        data = store.get(key)
    except NotFound as error:
        raise _lost(key, "is gone") from error
    pooled = load(data).get("pooled")
    return None if pooled is None else pooled.astype(np.float32)


def _in_one_order(data: bytes) -> bytes:
    """The same file with its header sorted: safetensors writes metadata in another order each time, and a shard that
    is drawn twice is to be one object."""
    header_end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:header_end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # as safetensors does: tensors begin at a multiple of 8
    return len(header).to_bytes(8, "little") + header + data[header_end:]


def _start_of_maps(data: bytes) -> int:
    """Byte of a safetensors file at which its tensor "maps" begins."""
    header_end = 8 + int.from_bytes(data[:8], "little")
    start: int = json.loads(data[8:header_end])["maps"]["data_offsets"][0]
    return header_end + start


def _lost(key: str, how: str) -> DataLoss:
    return DataLoss(
        f"object {key} with maps {how}; restore it from a backup, or make the study anew",
        "MAPS_LOST",
        {"object_key": key},
    )
