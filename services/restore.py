"""Restores a backup into an installation that is empty: `python -m services.restore FOLDER/20261127T021500Z`.

Objects first, rows after, so that no row ever names an object that is not there. Begun again after it was cut off, it
goes on where it was.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from services.backup import DUMP, SUMMARY, copy_objects, copy_sqlite, run_postgresql_tool
from services.runtime.database import SERVICES_WITH_DATABASE
from services.runtime.directory_store import DirectoryStore
from services.runtime.errors import DataLoss, FailedPrecondition, ServiceError, Unavailable
from services.runtime.objects import open_object_store
from services.runtime.settings import RuntimeSettings, read_settings


def restore(settings: RuntimeSettings, backup: Path) -> int:
    """Puts a backup where the settings say; returns how many objects it holds. The services are not running meanwhile.

    Raises:
        FailedPrecondition: it is no whole backup, is of the other kind of database, or something is there already.
        DataLoss: objects of the backup are damaged or missing; no row is restored then.
        ServiceError: the database or the object store does not answer.
    """
    try:
        summary = json.loads((backup / SUMMARY).read_text())
    except FileNotFoundError as error:
        raise FailedPrecondition(
            f"{backup} is no whole backup: it has no {SUMMARY} (give the folder of one backup, not of all)"
        ) from error
    kind = "postgresql" if settings.database_url else "sqlite"
    if summary["database"] != kind:
        raise FailedPrecondition(
            f"{backup} is of {summary['database']} and ONOMA_DATABASE_URL says {kind}: restore it into its own kind "
            "(studies go from one to the other by `onoma study export` and `import`)"
        )
    _check_empty(settings, backup)
    target = open_object_store(settings)
    keys = summary["objects"]
    foreign = set(target.keys()) - set(keys)
    if foreign:
        raise FailedPrecondition(
            f"the object store holds {len(foreign)} objects that are not of {backup}: restore into an empty one"
        )
    damaged = copy_objects(keys, DirectoryStore(backup.parent / "objects"), target)
    if damaged:
        raise DataLoss(
            f"object {damaged[0]} (of {len(damaged)}) is damaged or missing in {backup.parent / 'objects'}; "
            "nothing was restored of the database"
        )
    if settings.database_url:
        run_postgresql_tool(
            settings.database_url,
            "pg_restore",
            "--single-transaction",
            "--exit-on-error",
            "--no-owner",
            "--no-privileges",
            str(backup / DUMP),
        )
    else:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        ready = [(settings.data_dir / f"{name}.db.restored", name) for name in SERVICES_WITH_DATABASE]
        for file, name in ready:
            file.unlink(missing_ok=True)
            copy_sqlite(backup / f"{name}.db", file)
        for file, name in ready:
            file.replace(settings.data_dir / f"{name}.db")
    return len(keys)


def _check_empty(settings: RuntimeSettings, backup: Path) -> None:
    if not settings.database_url:
        # What SQLite has left beside a database that was taken away would be put into the one that takes its place.
        files = [
            f"{name}.db{end}" for name in SERVICES_WITH_DATABASE for end in ("", "-wal", "-shm", "-journal")
        ]
        there = [file for file in files if (settings.data_dir / file).exists()]
        if there and not _is_half_restored(settings.data_dir, backup, there):
            raise FailedPrecondition(
                f"{settings.data_dir} has {there[0]} of a database already: restore into an empty folder "
                "(ONOMA_DATA_DIR), with no service running"
            )
        return
    url = make_url(settings.database_url).set(drivername="postgresql")
    try:
        with psycopg.connect(url.render_as_string(hide_password=False), connect_timeout=10) as connection:
            found = connection.execute(
                "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s) LIMIT 1",
                [list(SERVICES_WITH_DATABASE)],
            ).fetchone()
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database does not answer: {' '.join(str(error).split())}") from error
    if found:
        raise FailedPrecondition(
            f"the database has the schema {found[0]} already: restore into an empty one, before any service has "
            "started on it (after a start: DROP SCHEMA inference, attribution, naming CASCADE)"
        )


def _is_half_restored(data_dir: Path, backup: Path, there: Sequence[str]) -> bool:
    """Whether what is there are some of the backup's databases, as a restoring that was cut off leaves them."""
    if len(there) == len(SERVICES_WITH_DATABASE) or not all(file.endswith(".db") for file in there):
        return False
    with tempfile.TemporaryDirectory(dir=data_dir) as folder:
        for file in there:
            copy = Path(folder) / file
            copy_sqlite(backup / file, copy)
            if not filecmp.cmp(copy, data_dir / file, shallow=False):
                return False
    return True


def main() -> None:
    """Exits with 0 once all is restored, with 1 and one line otherwise."""
    parser = argparse.ArgumentParser("python -m services.restore", description=__doc__.splitlines()[0])
    parser.add_argument("backup", type=Path, help="the folder of one backup, as services.backup printed it")
    backup = parser.parse_args().backup
    try:
        count = restore(read_settings(RuntimeSettings), backup)
    except (OSError, ServiceError, ValueError) as error:
        sys.exit(f"restore: {error}")
    print(f"{backup} is restored, with {count} objects; the services may start")


if __name__ == "__main__":
    main()
