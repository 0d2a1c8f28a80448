"""Synthetic pictures and a tiny network for tests: coloured shapes on grey, no photographs."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from onoma.science.program import save

SIZE = 32
CLASSES = ("circle", "cross", "square")


def draw(class_name: str, rng: np.random.Generator) -> Image.Image:
    """One synthetic picture: a shape of random colour, size and place."""
    picture = Image.new("RGB", (SIZE, SIZE), tuple(int(v) for v in rng.integers(90, 120, 3)))
    pen = ImageDraw.Draw(picture)
    colour = tuple(int(v) for v in rng.integers(150, 255, 3))
    radius = int(rng.integers(6, 10))
    x, y = (int(v) for v in rng.integers(radius, SIZE - radius, 2))
    box = (x - radius, y - radius, x + radius, y + radius)
    if class_name == "circle":
        pen.ellipse(box, outline=colour, width=3)
    elif class_name == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.line((x - radius, y - radius, x + radius, y + radius), fill=colour, width=3)
        pen.line((x - radius, y + radius, x + radius, y - radius), fill=colour, width=3)
    return picture


def write_image_folder(folder: Path, *, train: int = 24, test: int = 8, seed: int = 0) -> Path:
    """FOLDER/train/CLASS/*.png and FOLDER/test/CLASS/*.png of synthetic pictures."""
    rng = np.random.default_rng(seed)
    for part, count in (("train", train), ("test", test)):
        for class_name in CLASSES:
            target = folder / part / class_name
            target.mkdir(parents=True)
            for index in range(count):
                draw(class_name, rng).save(target / f"{class_name}_{index:03}.png")
    return folder


def vgg_like(channels: int, side: int, features: int, classes: int) -> nn.Sequential:
    """Two convolutions and two fully-connected layers, for pictures of `side` pixels, a multiple of 4."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * (side // 4) ** 2, features),
        nn.ReLU(),
        nn.Linear(features, classes),
    )


def tiny_program(folder: Path, *, steps: int = 60, seed: int = 0, network: nn.Module | None = None) -> bytes:
    """A network, by default a tiny VGG-like one, trained for a moment on FOLDER/train, as a `.pt2` program."""
    torch.manual_seed(seed)
    files = sorted((folder / "train").glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    labels = torch.tensor([CLASSES.index(file.parent.name) for file in files])
    network = (network or vgg_like(8, SIZE, 32, len(CLASSES))).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    metadata = {
        "name": "tiny",
        "classes": list(CLASSES),
        "preprocessing": {"channels": 3, "height": SIZE, "width": SIZE},
    }
    return save(network.eval(), images[:2], metadata)
