"""Keys of objects: the SHA-256 of their bytes, in hexadecimal digits."""

from __future__ import annotations

import hashlib
import re

from services.runtime.errors import DataLoss, InvalidArgument, NotFound

# From an object's last put on: what no row names by then, nobody will name. A day, and the hour within which an S3
# store does not notice another put.
GRACE_S = 25 * 3600.0
_KEY = re.compile(r"[0-9a-f]{64}")
_WAY_OUT = "put the same bytes again by repeating the import or the job, or restore it from a backup"


def key_of(data: bytes) -> str:
    """The key that these bytes have."""
    return hashlib.sha256(data).hexdigest()


def is_key(name: str) -> bool:
    """Whether a name is one that an object can have."""
    return _KEY.fullmatch(name) is not None


def check_key(key: str) -> None:
    """Raises InvalidArgument for what no object can have as its key."""
    if not is_key(key):
        raise InvalidArgument(f"{key[:80]!r} is not an object key (64 hexadecimal digits)", "BAD_KEY")


def check_range(offset: int, size: int) -> None:
    """Raises InvalidArgument for a part that no object can have."""
    if offset < 0 or size < 0:
        raise InvalidArgument(f"offset {offset} and size {size} must not be negative", "BAD_RANGE")


def check_bytes(key: str, data: bytes) -> None:
    """Raises DataLoss where the bytes are not those that were put."""
    if key_of(data) != key:
        raise _damaged(key, f"its {len(data)} bytes have another hash")


def check_length(key: str, offset: int, size: int, length: int) -> None:
    """Raises DataLoss where less than the part was read."""
    if length != size:
        raise _damaged(key, f"it ends before byte {offset + size}")


def no_object(key: str) -> NotFound:
    """The error for a key that no object has."""
    return NotFound(f"no object {key}", "NO_OBJECT", {"object_key": key})


def _damaged(key: str, how: str) -> DataLoss:
    return DataLoss(f"object {key} is damaged: {how}; {_WAY_OUT}", "OBJECT_DAMAGED", {"object_key": key})
