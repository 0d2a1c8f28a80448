"""`onoma doctor`: is everything there that the databases name?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from onoma.cli.output import Json, bar_of_stages, console, errors, print_json, print_table
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
    json: Json = False,
) -> None:
    """Look for objects that are missing, damaged or named by nothing; the servers may run meanwhile."""
    from services.doctor import doctor as look_over

    with bar_of_stages("look over", to=errors) as show:
        found = look_over(data, show, backups=backups, remove_orphans=remove_orphans)
    if json:
        print_json(asdict(found))
    else:
        _print(found)
    if found.faults:
        raise typer.Exit(1)


def _print(found: Findings) -> None:
    console.print(f"object store: {found.object_count:,} objects; it took and gave real bytes")
    for service, count in found.row_counts.items():
        console.print(f"database of {service}: {count:,} rows")
    if found.restored:
        console.print(f"{len(found.restored)} objects came back from the backup")
    if found.freed:
        console.print(f"{len(found.freed)} orphans removed")
    if found.orphans:
        console.print(
            f"{len(found.orphans)} objects ({decimal(sum(found.orphans.values()))}) that no row names; "
            "--remove-orphans removes those that nobody put within a day",
            soft_wrap=True,
        )
    print_table(
        ("object", "fault", "named by", "way out"),
        [(fault.object_key[:12], fault.what, fault.named_by, fault.way_out) for fault in found.faults],
        empty="every object that rows name is there and whole",
    )
