"""`onoma model`: export a network, check it, register it."""

from __future__ import annotations

import json as json_text
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import ParseDict, ParseError

from onoma.cli.data import listed, names_in
from onoma.cli.output import Json, Yes, about, console, delete, plain, print_json, print_table, wait
from onoma.client import Client, InvalidArgument
from onoma.enum_names import INTERPOLATION_VALUES, MODES
from onoma.extras import needs
from onoma.v1 import inference_pb2, types_pb2

app = typer.Typer(no_args_is_help=True, help="Networks.")


@app.command()
@needs("torch")
def export(
    source: Annotated[str, typer.Argument(help="torchvision:NAME, for example torchvision:vgg16.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .pt2 file to write.")],
    weights: Annotated[
        Path | None, typer.Option(help="State dict as .safetensors, .pt or .pth; random weights without.")
    ] = None,
    classes: Annotated[Path | None, typer.Option(help="Text file with one class name a line.")] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Height and width of the input in pixels; without, as torchvision's weights want."),
    ] = None,
) -> None:
    """Make a .pt2 program from a torchvision network."""
    from onoma.cli.export import torchvision_program

    program, used = torchvision_program(source, weights, classes, size)
    out.write_bytes(program)
    how = f"weights of {weights}" if weights else "random weights (give --weights for trained ones)"
    console.print(f"{out}: {source} with {how}")
    console.print(
        f"pictures: shorter side to {used.resize_shorter_side} px ({used.interpolation}), centre of {used.height} x "
        f"{used.width}, mean {used.mean}, standard deviation {used.std}",
        soft_wrap=True,
    )


@app.command()
@needs("torch")
def check(
    file: Annotated[Path, typer.Argument(help="A .pt2 file.", exists=True, dir_okay=False)],
    attachment_layer: Annotated[str, typer.Option(help="Layer the xNN reads; found by itself.")] = "",
    map_layer: Annotated[str, typer.Option(help="Layer the maps are drawn on; found by itself.")] = "",
    layers: Annotated[bool, typer.Option("--layers", help="List the layers that can be named.")] = False,
    json: Json = False,
) -> None:
    """Say whether a .pt2 program can be registered; needs no server."""
    from onoma.science.registration import check as check_program

    with about(file):
        report = check_program(file.read_bytes(), attachment_layer, map_layer)
    if json:
        print_json(asdict(report))
    elif report.operators:
        print_table(
            ("operator", "nodes", "rule"),
            [
                (o.name, o.count, "yes" if o.has_rule else "MISSING" if o.needs_rule else "not needed")
                for o in report.operators
            ],
        )
        if layers:
            print_table(
                ("layer", "operator", "shape", "maps"),
                [
                    (
                        layer.name,
                        layer.operator,
                        " x ".join(map(str, layer.shape)),
                        "yes" if layer.has_cells else "no",
                    )
                    for layer in report.layers
                ],
            )
        console.print(f"attachment layer: {report.attachment_layer}   map layer: {report.map_layer}")
        for key in report.unsaid:
            console.print(f"{key}: not in the file; say it with onoma model add --{key}")
    if report.reasons:
        raise ValueError(f"{file}: {'; '.join(report.reasons)}")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="A .pt2 file.", exists=True, dir_okay=False)],
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the model.")],
    classes: Annotated[
        str, typer.Option(help="Class names in score order: separated by commas, or a file with one a line.")
    ] = "",
    attachment_layer: Annotated[str, typer.Option(help="Layer the xNN reads; found by itself.")] = "",
    map_layer: Annotated[str, typer.Option(help="Layer the maps are drawn on; found by itself.")] = "",
    preprocessing: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with how pictures become its input; as the program says if not given.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Register a .pt2 program."""
    how = _read_preprocessing(preprocessing) if preprocessing else None
    with Client() as client, about(file):
        job = client.register_model(
            name,
            file,
            classes=_class_names(classes),
            preprocessing=how,
            attachment_layer=attachment_layer,
            map_layer=map_layer,
        )
        wait(job, f"register {name}")
        made = client.get_model(name)
    if json:
        print_json(made)
    else:
        print_models([made])


def _class_names(given: str) -> list[str]:
    return names_in(Path(given)) if os.path.isfile(given) else listed(given)  # noqa: PTH113  names may be too long for a path


def _read_preprocessing(file: Path) -> types_pb2.Preprocessing:
    """What a file says of a model's preprocessing: the object that `onoma.science.program.save` takes.

    Raises:
        ValueError: it does not say it.
    """
    with about(file):
        said = json_text.loads(file.read_bytes())
        if not isinstance(said, dict):
            raise ValueError("no JSON object; docs/howto/own-model.md shows one")
        if (interpolation := str(said.get("interpolation", "bilinear"))) not in INTERPOLATION_VALUES:
            raise ValueError(
                f"interpolation {interpolation!r}; it can be {' or '.join(INTERPOLATION_VALUES)}"
            )
        try:
            return ParseDict(
                said | {"interpolation": INTERPOLATION_VALUES[interpolation]}, types_pb2.Preprocessing()
            )
        except ParseError as error:
            raise ValueError(str(error).splitlines()[0]) from error


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the registered models."""
    with Client() as client:
        models = list(client.list_models())
    if json:
        print_json(models)
    else:
        print_models(models)


@app.command("delete")
def delete_model(name: Annotated[str, typer.Argument(help="Model.")], yes: Yes = False) -> None:
    """Delete a model for good."""
    with Client() as client:
        client.get_model(name)
        delete(f"model {name}", lambda: client.delete_model(name), asks=not yes)


def predict(
    model: Annotated[str, typer.Argument(help="Model.")],
    pictures: Annotated[
        list[Path] | None, typer.Argument(exists=True, dir_okay=False, help="Picture files.")
    ] = None,
    ids: Annotated[
        str, typer.Option(help="Ids of stored images, separated by commas; after the files.")
    ] = "",
    xnn: Annotated[str, typer.Option(help="Set of xNNs to score with as well.")] = "",
    json: Json = False,
) -> None:
    """Score pictures with a model: its class, and the scores of the network and of the xNNs."""
    files, image_ids = pictures or [], listed(ids)
    if not files and not image_ids:
        raise typer.BadParameter("no picture to score; give files, or --ids of stored images")
    images: chain[bytes | str] = chain((path.read_bytes() for path in files), image_ids)
    names = [*map(str, files), *image_ids]
    with Client() as client:
        classes = list(client.get_model(model).classes)
        try:
            found = list(client.predict_stream(model, images, xnn_set=xnn))
        except InvalidArgument as error:  # which knows pictures by their number
            said = re.sub(r"image (\d+) of the stream", lambda number: names[int(number[1])], str(error))
            raise ValueError(said) from error
    if json:
        print_json(map(prediction_as_json, found))
    else:
        print_predictions(names, found, classes)


def prediction_as_json(prediction: inference_pb2.Prediction) -> Mapping[str, Any]:
    """Its fields; the score of a class without an xNN is null."""
    shown = plain(prediction)
    return {**shown, "xnn_scores": [None if score == "NaN" else score for score in shown["xnn_scores"]]}


def print_predictions(
    names: Sequence[str], predictions: Sequence[inference_pb2.Prediction], classes: Sequence[str]
) -> None:
    """Prints what a model says of pictures, and what the xNN of that class says where there is one."""
    rows = []
    for picture, prediction in zip(names, predictions, strict=True):
        index = classes.index(prediction.predicted_class)
        score = prediction.xnn_scores[index] if prediction.xnn_scores else math.nan
        rows.append(
            (
                picture,
                prediction.predicted_class,
                prediction.dnn_scores[index],
                None if math.isnan(score) else score,
            )
        )
    print_table(("picture", "class", "network's score", "xNN's score"), rows)


def print_models(models: list[inference_pb2.Model]) -> None:
    """Prints models with what was found of them."""
    print_table(
        (
            "model",
            "classes",
            "attachment",
            "features",
            "map layer",
            "cells",
            "mode",
            "strict\nleak",
            "onnx\nerror",
        ),
        [
            (
                m.name,
                len(m.classes),
                m.attachment_layer,
                m.feature_count,
                m.map_layer,
                f"{m.map_height}x{m.map_width}",
                MODES.get(m.mode, "?"),
                f"{m.strict_leak:.1%}",
                f"{m.onnx_error:.1e}",
            )
            for m in models
        ],
        empty="no model yet: onoma model add FILE.pt2 --name NAME brings one in",
    )
