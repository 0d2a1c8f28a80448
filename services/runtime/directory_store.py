"""Objects as files of one directory; docs/decisions/0002 says when they are durable."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.runtime.errors import NotFound, ResourceExhausted, Unavailable
from services.runtime.object_keys import (
    check_bytes,
    check_key,
    check_length,
    check_range,
    is_key,
    key_of,
    no_object,
)
from services.runtime.processes import is_gone, process_name

_SYNC_ALL_ABOVE = 64  # files not yet durable: more of them cost less in one sync of the file system
_ABANDONED_S = 24 * 3600  # age at which a partial file of an unknown process is one that nobody writes


class DirectoryStore:
    """Objects as files: PATH/ab/abcdef....

    A file gets its name only when it is whole; `flush` makes files and names durable.
    Several processes may share the directory.
    """

    def __init__(self, path: Path, *, make: bool = True) -> None:
        self._path = path
        self._incoming = path / "incoming"
        if make:
            with self._full_disk_named():
                self._incoming.mkdir(parents=True, exist_ok=True)
        self.check()
        self._process = process_name()
        self._not_durable: list[Path] = []
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._remove_abandoned()

    def put(self, data: bytes, *, again: bool = False) -> str:
        """See ObjectStore; a damaged file of the same key is replaced in any case."""
        key = key_of(data)
        target = self._file(key)
        if again or not (_holds(target, data) and _touched(target)):
            with self._full_disk_named(len(data)):
                self._write(target, data)
        with self._lock:
            self._not_durable.append(target)
        return key

    def get(self, key: str) -> bytes:
        """See ObjectStore."""
        data = self._read(key, 0, -1)
        check_bytes(key, data)
        return data

    def get_range(self, key: str, offset: int, size: int) -> bytes:
        """See ObjectStore."""
        check_range(offset, size)
        data = self._read(key, offset, size)
        check_length(key, offset, size, len(data))
        return data

    def exists(self, key: str) -> bool:
        """See ObjectStore."""
        if self._file(key).is_file():
            return True
        self.check()
        return False

    def size(self, key: str) -> int:
        """See ObjectStore."""
        try:
            return self._file(key).stat().st_size
        except FileNotFoundError as error:
            raise self._absent(key) from error

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        self._file(key).unlink(missing_ok=True)

    def delete_abandoned(self, key: str, age_s: float) -> bool:
        """See ObjectStore; out of sight first, so that a put of the same bytes meanwhile shows or writes anew."""
        file, aside = self._file(key), self._partial()
        try:
            if _age_s(file) < age_s or not file.is_file():
                return False
            file.replace(aside)
            if _age_s(aside) < age_s:
                aside.replace(file)
                return False
            aside.unlink()
        except FileNotFoundError:  # gone already
            pass
        return True

    def keys(self) -> Iterator[str]:
        """See ObjectStore."""
        return (file.name for file in self._path.glob("??/*") if is_key(file.name))

    def flush(self) -> None:
        """See ObjectStore; one after another: what another flush has taken up is durable only once that is done."""
        with self._flushing:
            with self._lock:
                files, self._not_durable = set(self._not_durable), []
            try:
                with self._full_disk_named():
                    self._make_durable(files)
            except BaseException:
                with self._lock:
                    self._not_durable.extend(files)
                raise

    def prove(self) -> None:
        """See ObjectStore; beside the objects, so that no folder of them is made."""
        data, partial = secrets.token_bytes(64), self._partial()
        try:
            with self._full_disk_named(len(data)):
                partial.write_bytes(data)
                sync(partial)
            check_bytes(key_of(data), partial.read_bytes())
        except OSError as error:
            raise Unavailable(f"{partial.parent} cannot be written: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)

    def check(self) -> None:
        """See ObjectStore; a folder that was unmounted or moved away is no empty store."""
        if not self._incoming.is_dir():
            raise Unavailable(
                f"the object store {self._path} is not there now; mount it again or put it back, "
                "or say where it is with ONOMA_DATA_DIR",
                "OBJECT_STORE_SILENT",
            )

    def _make_durable(self, files: set[Path]) -> None:
        if len(files) > _SYNC_ALL_ABOVE:
            _sync_file_system(self._path)
        elif files:
            for path in (*files, *{file.parent for file in files}, self._path):
                sync(path)

    def _file(self, key: str) -> Path:
        check_key(key)
        return self._path / key[:2] / key

    def _partial(self) -> Path:
        """A name for a file that is no object yet, or none any more."""
        return self._incoming / f"{self._process}.{secrets.token_hex(8)}"

    def _write(self, target: Path, data: bytes) -> None:
        partial = self._partial()
        self.check()
        try:
            target.parent.mkdir(exist_ok=True)
            partial.write_bytes(data)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def _read(self, key: str, offset: int, size: int) -> bytes:
        try:
            with self._file(key).open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except FileNotFoundError as error:
            raise self._absent(key) from error

    def _absent(self, key: str) -> NotFound:
        """That no object has the key; where the whole store is away, that is raised instead."""
        self.check()
        return no_object(key)

    def _remove_abandoned(self) -> None:
        """Removes what processes that ended in the middle of a put have left."""
        for partial in self._incoming.iterdir():
            try:
                if is_gone(partial.name) or partial.stat().st_mtime < time.time() - _ABANDONED_S:
                    partial.unlink()
            except FileNotFoundError:  # another process was quicker
                continue

    @contextmanager
    def _full_disk_named(self, size_bytes: int = 0) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            what = f"{size_bytes:,} more bytes do not fit into" if size_bytes else "nothing more fits into"
            raise ResourceExhausted(
                f"the disk is full: {what} {self._path}; free space there and repeat or resume the work",
                "DISK_FULL",
                {"path": str(self._path)},
            ) from error


def _holds(path: Path, data: bytes) -> bool:
    """Whether the file is there with exactly these bytes."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False


def _touched(path: Path) -> bool:
    """Makes a file as new as one that is written now; False where it is gone, or another user's."""
    try:
        os.utime(path)
    except (FileNotFoundError, PermissionError):
        return False
    return True


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def sync(path: Path) -> None:
    """Makes a file or a directory durable; one that was deleted meanwhile is fine."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file_system(path: Path) -> None:
    """Makes everything on the file system of `path` durable, and hears of failed writes where the system tells."""
    if not sys.platform.startswith("linux"):
        os.sync()
        return
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
