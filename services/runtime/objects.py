"""Objects: bytes under their SHA-256, in a directory or on an S3 server.

An object is written once and never changed. The order is: put, flush, then commit the row that names it; so no
row ever names an object that is not there whole.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Protocol

from services.runtime.directory_store import DirectoryStore
from services.runtime.errors import FailedPrecondition
from services.runtime.s3_store import S3Store
from services.runtime.settings import RuntimeSettings, read_settings

StorePlace = dict[str, Any]
"""Where the object store is, as settings that may be sent to other machines: without its secrets."""
_STORE_PLACE = {"data_dir", "object_store", "s3_endpoint", "s3_bucket", "s3_region", "s3_secure"}


class ObjectStore(Protocol):
    """Where objects are kept. Safe to use from many threads."""

    def put(self, data: bytes, *, again: bool = False) -> str:
        """Stores bytes and returns their key; the same bytes twice are kept once.

        Args:
            again: writes them even where bytes of that key and length are there, which may be damaged.
        Raises:
            ResourceExhausted: the disk is full.
            Unavailable: the store does not answer.
        """
        ...

    def get(self, key: str) -> bytes:
        """The whole object, its hash checked.

        Raises:
            NotFound: no object has the key.
            DataLoss: its bytes are not those that were put.
            Unavailable: the store does not answer.
        """
        ...

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        """`size` bytes of an object from byte `offset` on; whether they are right is the caller's to check.

        Raises:
            NotFound: no object has the key.
            DataLoss: the object ends before the part does.
            Unavailable: the store does not answer.
        """
        ...

    def exists(self, key: str) -> bool:
        """Whether an object has the key."""
        ...

    def size(self, key: str) -> int:
        """Bytes of an object. Raises NotFound."""
        ...

    def delete(self, key: str) -> None:
        """Removes an object; none by that key is fine."""
        ...

    def delete_abandoned(self, key: str, age_s: float) -> bool:
        """Removes an object that no row names, unless it was put within the last `age_s` seconds, again or anew.

        Returns:
            Whether it is gone.
        """
        ...

    def keys(self) -> Iterator[str]:
        """Every key, in no order."""
        ...

    def flush(self) -> None:
        """Returns when everything put so far is durable."""
        ...

    def prove(self) -> None:
        """Returns when real bytes were written, read and removed again.

        Raises:
            ResourceExhausted: the disk is full.
            DataLoss: it gave other bytes than it was given.
            Unavailable: it does not answer, or may not be written.
        """
        ...

    def check(self) -> None:
        """Returns when the store answers now.

        Raises:
            Unavailable: it does not; said after a few seconds at most.
        """
        ...


def open_object_store(settings: RuntimeSettings, *, make: bool = True) -> ObjectStore:
    """The store that the settings name, ready for use.

    Args:
        make: makes its folder or bucket where there is none.
    Raises:
        Unavailable: the S3 server does not answer, or there is no store where none may be made.
        FailedPrecondition: it refuses the keys.
    """
    if settings.object_store == "s3":
        return S3Store(settings, make=make)
    return DirectoryStore(settings.data_dir / "objects", make=make)


def store_place(settings: RuntimeSettings) -> StorePlace:
    """What another process takes to find the object store; its access and secret key are of its own environment."""
    return settings.model_dump(include=_STORE_PLACE) | {"data_dir": settings.data_dir.absolute()}


def open_place(place: StorePlace, holding: str) -> ObjectStore:
    """The store of a service, in another process; its secrets are of this process's own environment.

    Args:
        holding: key of an object that the service's store has.
    Raises:
        ValueError: the environment lacks ONOMA_S3_ACCESS_KEY or ONOMA_S3_SECRET_KEY.
        FailedPrecondition: what is there is another store, or it refuses the keys.
        Unavailable: the S3 server does not answer.
    """
    # It listens nowhere, whatever address the image that it runs from names for servers.
    store = open_object_store(read_settings(RuntimeSettings, host="127.0.0.1", **place))
    if not store.exists(holding):
        where = place["s3_endpoint"] if place["object_store"] == "s3" else place["data_dir"]
        raise FailedPrecondition(
            f"the object store of machine {socket.gethostname()}, {where}, has no object {holding}, so it is another "
            "one than the service's, or that object is lost; beyond one machine the store is S3 "
            "(ONOMA_OBJECT_STORE=s3), or the folder is shared",
            "OTHER_OBJECT_STORE",
        )
    return store
