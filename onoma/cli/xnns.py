"""`onoma xnn`: train the explanation networks and show how faithful they are."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onoma.cli.data import Part, listed
from onoma.cli.jobs import unfinished_job
from onoma.cli.output import (
    Engine,
    Json,
    Yes,
    console,
    delete,
    errors,
    percent,
    print_json,
    print_table,
    wait,
)
from onoma.client import Client, FailedPrecondition
from onoma.enum_names import PART_VALUES
from onoma.extras import needs
from onoma.faithfulness import class_row, feature_count_row, optional
from onoma.v1 import inference_pb2, types_pb2

if TYPE_CHECKING:
    from onoma.report.figures import ClassScores

app = typer.Typer(no_args_is_help=True, help="Explanation networks (xNNs).")


ModelArgument = Annotated[str, typer.Argument(help="Model.")]
DatasetArgument = Annotated[
    str, typer.Argument(help="Data set: its training part trains, its test part measures.")
]
Name = Annotated[str, typer.Option("--name", "-n", help="Name of the set; the model's name if not given.")]
Classes = Annotated[str, typer.Option(help="Classes, separated by commas; all if not given.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast", help="One first layer for all classes: much faster, less faithful, and not the paper's xNN."
    ),
]


class Precision(StrEnum):
    """Of the products in training."""

    FLOAT32 = "float32"
    TF32 = "tf32"
    BF16 = "bf16"


class Pairs(StrEnum):
    """Of what the pull-away loss takes cosines."""

    FEATURES = "features"
    IMAGES = "images"


Epochs = Annotated[int, typer.Option(help="Epochs of joint training; 0: as the server has it.")]
Paper = Annotated[
    bool,
    typer.Option(
        "--paper",
        help="The paper's batches of 50, every unit reconstructed, and its weights of the losses (15 and 5; 10 and 10 "
        "over image pairs): slower and less faithful.",
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        help="Of the products in training; tf32 is for GPUs only; docs/xnns.md says what they cost."
    ),
]
PullAway = Annotated[
    Pairs, typer.Option(help="Pairs that the pull-away loss drives apart: X-features, or images.")
]
FeatureEngine = Annotated[
    Engine,
    typer.Option(
        help="Where features are computed: in the server's process, or on its Ray cluster (docs/scale.md)."
    ),
]
PAPER_WEIGHTS = {Pairs.FEATURES: (15.0, 5.0), Pairs.IMAGES: (10.0, 10.0)}  # of reconstruction and pull-away


def training_settings(
    features: int, epochs: int, seed: int, fast: bool, paper: bool, precision: Precision, pull_away: Pairs
) -> inference_pb2.XnnSettings:
    """What the options ask the server for; what they leave open is the server's."""
    settings = inference_pb2.XnnSettings(
        x_feature_count=features,
        epochs=epochs,
        seed=seed,
        shared_trunk=fast,
        precision=f"PRECISION_{precision.name}",
        pull_away_pairs=f"PULL_AWAY_PAIRS_{pull_away.name}",
    )
    if paper:
        settings.batch_size, settings.reconstructed_units = 50, 0
        settings.reconstruction_weight, settings.pull_away_weight = PAPER_WEIGHTS[pull_away]
    return settings


@app.command()
def train(
    model: ModelArgument,
    dataset: DatasetArgument,
    name: Name = "",
    classes: Classes = "",
    features: Annotated[
        int, typer.Option(help="K, X-features a class (onoma xnn sweep helps to choose).", min=1, max=64)
    ] = 5,
    epochs: Epochs = 0,
    seed: Seed = 0,
    fast: Fast = False,
    paper: Paper = False,
    precision: PrecisionOption = Precision.FLOAT32,
    pull_away: PullAway = Pairs.FEATURES,
    keep: Annotated[
        Part | None,
        typer.Option(
            help="Keep the map layer's activations of this part's images, from which maps are then drawn: faster, but "
            "4 bytes a value on the server's disk (401 kB an image on VGG16)."
        ),
    ] = None,
    engine: FeatureEngine = Engine.LOCAL,
    json: Json = False,
) -> None:
    """Train one xNN a class."""
    settings = training_settings(features, epochs, seed, fast, paper, precision, pull_away)
    with Client() as client:
        job = client.train_xnn(
            name or model,
            model,
            dataset,
            classes=listed(classes),
            settings=settings,
            keep_cells_of=PART_VALUES[keep] if keep else types_pb2.DATASET_PART_UNSPECIFIED,
            engine=engine.value,
        )
        wait(job, "train xNNs")
        made = client.get_xnn_set(name or model)
    if json:
        print_json(made)
    else:
        print_table_1(made)


@app.command()
@needs("report")
def sweep(
    model: ModelArgument,
    dataset: DatasetArgument,
    features: Annotated[str, typer.Option(help="Values of K: 1..12, or 2,3,5.")] = "1..12",
    name: Annotated[
        str,
        typer.Option(
            "--name", "-n", help="Sets are called NAME-k1 and so on; the model's name if not given."
        ),
    ] = "",
    classes: Classes = "",
    epochs: Epochs = 0,
    seed: Seed = 0,
    fast: Fast = False,
    paper: Paper = False,
    precision: PrecisionOption = Precision.FLOAT32,
    pull_away: PullAway = Pairs.FEATURES,
    engine: FeatureEngine = Engine.LOCAL,
    plot: Annotated[
        Path | None, typer.Option(help="Draw error and sparsity by K there, as SVG or PNG.")
    ] = None,
    json: Json = False,
) -> None:
    """Train xNNs with several K, to choose one by faithfulness and sparsity; goes on where it was stopped."""
    counts = feature_counts(features)
    draw_to = check_figure_path(plot) if plot else None
    if draw_to:
        from onoma.report.figures import feature_count_figure, save
    rows = []
    with Client() as client:
        for count in counts:
            set_name = f"{name or model}-k{count}"
            settings = training_settings(count, epochs, seed, fast, paper, precision, pull_away)
            job = client.train_xnn(
                set_name, model, dataset, classes=listed(classes), settings=settings, engine=engine.value
            )
            wait(job, f"K = {count}")
            rows.append(feature_count_row(client.get_xnn_set(set_name)))
    if draw_to:
        save(lambda: feature_count_figure(rows), *draw_to)
    if json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("K", "RMSE/range", "worst class", "significant", "matter", "agreement"),
        [
            (
                row.x_feature_count,
                percent(row.rmse, 2),
                percent(row.worst_rmse, 2),
                row.significant_mean,
                row.mattering_mean,
                percent(row.argmax_agreement, 2),
            )
            for row in rows
        ],
    )
    console.print(
        "significant: X-features an image; matter: a class's X-features with a mean term of 0.3 of the largest"
    )


@app.command()
@needs("report")
def show(
    name: Annotated[str, typer.Argument(help="Set of xNNs.")],
    csv: Annotated[Path | None, typer.Option(help="Write the table there as CSV, in full precision.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the paper's columns there as LaTeX.")] = None,
    ours: Annotated[
        bool, typer.Option("--ours", help="With --latex: the columns that the paper does not have too.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw xNN score against network score there, as SVG or PNG.")
    ] = None,
    json: Json = False,
) -> None:
    """Show a set of xNNs as Table 1 of the paper, then columns of ours."""
    if ours and not latex:
        raise typer.BadParameter("--ours says what --latex writes; give --latex FILE too")
    draw_to = check_figure_path(plot) if plot else None
    with Client() as client:
        xnn_set = client.get_xnn_set(name)
        # a set that has it is whole
        unfinished = "" if xnn_set.HasField("argmax_agreement") else unfinished_job(client, "train_xnn", name)
        if not xnn_set.xnns:
            way_out = unfinished or "onoma job list shows its training, onoma job resume goes on with it"
            raise FailedPrecondition(f"set of xNNs '{name}' has no xNN yet; {way_out}")
        if unfinished:
            errors.print(f"  ! set of xNNs '{name}': {unfinished}", soft_wrap=True)
        if draw_to:
            from onoma.report.figures import save, scores_figure

            panels = [_scores(client, name, xnn.class_name) for xnn in xnn_set.xnns]
            save(lambda: scores_figure([panel for panel in panels if panel]), *draw_to)
    if csv or latex:
        from onoma.report.tables import write_table1_csv, write_table1_tex

        rows = [class_row(xnn) for xnn in xnn_set.xnns]
        if csv:
            write_table1_csv(csv, rows)
        if latex:
            write_table1_tex(latex, rows, ours=ours)
    if json:
        print_json(xnn_set)
    else:
        print_table_1(xnn_set)


@app.command("delete")
def delete_set(name: Annotated[str, typer.Argument(help="Set of xNNs.")], yes: Yes = False) -> None:
    """Delete a set of xNNs for good."""
    with Client() as client:
        count = len(client.get_xnn_set(name).xnns)
        what = f"set {name} ({count} xNN{'' if count == 1 else 's'})"
        delete(what, lambda: client.delete_xnn_set(name), asks=not yes)


@app.command("list")
def list_sets(json: Json = False) -> None:
    """List the sets of xNNs."""
    with Client() as client:
        sets = list(client.list_xnn_sets())
    if json:
        print_json(sets)
    else:
        print_table(
            ("set", "model", "data set", "xNNs", "agreement"),
            [
                (s.name, s.model, s.dataset, len(s.xnns), percent(optional(s, "argmax_agreement"), 2))
                for s in sets
            ],
            empty="no explanation networks yet: onoma xnn train MODEL DATASET trains them",
        )


def feature_counts(text: str) -> list[int]:
    """Values of K of "1..12" or "2,3,5", in order.

    Raises:
        BadParameter: it says something else, or a value that is not 1 to 64.
    """
    try:
        low, dots, high = text.partition("..")
        counts = list(range(int(low), int(high) + 1)) if dots else sorted({int(k) for k in text.split(",")})
    except ValueError:
        counts = []
    if not counts or not 1 <= counts[0] <= counts[-1] <= 64:
        raise typer.BadParameter(f"'{text}' is neither a range like 1..12 nor a list like 2,3,5 of 1 to 64")
    return counts


def check_figure_path(path: Path) -> tuple[Path, list[str]]:
    """Stem and form of a figure's file.

    Raises:
        BadParameter: neither SVG nor PNG, or in a folder that is not there.
    """
    form = path.suffix.lower().lstrip(".")
    if form not in ("svg", "png"):
        raise typer.BadParameter(f"'{path}' ends neither with .svg nor with .png")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"folder '{path.parent}' does not exist")
    return path.with_suffix(""), [form]


def _scores(client: Client, set_name: str, class_name: str) -> ClassScores | None:
    """None where the class's data set has no test image."""
    import numpy as np

    from onoma.report.figures import ClassScores

    columns = client.list_xnn_scores(set_name, class_name)
    if not columns.of_class:
        return None
    scores = np.array([columns.dnn_scores, columns.xnn_scores], np.float32).T
    of_class = np.array(columns.of_class, bool)
    return ClassScores(class_name, scores[of_class], scores[~of_class])


def print_table_1(xnn_set: inference_pb2.XnnSet) -> None:
    """Prints a set of xNNs: the paper's columns, those that are ours, then the figures over all classes."""
    rows = [class_row(xnn) for xnn in xnn_set.xnns]
    print_table(
        (
            "class",
            "images",
            "signi-\nficant",
            "an\nimage",
            "DNN\nacc.",
            "xNN\nacc.",
            "RMSE",
            "score\nfrom",
            "to",
        ),
        [
            (
                row.class_name,
                row.image_count,
                row.significant_count,
                row.significant_mean,
                percent(row.dnn_accuracy),
                percent(row.xnn_accuracy),
                row.rmse,
                row.score_min,
                row.score_max,
            )
            for row in rows
        ],
    )
    print_table(
        ("class", "RMSE of\nrange", "mean\n|corr.|", "matter", "at\nfirst", "re-\nstarts", "accepted"),
        [
            (
                row.class_name,
                percent(row.rmse_share, 2),
                row.mean_abs_correlation,
                row.mattering_count,
                row.first_mattering_count,
                row.restart_count,
                row.accepted,
            )
            for row in rows
        ],
    )
    console.print(
        "|corr.|: of the terms of two X-features; matter: X-features with a mean term of 0.3 of the largest "
        "or more; at first: before the restart rule; accepted: faithful on training images that were held out "
        "(none of fewer than 100), and at least two matter"
    )
    over_all = feature_count_row(xnn_set)
    if over_all.rmse is not None and over_all.worst_rmse is not None:
        console.print(
            f"RMSE over the score's range: mean {over_all.rmse:.2%}, worst {over_all.worst_rmse:.2%}"
        )
    if xnn_set.HasField("argmax_agreement"):
        console.print(
            f"over {xnn_set.test_image_count} test images: DNN accuracy {xnn_set.dnn_accuracy:.2%}, "
            f"xNN accuracy {xnn_set.xnn_accuracy:.2%}, arg-max agreement {xnn_set.argmax_agreement:.2%}"
        )
