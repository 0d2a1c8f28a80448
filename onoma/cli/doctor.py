"""`onoma doctor`: is everything there that the databases name?"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from onoma.cli.output import Json, bar_of_stages, console, print_json
from onoma.extras import needs

if TYPE_CHECKING:
    from services.doctor import Findings


@needs("serve")
def doctor(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for databases and objects; else ONOMA_DATA_DIR, or onoma-data."),
    ] = None,
    backups: Annotated[
        Path | None,
        typer.Option(
            help="Folder that `python -m services.backup` was given: what is missing or damaged comes back from it.",
            file_okay=False,
            exists=True,
        ),
    ] = None,
    remove_orphans: Annotated[
        bool,
        typer.Option(
            "--remove-orphans", help="Remove objects that no row names and nobody put within a day."
        ),
    ] = False,
    most: Annotated[
        bool, typer.Option("--most", help="With --remove-orphans: even where most objects are orphans.")
    ] = False,
    json: Json = False,
) -> None:
    """Look for objects that are missing, damaged or named by nothing; the servers may run meanwhile."""
    if most and not remove_orphans:
        raise typer.BadParameter("--most says how much may be removed; give --remove-orphans too")
    from services import doctor as services_doctor

    with bar_of_stages("look over") as show:
        found = services_doctor.doctor(data, show, backups=backups, remove_orphans=remove_orphans, most=most)
    if json:
        print_json(asdict(found))
    else:
        _print(found, backups=backups, was_to_remove=remove_orphans)
    if found.faults or found.problems:
        raise typer.Exit(1)


def _print(found: Findings, *, backups: Path | None, was_to_remove: bool) -> None:
    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    line(f"database {found.database}: {sum(found.row_counts.values()):,} rows")
    line(f"object store {found.object_store}: {_objects(found.object_count)}")
    for problem in found.problems:
        line(f"! {problem}")
    if found.restored:
        line(f"{_objects(len(found.restored))} came back from the backup")
    if found.freed:
        line(f"{_objects(len(found.freed))} that no row names removed")
    if found.orphans:
        size = decimal(sum(found.orphans.values()))
        then = (
            "put within a day: they stay"
            if was_to_remove
            else "--remove-orphans removes what is older than a day"
        )
        line(f"{_objects(len(found.orphans))} ({size}) that no row names; {then}")
    for (what, named_by, way_out), count in Counter(
        (fault.what, fault.named_by, fault.way_out) for fault in found.faults
    ).items():
        line(f"! {_objects(count)} {what} ({named_by}): {way_out}")
    if not found.faults:
        line("every object that cannot be made again is there and whole")
    elif backups:
        line(f"{backups} has none of these whole")
    else:
        line("--backups FOLDER brings back what a backup has of these; --json lists each")


def _objects(count: int) -> str:
    return f"{count:,} object{'' if count == 1 else 's'}"
