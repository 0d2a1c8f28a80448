"""The whole of a training as a user starts it: a server of its own, one command, memory and time.

Synthetic pictures of so many classes, each a pattern of colours of its own with noise, and a small network with a
fully-connected layer of the size asked for, trained on them for a moment. Part of `python -m tests.bench.training`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from torch import nn

from onoma.client import Addresses, Client
from onoma.science.program import save
from tests.bench.machine import largest_resident
from tests.services.processes import running
from tests.synthetic import vgg_like

SIZE = 32
CELLS = 8  # of a class's pattern, each way
TESTED = 2  # test images a class


def train_served(
    images: int, features: int, classes: int, trained: int, fast: bool, epochs: int
) -> dict[str, object]:
    """Trains xNNs by `onoma xnn train` on a server and watches the server's process.

    Args:
        images: to train on, of all classes together.
        features: D, of the network's fully-connected layer.
        classes: of data set and network.
        trained: of them get an xNN.
        fast: on a shared trunk.
        epochs: of joint training.
    """
    names = [f"class_{index:03}" for index in range(classes)]
    with tempfile.TemporaryDirectory(prefix="onoma-bench-") as made:
        folder, data = Path(made) / "pictures", Path(made) / "data"
        program = _network(_write_pictures(folder, names, images), names, features)
        settings = {"data_dir": str(data), "import_roots": json.dumps([made])}
        with running("inference", **settings) as (process, address):
            with Client(Addresses(inference=address)) as client:
                client.import_dataset("pictures", str(folder)).wait()
                client.register_model("small", program).wait()
            before = psutil.Process(process.pid).memory_info().rss
            command = [sys.executable, "-m", "onoma", "xnn", "train", "small", "pictures"]
            command += ["--classes", ",".join(names[:trained]), "--epochs", str(epochs), *["--fast"] * fast]
            started = time.perf_counter()
            with largest_resident(process.pid) as largest:
                environment = os.environ | {"ONOMA_INFERENCE_ADDRESS": address}
                subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            taken = time.perf_counter() - started
            with Client(Addresses(inference=address)) as client:
                xnns = client.get_xnn_set("small").xnns
    assert len(xnns) == trained, f"{len(xnns)} of {trained} classes have an xNN"
    shares = [xnn.rmse / (xnn.score_max - xnn.score_min) for xnn in xnns]
    return {
        "images": images,
        "features": features,
        "classes": classes,
        "classes_trained": trained,
        "shared_trunk": fast,
        "epochs": epochs,
        "seconds": taken,
        "restarts": sum(xnn.restart_count for xnn in xnns),
        "accepted": sum(xnn.accepted for xnn in xnns),
        "resident_gb_before": before / 1e9,
        "largest_resident_gb": max(largest) / 1e9,
        "mean_rmse_over_range": sum(shares) / len(shares),
    }


def _write_pictures(folder: Path, names: list[str], images: int) -> Path:
    """FOLDER/train/CLASS and FOLDER/test/CLASS."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (len(names), CELLS, CELLS, 3))
    for name, pattern in zip(names, patterns, strict=True):
        for part, count in (("train", images // len(names)), ("test", TESTED)):
            target = folder / part / name
            target.mkdir(parents=True)
            for index in range(count):
                large = pattern.repeat(SIZE // CELLS, 0).repeat(SIZE // CELLS, 1)
                noisy = large + random.normal(0, 60, (SIZE, SIZE, 3))
                picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
                picture.save(target / f"{index:04}.png", compress_level=1)
    return folder


def _network(folder: Path, names: list[str], features: int) -> bytes:
    """A `.pt2` of two convolutions and two fully-connected layers, trained for 200 steps."""
    torch.manual_seed(0)
    files = sorted((folder / "train").glob("*/*.png"))
    labels = torch.tensor([names.index(file.parent.name) for file in files])
    network = vgg_like(16, SIZE, features, len(names))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def read(index: int) -> np.ndarray:
        return np.asarray(Image.open(files[index]))

    for _ in range(200):
        chosen = torch.randint(len(files), (64,))
        pixels = torch.from_numpy(np.stack([read(index) for index in chosen.tolist()]))
        batch = pixels.permute(0, 3, 1, 2).float() / 255
        loss = nn.functional.cross_entropy(network(batch), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    preprocessing = {"channels": 3, "height": SIZE, "width": SIZE}
    metadata = {"name": "small", "classes": names, "preprocessing": preprocessing}
    return save(network.eval(), batch[:2], metadata)
