"""`onoma maps`: a study's activation maps, computed here or made elsewhere, and what made them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onoma.cli.output import DASH, Engine, EngineOption, Json, about, console, print_json, wait
from onoma.cli.studies import Study
from onoma.client import Client
from onoma.enum_names import MODES
from onoma.v1 import attribution_pb2

app = typer.Typer(no_args_is_help=True, help="Activation maps.")


@app.command()
def compute(
    study: Study,
    engine: EngineOption = Engine.LOCAL,
    json: Json = False,
) -> None:
    """Find a study's significant activations and draw their maps."""
    with Client() as client:
        found = client.get_study(study)
        result = wait(client.compute_maps(found.study_id, engine=engine.value), "compute maps")
    _print_counts(result, json=json)


@app.command("import")
def import_maps(
    study: Study,
    archive: Annotated[
        Path,
        typer.Argument(
            help="Zip of manifest.json, activations.csv and maps.npy.", exists=True, dir_okay=False
        ),
    ],
    json: Json = False,
) -> None:
    """Take maps made elsewhere, by any method, into a study (docs/importing-maps.md)."""
    with Client() as client, about(archive):
        found = client.get_study(study)
        result = wait(client.import_maps(found.study_id, archive), "import maps")
    _print_counts(result, json=json)


@app.command()
def show(study: Study, json: Json = False) -> None:
    """Show what made a study's maps."""
    with Client() as client:
        made_by = client.get_map_provenance(client.get_study(study).study_id)
    if json:
        print_json(made_by)
    else:
        for what, value in _described(made_by):
            console.print(f"{what:<18}{value or DASH}", soft_wrap=True)


def _described(made_by: attribution_pb2.MapProvenance) -> list[tuple[str, str]]:
    """What made the maps, as (what, value); "" where it is not known or does not apply."""
    contrastive = "contrastive" if made_by.contrastive else "plain"
    rule = f"{contrastive}, {MODES[made_by.mode]} mode" if made_by.mode in MODES else ""
    threshold = "not applied: significant activations alone" if made_by.already_significant else ""
    return [
        ("method", made_by.method),
        ("rule", rule),
        ("parameters", made_by.parameters_json),
        ("archive", made_by.archive_hash),
        ("model", made_by.model),
        ("model hash", made_by.model_hash),
        ("attachment layer", made_by.attachment_layer),
        ("map layer", made_by.map_layer),
        ("map size", f"{made_by.map_height} x {made_by.map_width}"),
        ("set of xNNs", made_by.xnn_set),
        ("xNN hash", made_by.xnn_hash),
        ("data set", made_by.dataset),
        ("data set hash", made_by.dataset_hash),
        ("significant share", threshold or f"{made_by.significant_share:g}"),
        ("Onoma", made_by.onoma_version),
    ]


def _print_counts(result: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(result)
        return
    for key, value in result.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        console.print(f"{key.replace('_', ' '):<28}{shown}")
