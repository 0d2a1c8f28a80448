"""`onoma naming`: take namings out and bring them in."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from onoma.cli.output import about, console
from onoma.cli.studies import Study
from onoma.client import Client

app = typer.Typer(no_args_is_help=True, help="Namings.")


class Format(StrEnum):
    """Form of a file of namings."""

    json = "json"
    csv = "csv"


@app.command()
def export(
    study: Study,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    format: Annotated[
        Format | None, typer.Option("--format", help="Form of the file; as its name ends if not given.")
    ] = None,
) -> None:
    """Write all namings of a study to a JSON or CSV file."""
    if format is None and out.suffix.lower() not in (".json", ".csv"):
        raise typer.BadParameter(f"'{out}' ends neither with .json nor with .csv; say which with --format")
    with Client() as client:
        study_id = client.get_study(study).study_id
        is_csv = (format or _format_of(out)) is Format.csv
        text = client.export_namings_csv(study_id) if is_csv else client.export_namings(study_id)
    out.write_text(text, encoding="utf-8", newline="")
    console.print(str(out))


@app.command("import")
def import_namings(
    study: Study,
    file: Annotated[
        Path, typer.Argument(help="A .json or .csv file as `export` writes it.", exists=True, dir_okay=False)
    ],
) -> None:
    """Bring namings into a study, all of the file or nothing."""
    try:
        text = file.read_bytes().decode()  # with the line ends that are inside names
    except UnicodeDecodeError:
        raise ValueError(
            f"{file} is not UTF-8 text; give a .json or .csv file as onoma naming export writes it"
        ) from None
    with Client() as client, about(file):
        study_id = client.get_study(study).study_id
        is_csv = _format_of(file) is Format.csv
        result = (
            client.import_namings_csv(study_id, text) if is_csv else client.import_namings(study_id, text)
        )
    console.print(f"{result.annotator_count} annotators, {result.concept_count} concepts")


def _format_of(file: Path) -> Format:
    return Format.csv if file.suffix.lower() == ".csv" else Format.json
