"""`onoma xnn`: train the explanation networks and show how faithful they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onoma.cli.output import Json, connected, console, print_json, print_table, wait
from onoma.report.study import class_row
from onoma.report.tables import write_table1_csv, write_table1_tex
from onoma.v1 import inference_pb2

app = typer.Typer(no_args_is_help=True, help="Explanation networks (xNNs).")


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="Model.")],
    dataset: Annotated[
        str, typer.Argument(help="Data set: its training part trains, its test part measures.")
    ],
    name: Annotated[
        str, typer.Option("--name", "-n", help="Name of the set; the model's name if not given.")
    ] = "",
    classes: Annotated[str, typer.Option(help="Classes, separated by commas; all if not given.")] = "",
    features: Annotated[int, typer.Option(help="K, X-features a class.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Train one xNN a class."""
    settings = inference_pb2.XnnSettings(x_feature_count=features, seed=seed)
    with connected() as client:
        job = client.train_xnn(
            name or model,
            model,
            dataset,
            classes=[c.strip() for c in classes.split(",") if c.strip()],
            settings=settings,
        )
        wait(job, "train xNNs")
        print_table_1(client.get_xnn_set(name or model))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Set of xNNs.")],
    csv: Annotated[Path | None, typer.Option(help="Write the table there as CSV, in full precision.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the paper's columns there as LaTeX.")] = None,
    json: Json = False,
) -> None:
    """Show a set of xNNs as Table 1 of the paper, with more columns."""
    with connected() as client:
        xnn_set = client.get_xnn_set(name)
    rows = [class_row(xnn) for xnn in xnn_set.xnns]
    if csv:
        write_table1_csv(csv, rows)
    if latex:
        write_table1_tex(latex, rows)
    if json:
        print_json(xnn_set)
    else:
        print_table_1(xnn_set)


@app.command("list")
def list_sets(json: Json = False) -> None:
    """List the sets of xNNs."""
    with connected() as client:
        sets = list(client.list_xnn_sets())
    if json:
        print_json(sets)
    else:
        print_table(
            ("set", "model", "data set", "xNNs", "agreement"),
            [(s.name, s.model, s.dataset, len(s.xnns), _optional(s, "argmax_agreement")) for s in sets],
        )


def print_table_1(xnn_set: inference_pb2.XnnSet) -> None:
    """Prints a set of xNNs: a row a class, then the figures over all classes."""
    print_table(
        (
            "class",
            "images",
            "signi-\nficant",
            "an\nimage",
            "DNN\nacc.",
            "xNN\nacc.",
            "RMSE",
            "of\nrange",
            "mat-\nter",
            "at\nfirst",
            "re-\nstarts",
        ),
        [
            (
                x.class_name,
                x.image_count,
                x.significant_count,
                _optional(x, "significant_mean"),
                _optional(x, "dnn_accuracy"),
                _optional(x, "xnn_accuracy"),
                x.rmse,
                relative_rmse(x),
                x.mattering_count,
                x.first_mattering_count,
                x.restart_count,
            )
            for x in xnn_set.xnns
        ],
    )
    console.print(
        "matter: X-features with a mean term of 0.3 of the largest or more; at first:\nbefore the restart rule"
    )
    relative = [r for r in map(_relative, xnn_set.xnns) if r is not None]
    if relative:
        console.print(
            "RMSE over the score's range: "
            f"mean {sum(relative) / len(relative):.2%}, worst {max(relative):.2%}"
        )
    if xnn_set.HasField("argmax_agreement"):
        console.print(
            f"over {xnn_set.test_image_count} test images: DNN accuracy {xnn_set.dnn_accuracy:.2%}, "
            f"xNN accuracy {xnn_set.xnn_accuracy:.2%}, arg-max agreement {xnn_set.argmax_agreement:.2%}"
        )


def relative_rmse(xnn: inference_pb2.Xnn) -> str | None:
    """RMSE as a share of the score's range, in per cent; None where the range is empty."""
    share = _relative(xnn)
    return None if share is None else f"{share:.2%}"


def _relative(xnn: inference_pb2.Xnn) -> float | None:
    score_range = xnn.score_max - xnn.score_min
    return xnn.rmse / score_range if score_range > 0 else None


def _optional(message: inference_pb2.Xnn | inference_pb2.XnnSet, field: str) -> float | None:
    return getattr(message, field) if message.HasField(field) else None
