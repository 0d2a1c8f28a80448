"""The zip of a study: its entries, and a manifest with the SHA-256 of each. Everything is checked before use.

Objects (programs, pictures, weights, shards) are stored under their SHA-256 as they are, so that only JSON can unpack
to more than it is packed, and that has a limit.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from onoma.zip_checks import directory_of, fault_of, shown

FORMAT, VERSION = "onoma-study", 1
MANIFEST = "manifest.json"
STUDY, MODEL, XNNS, DATASET, MAPS = "study.json", "model.json", "xnns.json", "dataset.json", "maps.json"
ACTS = "acts.jsonl"
NEEDED = (STUDY, MODEL, DATASET, MAPS)

_NAME = re.compile(
    rf"({'|'.join(map(re.escape, (*NEEDED, XNNS, ACTS)))})|namings/[0-9]{{4}}\.json|objects/([0-9a-f]{{64}})"
)
_MAX_ENTRIES = 500_000
_MAX_DIRECTORY_BYTES = 128 << 20
_MAX_JSON_BYTES = 256 << 20  # of one entry that is read whole; maps.json of 200,000 activations takes 33 MB
_CHUNK_BYTES = 1 << 20
_SAME_TIME = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the same study is the same file


class RefusedStudyArchive(ValueError):
    """This file is no archive of a study that can be taken; the message says what is wrong, and where."""


def object_entry(key: str) -> str:
    """Entry of an object."""
    return f"objects/{key}"


@dataclass(frozen=True, eq=False)
class NewArchive:
    """An archive that is being written.

    Attributes:
        hashes: SHA-256 of every entry so far.
    """

    archive: zipfile.ZipFile
    hashes: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Adds an entry; JSON is packed, objects are stored as they are.

        Raises:
            ValueError: an object's bytes are not those that its name says, or the entry is larger than an import takes.
        """
        info = zipfile.ZipInfo(name, _SAME_TIME)
        of_object = _NAME.fullmatch(name)
        key = of_object.group(2) if of_object else None
        info.compress_type = zipfile.ZIP_STORED if key else zipfile.ZIP_DEFLATED
        digest, size = hashlib.sha256(), 0
        with self.archive.open(info, "w", force_zip64=True) as entry:
            for chunk in chunks:
                size += len(chunk)
                if size > _MAX_JSON_BYTES and _is_read_whole(name):
                    raise ValueError(
                        f"entry {name} would have more than {_MAX_JSON_BYTES:,} bytes unpacked, which no import takes; "
                        "make a study of fewer categories or images to export it"
                    )
                digest.update(chunk)
                entry.write(chunk)
        if key not in (None, digest.hexdigest()):
            raise ValueError(
                f"object {key} came with the SHA-256 {digest.hexdigest()}; export the study again"
            )
        self.hashes[name] = digest.hexdigest()


@contextmanager
def creating(path: Path) -> Iterator[NewArchive]:
    """A new archive at a path, which is there whole at the end of the block or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            made = NewArchive(archive)
            yield made
            manifest = {"format": FORMAT, "version": VERSION, "onoma_version": version("onoma")}
            made.write(MANIFEST, [json.dumps(manifest | {"entries": made.hashes}, indent=1).encode()])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class Archive:
    """An archive whose names, sizes and manifest are checked; `check` compares the bytes.

    Attributes:
        hashes: SHA-256 of every entry but the manifest.
        fingerprint: SHA-256 of the manifest, and so of all.
    """

    archive: zipfile.ZipFile
    hashes: Mapping[str, str]
    fingerprint: str

    def read(self, name: str) -> bytes:
        """An entry's bytes.

        Raises:
            RefusedStudyArchive: there is none of that name, or it is damaged.
        """
        if name not in self.hashes:
            raise RefusedStudyArchive(f"the archive has no {name}, which another of its entries names")
        with _damage_named(name):
            return self.archive.read(name)

    def check(self, advance: Callable[[], None]) -> None:
        """Returns when every entry is what the manifest says.

        Args:
            advance: called after each.
        Raises:
            RefusedStudyArchive: one is damaged or was changed.
        """
        for name, wanted in self.hashes.items():
            digest = hashlib.sha256()
            with _damage_named(name), self.archive.open(name) as entry:
                while chunk := entry.read(_CHUNK_BYTES):
                    digest.update(chunk)
            if digest.hexdigest() != wanted:
                raise RefusedStudyArchive(
                    f"entry {name} has the SHA-256 {digest.hexdigest()}, the manifest says {wanted}: it was damaged or "
                    "changed; export the study again"
                )
            advance()


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """An archive, its names, sizes and manifest checked.

    Raises:
        RefusedStudyArchive: it is none, is of another version, or an entry cannot be.
    """
    with path.open("rb") as file:
        _check_directory(file)
        with _damage_named(str(path)), zipfile.ZipFile(file) as archive:
            _check_entries(archive.infolist())
            with _damage_named(MANIFEST):
                manifest = archive.read(MANIFEST)
            hashes = _hashes(manifest)
            present = set(archive.namelist()) - {MANIFEST}
            for name in sorted(present ^ hashes.keys()):
                where = "is not in the manifest" if name in present else "is missing from the archive"
                raise RefusedStudyArchive(f"entry {shown(name)} {where}; export the study again")
            for name in NEEDED:
                if name not in hashes:
                    raise RefusedStudyArchive(f"the archive has no {name}; export the study again")
            yield Archive(archive, hashes, hashlib.sha256(manifest).hexdigest())


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """What Python's libraries say of a damaged zip is said once, here."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise RefusedStudyArchive(f"{name} is damaged, or no zip archive ({error}); copy it again") from error


def _check_directory(file: IO[bytes]) -> None:
    """Refuses what is no whole zip, and one whose list of entries alone would fill the memory, before it is read."""
    directory = directory_of(file)
    if directory is None:
        raise RefusedStudyArchive("the file is no zip archive, or its end is missing; copy it again")
    if directory.size_bytes > _MAX_DIRECTORY_BYTES:
        raise RefusedStudyArchive(
            f"the zip's list of entries has {directory.size_bytes:,} bytes; "
            f"a study's has at most {_MAX_DIRECTORY_BYTES:,}"
        )


def _check_entries(infos: list[zipfile.ZipInfo]) -> None:
    names = [info.filename for info in infos]
    if len(names) > _MAX_ENTRIES:
        raise RefusedStudyArchive(
            f"the zip has {len(names):,} entries; a study's has at most {_MAX_ENTRIES:,}"
        )
    if fault := fault_of(infos):
        raise RefusedStudyArchive(fault)
    if MANIFEST not in names:
        raise RefusedStudyArchive(f"the zip has no {MANIFEST}: `onoma study export` did not write it")
    for info in infos:
        name = shown(info.filename)
        found = _NAME.fullmatch(info.filename)
        if found and found.group(2):
            if info.compress_type != zipfile.ZIP_STORED:
                raise RefusedStudyArchive(f"entry {name} is compressed; objects are stored as they are")
        elif _is_read_whole(info.filename) and info.file_size > _MAX_JSON_BYTES:
            raise RefusedStudyArchive(
                f"entry {name} has {info.file_size:,} bytes unpacked; at most {_MAX_JSON_BYTES:,} are taken"
            )


def _is_read_whole(name: str) -> bool:
    """Whether an import holds all of an entry's JSON in memory; the log of acts is only hashed, piece by piece."""
    of_object = _NAME.fullmatch(name)
    return name != ACTS and not (of_object and of_object.group(2))


def _hashes(data: bytes) -> dict[str, str]:
    """SHA-256 of every entry, as the manifest has it."""
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RefusedStudyArchive(f"{MANIFEST} is no JSON: {error}") from error
    said = found.get("format") if isinstance(found, dict) else None
    if said != FORMAT:
        other = "; take maps in with `onoma maps import`" if said == "onoma-maps" else ""
        raise RefusedStudyArchive(f'{MANIFEST} does not say "format": "{FORMAT}"{other}')
    if type(found.get("version")) is not int or found["version"] != VERSION:
        raise RefusedStudyArchive(
            f"the archive is of version {shown(found.get('version'))}, written by Onoma "
            f"{shown(found.get('onoma_version'))}; this Onoma reads version {VERSION}: use the one that wrote it"
        )
    entries = found.get("entries")
    if not isinstance(entries, dict):
        raise RefusedStudyArchive(f"{MANIFEST} lists no entries")
    for name, sha256 in entries.items():
        fits = _NAME.fullmatch(name)
        if not fits or not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
            raise RefusedStudyArchive(
                f"entry {shown(name)} does not belong into an archive of version {VERSION}"
            )
        if fits.group(2) not in (None, sha256):
            raise RefusedStudyArchive(f"entry {shown(name)} is said to have another SHA-256, {sha256}")
    return entries
