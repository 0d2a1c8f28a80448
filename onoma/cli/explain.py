"""`onoma explain`, `summary`, `coverage` and `report`: what the namings say."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from onoma.cli.analyse import Confidence, PartOf, Seed, Shuffles, TimeLimit
from onoma.cli.output import Json, about, bar_of_stages, console, print_json, print_table
from onoma.cli.studies import Study, find_annotator
from onoma.client import AnalysisOptions, Client
from onoma.extras import needs
from onoma.science.analysis_options import TIME_LIMIT_S, Options
from onoma.v1 import analytics_pb2

StudyOption = Annotated[str, typer.Option("--study", "-s", help="Study, by id or by name.")]
AnnotatorOption = Annotated[str, typer.Option("--annotator", "-a", help="Annotator, by id or by name.")]


@needs("report")
def explain(
    image: Annotated[Path, typer.Argument(help="A picture.", exists=True, dir_okay=False)],
    study: StudyOption,
    annotator: AnnotatorOption,
    category: Annotated[str, typer.Option(help="Class to explain; found by itself.")] = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The picture to write (PNG).")] = None,
    json: Json = False,
) -> None:
    """Say in an annotator's words why a picture got its class, and draw the maps."""
    target = out or Path(f"{image.stem}-explained.png")
    if target.suffix.lower() != ".png":
        raise typer.BadParameter(f"'{target}' does not end with .png; the picture is written as PNG")
    with Client() as client:
        found = client.get_study(study)
        person = find_annotator(client, found, annotator)
        with about(image):
            response = client.explain_image(
                found.study_id, person.annotator_id, content=image.read_bytes(), category=category
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(_picture(response))
    if json:
        response.ClearField("maps")
        response.ClearField("model_input_png")
        print_json(response)
        return
    console.print(f"{response.category}: {', '.join(response.names) or 'no significant activation'}")
    if response.predicted_class not in ("", response.category):
        console.print(f"(the network's own answer is {response.predicted_class})")
    inferred = not response.in_study
    print_table(
        ("name", "share of evidence", *(("of its X-feature's names",) if inferred else ())),
        [
            (
                a.name or "other",
                f"{a.share:.0%}",
                *((f"{a.name_support:.0%}" if a.HasField("name_support") else None,) if inferred else ()),
            )
            for a in response.activations
        ],
    )
    if response.activations and not any(a.name for a in response.activations):
        console.print(f"other: {annotator} has not named anything like it; names are given on the page.")
    if inferred:
        console.print(
            "This picture is not in the study: "
            "names are inferred from the named activations of the same X-feature."
        )
    console.print(f"picture: {target}")


def summary(
    study: Study,
    annotator: AnnotatorOption,
    category: Annotated[str, typer.Option("--category", "-c", help="Category.")],
    with_other: Annotated[bool, typer.Option(help="Give unnamed activations the name 'other'.")] = False,
    json: Json = False,
) -> None:
    """Summarise a category: the distinct explanations, most frequent first."""
    reading = (
        analytics_pb2.SUMMARY_READING_WITH_OTHER if with_other else analytics_pb2.SUMMARY_READING_NAMED_ONLY
    )
    with Client() as client:
        found = client.get_study(study)
        person = find_annotator(client, found, annotator)
        response = client.get_summary(found.study_id, person.annotator_id, category, reading)
    if json:
        print_json(response)
        return
    print_table(
        ("explanation", "images", "share"),
        [(", ".join(row.names), row.image_count, f"{row.share:.1%}") for row in response.rows],
    )
    console.print(
        f"n = {response.image_count} images; "
        f"{response.left_out_count} without a significant activation left out"
    )


def coverage(study: Study, json: Json = False) -> None:
    """Show how much is nameable: activation, partial and complete coverage."""
    with Client() as client:
        found = client.get_study(study)
        names = {a.annotator_id: a.display_name for a in client.list_annotators(found.study_id)}
        rows = client.get_coverage(found.study_id)
    if json:
        print_json(rows)
        return

    print_coverage(rows, names)


def print_coverage(rows: Sequence[analytics_pb2.Coverage], names: Mapping[str, str]) -> None:
    """Prints coverage; annotators by `names` of their ids."""

    def share(row: analytics_pb2.Coverage, field: str) -> str | None:
        return f"{getattr(row, field):.1%}" if row.HasField(field) else None

    print_table(
        (
            "category",
            "annotator",
            "activations\nnamed",
            "images\nin part",
            "images\nwholly",
            "concepts",
            "n acti-\nvations",
            "n\nimages",
        ),
        [
            (
                row.category,
                names.get(row.annotator_id, row.annotator_id) or "any",
                share(row, "activation"),
                share(row, "partial"),
                share(row, "complete"),
                row.concept_count if row.annotator_id else None,
                row.activation_count,
                row.image_count,
            )
            for row in rows
        ],
    )


@needs("report")
def report(
    study: Study,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.", file_okay=False)],
    shuffles: Shuffles = Options.shuffles,
    seed: Seed = Options.seed,
    time_limit: TimeLimit = TIME_LIMIT_S,
    confidence: Confidence = Options.confidence,
    part_of: PartOf = False,
) -> None:
    """Write a study's report: a page that needs no network, tables and figures."""
    from onoma.report.study import write_study_report

    options = AnalysisOptions(shuffles, seed, time_limit, confidence, part_of)
    with Client() as client, bar_of_stages("report") as progress:
        page = write_study_report(client, client.get_study(study), out, progress, options)
    console.print(f"report: {page}")


def _picture(response: analytics_pb2.ExplainImageResponse) -> bytes:
    import numpy as np
    from PIL import Image

    from onoma.client.columns import map_arrays
    from onoma.pictures_of_maps import NamedMap, explanation_png

    with Image.open(io.BytesIO(response.model_input_png)) as file:
        pixels = np.atleast_3d(np.asarray(file))
    maps = [
        NamedMap(a.name or "other", array, f"{a.share:.0%} of the evidence")
        for a, array in zip(response.activations, map_arrays(response.maps), strict=True)
    ]
    return explanation_png(pixels, maps, f"{response.category}: {', '.join(response.names)}")
