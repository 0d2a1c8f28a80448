"""Networks by name as `.pt2` programs; the only part of the command line that needs torchvision."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor

from onoma.science.pictures import Preprocessing
from onoma.science.program import save

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def torchvision_program(source: str, weights: Path | None, classes: Path | None, size: int) -> bytes:
    """A torchvision network as a `.pt2` program.

    Args:
        source: "torchvision:NAME".
        weights: state dict (.safetensors, .pt, .pth), or None for random weights.
        classes: text file with one class name a line; without it, ImageNet's for 1000 scores.
        size: height and width of the input in pixels.
    Raises:
        ValueError: unknown source, or weights or class names that do not fit.
    """
    family, _, name = source.partition(":")
    known = torchvision.models.list_models(module=torchvision.models)
    if family != "torchvision" or name not in known:
        raise ValueError(f"'{source}' is not torchvision:NAME with one of: {', '.join(known)}")
    state = _state_dict(weights) if weights else None
    names = classes.read_text(encoding="utf-8").split("\n") if classes else []
    names = [line.strip() for line in names if line.strip()]
    options: dict[str, object] = {"num_classes": len(names)} if names else {}
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": True}
    network = torchvision.models.get_model(name, weights=None, **options).eval()
    if state is not None:
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                f"{weights} does not fit {source}: {str(error).splitlines()[-1].strip()}"
            ) from error
    preprocessing = Preprocessing(
        channels=3,
        height=size,
        width=size,
        resize_shorter_side=round(size * 256 / 224),
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
    )
    if not names:
        names = list(torchvision.models.AlexNet_Weights.DEFAULT.meta["categories"])
    metadata = {"name": name, "classes": names, "preprocessing": asdict(preprocessing)}
    return save(network, torch.zeros(2, 3, size, size), metadata)


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Raises:
        ValueError: it holds something else; nothing pickled is run to find out.
    """
    unreadable = (
        f"{path} holds no state dict that can be read safely; write one with "
        "torch.save(network.state_dict(), FILE) or as .safetensors"
    )
    try:
        found: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except OSError:
        raise
    except Exception as error:
        raise ValueError(unreadable) from error
    if not isinstance(found, dict):
        raise ValueError(unreadable)
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{path} is a checkpoint with more than a state dict (such as '{name}'); write what it has under "
                "'state_dict' or 'model' alone"
            )
    state: dict[str, Tensor] = found
    return state
