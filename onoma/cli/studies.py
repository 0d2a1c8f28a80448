"""`onoma study`: what is shown to annotators, and who may name it."""

from __future__ import annotations

from typing import Annotated

import typer

from onoma.cli.analyse import Confidence, PartOf, Seed, Shuffles, TimeLimit
from onoma.cli.data import Part, listed
from onoma.cli.output import (
    DEFAULT_PAGE,
    Json,
    Yes,
    ask,
    bar,
    console,
    delete,
    errors,
    print_json,
    print_table,
)
from onoma.client import AnalysisOptions, Client, NotFound
from onoma.enum_names import PART_VALUES, names_of
from onoma.extras import needs
from onoma.science.analysis_options import TIME_LIMIT_S, Options
from onoma.v1 import inference_pb2, naming_pb2

app = typer.Typer(no_args_is_help=True, help="Studies.")

STATES = names_of(naming_pb2.StudyState)
_LINK_STATES = names_of(naming_pb2.LinkState)
Study = Annotated[str, typer.Argument(help="Study, by id or by name.")]
Person = Annotated[str, typer.Argument(help="Annotator, by id or by name.")]
PageAddress = Annotated[str, typer.Option(envvar="ONOMA_PUBLIC_URL", help="Address of the page.")]
Days = Annotated[int, typer.Option(min=1, max=365, help="How many days the link lets them in.")]


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
    open_eyes: Annotated[
        bool,
        typer.Option(
            "--open-eyes", help="Annotators may see each other's work; else only once it is closed."
        ),
    ] = False,
    suggestions: Annotated[
        bool | None,
        typer.Option(help="Whether the page may sort by similarity; as --open-eyes if not given."),
    ] = None,
    by_image: Annotated[
        bool, typer.Option("--by-image", help="Show the maps of one image beside each other, not at random.")
    ] = False,
    imported: Annotated[
        bool, typer.Option("--imported", help="Its maps are made elsewhere (onoma maps import): no xNNs.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a study."""
    if imported and (xnn or plain):
        raise typer.BadParameter("--imported goes with neither --xnn nor --plain: they are of computed maps")
    xnn = "" if imported else xnn or model
    with Client() as client:
        _check_unused(client, name)
        xnn_set = client.get_xnn_set(xnn) if xnn else None
        chosen = listed(categories) or _all_classes(client, model, dataset, xnn_set)
        study = client.create_study(
            name,
            model,
            dataset,
            xnn,
            chosen,
            part=PART_VALUES[part],
            settings=naming_pb2.StudySettings(
                max_images_per_category=max_images,
                seed=seed,
                contrastive=not plain,
                blind=not open_eyes,
                suggestions=suggestions,
                pool_order=naming_pb2.POOL_ORDER_IMAGE if by_image else naming_pb2.POOL_ORDER_RANDOM,
            ),
        )
    if xnn_set and xnn_set.dataset != dataset:
        errors.print(
            f"  ! the xNNs '{xnn}' were trained on data set '{xnn_set.dataset}', not on '{dataset}': this study cannot "
            "be exported as an archive, which holds one data set",
            soft_wrap=True,
        )
    if json:
        print_json(study)
    else:
        print_studies([study])


@app.command()
def rename(
    study: Study,
    name: Annotated[str, typer.Argument(help="Its new name.")],
) -> None:
    """Give a study another name."""
    with Client() as client:
        found = client.get_study(study)
        if found.name != name:
            _check_unused(client, name)
        print_studies([client.rename_study(found.study_id, name)])


@app.command("list")
def list_studies(json: Json = False) -> None:
    """List the studies, latest first."""
    with Client() as client:
        studies = list(client.list_studies())
    if json:
        print_json(studies)
    else:
        print_studies(studies)


@app.command("open")
def open_study(study: Study) -> None:
    """Let annotators in."""
    with Client() as client:
        print_studies([client.open_study(client.get_study(study).study_id)])


@app.command("close")
def close_study(study: Study, yes: Yes = False) -> None:
    """End naming for good."""
    with Client() as client:
        found = client.get_study(study)
        if found.state == naming_pb2.STUDY_STATE_OPEN and not yes:
            people = client.list_annotators(found.study_id)
            count = sum(person.role == naming_pb2.ROLE_ANNOTATOR for person in people)
            who = "1 annotator" if count == 1 else f"{count} annotators"
            means = f"{who} can name no more, and it cannot be opened again"
            ask(f"Close the study {found.name}? {means}.", f"study {found.name} would be closed: {means}")
        print_studies([client.close_study(found.study_id)])


@app.command("delete")
def delete_study(study: Study, yes: Yes = False) -> None:
    """Delete a study for good: its maps, its annotators and all that they named."""
    with Client() as client:
        try:
            found = client.get_study(study)
        except NotFound:  # unless a deletion was cut off: then its maps are left, and this is their id
            what = f"maps of a study {study} that naming does not know, as a deletion that was cut off leaves them"
            delete(what, lambda: client.delete_study(study), asks=not yes)
            return
        people = client.list_annotators(found.study_id)
        acted = sum(person.named_count + person.discarded_count for person in people)
        who = "1 annotator or viewer" if len(people) == 1 else f"{len(people)} annotators and viewers"
        what = f"study {found.name} ({found.activation_count:,} activations; {who}, who placed {acted:,})"
        delete(what, lambda: client.delete_study(found.study_id), asks=not yes)


@app.command()
def invite(
    study: Study,
    name: Annotated[str, typer.Argument(help="The annotator's name, as you will see it.")],
    page: PageAddress = DEFAULT_PAGE,
    viewer: Annotated[
        bool, typer.Option("--viewer", help="Invite somebody who reads the results and names nothing.")
    ] = False,
    days: Days = 30,
    json: Json = False,
) -> None:
    """Invite an annotator and print the link; it is shown this once."""
    role = naming_pb2.ROLE_VIEWER if viewer else naming_pb2.ROLE_ANNOTATOR
    with Client() as client:
        study_id = client.get_study(study).study_id
        invited = client.invite_annotator(study_id, name, role=role, link_days=days)
    _print_link(study_id, invited.annotator, page, invited.token, json=json)


@app.command()
def renew(
    study: Study, name: Person, page: PageAddress = DEFAULT_PAGE, days: Days = 30, json: Json = False
) -> None:
    """Print a new link for an annotator; the old one stops working."""
    with Client() as client:
        found = client.get_study(study)
        person = find_annotator(client, found, name, or_viewer=True)
        renewed = client.renew_invitation(found.study_id, person.annotator_id, link_days=days)
    _print_link(found.study_id, renewed.annotator, page, renewed.token, json=json)


@app.command()
def revoke(study: Study, name: Person) -> None:
    """Make an annotator's link worthless; the work stays."""
    with Client() as client:
        found = client.get_study(study)
        person = find_annotator(client, found, name, or_viewer=True)
        client.revoke_invitation(found.study_id, person.annotator_id)
    console.print(f"The link of {name} no longer lets anybody in.")


@app.command()
def erase(study: Study, name: Person, yes: Yes = False) -> None:
    """Delete an annotator for good, with all that they named; others' work stays."""
    with Client() as client:
        found = client.get_study(study)
        person = find_annotator(client, found, name, or_viewer=True)
        what = (
            f"annotator {person.display_name} of study {found.name} ({person.named_count:,} activations named, "
            f"{person.discarded_count:,} discarded)"
        )
        delete(what, lambda: client.delete_annotator(found.study_id, person.annotator_id), asks=not yes)


@app.command()
def annotators(study: Study, json: Json = False) -> None:
    """List the annotators of a study with their progress."""
    with Client() as client:
        people = list(client.list_annotators(client.get_study(study).study_id))
    if json:
        print_json(people)
    else:
        print_table(
            ("annotator", "id", "role", "link", "named", "discarded"),
            [
                (
                    p.display_name,
                    p.annotator_id,
                    "viewer" if p.role == naming_pb2.ROLE_VIEWER else "annotator",
                    _LINK_STATES.get(p.link_state, "?"),
                    p.named_count,
                    p.discarded_count,
                )
                for p in people
            ],
            empty="nobody is invited yet: onoma study invite STUDY NAME prints a link",
        )


@app.command()
@needs("analysis")
def analyse(
    study: Study,
    shuffles: Shuffles = Options.shuffles,
    seed: Seed = Options.seed,
    time_limit: TimeLimit = TIME_LIMIT_S,
    confidence: Confidence = Options.confidence,
    part_of: PartOf = False,
    json: Json = False,
) -> None:
    """Compute coverage, purity, agreement and more of a study as it stands."""
    from onoma.cli.printed_analysis import prepared

    options = AnalysisOptions(shuffles, seed, time_limit, confidence, part_of)
    with Client() as client, bar("analyse") as progress:
        study_id = client.get_study(study).study_id
        categories = client.analyse_categories(study_id, options=options, progress=progress)
        print_analysis = prepared(categories, as_json=json)
    print_analysis()


def find_annotator(
    client: Client, study: naming_pb2.Study, name: str, *, or_viewer: bool = False
) -> naming_pb2.Annotator:
    """The annotator with that id or display name.

    Args:
        or_viewer: those who only look count too.
    Raises:
        NotFound: none has it, or who has it only looks.
    """
    people = client.list_annotators(study.study_id)
    meant = [person for person in people if or_viewer or person.role != naming_pb2.ROLE_VIEWER]
    for person in meant:
        if name in (person.annotator_id, person.display_name):
            return person
    known = ", ".join(f"'{person.display_name}'" for person in meant) or "nobody yet (onoma study invite)"
    if any(name in (person.annotator_id, person.display_name) for person in people):
        raise NotFound(
            f"'{name}' looks on in study '{study.name}' and names nothing; those who name: {known}"
        )
    raise NotFound(f"study '{study.name}' has no annotator '{name}'; it has {known}")


def _print_link(study_id: str, of: naming_pb2.Annotator, page: str, token: str, *, json: bool) -> None:
    link = f"{page.rstrip('/')}/name#{token}"
    if json:
        names = {"annotator_id": of.annotator_id, "display_name": of.display_name}
        print_json({"study_id": study_id, **names, "link": link})
    else:
        console.print(link, soft_wrap=True)


def _check_unused(client: Client, name: str) -> None:
    """Raises ValueError where a study has the name: commands could not tell the two apart."""
    same = next((study for study in client.list_studies() if study.name == name), None)
    if same is not None:
        raise ValueError(f"a study is named '{name}' already ({same.study_id}); choose another name")


def _all_classes(client: Client, model: str, dataset: str, xnn_set: inference_pb2.XnnSet | None) -> list[str]:
    """Classes that have an xNN; without a set of them, those that model and data set share."""
    if xnn_set:
        return [xnn.class_name for xnn in xnn_set.xnns]
    known = set(client.get_dataset(dataset).classes)
    return [name for name in client.get_model(model).classes if name in known]


def print_studies(studies: list[naming_pb2.Study]) -> None:
    """Prints studies as a table."""
    print_table(
        ("study", "id", "state", "model", "data\nset", "cate-\ngories", "acti-\nvations"),
        [
            (
                s.name,
                s.study_id,
                STATES.get(s.state, "?"),
                s.model,
                s.dataset,
                len(s.categories),
                s.activation_count,
            )
            for s in studies
        ],
        empty="no study yet: onoma study create NAME --model MODEL --dataset DATASET makes one",
        spare="model",
    )
