"""A stand-in study for the page's benchmark: synthetic pictures, random maps, one large category."""

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from onoma.client import Client
from onoma.science.program import save
from onoma.v1 import naming_pb2

SIDE = 112
MAP_SIDE = 14
CATEGORY = "blobs"


def make_study(client: Client, folder: Path, tiles: int, maps_per_image: int) -> naming_pb2.Study:
    """An open study of `tiles` activations in one category (and a second, small one), with suggestions."""
    pictures = _write_pictures(folder / "pictures", tiles // maps_per_image)
    client.import_dataset("stand-in", str(folder / "pictures")).wait()
    client.register_model("stand-in", _program()).wait()
    study = client.create_study(
        f"stand-in study of {tiles} synthetic tiles",
        "stand-in",
        "stand-in",
        "",
        [CATEGORY, "few"],
        settings=naming_pb2.StudySettings(suggestions=True),
    )
    client.import_maps(study.study_id, _archive(pictures, maps_per_image)).wait()
    return client.open_study(study.study_id)


def _write_pictures(folder: Path, count: int) -> list[tuple[str, str]]:
    """Path in the data set and category of each picture: soft coloured blobs, no photographs."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    written = []
    for category, number in ((CATEGORY, count), ("few", 8)):
        for part in ("train", "test"):
            (folder / part / category).mkdir(parents=True)
        for index in range(number):
            y, x, width = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), rng.uniform(0.02, 0.1)
            blob = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / width)[..., None]
            pixels = rng.uniform(0, 120, 3) + blob * rng.uniform(60, 135, 3)
            name = f"test/{category}/{index:05}.jpg"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name, quality=85)
            written.append((name, category))
        Image.new("RGB", (SIDE, SIDE), (9, 9, len(written) % 256)).save(
            folder / "train" / category / "one.png"
        )
    return written


def _program() -> bytes:
    """A network that says nothing; only its input size matters here."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 8, stride=8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * MAP_SIDE * MAP_SIDE, 8),
        nn.ReLU(),
        nn.Linear(8, 2),
    )
    metadata = {
        "name": "stand-in",
        "classes": [CATEGORY, "few"],
        "preprocessing": {"channels": 3, "height": SIDE, "width": SIDE},
    }
    return save(network.eval(), torch.rand(2, 3, SIDE, SIDE), metadata)


def _archive(pictures: list[tuple[str, str]], maps_per_image: int) -> bytes:
    """`maps_per_image` maps a picture, each one blob."""
    rng = np.random.default_rng(1)
    count = len(pictures) * maps_per_image
    rows, columns = np.mgrid[0:MAP_SIDE, 0:MAP_SIDE]
    y, x = rng.uniform(0, MAP_SIDE, (2, count, 1, 1))
    maps = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 6).astype(np.float32)
    table, array = io.StringIO(), io.BytesIO()
    writer = csv.writer(table)
    writer.writerow(("image", "category", "unit", "weight"))
    for name, category in pictures:
        writer.writerows(
            (name, category, unit, f"{rng.uniform(0.5, 1.5):.4f}") for unit in range(maps_per_image)
        )
    np.save(array, maps)
    manifest = {
        "format": "onoma-maps",
        "version": 1,
        "method": "random blobs",
        "model": "none",
        "layer": "none",
        "already_significant": True,
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("activations.csv", table.getvalue())
        archive.writestr("maps.npy", array.getvalue())
    return packed.getvalue()
