"""`onoma study`: what is shown to annotators, and who may name it."""

from __future__ import annotations

from typing import Annotated

import typer

from onoma.cli.data import PARTS, Part, listed
from onoma.cli.output import Json, connected, console, print_json, print_table
from onoma.client import Client
from onoma.v1 import naming_pb2

app = typer.Typer(no_args_is_help=True, help="Studies.")

_STATES = {
    naming_pb2.STUDY_STATE_DRAFT: "draft",
    naming_pb2.STUDY_STATE_OPEN: "open",
    naming_pb2.STUDY_STATE_CLOSED: "closed",
}
Study = Annotated[str, typer.Argument(help="Study, by id or by name.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name for people.")],
    model: Annotated[str, typer.Option(help="Model.")],
    dataset: Annotated[str, typer.Option(help="Data set.")],
    xnn: Annotated[str, typer.Option(help="Set of xNNs; the model's name if not given.")] = "",
    categories: Annotated[str, typer.Option(help="Classes, separated by commas; all if not given.")] = "",
    part: Annotated[Part, typer.Option(help="Part of the data set.")] = Part.TEST,
    max_images: Annotated[int, typer.Option(help="At most this many images a category; 0: all.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the images taken and the order shown.")] = 0,
    plain: Annotated[bool, typer.Option(help="Plain Excitation Backprop instead of contrastive.")] = False,
    imported: Annotated[
        bool, typer.Option("--imported", help="Its maps are made elsewhere (onoma maps import): no xNNs.")
    ] = False,
) -> None:
    """Make a study."""
    if imported and (xnn or plain):
        raise typer.BadParameter("--imported goes with neither --xnn nor --plain: they are of computed maps")
    xnn = "" if imported else xnn or model
    with connected() as client:
        chosen = listed(categories) or _all_classes(client, model, dataset, xnn)
        study = client.create_study(
            name,
            model,
            dataset,
            xnn,
            chosen,
            part=PARTS[part],
            settings=naming_pb2.StudySettings(
                max_images_per_category=max_images, seed=seed, contrastive=not plain
            ),
        )
    _print_studies([study])


@app.command("list")
def list_studies(json: Json = False) -> None:
    """List the studies, latest first."""
    with connected() as client:
        studies = list(client.list_studies())
    if json:
        print_json(studies)
    else:
        _print_studies(studies)


@app.command("open")
def open_study(study: Study) -> None:
    """Let annotators in."""
    with connected() as client:
        _print_studies([client.open_study(client.get_study(study).study_id)])


@app.command("close")
def close_study(study: Study) -> None:
    """End naming."""
    with connected() as client:
        _print_studies([client.close_study(client.get_study(study).study_id)])


@app.command()
def invite(
    study: Study,
    name: Annotated[str, typer.Argument(help="The annotator's name, as you will see it.")],
    page: Annotated[str, typer.Option(help="Address of the page.")] = "http://127.0.0.1:8080",
) -> None:
    """Invite an annotator and print the link; it is shown this once."""
    with connected() as client:
        invitation = client.invite_annotator(client.get_study(study).study_id, name)
    console.print(f"{page.rstrip('/')}/name#{invitation.token}", soft_wrap=True, markup=False)


@app.command()
def annotators(study: Study, json: Json = False) -> None:
    """List the annotators of a study with their progress."""
    with connected() as client:
        people = list(client.list_annotators(client.get_study(study).study_id))
    if json:
        print_json(people)
    else:
        print_table(
            ("annotator", "id", "named", "discarded"),
            [(p.display_name, p.annotator_id, p.named_count, p.discarded_count) for p in people],
        )


def _all_classes(client: Client, model: str, dataset: str, xnn: str) -> list[str]:
    """Classes that have an xNN; without a set of them, those that model and data set share."""
    if xnn:
        return [x.class_name for x in client.get_xnn_set(xnn).xnns]
    known = set(client.get_dataset(dataset).classes)
    return [name for name in client.get_model(model).classes if name in known]


def _print_studies(studies: list[naming_pb2.Study]) -> None:
    print_table(
        ("study", "id", "state", "model", "data set", "categories", "activations"),
        [
            (
                s.name,
                s.study_id,
                _STATES.get(s.state, "?"),
                s.model,
                s.dataset,
                len(s.categories),
                s.activation_count,
            )
            for s in studies
        ],
    )
