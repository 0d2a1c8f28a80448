"""`onoma study export` and `import`: a whole study as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onoma.cli.output import Json, about, bar, console, print_json
from onoma.cli.studies import STATES, Study, print_studies
from onoma.client import Client
from onoma.study_archive import export_study, import_study


def export(
    study: Study,
    out: Annotated[Path, typer.Option(help="The archive to write (.zip).", dir_okay=False)],
    json: Json = False,
) -> None:
    """Write a whole study into one archive, for another installation to import."""
    with Client() as client, bar("export") as progress:
        made = export_study(client, study, out, progress)
    if json:
        print_json(
            {
                "study_id": made.study.study_id,
                "name": made.study.name,
                "file": str(made.path),
                "size_bytes": made.size_bytes,
                "images": made.image_count,
                "activations": made.activation_count,
                "annotators": made.annotator_count,
                "annotators_with_namings": made.naming_count,
            }
        )
        return
    console.print(
        f"{made.path}: {made.size_bytes / 1e6:,.1f} MB, {made.image_count} images, {made.activation_count} "
        f"activations, namings of {made.naming_count} of {made.annotator_count} people. Their links do not travel; "
        "their names do.",
        soft_wrap=True,
    )


def take(
    archive: Annotated[
        Path, typer.Argument(help="What `onoma study export` wrote.", exists=True, dir_okay=False)
    ],
    name: Annotated[str, typer.Option(help="Name of the study here; as it was if not given.")] = "",
    json: Json = False,
) -> None:
    """Import a whole study out of an archive; the same archive again goes on where it stopped."""
    with Client() as client, about(archive), bar("import") as progress:
        made = import_study(client, archive, name, progress)
    if json:
        study = made.study
        print_json(
            {
                "study_id": study.study_id,
                "name": study.name,
                "state": STATES.get(study.state, "?"),
                "model": study.model,
                "dataset": study.dataset,
                "xnn_set": study.xnn_set,
                "activations": study.activation_count,
                "annotators": made.annotator_count,
                "warnings": made.warnings,
            }
        )
        return
    for warning in made.warnings:
        console.print(f"  ! {warning}", soft_wrap=True)
    print_studies([made.study])
    if made.annotator_count:
        console.print(
            f"{made.annotator_count} people came along without links: let each in again with "
            f"`onoma study renew {made.study.study_id} NAME`.",
            soft_wrap=True,
        )
