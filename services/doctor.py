"""Looks over an installation while it is in use: what `onoma doctor` does, with the services' own settings.

Whether the object store takes and gives real bytes, whether the databases answer, and which objects are missing,
damaged, or named by no row. What caches hold is no fault: the services make it again where it is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern

import sqlalchemy as sa

from services.runtime.database import open_migrated_database
from services.runtime.directory_store import DirectoryStore
from services.runtime.errors import DataLoss, FailedPrecondition, NotFound, ServiceError
from services.runtime.job_table import SUCCEEDED
from services.runtime.object_keys import GRACE_S
from services.runtime.objects import ObjectStore, open_object_store
from services.runtime.settings import RuntimeSettings, read_settings

Progress = Callable[[str, int, int], None]  # stage, done, total (0 while unknown)
# Columns whose objects nothing can do without, and what makes one whole where no backup has it, by its row's columns.
_WAYS_OUT = {
    "inference.dataset_image.image_id": "import data set '{dataset}' again",
    "inference.model.model_hash": "register the same file again as model '{name}'",
    "inference.model.onnx_key": "register its file again as model '{name}'",
    "inference.xnn.weights_key": "train set '{set_name}' again with the same settings, or import its archive again",
    "attribution.explained_image.image_id": "import the data set of study {study_id} again",
    "attribution.activation.shard_key": "make study {study_id} anew, or import its archive again",
}
# Columns that name a row of another service, and where that stands.
_ELSEWHERE = {
    "naming.study.model": "inference.model.name",
    "naming.study.dataset": "inference.dataset.name",
    "naming.study.xnn_set": "inference.xnn_set.name",
    "attribution.map_run.study_id": "naming.study.study_id",
}
# One after another, by `_ELSEWHERE`: what names a row is read before where that stands, so that what is made meanwhile
# is not taken for missing.
_READ_IN_ORDER = ("attribution", "naming", "inference")
_NAMES = {*_ELSEWHERE, *_ELSEWHERE.values()}
_KEY = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Fault:
    """An object that a row names and that cannot be had.

    Attributes:
        object_key: SHA-256 that its bytes should have.
        what: "missing", "damaged", or why it cannot be read.
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
        problems: one line each, of the databases and the store as wholes.
        faults: of single objects, those that are left.
        orphans: size in bytes of each object that no row names, by key.
        restored: keys of what was copied from a backup.
        freed: keys of orphans that were removed.
    """

    database: str
    object_store: str
    row_counts: dict[str, int] = field(default_factory=dict)
    object_count: int = 0
    problems: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    orphans: dict[str, int] = field(default_factory=dict)
    restored: list[str] = field(default_factory=list)
    freed: list[str] = field(default_factory=list)


@dataclass
class _Named:
    """What rows name.

    Attributes:
        objects: keys of all that they name, needed or not.
        needed: by key of an object that nothing can do without, the column, and what would make it whole.
        rows: by column of `_NAMES`, what stands in it.
    """

    objects: set[str] = field(default_factory=set)
    needed: dict[str, tuple[str, str]] = field(default_factory=dict)
    rows: dict[str, set[str]] = field(default_factory=dict)

    def add(self, store: ObjectStore, service: str, table: str, row: Mapping[str, str | None]) -> None:
        """Adds what a row names."""
        for column, text in row.items():
            keys = _KEY.findall(text or "")
            if table == "job":
                keys += [key for given in keys for key in _keys_inside(store, given)]
            self.objects.update(keys)
            if (name := f"{service}.{table}.{column}") in _WAYS_OUT:
                for key in keys:
                    if key not in self.needed:
                        self.needed[key] = name, intern(_WAYS_OUT[name].format(**row))
            if text and name in _NAMES:
                self.rows.setdefault(name, set()).add(text)


def doctor(
    data_dir: Path | None, progress: Progress, *, backups: Path | None, remove_orphans: bool, most: bool
) -> Findings:
    """Looks over what the environment's settings name, or the same with another data folder.

    Raises:
        OSError: it cannot be looked over; one line says why.
        ValueError: a setting is wrong.
    """
    settings = read_settings(RuntimeSettings, **({"data_dir": data_dir} if data_dir else {}))
    try:
        return look_over(settings, progress, backups=backups, remove_orphans=remove_orphans, most=most)
    except ServiceError as error:
        raise OSError(str(error)) from error


def look_over(
    settings: RuntimeSettings,
    progress: Progress = lambda _stage, _done, _total: None,
    *,
    backups: Path | None = None,
    remove_orphans: bool = False,
    most: bool = False,
    grace_s: float = GRACE_S,
) -> Findings:
    """Finds what is wrong with an installation, and mends what it is told to.

    Objects are listed before rows are read, so that one which is put and named meanwhile is no orphan; orphans go right
    after the rows were read (docs/decisions/orphans.md).

    Args:
        backups: folder of services.backup; what is missing or damaged comes back from it where it has it.
        remove_orphans: removes them, but for those that were put within `grace_s` seconds: their rows may be to come.
        most: even where most objects are orphans.
    Raises:
        FailedPrecondition: a database is not there, empty or of another version, orphans are to be removed where a
            database lacks rows or the store looks like another installation's, or `backups` is no folder of backups.
        ServiceError: a database or the object store does not answer.
    """
    if backups is not None and not (backups / "objects").is_dir():
        raise FailedPrecondition(
            f"{backups} has no folder 'objects': name the folder that services.backup was given"
        )
    engines = {name: open_migrated_database(settings, name) for name in _READ_IN_ORDER}
    store = open_object_store(settings, make=False)
    found = Findings(_database_of(settings), _store_of(settings))
    try:
        store.prove()
    except ServiceError as error:
        found.problems.append(str(error))
    stored = set(store.keys())
    found.object_count = len(stored)
    named = _Named()
    for service, engine in engines.items():
        found.row_counts[service] = 0
        found.problems += _damage(engine)
        for table, row in _rows(engine, service):
            found.row_counts[service] += 1
            named.add(store, service, table, row)
            progress("rows", sum(found.row_counts.values()), 0)
        engine.dispose()
    lacking = list(_lacking(named.rows))
    found.problems += lacking
    orphans = sorted(stored - named.objects)
    if remove_orphans:
        _check_removal(found, lacking, len(orphans), most=most)
    for done, key in enumerate(orphans, 1):
        size = _size(store, key)
        if remove_orphans and store.delete_abandoned(key, grace_s):
            found.freed.append(key)
        elif size is not None:
            found.orphans[key] = size
        progress("orphans", done, len(orphans))
    for done, (key, (name, way_out)) in enumerate(named.needed.items(), 1):
        if what := _fault(store, key):
            found.faults.append(Fault(key, what, name, way_out))
        progress("objects", done, len(named.needed))
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


def _damage(engine: sa.Engine) -> list[str]:
    """What SQLite finds wrong with its file; PostgreSQL looks after its own."""
    if engine.dialect.name != "sqlite":
        return []
    with engine.connect() as connection:
        answer = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    return (
        [] if answer == "ok" else [f"{engine.url.database} is damaged ({answer}); restore it from a backup"]
    )


def _lacking(names: Mapping[str, set[str]]) -> Iterator[str]:
    """What rows of one service name in another's database, and is not there: another file took its place."""
    for column, of in _ELSEWHERE.items():
        for name in sorted(names.get(column, set()) - names.get(of, set())):
            service, table, _ = of.split(".")
            or_else = (
                "; only where that study's deletion was cut off, or a backup was made while the study was: "
                f"onoma study delete {name} removes what is left"
                if column == "attribution.map_run.study_id"
                else ""
            )
            yield (
                f"{column} names '{name}', and the database of {service} has no such {table}: it is not the one that "
                f"belongs here{or_else}"
            )


def _check_removal(found: Findings, lacking: list[str], orphan_count: int, *, most: bool) -> None:
    if lacking:
        raise FailedPrecondition(f"no orphan is removed while a database lacks rows: {lacking[0]}")
    if 2 * orphan_count > found.object_count and not most:
        raise FailedPrecondition(
            f"no row of {found.database} names {orphan_count} of the {found.object_count} objects in "
            f"{found.object_store}, which looks like the store of another installation: nothing is removed (--most "
            "removes them all the same, for example after much was deleted)"
        )


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
    except (NotFound, DataLoss, OSError):
        return []


def _fault(store: ObjectStore, key: str) -> str:
    """What is wrong with an object; empty where it is there and whole."""
    try:
        store.get(key)
    except NotFound:
        return "missing"
    except DataLoss:
        return "damaged"
    except OSError as error:
        return f"unreadable ({error.strerror})"
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
