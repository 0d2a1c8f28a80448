"""A backup of an installation: `python -m services.backup FOLDER`, while it is in use.

    FOLDER/objects/ab/abcdef...      objects of all backups, each once
    FOLDER/20261127T021500Z/         a backup: database.dump, or a NAME.db a service, and backup.json, written last

Rows first, objects after: an object is stored before the row that names it and never changed, so what the rows name is
among the objects. SQLite's files go in an order for the same reason (`_COPIED_IN_ORDER`); PostgreSQL is dumped as of
one moment. (By themselves the services delete only rounds of trainings that ended; one that is missed is trained again.
`onoma doctor --remove-orphans` is not run meanwhile.)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import make_url

from services.runtime.database import SERVICES_WITH_DATABASE
from services.runtime.directory_store import DirectoryStore, sync
from services.runtime.errors import DataLoss, NotFound, ServiceError, Unavailable
from services.runtime.objects import ObjectStore, open_object_store
from services.runtime.settings import RuntimeSettings, read_settings

DUMP = "database.dump"
SUMMARY = "backup.json"
# Of SQLite's files, one after another: what naming has published lies in attribution, and both name what inference has.
# A run of maps names its study the other way round; one whose study was made meanwhile is left over, which
# services.doctor tells, while a study without its maps would be lost with all that was named.
_COPIED_IN_ORDER = ("naming", "attribution", "inference")
_AT_ONCE = 8  # objects that are copied beside each other
_LARGE_BYTES = 32 << 20  # of an object from which on one is copied at a time: each is in memory as a whole


def back_up(settings: RuntimeSettings, folder: Path) -> tuple[Path, list[str]]:
    """Makes a backup of what the settings name.

    Returns:
        Its folder, and the objects that it lacks because they are damaged where they come from.
    Raises:
        ServiceError: the database or the object store does not answer.
        OSError: the folder cannot be written.
    """
    # An empty one made in the place of what is away would look whole.
    source = open_object_store(settings, make=False)
    made = folder / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    made.mkdir(parents=True)
    if settings.database_url:
        run_postgresql_tool(
            settings.database_url,
            "pg_dump",
            "--format=custom",
            "--no-owner",
            "--no-privileges",
            "--strict-names",  # a schema that is not there is no whole backup
            *(f"--schema={name}" for name in SERVICES_WITH_DATABASE),
            f"--file={made / DUMP}",
        )
    else:
        for name in _COPIED_IN_ORDER:
            copy_sqlite(settings.data_dir / f"{name}.db", made / f"{name}.db")
    keys = sorted(source.keys())
    lacking = copy_objects(keys, source, DirectoryStore(folder / "objects"), _kept_whole(folder))
    damaged = [key for key in lacking if source.exists(key)]
    summary = {
        "onoma": version("onoma"),
        "database": "postgresql" if settings.database_url else "sqlite",
        "objects": sorted(set(keys) - set(lacking)),
        "damaged": damaged,
    }
    partial = made / f"{SUMMARY}.partial"
    partial.write_text(json.dumps(summary, indent=1) + "\n")
    sync(partial)
    partial.replace(made / SUMMARY)
    for path in (made, folder):
        sync(path)
    return made, damaged


def _kept_whole(folder: Path) -> set[str]:
    """Objects of the backups that came to their end; what one that was cut off has left may be torn."""
    return {
        key for written in folder.glob(f"*/{SUMMARY}") for key in json.loads(written.read_text())["objects"]
    }


def copy_objects(
    keys: Iterable[str], source: ObjectStore, target: ObjectStore, whole: Set[str] = frozenset()
) -> list[str]:
    """Copies what the target lacks, each object's hash checked; returns those damaged at the source, or gone.

    Args:
        whole: those that need no look where the target has them; of others it is compared.
    """

    one_large = threading.Lock()

    def copied(key: str) -> bool:
        try:
            if key not in whole or not target.exists(key):
                with one_large if source.size(key) >= _LARGE_BYTES else nullcontext():
                    target.put(source.get(key))
        except (DataLoss, NotFound):
            return False
        return True

    keys = list(keys)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        lacking = [key for key, is_copied in zip(keys, pool.map(copied, keys), strict=True) if not is_copied]
    target.flush()
    return lacking


def copy_sqlite(source: Path, target: Path) -> None:
    """A copy of a database that may be written meanwhile: all of it as of one moment.

    Raises:
        FileNotFoundError: there is none.
        DataLoss: it is damaged.
    """
    if not source.exists():
        raise FileNotFoundError(
            f"there is no {source}: is ONOMA_DATA_DIR right, or was nothing ever started there?"
        )
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as opened,
        closing(sqlite3.connect(target)) as copy,
    ):
        opened.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # so that the copy is one file
        [[answer]] = copy.execute("PRAGMA integrity_check(1)").fetchall()
    if answer != "ok":
        raise DataLoss(f"the database {source} is damaged ({answer}); restore the backup before it")
    sync(target)


def run_postgresql_tool(url: str, tool: str, *arguments: str) -> None:
    """Runs pg_dump or pg_restore on a database; its password is not on the command line.

    Raises:
        Unavailable: the tool is missing or fails.
    """
    found = shutil.which(tool)
    if found is None:
        raise Unavailable(f"there is no {tool} here: install PostgreSQL's client, not older than the server")
    parsed = make_url(url).set(drivername="postgresql")
    environment = {**os.environ, **({"PGPASSWORD": parsed.password} if parsed.password else {})}
    at = parsed._replace(password=None).render_as_string()
    run = subprocess.run(  # noqa: S603  the arguments are ours
        [found, *arguments, f"--dbname={at}"], env=environment, capture_output=True, text=True
    )
    if run.returncode != 0:
        raise Unavailable(f"{tool} failed: {' '.join(run.stderr.split())[:500]}")


def main() -> None:
    """Exits with 0 after a whole backup, with 1 and one line otherwise."""
    parser = argparse.ArgumentParser("python -m services.backup", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where backups are kept; made where it is missing")
    folder = parser.parse_args().folder
    try:
        made, damaged = back_up(read_settings(RuntimeSettings), folder)
    except (OSError, ServiceError, ValueError) as error:
        sys.exit(f"backup: {error}")
    if damaged:
        more = f" and {len(damaged) - 1} others" if len(damaged) > 1 else ""
        sys.exit(
            f"backup: {made} lacks object {damaged[0]}{more}: damaged in the object store; an older backup in "
            f"{folder} may have it, {SUMMARY} lists all"
        )
    print(made)


if __name__ == "__main__":
    main()
