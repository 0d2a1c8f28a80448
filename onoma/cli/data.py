"""`onoma dataset`: bring pictures in and see what came of it."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from onoma.cli.output import Json, Yes, delete, print_json, print_table, wait
from onoma.client import Client, NotFound
from onoma.enum_names import names_of
from onoma.v1 import inference_pb2

app = typer.Typer(no_args_is_help=True, help="Data sets.")


class Part(StrEnum):
    """Parts of a data set."""

    TRAIN = "train"
    TEST = "test"


@app.command()
def add(
    path: Annotated[
        Path, typer.Argument(help="Folder: train/CLASS/*, CUB-200-2011, or MNIST-style idx files.")
    ],
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the data set.")],
    classes: Annotated[str, typer.Option(help="Classes to take, separated by commas.")] = "",
    max_train: Annotated[int, typer.Option(help="At most this many training images a class; 0: all.")] = 0,
    max_test: Annotated[int, typer.Option(help="At most this many test images a class; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of limits and of a missing split.")] = 0,
    json: Json = False,
) -> None:
    """Import a folder of pictures."""
    with Client() as client:
        job = client.import_dataset(
            name,
            str(path.resolve()),
            classes=listed(classes),
            max_train_images_per_class=max_train,
            max_test_images_per_class=max_test,
            seed=seed,
        )
        wait(job, f"import {name}")
        made = client.get_dataset(name)
    if json:
        print_json(made)
    else:
        _print_datasets([made])


@app.command("list")
def list_datasets(json: Json = False) -> None:
    """List the data sets."""
    with Client() as client:
        datasets = list(client.list_datasets())
    if json:
        print_json(datasets)
    else:
        _print_datasets(datasets)


@app.command()
def issues(name: Annotated[str, typer.Argument(help="Data set.")], json: Json = False) -> None:
    """List the files an import skipped or changed, and why."""
    with Client() as client:
        found = list(client.list_import_issues(name))
    if json:
        print_json(found)
        return
    outcomes = names_of(inference_pb2.ImportOutcome)
    print_table(
        ("file", "outcome", "reason"),
        [(i.path, outcomes.get(i.outcome, "?"), i.reason) for i in found],
        empty="no file was skipped or changed",
    )
    counts = Counter((outcomes.get(i.outcome, "?"), i.reason) for i in found)
    if len(found) > len(counts):
        print_table(
            ("files", "outcome", "reason"),
            [(count, *what) for what, count in counts.most_common()],
            title="\nby reason",
        )


@app.command("delete")
def delete_dataset(name: Annotated[str, typer.Argument(help="Data set.")], yes: Yes = False) -> None:
    """Delete a data set for good, with its pictures; `onoma doctor --remove-orphans` then frees their space."""
    with Client() as client:
        try:
            found = client.get_dataset(name)
        except NotFound:
            what = f"what imports of a data set {name} have left that never ended"
        else:
            count = sum(found.train_counts) + sum(found.test_counts)
            what = f"data set {name} ({count:,} picture{'' if count == 1 else 's'})"
        delete(what, lambda: client.delete_dataset(name), asks=not yes)


def listed(names: str) -> list[str]:
    """Names of "a, b,c"."""
    return [name.strip() for name in names.split(",") if name.strip()]


def names_in(file: Path) -> list[str]:
    """Names of a text file with one a line."""
    lines = file.read_text(encoding="utf-8").split("\n")
    return [line.strip() for line in lines if line.strip()]


def _print_datasets(datasets: list[inference_pb2.Dataset]) -> None:
    print_table(
        ("data set", "classes", "train", "test", "skipped", "converted"),
        [
            (
                d.name,
                len(d.classes),
                sum(d.train_counts),
                sum(d.test_counts),
                d.skipped_count,
                d.converted_count,
            )
            for d in datasets
        ],
        empty="no data set yet: onoma dataset add FOLDER --name NAME brings one in",
    )
