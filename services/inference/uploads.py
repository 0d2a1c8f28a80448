"""Objects that come and go over the wire."""

import hashlib
import io
from collections.abc import Iterable, Iterator

from services.runtime.errors import InvalidArgument, ResourceExhausted
from services.runtime.objects import ObjectStore

_CHUNK_BYTES = 1 << 20


def receive(pieces: Iterable[tuple[str, bytes]], store: ObjectStore, max_bytes: int) -> tuple[str, int]:
    """Stores an upload once it is whole and durable.

    Args:
        pieces: (expected SHA-256 in hexadecimal or "", bytes); only the first may carry a hash.
    Returns:
        The object's key and its size in bytes.
    Raises:
        InvalidArgument: nothing was sent, or not what the hash says.
        ResourceExhausted: more than `max_bytes`.
    """
    expected = ""
    received = io.BytesIO()
    for number, (sha256, chunk) in enumerate(pieces):
        if number == 0:
            expected = sha256.lower()
        elif sha256:
            raise InvalidArgument(f"message {number + 1} of the upload carries a sha256: only the first may")
        if received.tell() + len(chunk) > max_bytes:
            raise ResourceExhausted(
                f"the upload is over {max_bytes:,} bytes, the server's ONOMA_MAX_UPLOAD_BYTES: raise that"
            )
        received.write(chunk)
    data = received.getvalue()
    if not data:
        raise InvalidArgument("the upload has no bytes")
    if expected and expected != (found := hashlib.sha256(data).hexdigest()):
        raise InvalidArgument(f"the upload's SHA-256 is {found}, not the {expected} announced: send it again")
    key = store.put(data)
    store.flush()
    return key, len(data)


def give(store: ObjectStore, key: str) -> Iterator[bytes]:
    """An object in pieces of at most 1 MiB; its hash is checked before the first.

    Raises:
        NotFound: no object has the key.
        DataLoss: its bytes are not those that were stored.
    """
    data = memoryview(store.get(key))
    for start in range(0, len(data), _CHUNK_BYTES):
        yield bytes(data[start : start + _CHUNK_BYTES])
