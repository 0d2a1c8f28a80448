"""The networks of the benchmark, and how they are trained on synthetic pictures."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.vision_transformer import ConvStemConfig, VisionTransformer
from torchvision.ops import Conv2dNormActivation

BATCH = 32


class PlainNetwork(nn.Module):
    """VGG in the small: convolutions, max pools, two fully-connected layers, no batch norm.

    Attributes:
        map_layer: the layer that maps are drawn on, 16 x 16 cells; Grad-CAM hooks it.
        epochs: of its training.
        largest_gradient: its norm is cut to this.
    """

    learning_rate = 1.5e-3
    epochs = 16
    largest_gradient = math.inf

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, 16, size=5, stride=2),
            *_convolution(16, 24), nn.MaxPool2d(2),
            *_convolution(24, 48), nn.MaxPool2d(2),
            *_convolution(48, 64), nn.MaxPool2d(2),
        )  # fmt: skip
        self.map_layer = self.features[6]
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * 16, 128), nn.ReLU(), nn.Dropout(), nn.Linear(128, class_count)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 64, 64) to (n, classes)."""
        return self.classifier(self.features(pixels))


class DepthwiseNetwork(nn.Module):
    """MobileNetV2 in the small: depthwise convolutions, batch norms, ReLU6, residuals, one fully-connected layer.

    Attributes: as in PlainNetwork.
    """

    learning_rate = 5e-3
    epochs = 16
    largest_gradient = math.inf

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            Conv2dNormActivation(3, 16, stride=2, activation_layer=nn.ReLU6),
            InvertedResidual(16, 24, stride=2, expand_ratio=1),
            InvertedResidual(24, 24, stride=1, expand_ratio=4),
            InvertedResidual(24, 40, stride=2, expand_ratio=4),
            InvertedResidual(40, 40, stride=1, expand_ratio=4),
            Conv2dNormActivation(40, 160, kernel_size=1, activation_layer=nn.ReLU6),
        )
        self.map_layer = self.features[3].conv[0]
        self.classifier = nn.Linear(160, class_count)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 64, 64) to (n, classes)."""
        return self.classifier(self.features(pixels).mean((2, 3)))


class AttendingNetwork(VisionTransformer):
    """A vision transformer in the small: convolutions to 16 x 16 tokens, a class token, three blocks of four heads.

    Attributes: as in PlainNetwork.
    """

    learning_rate = 2e-3
    epochs = 30
    largest_gradient = 1.0

    def __init__(self, class_count: int) -> None:
        stem = [ConvStemConfig(channels, kernel_size=3, stride=2) for channels in (24, 48)]
        super().__init__(64, 4, 3, 4, 64, 128, num_classes=class_count, conv_stem_configs=stem)
        self.map_layer = self.conv_proj


NETWORKS = {
    "plain (VGG-like)": PlainNetwork,
    "depthwise (MobileNetV2-like)": DepthwiseNetwork,
    "attention (ViT-like)": AttendingNetwork,
}


def network_input(pixels: npt.NDArray[np.uint8]) -> Tensor:
    """(n, 64, 64, 3) uint8 to (n, 3, 64, 64) float32 in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_network(
    network: nn.Module, images: Tensor, classes: Tensor, epochs: int, progress: Callable[[], None]
) -> None:
    """Trains in place with torch's own random numbers and leaves the network in evaluation mode.

    Args:
        images: (n, 3, 64, 64).
        classes: (n,) int64.
        progress: called after each epoch.
    """
    network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=network.learning_rate, weight_decay=1e-2)
    steps = epochs * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, network.learning_rate, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]:
            loss = nn.functional.cross_entropy(network(_varied(images[chosen])), classes[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), network.largest_gradient)
            optimizer.step()
            schedule.step()
        progress()
    network.eval().to(memory_format=torch.contiguous_format)


def _varied(images: Tensor) -> Tensor:
    """A batch mirrored, with its colours exchanged, and moved a little: its classes stay what they are."""
    rows, columns = (int(by) for by in torch.randint(-3, 4, (2,)))
    varied = images[:, torch.randperm(3)].roll((rows, columns), (2, 3))
    mirrored = varied.flip(3) if torch.randint(2, ()) else varied
    return mirrored.contiguous(memory_format=torch.channels_last)


def scores(network: nn.Module, images: Tensor) -> Tensor:
    """(n, classes), block by block."""
    with torch.inference_mode():
        return torch.cat([network(block) for block in images.split(256)])


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)
    nn.init.kaiming_normal_(
        convolution.weight, nonlinearity="relu"
    )  # torch's own is too small to start without norms
    return convolution, nn.ReLU()
