"""Registration of networks: looked into, read, converted to ONNX, compared, stored."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy import Engine
from sqlmodel import Session
from torch import fx

from onoma.science.excitation import LEAK_LIMIT, strict_leak
from onoma.science.nodes import cells_of, shape_of
from onoma.science.pictures import Preprocessing
from onoma.science.program import Program, load, with_features
from onoma.science.registration import (
    checked_classes,
    checked_preprocessing,
    choose_layers,
    require_explainable,
)
from services.inference import tables
from services.inference.sessions import CELLS, FEATURES, SCORES, open_session, run
from services.runtime.database import session
from services.runtime.errors import AlreadyExists, NotFound
from services.runtime.job_context import JobContext, one_line
from services.runtime.objects import ObjectStore

ONNX_TOLERANCE = 1e-3  # of the scores' range
_PROBE_IMAGES = 4


def check_request(engine: Engine, store: ObjectStore, name: str, object_key: str) -> None:
    """Refuses at once what no job could register.

    Raises:
        NotFound: the program was not uploaded.
        AlreadyExists: another network has the name.
    """
    if not store.exists(object_key):
        raise NotFound(f"no object {object_key}: upload the .pt2 file first", "NO_OBJECT")
    with Session(engine) as opened:
        found = opened.get(tables.Model, name)
    if found and found.model_hash != object_key:
        raise _taken(name)


def register(context: JobContext, engine: Engine, store: ObjectStore) -> dict[str, Any]:
    """The job: checks, converts, compares and stores an uploaded program.

    Raises:
        ValueError: the program cannot be taken, and why.
        AlreadyExists: another network has the name.
    """
    params = context.params
    context.stage("reading the program", 4)
    check_request(engine, store, params["name"], params["object_key"])
    program = load(store.get(params["object_key"]))
    classes = checked_classes(params["classes"] or program.metadata.get("classes"), program.class_count)
    preprocessing = checked_preprocessing(
        params["preprocessing"] or program.metadata.get("preprocessing"), program
    )
    attachment, map_layer = choose_layers(program, params["attachment_layer"], params["map_layer"])
    require_explainable(program, attachment, map_layer)
    context.advance()
    context.check()
    context.stage("converting to ONNX", 4)
    context.advance()
    onnx = _to_onnx(program, attachment, map_layer)
    context.advance()
    context.check()
    context.stage("comparing", 4)
    context.advance(2)
    images = _probe_images(program)
    onnx_error = _compare(program, attachment, onnx, images)
    context.advance()
    leak = strict_leak(program, attachment, map_layer, images)
    onnx_key = store.put(onnx)
    store.flush()
    height, width = cells_of(program.node(map_layer))
    row = tables.Model(
        name=params["name"],
        model_hash=params["object_key"],
        onnx_key=onnx_key,
        classes=classes,
        preprocessing=_fields(preprocessing),
        attachment_layer=attachment,
        feature_count=int(np.prod(shape_of(program.node(attachment))[1:])),
        map_layer=map_layer,
        map_height=height,
        map_width=width,
        mode=params["mode"] or ("strict" if leak < LEAK_LIMIT else "local"),
        strict_leak=leak,
        onnx_error=onnx_error,
    )
    with session(engine) as opened:
        found = opened.get(tables.Model, row.name)
        _refuse_other(found, row)
        if found:
            row.preprocessing = found.preprocessing  # to the bit: caches are looked up by it
        opened.merge(row)
    context.advance()
    return {"model": params["name"]}


def _refuse_other(found: tables.Model | None, row: tables.Model) -> None:
    """A model that is used must not change under its xNNs: the same name means the same everything."""
    if found is None:
        return
    same = ("model_hash", "classes", "attachment_layer", "map_layer", "mode")
    differing = [field for field in same if getattr(found, field) != getattr(row, field)]
    if _as_sent(found.preprocessing) != _as_sent(row.preprocessing):
        differing.append("preprocessing")
    if differing:
        raise AlreadyExists(
            f"model '{row.name}' is registered, and differs in {differing[0]} "
            f"({getattr(found, differing[0])}, not {getattr(row, differing[0])}); give this one another name",
            "NAME_TAKEN",
        )


def _as_sent(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Its numbers as messages carry them, in which models of archives come."""
    lists = {name: np.float32(preprocessing[name]).tolist() for name in ("mean", "std")}
    return {**preprocessing, **lists}


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(
        f"another network is registered as '{name}'; give this one another name", "NAME_TAKEN"
    )


def _fields(preprocessing: Preprocessing) -> dict[str, Any]:
    lists = {
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }  # as a JSON column gives them back
    return asdict(preprocessing) | lists


def _to_onnx(program: Program, attachment: str, map_layer: str) -> bytes:
    """The network with outputs scores, features and cells (the map layer's), for any number of images."""
    network: fx.GraphModule = with_features(program, attachment, map_layer)
    example = torch.zeros(2, *program.input_shape)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "network.onnx"
        exporter = logging.getLogger("torch.onnx")
        level = exporter.level
        exporter.setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                network,
                (example,),
                str(path),
                dynamo=True,
                output_names=[SCORES, FEATURES, CELLS],
                dynamic_shapes=({0: torch.export.Dim("images")},),
                external_data=False,
                verbose=False,
            )
        except Exception as error:
            raise ValueError(f"the network cannot be converted to ONNX: {one_line(error)[:300]}") from error
        finally:
            exporter.setLevel(level)
        return path.read_bytes()


def _probe_images(program: Program) -> torch.Tensor:
    """Smooth random pictures, with about the mean and spread that normalised photographs have (synthetic)."""
    generator = torch.Generator().manual_seed(0)
    channels, height, width = program.input_shape
    coarse = torch.randn(
        _PROBE_IMAGES, channels, max(2, height // 8), max(2, width // 8), generator=generator
    )
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


def _compare(program: Program, attachment: str, onnx: bytes, images: torch.Tensor) -> float:
    """Largest |ONNX score - torch score|.

    Raises:
        ValueError: it is more than a thousandth of the scores' range.
    """
    with torch.inference_mode():
        wanted, _ = with_features(program, attachment)(images)
    scores, _ = run(open_session(onnx), images.numpy())
    if not (np.isfinite(scores).all() and wanted.isfinite().all()):
        raise ValueError("the network's scores are NaN or infinite: a weight is damaged or far too large")
    error = float(np.abs(scores - wanted.numpy()).max())
    limit = ONNX_TOLERANCE * max(float(wanted.max() - wanted.min()), 1e-6)
    if error > limit:
        raise ValueError(
            f"the network's ONNX form differs by {error:.2g} in its scores; {limit:.2g} is allowed"
        )
    return error
