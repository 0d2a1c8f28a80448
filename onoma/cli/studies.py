"""`onoma study` and `onoma maps`: what is shown to annotators, and who may name it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from onoma.cli.output import Json, connected, console, print_json, print_table, wait
from onoma.v1 import naming_pb2, types_pb2

app = typer.Typer(no_args_is_help=True, help="Studies.")
maps_app = typer.Typer(no_args_is_help=True, help="Activation maps.")

_STATES = {
    naming_pb2.STUDY_STATE_DRAFT: "draft",
    naming_pb2.STUDY_STATE_OPEN: "open",
    naming_pb2.STUDY_STATE_CLOSED: "closed",
}
Study = Annotated[str, typer.Argument(help="Study, by id or by name.")]


class Part(StrEnum):
    """Parts of a data set."""

    train = "train"
    test = "test"


class Engine(StrEnum):
    """Where maps are computed."""

    local = "local"
    ray = "ray"


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name for people.")],
    model: Annotated[str, typer.Option(help="Model.")],
    dataset: Annotated[str, typer.Option(help="Data set.")],
    xnn: Annotated[str, typer.Option(help="Set of xNNs; the model's name if not given.")] = "",
    categories: Annotated[str, typer.Option(help="Classes, separated by commas; all if not given.")] = "",
    part: Annotated[Part, typer.Option(help="Part of the data set.")] = Part.test,
    max_images: Annotated[int, typer.Option(help="At most this many images a category; 0: all.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the images taken and the order shown.")] = 0,
    plain: Annotated[bool, typer.Option(help="Plain Excitation Backprop instead of contrastive.")] = False,
) -> None:
    """Make a study."""
    with connected() as client:
        chosen = [c.strip() for c in categories.split(",") if c.strip()]
        chosen = chosen or [x.class_name for x in client.get_xnn_set(xnn or model).xnns]
        study = client.create_study(
            name,
            model,
            dataset,
            xnn or model,
            chosen,
            part=types_pb2.DATASET_PART_TRAIN if part is Part.train else types_pb2.DATASET_PART_TEST,
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


@maps_app.command()
def compute(
    study: Study,
    engine: Annotated[Engine, typer.Option(help="Where; ray comes with a later version.")] = Engine.local,
) -> None:
    """Find a study's significant activations and draw their maps."""
    if engine is Engine.ray:
        raise ValueError("--engine ray is not there yet in this version; --engine local does the same work")
    with connected() as client:
        found = client.get_study(study)
        result = wait(client.compute_maps(found.study_id), "compute maps")
    console.print(", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in result.items()))


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
