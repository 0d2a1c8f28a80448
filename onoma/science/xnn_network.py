"""xNNs of several classes while they are trained: parameters stacked over C classes, each as if it were alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from onoma.science.xnn import Xnn

DROPOUT = 0.02
_DEAD_SHARE = 0.01  # of the images; an X-feature that fires on fewer after the warm start is revived [ours]


@dataclass(frozen=True, eq=False)
class Units:
    """What makes features and scores of size 1.

    Attributes:
        scale: () standard deviation of the features.
        mean: (C,) of the scores.
        spread: (C,) standard deviation of the scores.
    """

    scale: Tensor
    mean: Tensor
    spread: Tensor


class Layers(nn.Module):
    """A fully-connected layer for each of C classes: weight (C, out, in), bias (C, out).

    Each class's starts as torch makes one, of the random numbers of its own generator and on its device.
    """

    def __init__(self, inputs: int, outputs: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        classes, device = len(generators), generators[0].device
        self.weight = nn.Parameter(torch.empty(classes, outputs, inputs, device=device))
        self.bias = nn.Parameter(torch.empty(classes, outputs, device=device))
        bound = inputs**-0.5
        with torch.no_grad():
            for weight, bias, generator in zip(self.weight, self.bias, generators, strict=True):
                weight.uniform_(-bound, bound, generator=generator)
                bias.uniform_(-bound, bound, generator=generator)

    def forward(self, values: Tensor) -> Tensor:
        """(n, in), the same for all classes, or (C, n, in); gives (C, n, out)."""
        return _products(values, self.weight, self.bias)

    def some(self, values: Tensor, units: Tensor | slice) -> Tensor:
        """Some of the outputs, (C, n, units); the others are not computed."""
        if isinstance(units, slice):
            return _products(values, self.weight[:, units], self.bias[:, units])
        return _products(values, self.weight.index_select(1, units), self.bias.index_select(1, units))


def _products(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if values.ndim == 2:  # one wide product for all classes
        wide = nn.functional.linear(values, weight.flatten(0, 1), bias.flatten())
        return wide.reshape(len(values), *bias.shape).transpose(0, 1)
    return torch.baddbmm(bias[:, None], values, weight.mT)


class Networks(nn.Module):
    """Encoders, decoders and read-outs of C classes, on scaled features and standardised scores."""

    def __init__(self, sizes: Sequence[int], units: Units, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.units = units
        pairs, device = list(pairwise(sizes)), generators[0].device
        self.encoder = nn.ModuleList(Layers(a, b, generators) for a, b in pairs)
        self.decoder = nn.ModuleList(Layers(b, a, generators) for a, b in reversed(pairs))
        self.read_out = nn.Parameter(torch.zeros(len(generators), sizes[-1], device=device))
        self.bias = nn.Parameter(torch.zeros(len(generators), device=device))

    def encode(self, inputs: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        """X-features (C, n, K) of inputs (n, D); in training with dropout after the first layer."""
        first, *others = self.encoder
        values = torch.relu(first(inputs))
        if dropout is not None:  # the same units for all classes, so that one is what it is alone
            kept = torch.rand(values.shape[1:], generator=dropout, device=values.device) >= DROPOUT
            values = values * kept / (1 - DROPOUT)
        for layer in others:
            values = torch.relu(layer(values))
        return values

    def decode(self, codes: Tensor, units: Tensor | slice) -> Tensor:
        """Reconstruction (C, n, units) of some units from codes (C, n, K)."""
        *upper, last = self.decoder
        values = codes
        for layer in upper:
            values = torch.relu(layer(values))
        assert isinstance(last, Layers)
        return torch.relu(last.some(values, units))

    def scores(self, features: Tensor) -> Tensor:
        """Scores (C, n) in the network's own units, of features (n, D) as they are."""
        codes = self.encode(features / self.units.scale)
        standardised = (codes * self.read_out[:, None]).sum(-1) + self.bias[:, None]
        return standardised * self.units.spread[:, None] + self.units.mean[:, None]

    def xnn(self, index: int) -> Xnn:
        """Encoder and read-out of one class, on features and scores as they are."""
        (first_weight, first_bias), *layers = [
            (layer.weight[index].detach().clone(), layer.bias[index].detach().clone())  # type: ignore[index]
            for layer in self.encoder
        ]
        mean, spread = self.units.mean[index], self.units.spread[index]
        return Xnn(
            encoder=((first_weight / self.units.scale, first_bias), *layers),
            read_out=self.read_out[index].detach() * spread,
            bias=self.bias[index].detach() * spread + mean,
        )

    def start_read_out(self, below: Tensor, targets: Tensor) -> None:
        """Revives dead X-features and starts the read-out by least squares on the codes.

        Args:
            below: (C, n, H) what the encoder's last layer reads.
            targets: (C, n) standardised scores.
        """
        last = self.encoder[-1]
        assert isinstance(last, Layers)
        with torch.no_grad():
            revive_dead(last, below)
            codes = torch.relu(last(below))
            self.read_out.copy_(with_both_signs(_least_squares(codes, targets)))
            self.bias.copy_((targets - (codes @ self.read_out[..., None])[..., 0]).mean(-1))


def revive_dead(layer: Layers, inputs: Tensor) -> None:
    """Gives the units that fire on fewer than 1 % of the images a bias that lets half of them through [ours].

    They also get the spread that the class's living units have; a unit that never fires is never trained.
    """
    values = layer(inputs)
    dead = (values > 0).float().mean(1) < _DEAD_SHARE
    if not dead.any():
        return
    layer.bias[dead] -= values.median(1).values[dead]
    spread = torch.relu(layer(inputs)).std(1).clamp(min=1e-6)
    living = (~dead).sum(1, keepdim=True)
    typical = (spread * ~dead).sum(1, keepdim=True) / living.clamp(min=1)
    factor = torch.where(dead & (living > 0), typical / spread, 1.0)
    layer.weight.mul_(factor[..., None])
    layer.bias.mul_(factor)


def _least_squares(codes: Tensor, targets: Tensor) -> Tensor:
    """Weights (C, K) of the linear fits, with a constant, from codes (C, n, K) to targets (C, n)."""
    design = torch.cat([codes, torch.ones_like(codes[..., :1])], dim=-1).double()
    ridge = 1e-6 * design.shape[1] * torch.eye(design.shape[2], dtype=design.dtype, device=design.device)
    solution: Tensor = torch.linalg.solve(
        design.mT @ design + ridge, (design.mT @ targets.double()[..., None])[..., 0]
    )
    return solution[..., :-1].to(codes.dtype)


def with_both_signs(weights: Tensor) -> Tensor:
    """Makes the larger half of a class's weights (..., K) positive, the others negative, none next to 0 [ours].

    An X-feature whose weight starts negative or at 0 hardly ever becomes evidence for the class.
    """
    larger = weights.argsort(dim=-1, descending=True)[..., : (weights.shape[-1] + 1) // 2]
    sign = (-torch.ones_like(weights)).scatter(-1, larger, 1.0)
    typical = weights.abs().mean(-1, keepdim=True)
    return torch.where(weights * sign > 0.1 * typical, weights, sign * weights.abs().maximum(typical))


def drawn_units(count: int, wanted: int, generator: torch.Generator) -> Tensor | slice:
    """So many of the units at random; all of them where they are no more, or 0 are wanted."""
    if not 0 < wanted < count:
        return slice(None)
    return torch.randperm(count, generator=generator, device=generator.device)[:wanted]
