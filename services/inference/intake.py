"""Pictures on their way into the object store."""

import hashlib
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sqlalchemy import Engine
from sqlmodel import Session

from onoma.science.pictures import BrokenPicture, Pixels, encode_png, media_type
from services.inference.layout import Item
from services.inference.settings import InferenceSettings
from services.inference.tables import Image
from services.runtime.decoding import Decoders
from services.runtime.objects import ObjectStore

_SUFFIXES = {
    "image/jpeg": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "image/png": {".png"},
    "image/gif": {".gif"},
    "image/webp": {".webp"},
    "image/bmp": {".bmp", ".dib"},
    "image/tiff": {".tif", ".tiff"},
    "image/x-portable-anymap": {".ppm", ".pgm", ".pbm", ".pnm"},
}
_PICTURE_SUFFIXES = set().union(*_SUFFIXES.values())


@dataclass(frozen=True)
class Taken:
    """A picture that is in the object store."""

    item: Item
    image_id: str
    height: int
    width: int
    notes: tuple[str, ...]  # of the bytes, whatever the file's name
    name_notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    item: Item
    reason: str


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


class Intake:
    """Puts pictures into the object store."""

    def __init__(
        self,
        engine: Engine,
        store: ObjectStore,
        roots: Sequence[Path],
        limits: InferenceSettings,
        decoders: Decoders,
        own_folder: Path | None = None,
    ) -> None:
        self._engine = engine
        self._store = store
        self._roots = [root.resolve() for root in roots]
        self._limits = limits
        self._decoders = decoders
        self._own = [own_folder.resolve()] if own_folder else []

    def take_all(
        self,
        batches: Iterable[Sequence[tuple[Item, Path | bytes | Pixels]]],
        look: Callable[[Taken | Refused], None],
        write: Callable[[Sequence[Taken | Refused]], None],
    ) -> tuple[int, str]:
        """Stores pictures batch by batch, in several threads, and has their rows written.

        Args:
            look: called with each result, in order, before anything of its batch is written; may raise to stop.
            write: called with the results of each batch, once their objects are durable.
        Returns:
            How many were taken; and what ends a line that says why none was: the first refusal, or nothing.
        """
        taken, first = 0, None
        with ThreadPoolExecutor(self._limits.import_workers) as pool:
            for batch in batches:
                results = []
                for result in pool.map(self.take, batch):
                    look(result)
                    results.append(result)
                self._store.flush()
                write(results)
                refused = [result for result in results if isinstance(result, Refused)]
                taken += len(results) - len(refused)
                first = first or next(iter(refused), None)
        return taken, f"; the first, {first.item.path}: {first.reason}" if first else ""

    def take(self, content: tuple[Item, Path | bytes | Pixels]) -> Taken | Refused:
        """Stores one picture, a file or its bytes or pixels, or says why it cannot be taken.

        A file is decoded to see that it is whole, unless its bytes were taken before.
        """
        item, source = content
        if isinstance(source, Path | bytes):
            return self._take_file(item, source)
        data = encode_png(source, compress_level=0)
        return Taken(item, self._store.put(data), source.shape[0], source.shape[1], ())

    def _take_file(self, item: Item, source: Path | bytes) -> Taken | Refused:
        try:
            data = self._read(source) if isinstance(source, Path) else source
            whole = self._known(hashlib.sha256(data).hexdigest()) or self._decoders.check(data)
        except BrokenPicture as error:
            return Refused(item, str(error))
        except OSError as error:
            return Refused(item, f"cannot be read: {error.strerror or error}")
        return Taken(
            item,
            self._store.put(data),
            whole.height,
            whole.width,
            tuple(whole.notes),
            _name_notes(item.path, data),
        )

    def _read(self, path: Path) -> bytes:
        if is_inside(path.resolve(), self._own):
            raise BrokenPicture("a link into this server's own data")
        if not is_inside(path.resolve(), self._roots):
            raise BrokenPicture("a link that leaves the server's import roots")
        if path.is_dir():
            raise BrokenPicture("a link to a folder; links are followed for files and class folders only")
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BrokenPicture("a pipe, socket or device, not a file")
        if found.st_size > self._limits.max_upload_bytes:
            raise BrokenPicture(f"{found.st_size:,} bytes; the limit is {self._limits.max_upload_bytes:,}")
        return path.read_bytes()

    def _known(self, image_id: str) -> Image | None:
        with Session(self._engine) as session:
            return session.get(Image, image_id)


def _name_notes(path: str, data: bytes) -> tuple[str, ...]:
    suffix = PurePosixPath(path).suffix.lower()
    found = media_type(data)
    if suffix in _PICTURE_SUFFIXES and suffix not in _SUFFIXES.get(found, ()):
        return (f"named {suffix}, read as the {found.removeprefix('image/').upper()} that it is",)
    return ()
