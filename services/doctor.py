"""Looks over an installation while it is in use: what `onoma doctor` does, with the services' own settings.

Whether the object store takes and gives real bytes, whether the databases answer, and which objects are missing,
damaged, or named by no row. What caches hold is no fault: the services make it again where it is lost.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from services.runtime.database import SERVICES_WITH_DATABASE, open_migrated_database
from services.runtime.directory_store import DirectoryStore
from services.runtime.errors import DataLoss, FailedPrecondition, NotFound, ServiceError
from services.runtime.job_table import SUCCEEDED
from services.runtime.object_keys import GRACE_S
from services.runtime.objects import ObjectStore, open_object_store
from services.runtime.settings import RuntimeSettings, read_settings

Progress = Callable[[str, int, int], None]  # stage, done, total (0 while unknown)
# Columns whose objects nothing can do without, and how each is made whole where no backup has it.
_WAYS_OUT = {
    "inference.image.image_id": "import its data set again",
    "inference.model.model_hash": "register the same file again under the model's name",
    "inference.model.onnx_key": "register the model's file again under its name",
    "inference.xnn.weights_key": "train its set again with the same settings",
    "attribution.activation.shard_key": "restore it from a backup, or make the study anew",
}
_KEYS = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Fault:
    """An object that a row names and that cannot be had.

    Attributes:
        object_key: SHA-256 that its bytes should have.
        what: "missing" or "damaged".
        named_by: service.table.column of the row.
        way_out: what makes it whole.
    """

    object_key: str
    what: str
    named_by: str
    way_out: str


@dataclass
class Findings:
    """What was found, and done.

    Attributes:
        object_count: objects in the store.
        row_counts: rows of each service's database, without succeeded jobs.
        faults: those that are left.
        orphans: size in bytes of each object that no row names, by key.
        restored: keys of what was copied from a backup.
        freed: keys of orphans that were removed.
    """

    object_count: int = 0
    row_counts: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    orphans: dict[str, int] = field(default_factory=dict)
    restored: list[str] = field(default_factory=list)
    freed: list[str] = field(default_factory=list)


def doctor(
    data_dir: Path | None, progress: Progress, *, backups: Path | None, remove_orphans: bool
) -> Findings:
    """`look_over` what the environment's settings name, or with another data folder.

    Raises:
        OSError: it cannot be looked over; one line says why.
        ValueError: a setting is wrong.
    """
    settings = read_settings(RuntimeSettings, **({"data_dir": data_dir} if data_dir else {}))
    try:
        return look_over(settings, progress, backups=backups, remove_orphans=remove_orphans)
    except ServiceError as error:
        raise OSError(str(error)) from error


def look_over(
    settings: RuntimeSettings,
    progress: Progress = lambda _stage, _done, _total: None,
    *,
    backups: Path | None = None,
    remove_orphans: bool = False,
    grace_s: float = GRACE_S,
) -> Findings:
    """Finds what is wrong with an installation, and mends what it is told to.

    Objects are listed before rows are read, so that one which is put and named meanwhile is no orphan.

    Args:
        backups: folder of services.backup; what is missing or damaged comes back from it where it has it.
        remove_orphans: removes them, but for those that were put within `grace_s` seconds: their rows may be to come.
    Raises:
        FailedPrecondition: a database is not there or of another version, `backups` is no folder of backups, or the
            store refuses the keys.
        DataLoss: the store gives other bytes than it was given.
        ServiceError: a database or the object store does not answer, or a disk is full.
    """
    if backups is not None and not (backups / "objects").is_dir():
        raise FailedPrecondition(
            f"{backups} has no folder 'objects': name the folder that services.backup was given"
        )
    engines = {name: open_migrated_database(settings, name) for name in SERVICES_WITH_DATABASE}
    store = open_object_store(settings)
    _try(store)
    stored = set(store.keys())
    found = Findings(len(stored))
    mentioned: set[str] = set()
    needed: dict[str, str] = {}
    for service, engine in engines.items():
        found.row_counts[service] = 0
        for named_by in _rows(engine, service):
            found.row_counts[service] += 1
            for key, column in named_by.items():
                mentioned.add(key)
                if column in _WAYS_OUT:
                    needed[key] = column
            progress("rows", sum(found.row_counts.values()), 0)
        engine.dispose()
    found.faults = list(_faults(store, needed, progress))
    if backups is not None:
        _restore(found, store, DirectoryStore(backups / "objects"))
    for done, key in enumerate(unnamed := sorted(stored - mentioned), 1):
        size = _size(store, key)
        if size is not None:
            if remove_orphans and store.delete_abandoned(key, grace_s):
                found.freed.append(key)
            else:
                found.orphans[key] = size
        progress("orphans", done, len(unnamed))
    return found


def _try(store: ObjectStore) -> None:
    """Puts real bytes, reads them and removes them."""
    data = secrets.token_bytes(64)
    key = store.put(data)
    store.flush()
    try:
        store.get(key)
    finally:
        store.delete(key)


def _rows(engine: sa.Engine, service: str) -> Iterator[dict[str, str]]:
    """Of each row, whatever looks like a key in its texts, and the column that holds it.

    Succeeded jobs are left out: what they were given and have made is named by the rows that they wrote.
    """
    tables = sa.MetaData(service if engine.dialect.name == "postgresql" else None)
    tables.reflect(engine)
    with engine.connect().execution_options(yield_per=_ROWS_AT_ONCE) as connection:
        for table in tables.sorted_tables:
            texts = [column for column in table.columns if isinstance(column.type, sa.String | sa.JSON)]
            query = sa.select(*(sa.cast(column, sa.Text) for column in texts))
            if table.name == "job":
                query = query.where(table.columns.state != SUCCEEDED)
            names = [f"{service}.{table.name}.{column.name}" for column in texts]
            for row in connection.execute(query):
                yield {
                    key: name
                    for name, text in zip(names, row, strict=True)
                    for key in _KEYS.findall(text or "")
                }


def _faults(store: ObjectStore, needed: dict[str, str], progress: Progress) -> Iterator[Fault]:
    for done, (key, column) in enumerate(needed.items(), 1):
        try:
            store.get(key)
        except NotFound:
            yield Fault(key, "missing", column, _WAYS_OUT[column])
        except DataLoss:
            yield Fault(key, "damaged", column, _WAYS_OUT[column])
        progress("objects", done, len(needed))


def _restore(found: Findings, store: ObjectStore, kept: ObjectStore) -> None:
    """Copies what is at fault from the objects of backups, where they have it whole."""
    left = []
    for fault in found.faults:
        try:
            data = kept.get(fault.object_key)
        except (NotFound, DataLoss):
            left.append(fault)
            continue
        store.delete(fault.object_key)  # an S3 store takes bytes of the same length for the same
        store.put(data)
        found.restored.append(fault.object_key)
    store.flush()
    found.faults = left


def _size(store: ObjectStore, key: str) -> int | None:
    """Bytes of an object; None where it is gone by now."""
    try:
        return store.size(key)
    except NotFound:
        return None
