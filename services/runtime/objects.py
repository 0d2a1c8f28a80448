"""Objects: bytes under their SHA-256, in a directory or on an S3 server.

An object is written once and never changed. The order is: put, flush, then commit the row that names it; so no
row ever names an object that is not there whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Protocol

import urllib3
from minio import Minio
from minio.error import S3Error

from services.runtime.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from services.runtime.settings import RuntimeSettings

_KEY = re.compile(r"[0-9a-f]{64}")
_SYNC_ALL_ABOVE = 64  # files pending: more of them are faster made durable by one sync of the file system


class ObjectStore(Protocol):
    """Where objects are kept."""

    def put(self, data: bytes) -> str:
        """Stores bytes and returns their key; the same bytes twice is free.

        Raises:
            ResourceExhausted: the disk is full.
        """
        ...

    def get(self, key: str) -> bytes:
        """The whole object, its hash checked.

        Raises:
            NotFound: no object has the key.
            DataLoss: its bytes are not those that were put.
        """
        ...

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        """A part of an object; the caller checks it.

        Raises:
            NotFound: no object has the key.
            DataLoss: the object ends before the part does.
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

    def keys(self) -> Iterator[str]:
        """Every key, in no order."""
        ...

    def flush(self) -> None:
        """Returns when everything put so far is durable."""
        ...


def open_object_store(settings: RuntimeSettings) -> ObjectStore:
    """The store that the settings name, ready for use."""
    if settings.object_store == "s3":
        return S3Store(settings)
    return DirectoryStore(settings.data_dir / "objects")


class DirectoryStore:
    """Objects as files: PATH/ab/abcdef....

    A file gets its name only when it is whole; `flush` makes files and names durable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._incoming = path / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._pending: list[Path] = []
        self._lock = threading.Lock()

    def put(self, data: bytes) -> str:
        key = hashlib.sha256(data).hexdigest()
        target = self._file(key)
        if target.is_file() and target.stat().st_size == len(data):
            return key
        partial = self._incoming / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            target.parent.mkdir(exist_ok=True)
            partial.write_bytes(data)
            partial.replace(target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ResourceExhausted(
                    f"the disk is full: {len(data)} bytes do not fit into {self._path}; free space and resume",
                    "DISK_FULL",
                ) from error
            raise
        with self._lock:
            self._pending.append(target)
        return key

    def get(self, key: str) -> bytes:
        data = self._read(key, 0, None)
        _check_hash(key, data)
        return data

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        data = self._read(key, offset, size)
        _check_length(key, offset, size, data)
        return data

    def exists(self, key: str) -> bool:
        return self._file(key).is_file()

    def size(self, key: str) -> int:
        try:
            return self._file(key).stat().st_size
        except FileNotFoundError as error:
            raise _not_found(key) from error

    def delete(self, key: str) -> None:
        self._file(key).unlink(missing_ok=True)

    def keys(self) -> Iterator[str]:
        return (file.name for file in self._path.glob("??/*") if _KEY.fullmatch(file.name))

    def flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, []
        if len(pending) > _SYNC_ALL_ABOVE:
            os.sync()
            return
        for path in {*pending, *(file.parent for file in pending)}:
            if path.exists():
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def _file(self, key: str) -> Path:
        _check_key(key)
        return self._path / key[:2] / key

    def _read(self, key: str, offset: int, size: int | None) -> bytes:
        try:
            with self._file(key).open("rb") as file:
                file.seek(offset)
                return file.read(-1 if size is None else size)
        except FileNotFoundError as error:
            raise _not_found(key) from error


class S3Store:
    """Objects in a bucket of an S3 server; durable as soon as put returns."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._endpoint = settings.s3_endpoint
        self._bucket = settings.s3_bucket
        self._client = Minio(
            endpoint=settings.s3_endpoint,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            region=settings.s3_region,
            secure=settings.s3_secure,
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=5, read=60),
                retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
            ),
        )
        with self._translated():
            if not self._client.bucket_exists(bucket_name=self._bucket):
                self._client.make_bucket(bucket_name=self._bucket)

    def put(self, data: bytes) -> str:
        key = hashlib.sha256(data).hexdigest()
        if self._length(key) != len(data):
            with self._translated():
                self._client.put_object(
                    bucket_name=self._bucket, object_name=key, data=BytesIO(data), length=len(data)
                )
        return key

    def get(self, key: str) -> bytes:
        data = self._read(key, 0, 0)
        _check_hash(key, data)
        return data

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        data = self._read(key, offset, size)
        _check_length(key, offset, size, data)
        return data

    def exists(self, key: str) -> bool:
        return self._length(key) is not None

    def size(self, key: str) -> int:
        length = self._length(key)
        if length is None:
            raise _not_found(key)
        return length

    def delete(self, key: str) -> None:
        _check_key(key)
        with self._translated():
            self._client.remove_object(bucket_name=self._bucket, object_name=key)

    def keys(self) -> Iterator[str]:
        with self._translated():
            for item in self._client.list_objects(bucket_name=self._bucket):
                if item.object_name and _KEY.fullmatch(item.object_name):
                    yield item.object_name

    def flush(self) -> None:
        """Nothing to wait for."""

    def _length(self, key: str) -> int | None:
        _check_key(key)
        try:
            with self._translated():
                return self._client.stat_object(bucket_name=self._bucket, object_name=key).size
        except NotFound:
            return None

    def _read(self, key: str, offset: int, size: int) -> bytes:
        _check_key(key)
        with self._translated(key):
            response = self._client.get_object(
                bucket_name=self._bucket, object_name=key, offset=offset, length=size
            )
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()

    def _translated(self, key: str = "") -> _Translated:
        return _Translated(self._endpoint, key)


class _Translated:
    """Turns what the minio client raises into service errors."""

    def __init__(self, endpoint: str, key: str) -> None:
        self._endpoint = endpoint
        self._key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, S3Error):
            if error.code in ("NoSuchKey", "NoSuchObject", "NoSuchVersion"):
                raise _not_found(self._key) from error
            if error.code in ("InvalidRange",):
                raise DataLoss(
                    f"object {self._key} is shorter than its row says; compute it again"
                ) from error
            if error.code in ("XMinioStorageFull", "QuotaExceeded"):
                raise ResourceExhausted(
                    f"the object store at {self._endpoint} is full", "DISK_FULL"
                ) from error
            raise Unavailable(f"the object store at {self._endpoint} refuses: {error.code}") from error
        if isinstance(error, urllib3.exceptions.HTTPError):
            raise Unavailable(f"the object store at {self._endpoint} does not answer") from error


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise InvalidArgument(f"{key[:80]!r} is not an object key (64 hexadecimal digits)", "BAD_KEY")


def _check_hash(key: str, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != key:
        raise DataLoss(
            f"object {key} is damaged ({len(data)} bytes, other hash); restore it from a backup, "
            "or delete it and make it anew",
            "OBJECT_DAMAGED",
        )


def _check_length(key: str, offset: int, size: int, data: bytes) -> None:
    if len(data) != size:
        raise DataLoss(
            f"object {key} is damaged: it ends {size - len(data)} bytes before {offset + size}; "
            "restore it from a backup or make it anew",
            "OBJECT_DAMAGED",
        )


def _not_found(key: str) -> NotFound:
    return NotFound(f"no object {key}", "NO_OBJECT")
