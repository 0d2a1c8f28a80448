"""A first layer that all classes' xNNs share: trained once and frozen, so that each class trains a small head [ours].

It departs from the paper, whose xNNs share nothing; its error is to be shown beside theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from onoma.science.matmul_precision import matmul_precision
from onoma.science.xnn import Xnn
from onoma.science.xnn_fitting import (
    LEARNING_RATE,
    Examples,
    XnnSettings,
    products_of,
    scale_of,
    widths,
)
from onoma.science.xnn_network import Layers, drawn_units

_STEPS_AN_EPOCH = 50
_BATCH = 256


@dataclass(frozen=True, eq=False)
class Trunk:
    """The shared layer, ReLU after it.

    Attributes:
        weight: (H, D) float32.
        bias: (H,) float32.
    """

    weight: Tensor
    bias: Tensor

    def codes(self, features: Tensor) -> Tensor:
        """What the heads read: (n, D) to (n, H), not negative."""
        return torch.relu(features @ self.weight.T + self.bias)

    def under(self, head: Xnn) -> Xnn:
        """The whole xNN, on the network's features, of one that reads the trunk's codes."""
        return replace(head, encoder=((self.weight, self.bias), *head.encoder))


def train_trunk(
    features: Tensor,
    scores: Tensor,
    settings: XnnSettings,
    seed: int,
    progress: Callable[[], None] = lambda: None,
    device: torch.device | None = None,
) -> Trunk:
    """Trains the layer to give all classes' scores by a linear read-out and to reconstruct the features.

    Args:
        features: (n, D) float32, not negative; may be mapped from a file.
        scores: (n, classes) float32.
        seed: the same seed gives the same trunk on the same device.
        progress: called after each epoch; may raise to stop.
        device: where to compute; where the features are if not given.
    """
    device = device or features.device
    rows = torch.arange(len(features), device=features.device)
    examples = Examples(features, rows, scores.to(features.device), device)
    generator = torch.Generator(device).manual_seed(seed)
    count, width = features.shape[1], widths(features.shape[1], settings.x_feature_count)[0]
    any_rows = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:_BATCH]
    scale = scale_of(examples.take(any_rows)[0])
    mean, spread = scores.mean(0).to(device), scores.std(0).clamp(min=1e-6).to(device)
    encoder, decoder = Layers(count, width, [generator]), Layers(width, count, [generator])
    read_out = Layers(width, scores.shape[1], [generator])
    layers = nn.ModuleList([encoder, decoder, read_out])
    optimizer = torch.optim.Adam(layers.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs * _STEPS_AN_EPOCH)
    for _ in range(settings.epochs):
        with matmul_precision(settings.precision, device):
            for _ in range(_STEPS_AN_EPOCH):
                chosen = torch.randint(len(features), (_BATCH,), generator=generator, device=device)
                inputs, wanted = examples.take(chosen)
                inputs, wanted = inputs / scale, (wanted - mean) / spread
                units = drawn_units(count, settings.reconstructed_units, generator)
                with products_of(settings, device):
                    codes = torch.relu(encoder(inputs))
                    reconstructed, predicted = torch.relu(decoder.some(codes, units)), read_out(codes)
                loss = mse_loss(predicted[0].float(), wanted) + mse_loss(
                    reconstructed[0].float(), inputs[:, units]
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
        progress()
    return Trunk(encoder.weight[0].detach() / scale, encoder.bias[0].detach())


def codes_of(trunk: Trunk, features: Tensor, device: torch.device | None = None) -> Tensor:
    """The trunk's codes of all images, (n, H), block by block."""
    rows = torch.arange(len(features), device=features.device)
    examples = Examples(features, rows, rows, device or features.device)
    with matmul_precision("float32", examples.device):
        return torch.cat([trunk.codes(block) for block, _ in examples.blocks()])
