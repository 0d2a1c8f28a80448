"""Looks over an installation while it is in use: what `onoma doctor` does, with the services' own settings.

Whether the object store takes and gives real bytes, whether the databases answer, and which objects are missing,
damaged, or named by no row. What caches hold is no fault: the services make it again where it is lost.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
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
# Columns whose objects nothing can do without, and what makes one whole where no backup has it, by its row's columns.
_WAYS_OUT = {
    "inference.dataset_image.image_id": "import data set '{dataset}' again (it is {path} there)",
    "inference.model.model_hash": "register the same file again as model '{name}'",
    "inference.model.onnx_key": "register its file again as model '{name}'",
    "inference.xnn.weights_key": "train set '{set_name}' again with the same settings, or import its archive again",
    "attribution.explained_image.image_id": "import the data set of study {study_id} again",
    "attribution.activation.shard_key": "restore it from a backup, or make study {study_id} anew",
}
_KEY = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
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
        database: where the rows are.
        object_store: where the objects are.
        row_counts: rows of each service's database, without succeeded jobs.
        object_count: objects in the store.
        faults: those that are left.
        orphans: size in bytes of each object that no row names, by key.
        restored: keys of what was copied from a backup.
        freed: keys of orphans that were removed.
    """

    database: str
    object_store: str
    row_counts: dict[str, int] = field(default_factory=dict)
    object_count: int = 0
    faults: list[Fault] = field(default_factory=list)
    orphans: dict[str, int] = field(default_factory=dict)
    restored: list[str] = field(default_factory=list)
    freed: list[str] = field(default_factory=list)


def doctor(
    data_dir: Path | None, progress: Progress, *, backups: Path | None, remove_orphans: bool
) -> Findings:
    """Looks over what the environment's settings name, or the same with another data folder.

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

    Objects are listed before rows are read, so that one which is put and named meanwhile is no orphan; orphans go right
    after the rows were read (docs/decisions/orphans.md).

    Args:
        backups: folder of services.backup; what is missing or damaged comes back from it where it has it.
        remove_orphans: removes them, but for those that were put within `grace_s` seconds: their rows may be to come.
    Raises:
        FailedPrecondition: a database or the object store is not there, a database is of another version, orphans are
            to be removed from what looks like another installation's store, or `backups` is no folder of backups.
        DataLoss: the store gives other bytes than it was given.
        ServiceError: a database or the object store does not answer, or a disk is full.
    """
    if backups is not None and not (backups / "objects").is_dir():
        raise FailedPrecondition(
            f"{backups} has no folder 'objects': name the folder that services.backup was given"
        )
    engines = {name: open_migrated_database(settings, name) for name in SERVICES_WITH_DATABASE}
    store = open_object_store(settings, make=False)
    found = Findings(_database_of(settings), _store_of(settings))
    _try(store)
    stored = set(store.keys())
    found.object_count = len(stored)
    mentioned: set[str] = set()
    needed: dict[str, tuple[str, Mapping[str, str | None]]] = {}
    for service, engine in engines.items():
        found.row_counts[service] = 0
        for table, row in _rows(engine, service):
            found.row_counts[service] += 1
            for column, text in row.items():
                keys = _KEY.findall(text or "")
                if table == "job":
                    keys += [key for given in keys for key in _keys_inside(store, given)]
                mentioned.update(keys)
                if (name := f"{service}.{table}.{column}") in _WAYS_OUT:
                    needed.update(dict.fromkeys(keys, (name, row)))
            progress("rows", sum(found.row_counts.values()), 0)
        engine.dispose()
    orphans = sorted(stored - mentioned)
    if remove_orphans and len(orphans) > len(stored & mentioned):
        raise FailedPrecondition(
            f"no row of {found.database} names {len(orphans)} of the {len(stored)} objects in {found.object_store}: "
            "that looks like the store of another installation, so nothing is removed"
        )
    for done, key in enumerate(orphans, 1):
        size = _size(store, key)
        if remove_orphans and store.delete_abandoned(key, grace_s):
            found.freed.append(key)
        elif size is not None:
            found.orphans[key] = size
        progress("orphans", done, len(orphans))
    for done, (key, (name, row)) in enumerate(needed.items(), 1):
        if what := _fault(store, key):
            found.faults.append(Fault(key, what, name, _WAYS_OUT[name].format(**row)))
        progress("objects", done, len(needed))
    if backups is not None:
        _restore(found, store, DirectoryStore(backups / "objects"))
    return found


def _database_of(settings: RuntimeSettings) -> str:
    if settings.database_url:
        return sa.make_url(settings.database_url).render_as_string(hide_password=True)
    return f"{settings.data_dir}/*.db"


def _store_of(settings: RuntimeSettings) -> str:
    if settings.object_store == "s3":
        return f"bucket '{settings.s3_bucket}' at {settings.s3_endpoint}"
    return f"{settings.data_dir}/objects"


def _try(store: ObjectStore) -> None:
    """Puts real bytes, reads them and removes them."""
    data = secrets.token_bytes(64)
    key = store.put(data)
    store.flush()
    try:
        store.get(key)
    finally:
        store.delete(key)


def _rows(engine: sa.Engine, service: str) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Every row of every table as of one moment: the table's name, and its texts by column.

    Succeeded jobs are left out: what they were given and have made is named by the rows that they wrote.
    """
    tables = sa.MetaData(service if engine.dialect.name == "postgresql" else None)
    tables.reflect(engine)
    options = {"isolation_level": "SERIALIZABLE", "yield_per": _ROWS_AT_ONCE}
    with engine.connect().execution_options(**options) as connection:
        for table in tables.sorted_tables:
            if table.name == "alembic_version":
                continue
            texts = [column for column in table.columns if isinstance(column.type, sa.String | sa.JSON)]
            query = sa.select(*(sa.cast(column, sa.Text).label(column.name) for column in texts))
            if table.name == "job":
                query = query.where(table.columns.state != SUCCEEDED)
            for row in connection.execute(query).mappings():
                yield table.name, dict(row)


def _keys_inside(store: ObjectStore, given: str) -> list[str]:
    """Keys that stand in the bytes of what an unfinished job was given, as those of shards do in a study's maps."""
    try:
        return _KEY.findall(store.get(given).decode("latin-1"))
    except (NotFound, DataLoss):
        return []


def _fault(store: ObjectStore, key: str) -> str:
    """What is wrong with an object; empty where it is there and whole."""
    try:
        store.get(key)
    except NotFound:
        return "missing"
    except DataLoss:
        return "damaged"
    return ""


def _restore(found: Findings, store: ObjectStore, kept: ObjectStore) -> None:
    """Copies what is at fault from the objects of backups, where they have it whole."""
    left = []
    for fault in found.faults:
        try:
            store.put(kept.get(fault.object_key), again=True)
            found.restored.append(fault.object_key)
        except (NotFound, DataLoss):
            left.append(fault)
    store.flush()
    found.faults = left


def _size(store: ObjectStore, key: str) -> int | None:
    """Bytes of an object; None where it is gone by now."""
    try:
        return store.size(key)
    except NotFound:
        return None
