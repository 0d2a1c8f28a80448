"""`onoma naming`: take namings out and bring them in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onoma.cli.output import connected, console

app = typer.Typer(no_args_is_help=True, help="Namings.")


@app.command()
def export(
    study: Annotated[str, typer.Argument(help="Study, by id or by name.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The JSON file to write.")],
) -> None:
    """Write all namings of a study to a JSON file."""
    with connected() as client:
        out.write_text(client.export_namings(client.get_study(study).study_id), encoding="utf-8")
    console.print(str(out), markup=False)


@app.command("import")
def import_namings(
    study: Annotated[str, typer.Argument(help="Study, by id or by name.")],
    file: Annotated[
        Path, typer.Argument(help="A JSON file as `export` writes it.", exists=True, dir_okay=False)
    ],
) -> None:
    """Bring namings into a study."""
    with connected() as client:
        result = client.import_namings(client.get_study(study).study_id, file.read_text(encoding="utf-8"))
    console.print(f"{result.annotator_count} annotators, {result.concept_count} concepts")
