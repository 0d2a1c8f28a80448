"""Networks by name as `.pt2` programs; the only part of the command line that needs torchvision."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor

from onoma.cli.data import names_in
from onoma.science.pictures import Preprocessing
from onoma.science.program import save


def torchvision_program(
    source: str, weights: Path | None, classes: Path | None, size: int | None
) -> tuple[bytes, Preprocessing]:
    """A torchvision network as a `.pt2` program.

    Args:
        source: "torchvision:NAME".
        weights: state dict (.safetensors, .pt, .pth), or None for random weights.
        classes: text file with one class name a line; without it, ImageNet's for 1000 scores.
        size: height and width of the input in pixels; None for those that torchvision's weights are used with.
    Returns:
        The program, and how it says that pictures become its input: as for torchvision's weights of that file's name,
        else as for the first that torchvision has of this network.
    Raises:
        ValueError: unknown source, or weights or class names that do not fit.
    """
    family, _, name = source.partition(":")
    known = torchvision.models.list_models(module=torchvision.models)
    if family != "torchvision" or name not in known:
        raise ValueError(f"'{source}' is not torchvision:NAME with one of: {', '.join(known)}")
    state = _state_dict(weights) if weights else None
    names = names_in(classes) if classes else []
    used = weights_of(name, weights)
    preprocessing = preprocessing_of(used, size)
    options: dict[str, object] = {"num_classes": len(names)} if names else {}
    if name.startswith("vit_"):
        options["image_size"] = preprocessing.height
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
    metadata = {
        "name": name,
        "classes": names or list(used.meta["categories"] or weights_of(name).meta["categories"]),
        "preprocessing": asdict(preprocessing),
    }
    example = torch.zeros(2, 3, preprocessing.height, preprocessing.width)
    return save(network, example, metadata), preprocessing


def weights_of(name: str, file: Path | None = None) -> torchvision.models.WeightsEnum:
    """torchvision's weights of a network: those whose file is named like this one, else the first that there are."""
    entries = list(torchvision.models.get_model_weights(name))
    return next((one for one in entries if file and Path(one.url).stem == file.stem), entries[0])


def preprocessing_of(weights: torchvision.models.WeightsEnum, size: int | None) -> Preprocessing:
    """How pictures become the input that weights were trained on, or the like of `size` pixels."""
    how = weights.transforms()
    [own_size], [resized] = how.crop_size, how.resize_size
    size = own_size if size is None else size
    return Preprocessing(
        channels=3,
        height=size,
        width=size,
        resize_shorter_side=round(size * resized / own_size),
        mean=tuple(how.mean),
        std=tuple(how.std),
        interpolation=how.interpolation.value,
    )


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
