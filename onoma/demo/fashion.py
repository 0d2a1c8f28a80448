"""First road: Fashion-MNIST (Xiao, Rasul, Vollgraf 2017) and a small VGG-like network trained on the spot."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pooch
import torch
from torch import Tensor, nn
from torchvision.datasets import FashionMNIST

from onoma.science.program import save

CLASSES = tuple(FashionMNIST.classes)  # the importer gives its ten labels the same names
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_MEAN, _STD = 0.2860, 0.3530


def find_data(cache: Path) -> Path:
    """The folder with Fashion-MNIST's four idx files: Debian's, those that are in the cache, else downloaded ones.

    Args:
        cache: where a download is kept, checked against the MD5 that torchvision gives. What is there already is not
            checked again: Debian packs the same content in other gzip files, and a broken one is refused when read.
    Raises:
        OSError: neither the package nor the network has it.
    """
    names = [name for name, _ in FashionMNIST.resources]
    for folder in (DEBIAN_FOLDER, cache):
        if all((folder / name).is_file() for name in names):
            return folder
    registry = {name: f"md5:{md5}" for name, md5 in FashionMNIST.resources}
    source = pooch.create(path=cache, base_url=FashionMNIST.mirrors[0], registry=registry)
    for name in names:
        source.fetch(name, progressbar=True)
    return cache


def small_vgg() -> nn.Module:
    """Two blocks of two convolutions and a pool, then 512 and 10 fully-connected units.

    Input (n, 1, 28, 28), output (n, 10) scores. The second block works on 14x14 cells.
    """

    def block(channels_in: int, channels_out: int) -> list[nn.Module]:
        return [
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]

    return nn.Sequential(
        *block(1, 32),
        *block(32, 64),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 512),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(512, len(CLASSES)),
    )


def train_network(
    data: Path,
    *,
    image_count: int = 30_000,
    epochs: int = 2,
    batch_size: int = 128,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> bytes:
    """Trains `small_vgg` on the first `image_count` training pictures.

    Args:
        data: folder with the idx files.
        progress: called with batches done and batches in all.
    Returns:
        The network as a `.pt2` program with its classes and preprocessing.
    """
    torch.manual_seed(seed)
    pixels = torch.from_numpy(_read_idx(data / "train-images-idx3-ubyte.gz")[:image_count].copy())
    images = ((pixels.float() / 255 - _MEAN) / _STD).unsqueeze(1)
    labels = torch.from_numpy(_read_idx(data / "train-labels-idx1-ubyte.gz")[:image_count].astype(np.int64))
    network = small_vgg()
    step_count = epochs * -(-len(images) // batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=step_count)
    step = 0
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(batch_size):  # type: ignore[no-untyped-call]
            _descend(network, optimizer, images[batch], labels[batch])
            schedule.step()
            step += 1
            progress(step, step_count)
    return save(
        network.eval(),
        images[:2],
        {
            "name": "fashion-vgg",
            "classes": list(CLASSES),
            "preprocessing": {"channels": 1, "height": 28, "width": 28, "mean": [_MEAN], "std": [_STD]},
        },
    )


def _descend(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    loss = nn.functional.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _read_idx(path: Path) -> npt.NDArray[np.uint8]:
    with gzip.open(path) as file:
        content = file.read()
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape.astype(int))
