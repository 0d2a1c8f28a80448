"""The `onoma` command. Exit codes: 0 done, 1 failed with one clear line, 2 wrong use."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from typing import Annotated

try:  # most of what a short command takes is these, so that Ctrl-C often comes here
    import typer

    from onoma.cli import (
        analyse,
        data,
        doctor,
        explain,
        jobs,
        labels,
        maps,
        models,
        namings,
        serve,
        studies,
        study_archives,
        xnns,
    )
    from onoma.cli.output import errors
    from onoma.client import OnomaError
except KeyboardInterrupt:
    sys.exit(130)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
studies.app.command("labels")(labels.labels)
studies.app.command("export")(study_archives.export)
studies.app.command("import")(study_archives.take)
app.add_typer(data.app, name="dataset")
app.add_typer(models.app, name="model")
app.add_typer(xnns.app, name="xnn")
app.add_typer(studies.app, name="study")
app.add_typer(maps.app, name="maps")
app.add_typer(jobs.app, name="job")
app.add_typer(namings.app, name="naming")
for command in (
    serve.up,
    serve.demo,
    doctor.doctor,
    models.predict,
    explain.explain,
    explain.summary,
    explain.coverage,
    explain.report,
    analyse.analyse,
):
    app.command()(command)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        sys.stdout.write(f"onoma {version_of('onoma')}\n")
        raise typer.Exit


@app.callback()
def of_all_commands(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version, and end.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Explains what an image classifier looks at, in words that people chose."""


def main() -> None:
    """Runs the command line."""
    try:
        app()
    except (OnomaError, OSError, ValueError, ModuleNotFoundError) as error:
        said = str(error)
        if isinstance(error, OSError) and error.filename:
            said = f"{error.filename}: {error.strerror}"
        errors.print(f"onoma: {said}", style="red", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
